"""CLIP guidance: what a pre-trained image encoder sees in each modality, as one feature map.

Source: M³amba, section III-A, eq. 6 (per-modality adapters in a frozen ViT-B/16, its last layer
dropped, the maps resized and concatenated), Table VII (direct inference, adapters, fine-tuning)
and, as `pooled`, the form of the public release (the image embedding, re-laid as a map).

    layer (B, C, h, w) → three channels → S×S px, bicubic → tower → tokens (B, 1 + G·G, M)
    tokens:  G×G patch tokens → LayerNorm, Linear M→D → H×W, bilinear
    pooled:  embedding (B, P) → Linear P→1024 → 1×32×32 → H×W → Conv 1→C → Conv C→D, LayerNorm
    S the tower's image size, G = S / patch size, M its width, P its embedding, D the model's width

Each modality has its own projection, adapters and head; the tower is one. It sees a crop as a
whole, so the guidance of every pixel depends on all of the crop.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.nn.clip.cache import FeatureCache
from bandweave.nn.clip.encoder import ClipConfig, ClipEncoder
from bandweave.nn.pretrained.fixed_projection import FixedProjection, fit_projections

__all__ = ["ClipConfig", "ClipEncoder", "ClipGuidance"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of red, green, blue in 0..1: CLIP's own
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
POOLED_SIZE = (32, 32)  # px: the release re-lays its embedding so


class TokenHead(nn.Module):
    """Patch tokens (B, G, G, M) → map (B, H, W, D)."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width_in)
        self.proj = _linear(width_in, width)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        x = self.proj(self.norm(tokens)).permute(0, 3, 1, 2)  # (B, D, G, G)
        return F.interpolate(x.float(), size, mode="bilinear").permute(0, 2, 3, 1)


class PooledHead(nn.Module):
    """Image embedding (B, P) → map (B, H, W, D), through C channels and a stem, as released.

    laid  rows and columns that the embedding is re-laid in
    """

    def __init__(
        self, width_in: int, bands: int, width: int, laid: tuple[int, int] = POOLED_SIZE
    ) -> None:
        super().__init__()
        self.laid = laid
        self.unfold = _linear(width_in, laid[0] * laid[1])
        self.spread = nn.Conv2d(1, bands, 1)
        self.stem = nn.Conv2d(bands, width, 1)
        self.norm = nn.LayerNorm(width)

    def forward(self, embedding: Tensor, size: tuple[int, int]) -> Tensor:
        x = self.unfold(embedding).unflatten(1, (1, *self.laid))
        if size != self.laid:
            x = F.interpolate(x.float(), size, mode="bilinear")
        return self.norm(self.stem(self.spread(x)).permute(0, 2, 3, 1))


class ClipGuidance(nn.Module):
    """The guidance map Z of one or more modalities.

    bands   modality name → number of bands C
    width   D, the model's width
    config  see ClipConfig; mode `none` has no guidance and is refused

    Its modules are initialised here: an initialisation of the whole model must leave them out,
    or it would overwrite CLIP's weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, bands: Mapping[str, int], width: int, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ClipEncoder(bands, config)
        fixed, pooled = config.input == "pca", config.guidance == "pooled"
        self.inputs = nn.ModuleDict()
        self.heads = nn.ModuleDict()
        for name, count in bands.items():
            self.inputs[name] = FixedProjection(count) if fixed else nn.Conv2d(count, 3, 1)
            self.heads[name] = (
                PooledHead(self.encoder.width, count, width)
                if pooled
                else TokenHead(self.encoder.width, width)
            )
        joined = config.fuse == "concat" and len(bands) > 1
        self.fuse = _linear(len(bands) * width, width) if joined else None
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).reshape(3, 1, 1), persistent=False)
        cacheable = config.mode == "frozen" and fixed and config.cache > 0
        self.cache = FeatureCache(config.cache) if cacheable else None
        self.register_load_state_dict_post_hook(_forget)

    def fit_projection(self, layers: Mapping[str, Tensor], reduced: Container[str] = ()) -> None:
        """Fit the fixed projection of `input: pca` to training crops, name → (B, C, h, w).

        Several processes must give the same crops. The layers in `reduced` were scaled to principal
        components, of which the first three are taken.
        """
        if self.config.input != "pca":
            raise ConfigError("clip.input is 'learned': there is no fixed projection to fit")
        fit_projections(self.inputs, layers, reduced)
        _forget(self)

    def forward(self, layers: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
        """Guidance (B, H, W, D) for `size` = (H, W).

        layers: name → (B, C, h, w), every modality's own h and w, over the same ground.
        """
        maps = []
        for name, head in self.heads.items():
            image = self.inputs[name](layers[name]).float()  # (B, 3, h, w)
            maps.append(head(self._features(image, name), size))
        if self.fuse is not None:
            return self.fuse(torch.cat(maps, dim=-1))
        return torch.stack(maps).sum(0) if len(maps) > 1 else maps[0]

    def _features(self, image: Tensor, name: str) -> Tensor:
        if self.cache is None or self.training or image.requires_grad:
            return self._encode(image, name)
        setting = f"bf16={self.encoder.bfloat16_on(image.device)}"
        return self.cache.features(image, lambda images: self._encode(images, name), setting)

    def _encode(self, image: Tensor, name: str) -> Tensor:
        side = self.encoder.architecture.image_size
        image = F.interpolate(image, (side, side), mode="bicubic", antialias=True)
        if self.config.normalise:
            image = (image.sigmoid() - self.mean) / self.std
        return self.encoder(image, name)


def _linear(width_in: int, width_out: int) -> nn.Linear:
    linear = nn.Linear(width_in, width_out)
    nn.init.trunc_normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear


def _forget(guidance: ClipGuidance, *_: Any) -> None:
    """Forget kept features with the weights or the projection they were computed with."""
    if guidance.cache is not None:
        guidance.cache.clear()
