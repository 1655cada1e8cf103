"""HybridSN: 3-D convolutions over bands and pixels, then a 2-D one, then dense layers.

Source: Roy et al., "HybridSN: Exploring 3-D-2-D CNN Feature Hierarchy for Hyperspectral Image
Classification" (IEEE GRSL 2020).

    source  (B, 1, C, p, p)         all layers side by side, their bands as depth
    x       (B, 32, C-12, p-6, …)   3-D convolutions of 8, 16, 32 channels: 7×3×3, 5×3×3, 3×3×3
            (B, 64, p-8, p-8)       a 2-D convolution 3×3 over channels and bands together
    logits  dense 256, 128, K, with ReLU and dropout between

The paper has 25 px and 30 principal components. Fewer than 13 bands get zeros around them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from torch import Tensor, nn

from bandweave.models.patch_model import PatchModel, pad_bands
from bandweave.schema import check_ranges

CHANNELS = {7: 8, 5: 16, 3: 32}  # of the 3-D convolutions, by the bands that one covers
COVERED = 1 + sum(covered - 1 for covered in CHANNELS)  # bands, by all of them
FLAT = 64  # channels of the 2-D convolution
DENSE = (256, 128)


@dataclass
class HybridSNConfig:
    """The paper's model."""

    patch: int = 25  # px, p
    dropout: float = 0.4  # of each dense layer

    def __post_init__(self) -> None:
        check_ranges(self, {"patch": 9}, shares=["dropout"])


class HybridSN(PatchModel):
    """HybridSN on the patch around a pixel; arguments as of `PatchModel`."""

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: HybridSNConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__(bands, classes, config.patch, 1, ratios, output_ratio)
        self.config = config
        count = max(self.source_bands[0], COVERED)
        before, layers = 1, []
        for covered, after in CHANNELS.items():
            layers += [nn.Conv3d(before, after, (covered, 3, 3)), nn.ReLU()]
            before = after
        self.over_bands = nn.Sequential(*layers)
        self.over_pixels = nn.Sequential(
            nn.Conv2d(before * (count - COVERED + 1), FLAT, 3), nn.ReLU()
        )
        widths = [FLAT * (config.patch - 8) ** 2, *DENSE]
        dense: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(widths):
            dense += [nn.Linear(wide, narrow), nn.ReLU(), nn.Dropout(config.dropout)]
        self.head = nn.Sequential(*dense, nn.Linear(DENSE[-1], self.outputs))

    def classify_patch(self, *sources: Tensor) -> Tensor:
        """Logits (B, K·R²) of all layers side by side, (B, C, p, p)."""
        x = pad_bands(sources[0], COVERED)
        x = self.over_bands(x[:, None])  # (B, 32, C-12, p-6, p-6)
        return self.head(self.over_pixels(x.flatten(1, 2)).flatten(1))
