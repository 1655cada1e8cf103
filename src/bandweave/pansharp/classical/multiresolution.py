"""Multiresolution analysis: what PAN has beyond its own low-pass goes into every band.

Sources: Vivone et al., "A critical comparison among pansharpening algorithms", IEEE TGRS 53(5),
2015, for both forms, and for each low-pass L:

    added       out_k = M_k + P_k − L(P_k)
    multiplied  out_k = M_k · P_k / L(P_k)

    M_k  band k, interpolated to the PAN grid (bicubic)
    P_k  PAN with the mean and standard deviation of band k, those of PAN taken after degrading it

    hpf          added       box of PAN pixels              Chavez et al., PE&RS 57(3), 1991
    wavelet      added       à trous, cubic B-spline        Núñez et al., IEEE TGRS 37(3), 1999
    mtf-glp      added       MTF of band k, decimation and  Aiazzi et al., IEEE TGRS 40(10), 2002;
                             interpolation                  PE&RS 72(5), 2006
    mtf-glp-hpm  multiplied  as mtf-glp                     Aiazzi et al., GRSS/ISPRS workshop, 2003
    mtf-glp-cbd  added       as mtf-glp, but P_k = g_k P    Alparone et al., IEEE TGRS 45(10), 2007;
                                                            Aiazzi et al., PE&RS 72(5), 2006
    sfim         multiplied  box, of PAN as it is           Liu, Int. J. Remote Sensing 21(18), 2000

    g_k = cov(M_k, P↓) / var(P↓)    regression of band k on the degraded PAN, over the whole scene:
                                    a band that PAN does not follow gets as little detail as that

The box is 2r - 1 pixels wide, so that it is centred on its pixel at any ratio. The wavelet has
log2(r) levels, rounded. Where PAN is constant the interpolated bands are the answer.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
from scipy.ndimage import correlate1d

from bandweave.pansharp.classical.arithmetic import DARK, LEAST, add, bounded_ratio, chunks
from bandweave.pansharp.classical.contract import ClassicalSharpener, GlobalSharpener
from bandweave.pansharp.classical.statistics import Moments
from bandweave.pansharp.pair.resample import lowpass
from bandweave.pansharp.pair.window import PairWindow

SPLINE = np.array([1, 4, 6, 4, 1], np.float32) / 16  # Núñez et al. 1999, in each direction


class SFIM(ClassicalSharpener):
    """Every band times PAN over its local mean."""

    source = "Liu 2000"

    def apply(self, window: PairWindow) -> np.ndarray:
        """Factors between 0 and 10."""
        image = window.interpolate()
        low = box_mean(window.pan, self.ratio)
        image *= bounded_ratio(window.pan.copy(), low, np.float32(LEAST))
        return image


class Multiresolution(GlobalSharpener):
    """A method that weighs PAN's detail for each band.

    scales   (C,) float32: P_k = scale_k · PAN + offset_k
    """

    def weigh(self, moments: Moments) -> np.ndarray:
        """The scales, (C,) float64: by default the bands' deviations over that of PAN."""
        spread = moments.deviations
        return spread[:-1] / spread[-1] if spread[-1] > 0 else np.zeros(len(spread) - 1)

    def fit_moments(self, moments: Moments) -> None:
        """Weigh PAN's detail."""
        self.scales = self.weigh(moments).astype(np.float32)


class Additive(Multiresolution):
    """One low-pass of PAN for all bands."""

    @abstractmethod
    def low_pass(self, pan: np.ndarray) -> np.ndarray:
        """PAN (H, W) without its detail, an array of its own."""

    def apply(self, window: PairWindow) -> np.ndarray:
        """The interpolated bands with PAN's detail, weighed for each."""
        image, low = window.interpolate(), self.low_pass(window.pan)
        detail = np.subtract(window.pan, low, out=low)
        for bands, piece in chunks(image, detail):
            for band, scale in zip(bands, self.scales, strict=True):
                add(band, piece, scale)
        return image


