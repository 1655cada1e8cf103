"""Maps at half the pixels, again and again, and as fine as they were.

    x     (B, C, H, W)
    half  ⌈H/2⌉ × ⌈W/2⌉: the last mean of an odd row or column is of what there is
    finer each pixel over 2×2, 4×4, … new ones, and what is beyond the size is cut off again

So pixels lie where they lay, whatever the size of the map: windows of a scene that begin at a
multiple of what a coarse pixel is wide have the scene's own pixels. `corners` is what many networks
do instead: an odd last row or column is left out, and a finer map is stretched until its corners'
pixels have the coarse corners' values, by which a pixel moves with the size of the map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def halve(x: Tensor, corners: bool = False) -> Tensor:
    """Means of 2×2 pixels.

    >>> halve(torch.arange(3.0).view(1, 1, 1, 3)).flatten().tolist()
    [0.5, 2.0]
    """
    whole = not corners or min(x.shape[-2:]) < 2  # something must be left
    return _average_pairs(_average_pairs(x, -2, whole), -1, whole)


def _average_pairs(x: Tensor, axis: int, whole: bool) -> Tensor:
    """Means of two neighbours along an axis; of an odd length, `whole` keeps the last alone."""
    pairs = x.shape[axis] // 2
    first, second = x.narrow(axis, 0, 2 * pairs).unflatten(axis, (pairs, 2)).unbind(axis)
    means = (first + second) / 2
    if whole and x.shape[axis] % 2:
        return torch.cat([means, x.narrow(axis, 2 * pairs, 1)], dim=axis)
    return means


def make_finer(x: Tensor, size: tuple[int, int], corners: bool = False) -> Tensor:
    """Interpolate to a size that was halved some times."""
    if corners:
        return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
    factor = 1
    while x.shape[-2] * factor < size[0] or x.shape[-1] * factor < size[1]:
        factor *= 2
    return _magnify(x, factor)[..., : size[0], : size[1]]


def bring_to_labels(x: Tensor, detail: int, output_ratio: int) -> Tensor:
    """A map `detail` times finer than the grid, interpolated or averaged on the labels' grid."""
    if output_ratio >= detail:
        return _magnify(x, output_ratio // detail)
    return F.avg_pool2d(x, detail // output_ratio)


def _magnify(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear") if factor > 1 else x
