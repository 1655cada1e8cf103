"""The classical methods, by name: no training, at most one pass over the pair for its statistics.

    method = CLASSICAL["gsa"]
    parameters = method.fit(windows, sensor, nesting)
    sharp = method.apply(window, parameters, sensor)

`fit` takes windows that cover the pair without overlap, `apply` any window; both want a margin of
`margin(ratio)` PAN pixels around them. Then the result is that of the whole image at once, whatever
the windows, to rounding. It lies on the window's PAN pixels, margin included, in the units of the
bands, and is finite where the window is.

Only valid pixels enter statistics. Filters see what stands in invalid pixels, which a reader of
pairs fills with neighbouring values; what they make of it is the caller's to mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from bandweave.pansharp.classical import guided, multiresolution, substitution, unmixing
from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.pair import PairWindow
from bandweave.pansharp.sensors import Sensor


class Method(NamedTuple):
    """How a method is fitted to a pair and applied to its windows.

    fit     (windows, sensor, nesting of the pair) -> parameters, small arrays; None if local
    apply   (window, parameters, sensor) -> (C, H, W) float32
    margin  (ratio) -> PAN pixels that a window must have around it
    source  of the formula
    local   nothing is global: `fit` looks at no window
    """

    fit: Callable[[Iterable[PairWindow], Sensor, Nesting], Any]
    apply: Callable[[PairWindow, Any, Sensor], np.ndarray]
    margin: Callable[[int], int]
    source: str
    local: bool = False


def interpolation_reach(ratio: int) -> int:
    """Cubic convolution needs 2.5 multispectral pixels; blurring PAN to them, fewer than 3."""
    return 3 * ratio


def pyramid_reach(ratio: int) -> int:
    """PAN blurred to multispectral pixels and interpolated again."""
    return 6 * ratio


CLASSICAL: dict[str, Method] = {
    "bicubic": Method(
        multiresolution.fit_nothing,
        substitution.apply_bicubic,
        interpolation_reach,
        "Keys 1981",
        local=True,
    ),
    "brovey": Method(
        substitution.fit_brovey,
        substitution.apply_brovey,
        interpolation_reach,
        "Gillespie, Kahle and Walker 1987",
    ),
    "ihs": Method(
        substitution.fit_ihs,
        substitution.apply_substitution,
        interpolation_reach,
        "Tu et al. 2001",
    ),
    "pca": Method(
        substitution.fit_pca,
        substitution.apply_substitution,
        interpolation_reach,
        "Chavez and Kwarteng 1989",
    ),
    "gs": Method(
        substitution.fit_gs,
        substitution.apply_substitution,
        interpolation_reach,
        "Laben and Brower 2000",
    ),
    "gsa": Method(
        substitution.fit_gsa,
        substitution.apply_substitution,
        interpolation_reach,
        "Aiazzi, Baronti and Selva 2007",
    ),
    "sfim": Method(
        multiresolution.fit_nothing,
        multiresolution.apply_sfim,
        interpolation_reach,
        "Liu 2000",
        local=True,
    ),
    "hpf": Method(
        multiresolution.fit_matching,
        multiresolution.apply_hpf,
        interpolation_reach,
        "Chavez, Sides and Anderson 1991",
    ),
    "mtf-glp": Method(
        multiresolution.fit_matching,
        multiresolution.apply_mtf_glp,
        pyramid_reach,
        "Aiazzi et al. 2006",
    ),
    "mtf-glp-hpm": Method(
        multiresolution.fit_matching,
        multiresolution.apply_mtf_glp_hpm,
        pyramid_reach,
        "Aiazzi et al. 2003",
    ),
    "mtf-glp-cbd": Method(
        multiresolution.fit_regression,
        multiresolution.apply_mtf_glp,
        pyramid_reach,
        "Alparone et al. 2007",
    ),
    "gfpca": Method(
        guided.fit_gfpca,
        guided.apply_gfpca,
        lambda ratio: interpolation_reach(ratio) + 2 * guided.box_reach(ratio),
        "Liao et al. 2015",
    ),
    "wavelet": Method(
        multiresolution.fit_matching,
        multiresolution.apply_wavelet,
        lambda ratio: max(interpolation_reach(ratio), multiresolution.a_trous_reach(ratio)),
        "Núñez et al. 1999",
    ),
    "cnmf": Method(
        unmixing.fit_cnmf,
        unmixing.apply_cnmf,
        interpolation_reach,
        "Yokoya, Yairi and Iwasaki 2012",
    ),
}
