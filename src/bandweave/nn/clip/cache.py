"""Features of images already seen, kept in memory by the images' content.

For a frozen encoder behind a fixed projection only: nothing that learns stands before it or in
it, so the same crop has the same features for ever. It pays where the same crops come again, as
they do in repeated validation; random training crops would only fill it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor


class FeatureCache:
    """Least recently used features, at most `megabytes` of them."""

    def __init__(self, megabytes: int) -> None:
        self.limit = megabytes * 2**20  # bytes
        self.size = 0  # bytes
        self.hits = 0
        self.misses = 0
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()

    def features(
        self, images: Tensor, encode: Callable[[Tensor], Tensor], setting: str = ""
    ) -> Tensor:
        """`encode(images)`, where only images that are not kept are encoded.

        images   (B, 3, h, w); each is one entry
        encode   from (M, 3, h, w) to (M, ...)
        setting  whatever else the features depend on, such as the precision
        """
        keys = [_hash_image(image, setting) for image in images]
        new = [i for i, key in enumerate(keys) if key not in self._kept]
        self.hits += len(keys) - len(new)
        self.misses += len(new)
        fresh = dict(zip(new, encode(images[new]), strict=True)) if new else {}
        answer = torch.stack(
            [fresh[i] if i in fresh else self._kept[key] for i, key in enumerate(keys)]
        )
        for i, key in enumerate(keys):
            if key in self._kept:
                self._kept.move_to_end(key)
            elif i in fresh:
                self._keep(key, fresh[i].clone())  # a slice would hold the whole batch
        return answer

    def clear(self) -> None:
        self._kept.clear()
        self.size = 0

    def _keep(self, key: bytes, value: Tensor) -> None:
        self._kept[key] = value
        self.size += value.nbytes
        while self.size > self.limit:
            _, dropped = self._kept.popitem(last=False)
            self.size -= dropped.nbytes


def _hash_image(image: Tensor, setting: str) -> bytes:
    what = hashlib.blake2b(digest_size=16)
    what.update(f"{tuple(image.shape)} {image.dtype} {image.device} {setting}".encode())
    what.update(image.detach().contiguous().cpu().view(torch.uint8).numpy().tobytes())
    return what.digest()
