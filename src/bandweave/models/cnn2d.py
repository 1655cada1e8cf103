"""A plain convolutional network on patches: what one tries before anything else.

    source  (B, C, p, p)     all layers side by side
    x       (B, D·2^i, …)    depth × {convolution 3×3, batch norm, ReLU, maximum of 2×2 pixels}
    logits  W mean(x)

The form is that of Makantasis et al., "Deep Supervised Learning for Hyperspectral Data
Classification through Convolutional Neural Networks" (IGARSS 2015); batch norm and the mean in
place of dense layers are what is customary since.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from bandweave.models.patch_model import PatchModel
from bandweave.schema import check_ranges


@dataclass
class CNN2DConfig:
    """A small network; its sizes are ours."""

    patch: int = 9  # px, p
    width: int = 64  # D: channels of the first convolution; each further one has twice as many
    depth: int = 3  # convolutions
    dropout: float = 0.0  # of the mean that is classified

    def __post_init__(self) -> None:
        check_ranges(self, {"patch": 1, "width": 1, "depth": 1}, shares=["dropout"])


class CNN2D(PatchModel):
    """A 2-D convolutional network on the patch around a pixel; arguments as of `PatchModel`."""

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: CNN2DConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__(bands, classes, config.patch, 1, ratios, output_ratio)
        self.config = config
        layers: list[nn.Module] = []
        before, side = self.source_bands[0], config.patch
        for i in range(config.depth):
            after = config.width * 2**i
            layers += [
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
            if side > 1:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            before, side = after, -(-side // 2)
        self.convolutions = nn.Sequential(*layers)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(before, self.outputs)

    def classify_patch(self, *sources: Tensor) -> Tensor:
        """Logits (B, K·R²) of all layers side by side, (B, C, p, p)."""
        return self.head(self.dropout(self.convolutions(sources[0]).mean((2, 3))))