class HPF(Additive):
    """PAN's detail over its local mean, added to every band."""

    source = "Chavez, Sides and Anderson 1991"

    def low_pass(self, pan: np.ndarray) -> np.ndarray:
        """The mean of a box."""
        return box_mean(pan, self.ratio)


class Wavelet(Additive):
    """PAN's wavelet planes, à trous, added to every band."""

    source = "Núñez et al. 1999"

    @property
    def margin(self) -> int:
        """As far as all levels look, where that is further than interpolation does."""
        return max(super().margin, a_trous_reach(self.ratio))

    def low_pass(self, pan: np.ndarray) -> np.ndarray:
        """The approximation that is left after log2(r) levels."""
        for level in range(_levels(self.ratio)):
            kernel = np.zeros(4 * 2**level + 1, np.float32)
            kernel[:: 2**level] = SPLINE
            pan = _separable(pan, kernel)
        return pan


class MtfGlp(Multiresolution):
    """PAN's detail beyond what the sensor's MTF passes, added to every band."""

    source = "Aiazzi et al. 2006"

    @property
    def margin(self) -> int:
        """PAN is blurred to MS pixels and interpolated again."""
        return 6 * self.ratio

    def apply(self, window: PairWindow) -> np.ndarray:
        """A generalised Laplacian pyramid that is tailored to the MTF."""
        image = window.interpolate()
        for places, low in self.pyramids(window):
            detail = np.subtract(window.pan, low, out=low)
            for k in places:
                image[k] += detail * self.scales[k]
        return image

    def pyramids(self, window: PairWindow) -> Iterator[tuple[list[int], np.ndarray]]:
        """For each gain of the MTF the bands that have it, and the low-pass of PAN (H, W)."""
        for gain in dict.fromkeys(self.sensor.mtf):
            places = [k for k, other in enumerate(self.sensor.mtf) if other == gain]
            yield places, lowpass(window.pan[None], window.nesting, [gain])[0]


class MtfGlpHpm(MtfGlp):
    """PAN over what the sensor's MTF passes of it, by which every band is multiplied."""

    source = "Aiazzi et al. 2003"

    def fit_moments(self, moments: Moments) -> None:
        """Match PAN to each band, and find the least L(P_k) that may divide."""
        super().fit_moments(moments)
        offsets = moments.mean[:-1] - self.weigh(moments) * moments.mean[-1]
        floors = np.maximum(DARK * moments.mean[:-1], LEAST)
        self.offsets, self.floors = offsets.astype(np.float32), floors.astype(np.float32)

    def apply(self, window: PairWindow) -> np.ndarray:
        """Factors between 0 and 10; 1 where L(P_k) is below a thousandth of the band's mean."""
        image = window.interpolate()
        for places, low in self.pyramids(window):
            for k in places:
                scale, offset = self.scales[k], self.offsets[k]
                matched, blurred = window.pan * scale + offset, low * scale + offset
                image[k] *= bounded_ratio(matched, blurred, self.floors[k])
        return image


class MtfGlpCbd(MtfGlp):
    """As `mtf-glp`, with a gain by regression of each band on PAN."""

    source = "Alparone et al. 2007"

    def weigh(self, moments: Moments) -> np.ndarray:
        """cov(M_k, P↓) / var(P↓)."""
        covariance = moments.covariance
        pan = covariance[-1, -1]
        return covariance[:-1, -1] / pan if pan > 0 else np.zeros(len(covariance) - 1)


def a_trous_reach(ratio: int) -> int:
    """PAN pixels that all levels of the wavelet reach."""
    return 2 * (2 ** _levels(ratio) - 1)


def box_mean(pan: np.ndarray, ratio: int) -> np.ndarray:
    """The mean of the square of 2r − 1 pixels around each pixel."""
    width = 2 * ratio - 1
    return _separable(pan, np.full(width, 1 / width, np.float32))


def _levels(ratio: int) -> int:
    return max(round(math.log2(ratio)), 1)


def _separable(pan: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Both directions, edges replicated; sums in float64, as SciPy does."""
    rows = correlate1d(pan, kernel, axis=0, output=np.float32, mode="nearest")
    return correlate1d(rows, kernel, axis=1, output=np.float32, mode="nearest")
