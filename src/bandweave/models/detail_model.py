"""What sharpening models have in common that add detail to the interpolated MS image.

    ms      (B, C, h, w)   multispectral image, values in [0, 1]
    pan     (B, 1, H, W)   panchromatic image, H = r·h and W = r·w, values in [0, 1]
    U(ms)   (B, C, H, W)   ms interpolated at PAN's pixels
    image   = U(ms) + detail

The loss is the mean absolute error.
"""

from __future__ import annotations

import math
from abc import abstractmethod

from torch import Tensor

from bandweave.errors import ConfigError, GridMismatch
from bandweave.models.contract import Corner, SharpeningModel, ZeroShot
from bandweave.nn.output import Sharpened
from bandweave.nn.upsampling import SUPPORT, Kernel, upsample


class DetailModel(SharpeningModel):
    """A model that adds detail. A subclass makes its layers and says `add_detail`.

    bands   of the MS image
    ratio   how many times finer than MS PAN is, along each side
    kernel  of U
    """

    def __init__(self, bands: int, ratio: int, kernel: Kernel) -> None:
        super().__init__()
        if bands < 1 or ratio < 1:
            raise ConfigError(
                f"a sharpening model needs bands and a ratio of 1 or more; it was given "
                f"{bands} bands and ratio {ratio}"
            )
        self.bands, self.ratio, self.kernel = bands, ratio, kernel

    @abstractmethod
    def add_detail(self, coarse: Tensor, pan: Tensor | None, zero_shot: ZeroShot) -> Tensor:
        """U(ms) and PAN to the sharp image (B, C, H, W).

        zero_shot  what stands in for PAN where it is None, one of `zero_shots`
        """

    @property
    def interpolation_reach(self) -> int:
        """PAN pixels that U looks to each side."""
        return math.ceil(SUPPORT[self.kernel] * self.ratio + self.ratio / 2)

    def reach(self, window: int) -> int:
        """PAN pixels by which an input can lie away and still matter: all of the window."""
        return window - 1

    def forward(
        self,
        ms: Tensor,
        pan: Tensor | None = None,
        target: Tensor | None = None,
        corner: Corner | None = None,
    ) -> Sharpened:
        """Sharpen ms (B, C, h, w) with pan (B, 1, H, W); without pan as `super_resolve` does.

        target  (B, C, H, W): the image to learn; what is not finite in it teaches nothing
        corner  where the upper left corner of ms lies, in PAN pixels (row, column); ms must then
                cover PAN to less than one MS pixel at each side. None: at PAN's, and H = r·h

        Returns the image (B, C, H, W) and, with a target, the loss and {"psnr"}: in dB, peak 1.
        Raises GridMismatch for sizes that do not belong together.
        """
        if pan is None:
            return self.super_resolve(ms, target=target)
        self._check(ms, pan, corner)
        size = pan.shape[2], pan.shape[3]
        coarse = upsample(ms, self.ratio, size, corner or (0.0, 0.0), self.kernel)
        return _judge(self.add_detail(coarse, pan, self.zero_shots[0]), target)

    def super_resolve(
        self, ms: Tensor, zero_shot: ZeroShot | None = None, target: Tensor | None = None
    ) -> Sharpened:
        """Zero-shot super-resolution: ms (B, C, h, w) alone to (B, C, r·h, r·w).

        zero_shot  'ms stream': PAN's stream is left out, and zero where the tail takes both;
                   'ms twice': left out, and the tail takes the MS stream in both places;
                   'ms as pan': the mean of U(ms) over the bands is taken for PAN;
                   None: the first of these that the model has
        """
        way = self.zero_shots[0] if zero_shot is None else zero_shot
        self.check_zero_shot(way)
        self._check(ms, None, None)
        size = self.ratio * ms.shape[2], self.ratio * ms.shape[3]
        coarse = upsample(ms, self.ratio, size, kernel=self.kernel)
        return _judge(self.add_detail(coarse, None, way), target)

    def _check(self, ms: Tensor, pan: Tensor | None, corner: Corner | None) -> None:
        if ms.ndim != 4 or ms.shape[1] != self.bands:
            raise GridMismatch(
                f"the model sharpens MS images (B, C, h, w) of {self.bands} bands; it was given "
                f"{tuple(ms.shape)}"
            )
        if pan is None:
            return
        if pan.ndim != 4 or pan.shape[:2] != (ms.shape[0], 1):
            raise GridMismatch(
                f"PAN is (B, 1, H, W) with as many images as MS, here {ms.shape[0]}; it was given "
                f"{tuple(pan.shape)}"
            )
        for axis in (0, 1):
            covered, fine = self.ratio * ms.shape[2 + axis], pan.shape[2 + axis]
            if corner is None:
                fits = covered == fine
            else:
                first = corner[axis]
                fits = first < self.ratio and first + covered > fine - self.ratio
            if not fits:
                at = "" if corner is None else f" and its corner at {corner} px of PAN"
                raise GridMismatch(
                    f"PAN is {_size(pan)}, MS {_size(ms)}{at}; with ratio {self.ratio} MS covers "
                    f"{self.ratio * ms.shape[2]}×{self.ratio * ms.shape[3]} px of PAN"
                )


def _judge(image: Tensor, target: Tensor | None) -> Sharpened:
    if target is None:
        return Sharpened(image)
    if target.shape != image.shape:
        raise GridMismatch(
            f"the target is {_size(target)}, the sharpened image {_size(image)}; they must "
            f"be of one size"
        )
    known = target.isfinite()
    error = (image.float() - target.float()).where(known, 0.0)
    count = known.sum().clamp(min=1)
    loss, square = error.abs().sum() / count, error.detach().square().sum() / count
    return Sharpened(image, loss, {"psnr": -10 * square.clamp(min=1e-12).log10()})


def _size(image: Tensor) -> str:
    return f"{image.shape[2]}×{image.shape[3]} px"
