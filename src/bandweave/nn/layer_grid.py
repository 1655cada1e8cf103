"""The sizes of a model's layers, tokens and labels, which must all belong to one grid.

A layer may be finer than the grid by a whole ratio, and so may the tokens (`detail`) and the
labels; each a divisor or a multiple of `detail`, so that tokens and pixels cover each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.errors import ConfigError, GridMismatch


class LayerGrid:
    """The layers that a model takes, and how many times finer than the grid they are.

    bands         bands of each layer
    classes       names of the classes
    ratios        how many times finer each layer is that is finer than the grid
    output_ratio  how many times finer labels and logits are
    detail        how many times finer the tokens are

    Raises ConfigError for layers without bands or with names that a module cannot have, no
    classes, and ratios that `detail` does not fit.
    """

    def __init__(
        self,
        bands: Mapping[str, int],
        classes: list[str],
        ratios: Mapping[str, int] | None = None,
        output_ratio: int = 1,
        detail: int = 1,
    ) -> None:
        self.bands, self.output_ratio, self.detail = dict(bands), output_ratio, detail
        self.ratios = {name: (ratios or {}).get(name, 1) for name in bands}
        if not bands or min(bands.values()) < 1 or not classes:
            raise ConfigError(
                f"a model needs layers with bands, and classes; it was given {self.bands} bands "
                f"and {len(classes)} classes"
            )
        for name in bands:
            if "." in name or hasattr(nn.ModuleDict(), name):
                raise ConfigError(f"a layer cannot be named {name!r} in a model; rename it")
        each = {f"layer {n!r}": r for n, r in self.ratios.items()} | {"labels": output_ratio}
        for what, ratio in each.items():
            if ratio < 1 or (ratio % detail and detail % ratio):
                raise ConfigError(
                    f"{what}: {ratio} times finer than the grid; with detail {detail} it must be a "
                    f"divisor or a multiple of that (detail: 1 always is)"
                )

    @property
    def channels(self) -> dict[str, int]:
        """Bands of each layer on the grid, where the finer pixels of a band are as many bands."""
        return {name: count * self.ratios[name] ** 2 for name, count in self.bands.items()}

    def unshuffle(self, layers: Mapping[str, Tensor]) -> list[Tensor]:
        """Layers (B, C, H·r, W·r) on the grid, (B, C·r², H, W), in their order."""
        return [F.pixel_unshuffle(layers[name], ratio) for name, ratio in self.ratios.items()]

    def check_middle(self, labels: Tensor) -> None:
        """Raise GridMismatch for labels (B, h, w) that are not those of one pixel of the grid."""
        R = self.output_ratio
        if labels.shape[-2:] != (R, R):
            given = f"{labels.shape[-2]}×{labels.shape[-1]}"
            raise GridMismatch(
                f"labels {given} px at ratio {R}; those of a patch's middle pixel are {R}×{R}"
            )

    def tokens(self, layers: Mapping[str, Tensor], labels: Tensor | None) -> tuple[int, int]:
        """Rows and columns of the tokens, once all sizes were found to belong together.

        Raises GridMismatch for a layer that is missing, and for sizes of different grids.
        """
        if missing := [name for name in self.bands if name not in layers]:
            raise GridMismatch(
                f"the model takes {', '.join(self.bands)}; it was given {', '.join(layers)}, "
                f"without {missing[0]}"
            )
        sizes = [(name, layers[name].shape[-2:], ratio) for name, ratio in self.ratios.items()]
        if labels is not None:
            sizes.append(("labels", labels.shape[-2:], self.output_ratio))
        _, (rows, columns), ratio = sizes[0]
        grid = rows // ratio, columns // ratio
        if any(tuple(size) != (grid[0] * r, grid[1] * r) for _, size, r in sizes):
            given = ", ".join(f"{name} {h}×{w} px at ratio {r}" for name, (h, w), r in sizes)
            raise GridMismatch(f"sizes that do not belong to one grid: {given}")
        return grid[0] * self.detail, grid[1] * self.detail
