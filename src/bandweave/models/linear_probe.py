"""A linear probe: one linear layer on the features of a frozen, published image encoder.

The usual test of what an encoder has learnt (Chen et al. 2020; Oquab et al., "DINOv2", 2023), here
of land cover. Nothing but a norm and a linear layer trains.

    layer    (B, C, h, w)    at its own resolution
    picture  (B·n, E, S, S)  n of each layer: its bands, or their components, E at a time; bicubic
    features (B, M, G, G)    of each picture, by the encoder (nn/pretrained/image_encoder.py)
    logits   (B, K, G, G)    layer norm over all pictures' features, linear
             (B, K, H, W)    bilinear, at the resolution of the labels
    E channels, S side, M width of the encoder; K classes

The encoder sees a crop as a whole, and enlarged: with crops of 16 px and 14 × 14 tokens a token is
about a pixel. Smaller crops give sharper maps, larger ones more of the surroundings.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.models.contract import LandCoverModel
from bandweave.nn.layer_grid import LayerGrid
from bandweave.nn.losses.supervision import as_exact, supervise
from bandweave.nn.output import Output
from bandweave.nn.pretrained.fixed_projection import FixedProjection, fit_projections
from bandweave.nn.pretrained.image_encoder import ImageEncoder
from bandweave.schema import check_choices, check_ranges


@dataclass
class LinearProbeConfig:
    """The encoder, and what it is shown."""

    weights: str = "embedded"  # a folder or hub id of transformers; `embedded`: CLIP's small tower
    download: bool = False  # fetch weights that are not on this machine
    image_size: int = 0  # px: side of a picture; 0: as the encoder was trained; else the nearest
    # multiple of its patches
    input: Literal["fixed", "learned"] = "fixed"  # 'fixed': bands as they are where they are as
    # many as the encoder's channels, else their principal components; 'learned': a 1×1 convolution
    pictures: int = 1  # of each layer, at most, where it has bands for more: components 1-3, 4-6, …
    architecture: dict[str, Any] | None = (
        None  # kept in self-contained runs: the encoder's shape, whose weights come with the run
    )

    def __post_init__(self) -> None:
        check_choices(self)
        check_ranges(self, {"image_size": 0, "pictures": 1})


class LinearProbe(LandCoverModel):
    """A linear layer per pixel on a frozen encoder's features of one to four layers.

    bands         bands of each layer
    classes       names, in the order of label indices
    ratios        how many times finer than the grid each layer is (1 where not named)
    output_ratio  how many times finer than the grid the labels and logits are

    Raises ConfigError for layers that it cannot take, and WeightsError for the encoder's weights.
    """

    fed = "crops"

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: LinearProbeConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__()
        self.config, self.output_ratio = config, output_ratio
        self.grid = LayerGrid(bands, classes, ratios, output_ratio)
        self.encoder = ImageEncoder(
            config.weights, config.image_size, config.download, config.architecture
        )
        self.inputs = nn.ModuleDict()
        pictures = 0
        for name, count in bands.items():
            most = -(-count // self.encoder.channels)
            number = min(config.pictures, most)
            self.inputs[name] = self._make_input(count, number * self.encoder.channels)
            pictures += number
        width = pictures * self.encoder.width
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(classes)))

    def _make_input(self, bands: int, channels: int) -> nn.Module:
        if self.config.input == "learned":
            return nn.Conv2d(bands, channels, 1)
        return nn.Identity() if bands == channels else FixedProjection(bands, channels)

    def prepare(
        self, first_layers: Callable[[], Mapping[str, Tensor]], reduced: Container[str]
    ) -> None:
        """Fit the principal components that the encoder is shown, where it is shown any."""
        if any(isinstance(each, FixedProjection) for each in self.inputs.values()):
            fit_projections(self.inputs, first_layers(), reduced)

    def reach(self, window: int) -> int:
        """Pixels of the grid by which an input can lie away and still matter: all of the window."""
        return window - 1

    def forward(self, layers: dict[str, Tensor], labels: Tensor | None = None) -> Output:
        """Layers (B, C, H·r, W·r) and labels (B, H·R, W·R) to logits (B, K, H·R, W·R).

        Labels are class indices, or IGNORED (unlabelled), or HIDDEN (no data, padding, or not to
        be learnt from).
        """
        rows, columns = self.grid.tokens(layers, labels)
        R = self.output_ratio
        features = torch.cat([self._encode(name, layers[name]) for name in self.inputs], dim=1)
        logits = as_exact(self.head(features.movedim(1, -1)).movedim(-1, 1))
        logits = F.interpolate(logits, (rows * R, columns * R), mode="bilinear", antialias=True)
        if labels is None:
            return Output(logits)
        return supervise(logits, labels)

    def _encode(self, name: str, layer: Tensor) -> Tensor:
        """A layer (B, C, h, w) to the features of all its pictures, (B, n·M, G, G)."""
        encoder = self.encoder
        shown = as_exact(self.inputs[name](layer))  # (B, n·E, h, w)
        side = encoder.side
        shown = F.interpolate(shown, (side, side), mode="bicubic", antialias=True)
        features = encoder(shown.reshape(-1, encoder.channels, side, side))  # (B·n, M, G, G)
        return features.reshape(len(layer), -1, *features.shape[-2:])
