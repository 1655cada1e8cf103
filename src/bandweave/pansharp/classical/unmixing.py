"""CNMF: abundances of a few endmembers take their detail from PAN.

Source: Yokoya, Yairi and Iwasaki, "Coupled nonnegative matrix factorization unmixing for
hyperspectral and multispectral data fusion", IEEE TGRS 50(2), 2012 (multiplicative updates
of Lee and Seung 2001); for PAN, Loncan et al., "Hyperspectral pansharpening: a review",
IEEE GRSM 3(3), 2015.

    M ≈ E A        bands (C, n) of multispectral pixels; endmembers E (C, m), abundances A (m, n)
    P ≈ R E A      PAN; R (1, C) the share of each band in it, not negative

    A ← A ∘ Eᵀ M / (Eᵀ E A)                of the multispectral pixels, E fixed
    A ← A ∘ (R E)ᵀ P / ((R E)ᵀ R E A)      of the PAN pixels, beginning with A interpolated

both with a row of the constant δ appended to M, E, P and R E, which holds the abundances' sum.
δ is the root mean square of the sample. It differs from the paper in this:

- The endmembers come from a sample of pixels of the whole scene, by successive projection (Araújo
  et al. 2001) and alternating updates, and do not change afterwards; so windows agree with each
  other. The paper alternates between both images, and begins with VCA.
- There are bands + 1 endmembers, the corners of a simplex: there are too few bands to find more.
- The bands gain E (A_PAN − A_interpolated) over their interpolation, so that what E A leaves of
  them is not lost, and PAN is first freed of what R leaves of it.
- R comes from non-negative regression of the degraded PAN on the bands that it covers.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.optimize import nnls

from bandweave.pansharp.classical.arithmetic import CHUNK
from bandweave.pansharp.classical.contract import ClassicalSharpener
from bandweave.pansharp.classical.statistics import Moments, measure_and_sample
from bandweave.pansharp.pair.resample import upsample
from bandweave.pansharp.pair.window import PairWindow
from bandweave.pansharp.sensors import Sensor

SAMPLE = 4096  # pixels
ALTERNATIONS = 50  # of E and A, on the sample
UNMIXING = 100  # updates of A on multispectral pixels
SHARPENING = 30  # updates of A on PAN pixels
TINY = np.float32(1e-12)  # of abundances and of what divides them, of values scaled to 1


class CNMF(ClassicalSharpener):
    """Unmixing of both: abundances of a few spectra take their detail from PAN.

    spectra   E (C, m) of values divided by `scale`; m is 0 where there is nothing to unmix
    response  R (C,): R · M + offset is PAN
    """

    source = "Yokoya, Yairi and Iwasaki 2012"

    def fit(self, windows: Iterable[PairWindow]) -> None:
        """One pass over the windows, then factors of the sample. The answer is always the same."""
        moments, sample = measure_and_sample(windows, self.sensor, SAMPLE, seed=0)
        response = regress_response(moments, self.sensor)
        scale = float(np.sqrt(np.mean(np.square(sample, dtype=np.float64)))) if sample.size else 0.0
        spectra = np.zeros((len(self.sensor.bands), 0))
        if response.any() and scale > 0:
            spectra = find_endmembers(np.maximum(sample, 0).astype(np.float64) / scale)
        self.spectra, self.response = spectra.astype(np.float32), response.astype(np.float32)
        self.scale = np.float32(scale)
        self.offset = np.float32(float(moments.mean[-1] - response @ moments.mean[:-1]))

    def apply(self, window: PairWindow) -> np.ndarray:
        """Unmix the MS pixels, interpolate the abundances, fit them to PAN, and mix again."""
        image = window.interpolate()
        spectra, scale = self.spectra, self.scale
        members = spectra.shape[1]
        if not members:
            return image
        bands = np.maximum(window.ms.reshape(len(window.ms), -1), 0) / scale
        abundances = unmix(bands, spectra, UNMIXING).reshape(members, *window.ms.shape[1:])
        fine = upsample(abundances, window.nesting, window.pan.shape).reshape(members, -1)
        flat, pan = image.reshape(len(image), -1), window.pan.reshape(-1)
        seen = self.response @ spectra  # (m,): how bright PAN sees each endmember
        for start in range(0, pan.size, CHUNK):
            piece = slice(start, start + CHUNK)
            before = np.maximum(fine[:, piece], TINY)
            left = pan[piece] - self.offset - self.response @ flat[:, piece]
            after = sharpen_abundances(before, np.maximum(left / scale + seen @ before, 0), seen)
            after -= before
            flat[:, piece] += (spectra * scale) @ after
        return image


def regress_response(moments: Moments, sensor: Sensor) -> np.ndarray:
    """(C,) float64: shares of the covered bands in PAN, none negative."""
    covariance = moments.covariance
    covered = np.flatnonzero(sensor.weights)
    variances, vectors = np.linalg.eigh(covariance[:-1, :-1][np.ix_(covered, covered)])
    response = np.zeros(len(sensor.bands))
    kept = variances > 1e-9 * variances.max(initial=0)
    if not kept.any():
        return response
    roots = np.sqrt(variances[kept])
    design = vectors[:, kept].T * roots[:, None]
    target = vectors[:, kept].T @ covariance[:-1, -1][covered] / roots
    response[covered] = nnls(design, target)[0]
    return response


def find_endmembers(sample: np.ndarray) -> np.ndarray:
    """(C, m) float64: corners of the simplex that holds most of the sample (C, n)."""
    lifted = np.concatenate([sample, np.ones((1, sample.shape[1]))])
    left, first = lifted.copy(), np.linalg.norm(lifted, axis=0).max()
    corners: list[int] = []
    for _ in range(len(lifted)):
        lengths = np.linalg.norm(left, axis=0)
        corner = int(lengths.argmax())
        if lengths[corner] <= 1e-4 * first:
            break
        corners.append(corner)
        along = left[:, corner] / lengths[corner]
        left -= np.outer(along, along @ left)
    spectra = np.maximum(sample[:, corners], TINY)
    abundances = unmix(sample, spectra, UNMIXING)
    for _ in range(ALTERNATIONS):
        spectra *= (sample @ abundances.T) / (spectra @ (abundances @ abundances.T) + TINY)
        abundances = unmix(sample, spectra, 1, abundances)
    return spectra


def unmix(
    bands: np.ndarray, spectra: np.ndarray, times: int, start: np.ndarray | None = None
) -> np.ndarray:
    """Abundances (m, n) of pixels (C, n), not negative, with a sum held near 1."""
    members = spectra.shape[1]
    abundances = np.full((members, bands.shape[1]), 1 / members, bands.dtype)
    if start is not None:
        abundances = start
    wanted = spectra.T @ bands + 1
    mixing = spectra.T @ spectra + 1
    for _ in range(times):
        abundances = abundances * wanted / (mixing @ abundances + TINY)
    return abundances


def sharpen_abundances(before: np.ndarray, target: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Abundances (m, n) that PAN sees as `target` (n,), with the sum they had."""
    after = before.copy()
    total = before.sum(axis=0)
    wanted = seen[:, None] * target + total
    for _ in range(SHARPENING):
        have = seen[:, None] * (seen @ after)
        have += after.sum(axis=0)
        have += TINY
        np.divide(wanted, have, out=have)
        after *= have
    return after
