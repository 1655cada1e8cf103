"""The classical methods, by name: no training, at most one pass over the pair for its statistics.

    sharpener = CLASSICAL["gsa"](pair, sensor)
    sharpener.fit(windows)                # windows that cover the pair without overlap
    sharp = sharpener.apply(window)       # any window

A row is all that a method needs to be offered: the commands, scores, comparisons and tables of the
documentation read this table.
"""

from __future__ import annotations

from bandweave.errors import ConfigError
from bandweave.pansharp.classical.contract import ClassicalSharpener
from bandweave.pansharp.classical.guided import GFPCA
from bandweave.pansharp.classical.interpolation import Bicubic
from bandweave.pansharp.classical.multiresolution import (
    HPF,
    SFIM,
    MtfGlp,
    MtfGlpCbd,
    MtfGlpHpm,
    Wavelet,
)
from bandweave.pansharp.classical.substitution import (
    IHS,
    PCA,
    AdaptiveGramSchmidt,
    Brovey,
    GramSchmidt,
)
from bandweave.pansharp.classical.unmixing import CNMF
from bandweave.schema import nearest

CLASSICAL: dict[str, type[ClassicalSharpener]] = {
    "bicubic": Bicubic,
    "brovey": Brovey,
    "ihs": IHS,
    "pca": PCA,
    "gs": GramSchmidt,
    "gsa": AdaptiveGramSchmidt,
    "sfim": SFIM,
    "hpf": HPF,
    "mtf-glp": MtfGlp,
    "mtf-glp-hpm": MtfGlpHpm,
    "mtf-glp-cbd": MtfGlpCbd,
    "gfpca": GFPCA,
    "wavelet": Wavelet,
    "cnmf": CNMF,
}


def find_method(name: str) -> type[ClassicalSharpener]:
    """The method of a name. Raises ConfigError where there is none, or it has to be trained."""
    if name in CLASSICAL:
        return CLASSICAL[name]
    from bandweave.models import SHARPENERS

    if name in SHARPENERS:
        raise ConfigError(
            f"{name} is a model that has to be trained: give the folder of a run, as `run`, "
            f"instead of a method; `bandweave sharpen-train` makes one"
        )
    raise ConfigError(f"no method {name!r}{nearest(name, [*CLASSICAL, *SHARPENERS])}")
