"""Component substitution: an intensity made of the bands gives way to PAN.

Sources: Vivone et al., "A critical comparison among pansharpening algorithms", IEEE TGRS 53(5),
2015, whose general form of them all is

    out_k = M_k + g_k (P′ − I),    I = Σ_k w_k M_k

    M_k   band k, interpolated to the PAN grid (bicubic)
    P′    PAN with the mean and standard deviation of I, those of PAN taken after degrading it
    w, g  weights and gains, by method:

    ihs     w equal, g = 1                           Tu et al., Information Fusion 2(3), 2001
    pca     w = g = first eigenvector                Chavez and Kwarteng, PE&RS 55(3), 1989
    gs      w equal, g_k = cov(I, M_k) / var(I)      Laben and Brower, US patent 6,011,875, 2000
    gsa     w by regression of PAN, g as in gs       Aiazzi, Baronti and Selva, TGRS 45(10), 2007
    brovey  out_k = M_k P′ / I, w equal              Gillespie, Kahle and Walker, RSE 22(3), 1987

Equal weights are those of the bands that PAN covers; the others have none. In GSA the regression
of the degraded PAN on the bands and a constant decides alone, and its own scale is kept, P′ = P.
Where PAN or I is constant there is nothing to substitute: the interpolated bands are the answer.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np

from bandweave.pansharp.classical.arithmetic import DARK, LEAST, add, bounded_ratio, chunks
from bandweave.pansharp.classical.contract import GlobalSharpener
from bandweave.pansharp.classical.statistics import Moments
from bandweave.pansharp.pair.window import PairWindow


class Substitution(GlobalSharpener):
    """The general form. A method is a way to weigh the bands.

    weights, gains  w and g, (C,) float32
    scale, offset   P′ = scale · PAN + offset
    """

    @abstractmethod
    def weigh(self, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
        """Weights and gains of the bands, (C,) float64 each."""

    def match(self, moments: Moments, weights: np.ndarray) -> tuple[float, float]:
        """Scale and offset of P′: those that give PAN the mean and deviation of the intensity."""
        return match_intensity(moments, weights)[:2]

    def fit_moments(self, moments: Moments) -> None:
        """Nothing is added where PAN or the intensity is constant."""
        weights, gains = self.weigh(moments)
        scale, offset = self.match(moments, weights)
        self.weights = weights.astype(np.float32)
        self.gains = (gains if scale else np.zeros_like(gains)).astype(np.float32)
        self.scale, self.offset = np.float32(scale), np.float32(offset)

    def apply(self, window: PairWindow) -> np.ndarray:
        """The general form, in place on the interpolated bands."""
        image = window.interpolate()
        if not self.gains.any():
            return image
        for bands, pan in chunks(image, window.pan):
            detail = self.weights @ bands  # (n,) intensity
            np.negative(detail, out=detail)
            detail += self.offset
            add(detail, pan, self.scale)
            for band, gain in zip(bands, self.gains, strict=True):
                add(band, detail, gain)
        return image


class IHS(Substitution):
    """PAN in the place of the mean of the bands: the same detail in every band."""

    source = "Tu et al. 2001"

    def weigh(self, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
        """Equal weights, and gains of 1."""
        return self.sensor.weights, np.ones(len(self.sensor.bands))


class PCA(Substitution):
    """PAN in the place of the bands' first principal component."""

    source = "Chavez and Kwarteng 1989"

    def weigh(self, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
        """The first eigenvector, twice."""
        _, vectors = moments.principal()
        return vectors[0], vectors[0]


class GramSchmidt(Substitution):
    """PAN in the place of the mean of the bands, with a gain for each band."""

    source = "Laben and Brower 2000"

    def weigh(self, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
        """Equal weights, and the bands' regression on the intensity."""
        return self.sensor.weights, _slopes(moments.covariance, self.sensor.weights)


class AdaptiveGramSchmidt(Substitution):
    """As `gs`, with an intensity that is fitted to PAN by least squares."""

    source = "Aiazzi, Baronti and Selva 2007"

    def weigh(self, moments: Moments) -> tuple[np.ndarray, np.ndarray]:
        """PAN's regression on the bands, and the bands' regression on that intensity."""
        weights = _regression(moments)
        return weights, _slopes(moments.covariance, weights)

    def match(self, moments: Moments, weights: np.ndarray) -> tuple[float, float]:
        """The regression's constant is all that PAN needs."""
        return 1.0, float(weights @ moments.mean[:-1] - moments.mean[-1])


class Brovey(GlobalSharpener):
    """Every band times PAN over the mean of the bands."""

    source = "Gillespie, Kahle and Walker 1987"

    def fit_moments(self, moments: Moments) -> None:
        """Match PAN to the intensity, and find the least intensity that may divide."""
        self.weights = self.sensor.weights.astype(np.float32)
        scale, offset, mean = match_intensity(moments, self.sensor.weights)
        self.scale, self.offset = np.float32(scale), np.float32(offset)
        floor = max(DARK * mean, LEAST)
        # a flat PAN, or a flat intensity: no intensity is high enough to be divided
        self.floor = np.float32(floor if scale else math.inf)

    def apply(self, window: PairWindow) -> np.ndarray:
        """Bands times P′ / I, held to 0 … 10; 1 where I is below a thousandth of its mean."""
        image = window.interpolate()
        if np.isinf(self.floor):
            return image
        for bands, pan in chunks(image, window.pan):
            intensity = self.weights @ bands
            matched = pan * self.scale
            matched += self.offset
            bands *= bounded_ratio(matched, intensity, self.floor)
        return image


def match_intensity(moments: Moments, weights: np.ndarray) -> tuple[float, float, float]:
    """Scale and offset that give PAN the intensity's mean and deviation, and that mean."""
    covariance = moments.covariance
    pan = float(covariance[-1, -1])
    intensity = float(weights @ covariance[:-1, :-1] @ weights)
    mean = float(weights @ moments.mean[:-1])
    scale = (intensity / pan) ** 0.5 if pan > 0 and intensity > 0 else 0.0
    return scale, mean - scale * float(moments.mean[-1]), mean


def _regression(moments: Moments) -> np.ndarray:
    """Least-squares weights of the bands for PAN; the shortest where several are as good."""
    covariance, spread = moments.covariance, moments.deviations[:-1]
    known = spread > 0
    weights = np.zeros(len(spread))
    if known.any():
        scaled = covariance[:-1, :-1][np.ix_(known, known)] / np.outer(spread[known], spread[known])
        target = covariance[:-1, -1][known] / spread[known]
        weights[known] = np.linalg.pinv(scaled, rcond=1e-9, hermitian=True) @ target
        weights[known] /= spread[known]
    return weights


def _slopes(covariance: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Regression of every band on the intensity: cov(I, M_k) / var(I), 0 where I is constant."""
    with_bands = covariance[:-1, :-1] @ weights
    variance = float(weights @ with_bands)
    return with_bands / variance if variance > 0 else np.zeros_like(with_bands)
