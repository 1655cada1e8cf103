"""What validation pixels are for: the best weights, and a confidence that is as often right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from bandweave.data.scene import Scene
from bandweave.data.splits.splitting import VALIDATION, Split
from bandweave.errors import ConfigError
from bandweave.landcover.calibration import fit_temperature
from bandweave.landcover.config import LandCoverConfig
from bandweave.landcover.metrics import confusion_matrix
from bandweave.landcover.predict.classify import labelled_logits, predict_classes
from bandweave.landcover.predict.net import Predictor
from bandweave.landcover.run import NetRun, Run
from bandweave.raster.grid import tiles


def check_validation(config: LandCoverConfig, split: Split) -> None:
    """Raise ConfigError where options need validation pixels, and the split has none."""
    for option, asked in (
        ("validate_every", bool(config.train.validate_every)),
        ("temperature", config.temperature),
    ):
        if asked and not any((roles == VALIDATION).any() for roles in split.roles):
            raise ConfigError(
                f"{option} is set, but the split has no validation pixels; "
                "draw some with its option `validation`, 0.2 say"
            )


def validation_temperature(run: Run, scene: Scene, split: Split) -> float:
    """What makes the validation pixels likeliest; see `calibration.fit_temperature`."""
    masks = [roles == VALIDATION for roles in split.roles]
    return fit_temperature(*collect_logits(run.predictor(scene.reference), scene, masks))


def collect_logits(
    predictor: Predictor, scene: Scene, masks: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (P, K) and class indices (P,) of the label pixels of a mask for each part."""
    found = [
        labelled_logits(predictor, part, mask)
        for part, mask in zip(scene.parts, masks, strict=True)
        if mask.any()
    ]
    logits, labels = (np.concatenate(each) for each in zip(*found, strict=True))
    return logits, labels


class Validation:
    """Overall accuracy on the validation pixels, mapped as the scene would be.

    windows  squares as large as the map's windows that are looked at, at most, drawn at random;
             None for all
    """

    def __init__(self, run: NetRun, scene: Scene, split: Split, windows: int | None = None) -> None:
        self.run, self.scene, self.split = run, scene, split
        self.held_out = [roles == VALIDATION for roles in split.roles]
        if windows is not None and run.window:
            thin_out(self.held_out, run.window * split.ratio, windows)

    def __call__(self, _: nn.Module) -> float:
        predictor = self.run.predictor(self.scene.reference)
        total = np.zeros((len(self.run.classes),) * 2, np.int64)
        for part, held_out in zip(self.scene.parts, self.held_out, strict=True):
            if not held_out.any() or part.labels is None:
                continue
            predicted = predict_classes(predictor, part, self.split.ratio, held_out)
            total += confusion_matrix(
                part.labels.values[held_out], predicted[held_out], len(self.run.classes)
            )
        return float(np.trace(total) / total.sum())


def thin_out(masks: list[np.ndarray], side: int, most: int) -> None:
    """Leave of masks (H, W) bool, one a part, what lies in at most so many squares of a side."""
    squares = [
        (mask, place.slices())
        for mask in masks
        for place in tiles(mask.shape[0], mask.shape[1], side)
        if mask[place.slices()].any()
    ]
    for number in np.random.default_rng(0).permutation(len(squares))[most:]:
        mask, at = squares[number]
        mask[at] = False
