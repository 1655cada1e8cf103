"""The presets whose steps and maps are timed, each on the bands of a scene, with random numbers.

Land cover: Houston 2013 (144 bands and heights, 15 classes), and the crop of Houston 2018 (48
bands, RGB and labels four times finer, 10 classes) for m3amba_small. Sharpening: Landsat 7 (6
bands, ratio 2). A crop is a side in pixels of the grid, of a sharpener in MS pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bandweave.data.samples.crops import SampleConfig
from bandweave.landcover.config import LandCoverTraining
from bandweave.models import LAND_COVER, SHARPENERS
from bandweave.pansharp.patches import PatchConfig
from bandweave.training.config import TrainConfig
from bandweave.training.optimizer import make_optimizer


@dataclass(frozen=True)
class Subject:
    """A land-cover preset on a scene's bands."""

    preset: str
    scene: str
    bands: dict[str, int]
    classes: int
    ratios: dict[str, int] = field(default_factory=dict)
    label_ratio: int = 1

    @property
    def found(self) -> Any:
        return LAND_COVER[self.preset]

    @property
    def sizes(self) -> tuple[int, int]:
        """Crop and batch of the preset."""
        samples = SampleConfig(**self.found.samples)
        return samples.crop, samples.batch

    def model(self) -> torch.nn.Module:
        names = [f"class {i + 1}" for i in range(self.classes)]
        config = self.found.config
        return self.found.model(self.bands, names, config, self.ratios, self.label_ratio)

    def inputs(self, batch: int, crop: int) -> dict[str, Any]:
        """What the model is called with to predict."""
        sides = {name: crop * self.ratios.get(name, 1) for name in self.bands}
        layers = {n: torch.randn(batch, c, sides[n], sides[n]) for n, c in self.bands.items()}
        return {"layers": layers}

    def truth(self, batch: int, crop: int) -> dict[str, Tensor]:
        """What it is called with besides to learn."""
        side = crop * self.label_ratio
        return {"labels": torch.randint(self.classes, (batch, side, side))}

    def grid_pixels(self, crop: int) -> int:
        """Along a window's side."""
        return crop


@dataclass(frozen=True)
class SharpeningSubject:
    """A sharpening preset on a sensor's bands; values lie in [0, 1]."""

    preset: str
    scene: str = "landsat7"
    bands: int = 6
    ratio: int = 2

    @property
    def found(self) -> Any:
        return SHARPENERS[self.preset]

    @property
    def sizes(self) -> tuple[int, int]:
        samples = PatchConfig(**self.found.samples)
        return samples.patch, samples.batch

    def model(self) -> torch.nn.Module:
        return self.found.model(self.bands, self.found.config, self.ratio)

    def inputs(self, batch: int, crop: int) -> dict[str, Any]:
        side = self.grid_pixels(crop)
        return {
            "ms": torch.rand(batch, self.bands, crop, crop),
            "pan": torch.rand(batch, 1, side, side),
        }

    def truth(self, batch: int, crop: int) -> dict[str, Tensor]:
        side = self.grid_pixels(crop)
        return {"target": torch.rand(batch, self.bands, side, side)}

    def grid_pixels(self, crop: int) -> int:
        return crop * self.ratio


def subjects(presets: list[str] | None) -> list[Subject | SharpeningSubject]:
    """Those of the presets that are named, or all."""
    houston_2013: dict[str, Any] = {"bands": {"hsi": 144, "lidar": 1}, "classes": 15}
    houston_2018: dict[str, Any] = {
        "bands": {"hsi": 48, "rgb": 3}, "classes": 10, "ratios": {"rgb": 4}, "label_ratio": 4,
    }  # fmt: skip
    found = [
        *(Subject(name, "houston2013", **houston_2013) for name in LAND_COVER),
        Subject("m3amba_small", "houston2018-crop", **houston_2018),
        *(SharpeningSubject(name) for name in SHARPENERS),
    ]
    return [subject for subject in found if not presets or subject.preset in presets]


class Bench:
    """A subject's model with its optimiser and batches of random numbers."""

    def __init__(
        self, subject: Any, crop: int | None, batch: int | None, map_batch: int, device: str
    ) -> None:
        torch.manual_seed(0)
        kind = TrainConfig if isinstance(subject, SharpeningSubject) else LandCoverTraining
        self.train_config = kind(**subject.found.train)
        usual_crop, usual_batch = subject.sizes
        self.crop, self.batch = crop or usual_crop, batch or usual_batch
        self.device = torch.device(device)
        self.model = subject.model().to(self.device)
        self.called: Any = self.model  # or what torch.compile makes of it
        self.optimizer = make_optimizer(self.model, self.train_config)
        learnt = subject.inputs(self.batch, self.crop) | subject.truth(self.batch, self.crop)
        self.learnt = self._placed(learnt)
        self.mapped = self._placed(subject.inputs(map_batch, self.crop))
        side = subject.grid_pixels(self.crop)
        self.map_batches = 1e6 / (side / 2) ** 2 / map_batch  # of a megapixel, half overlapping

    def _placed(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            name: self._placed(x) if isinstance(x, dict) else x.to(self.device)
            for name, x in inputs.items()
        }

    def step(self) -> None:
        """One step of training."""
        self.model.train()
        self.called(**self.learnt).loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.train_config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._wait()

    def map(self) -> None:
        """One batch of windows."""
        self.model.eval()
        with torch.no_grad():
            self.called(**self.mapped)
        self._wait()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
