"""What each score is: for tables, the report and the documentation.

The definitions in full are in reduced.py and full.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from bandweave.report.metric import Metric

REDUCED = {  # by reduced.reduced_scores, against a reference
    "psnr": Metric(
        *("PSNR", "dB", math.inf, True),
        "10 log₁₀(peak² / mse) over all bands; the peak is the declared range of the data",
        "textbook",
        digits=2,
    ),
    "ssim": Metric(
        *("SSIM", "", 1.0, True),
        "Gaussian window 11×11, σ 1.5, inside the image; mean over bands",
        "Wang et al., IEEE TIP 13(4), 2004",
    ),
    "sam": Metric(
        *("SAM", "rad", 0.0, False),
        "mean angle between the spectra of a pixel",
        "Yuhas et al., JPL Airborne Geoscience Workshop, 1992",
    ),
    "sam_degrees": Metric(
        *("SAM", "°", 0.0, False),
        "mean angle between the spectra of a pixel",
        "Yuhas et al., JPL Airborne Geoscience Workshop, 1992",
        digits=3,
    ),
    "ergas": Metric(
        *("ERGAS", "", 0.0, False),
        "100 / ratio · √mean(mse / μ²) over bands, μ the reference's mean",
        "Wald, Fusion of Earth Data, 2000",
        digits=3,
    ),
    "q": Metric(
        *("Q", "", 1.0, True),
        "universal image quality index of 32×32 blocks side by side; mean over bands",
        "Wang and Bovik, IEEE SPL 9(3), 2002",
    ),
    "q2n": Metric(
        *("Q2ⁿ", "", 1.0, True),
        "hypercomplex quality index of 32×32 blocks side by side, bands normalised",
        "Garzelli and Nencini, IEEE GRSL 6(4), 2009",
        tex="Q2$^n$",
    ),
    "scc": Metric(
        *("SCC", "", 1.0, True),
        "correlation after the Laplacian [−1 −1 −1; −1 8 −1; −1 −1 −1]; mean over bands",
        "Zhou et al., IJRS 19(4), 1998",
    ),
}
FULL = {  # by full.full_scores, without a reference
    "d_lambda": Metric(
        *("D_λ", "", 0.0, False),
        "mean change of Q between pairs of bands, p = 1, blocks of 32 PAN pixels",
        "Alparone et al., PE&RS 74(2), 2008",
        tex="$D_\\lambda$",
    ),
    "d_s": Metric(
        *("D_s", "", 0.0, False),
        "mean change of Q between bands and PAN, q = 1, blocks of 32 PAN pixels",
        "Alparone et al., PE&RS 74(2), 2008",
        tex="$D_s$",
    ),
    "qnr": Metric(
        *("QNR", "", 1.0, True),
        "(1 − D_λ)(1 − D_s)",
        "Alparone et al., PE&RS 74(2), 2008",
    ),
    "d_lambda_khan": Metric(
        *("D_λᴷ", "", 0.0, False),
        "1 − Q2ⁿ between the MS and the image degraded by the sensor's MTF",
        "Khan et al., IEEE TGRS 47(11), 2009",
        tex="$D_\\lambda^K$",
    ),
    "hqnr": Metric(
        *("HQNR", "", 1.0, True),
        "(1 − D_λᴷ)(1 − D_s)",
        "Aiazzi et al., SPIE 9244, 2014",
    ),
}
TOOLBOX = {  # HQNR as the toolbox of Vivone et al. takes it; only where it is asked for
    "d_lambda_khan_toolbox": Metric(
        *("D_λᴷ toolbox", "", 0.0, False),
        "1 − Q2ⁿ between the MS interpolated and the image low-passed, on the PAN grid",
        "Vivone et al., IEEE GRSM 9(1), 2021",
        tex="$D_\\lambda^K$ toolbox",
    ),
    "d_s_toolbox": Metric(
        *("D_s toolbox", "", 0.0, False),
        "mean change of Q between bands and PAN, both sides in blocks of 32 px on the PAN grid",
        "Vivone et al., IEEE GRSM 9(1), 2021",
        tex="$D_s$ toolbox",
    ),
    "hqnr_toolbox": Metric(
        *("HQNR toolbox", "", 1.0, True),
        "(1 − D_λᴷ)(1 − D_s) of the toolbox",
        "Vivone et al., IEEE GRSM 9(1), 2021",
    ),
}
SCORES = REDUCED | FULL | TOOLBOX


def plain(scores: Mapping[str, float]) -> dict[str, float | str | None]:
    """For JSON, which knows neither: NaN becomes None, infinity "inf" (float reads it back).

    >>> plain({"psnr": math.inf, "sam": math.nan, "q": 0.5})
    {'psnr': 'inf', 'sam': None, 'q': 0.5}
    """
    return {
        name: None if math.isnan(value) else value if math.isfinite(value) else str(value)
        for name, value in scores.items()
    }
