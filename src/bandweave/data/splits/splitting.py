"""Splits of label pixels for training, validation and test: disjoint, hashed, and declared.

Distances are Chebyshev distances in pixels: neighbours, diagonal ones too, are 1 apart. A guard of
g removes every training pixel at a distance of g or less from a test pixel, and from a validation
pixel, so that a model that sees g pixels around a test pixel saw no training label there. Test
pixels are never removed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from bandweave.data.scene import ClassInfo, Part, Scene
from bandweave.data.splits.block_size import draw
from bandweave.data.splits.masks import distance
from bandweave.data.splits.protocols import GUARD_WIDTH, SplitConfig
from bandweave.data.splits.roles import GUARD, ROLES, TEST, TRAIN, UNUSED, VALIDATION
from bandweave.errors import ConfigError, LabelError

__all__ = [
    "GUARD",
    "GUARD_WIDTH",
    "ROLES",
    "TEST",
    "TRAIN",
    "UNUSED",
    "VALIDATION",
    "Split",
    "SplitConfig",
    "split",
]


@dataclass(frozen=True, eq=False)
class Split:
    """The role of every label pixel of a scene.

    roles    one (H·ratio, W·ratio) uint8 a part: UNUSED, TRAIN, VALIDATION, TEST or GUARD
    classes  the scene's, in the order of its label indices
    dropped  indices of classes that were left out
    counts   (5, classes) int64: label pixels of each role and class; under UNUSED stand those of
             dropped classes and those that the given roles leave out
    units    how many blocks, objects or parts hold labels
    ratio    how many times finer than the scene's grid the labels are
    metres   size of a label pixel, None where the CRS does not tell
    hash     sha256 over config and roles
    """

    config: SplitConfig
    roles: tuple[np.ndarray, ...]
    classes: tuple[ClassInfo, ...]
    dropped: tuple[int, ...]
    counts: np.ndarray
    units: int
    ratio: int
    metres: float | None
    notes: list[str]
    hash: str

    def hidden(self, part: int) -> np.ndarray:
        """Label pixels (H·ratio, W·ratio) bool whose inputs training must not see.

        None in a transductive split. In an inductive one: test pixels, guard pixels, and all
        pixels, labelled or not, within the guard of a test pixel.
        """
        roles = self.roles[part]
        if self.config.context == "transductive":
            return np.zeros(roles.shape, bool)
        return (roles == GUARD) | (distance(roles == TEST) <= self.config.test_guard)

    def share_within(self, reach: int) -> float:
        """Share of test pixels with a training pixel within `reach` px of the scene's grid.

        NaN without test pixels.
        """
        near = total = 0
        for roles in self.roles:
            test = roles == TEST
            if test.any():
                near += int((distance(roles == TRAIN)[test] <= reach * self.ratio).sum())
                total += int(test.sum())
        return near / total if total else float("nan")

    def distance_report(self, reach: int) -> dict[str, Any]:
        """Report the share of the test that a model of this reach (grid px) saw in training."""
        share = self.share_within(reach)
        return {
            "reach_px": reach,
            "reach_label_px": reach * self.ratio,
            "reach_m": None if self.metres is None else reach * self.ratio * self.metres,
            "test_share_within_reach": None if np.isnan(share) else share,
        }

    def protocol(self, reach: int | None = None) -> dict[str, Any]:
        """List what must stand beside every score, for JSON; with the model's reach if known."""
        config = self.config
        facts: dict[str, Any] = {
            "split": config.name,
            "seed": config.seed,
            "context": config.context,
            "unit": config.unit,
            "units": self.units,
        }
        if "train" in config.protocol.options:
            facts["train"] = config.per_class or config.train
        facts |= self._lengths("guard", config.test_guard)
        if config.has_blocks:
            facts |= self._lengths("size", config.side)
        if config.validation:
            facts["validation"] = config.validation
            facts |= self._lengths("validation_guard", config.validation_guard)
        if reach is not None:
            facts |= self.distance_report(reach)
        facts["pixels"] = {role: int(self.counts[ROLES.index(role)].sum()) for role in ROLES}
        facts["pixels_per_class"] = {
            info.name: {role: int(self.counts[ROLES.index(role), index]) for role in ROLES}
            for index, info in enumerate(self.classes)
        }
        facts["dropped"] = [self.classes[index].name for index in self.dropped]
        facts["hash"] = self.hash
        facts["notes"] = list(self.notes)
        return facts

    def _lengths(self, name: str, width: int) -> dict[str, float | None]:
        return {
            f"{name}_label_px": width,
            f"{name}_px": width / self.ratio,
            f"{name}_m": None if self.metres is None else width * self.metres,
        }


def split(scene: Scene, name: str = "blocks", **options: Any) -> Split:
    """Share out a scene's label pixels; options are those of SplitConfig.

    Labelled pixels where the reference layer has no data are not used, and counted in the notes.
    The same scene and options give the same split. The guard does not reach from part to part.

    Raises ConfigError for an option that does not exist or does not fit, LabelError where the scene
    has no labelled pixel or its classes are in doubt, and SplitError where the split does not exist
    for the scene or cannot be drawn, with the class and the numbers.
    """
    known = {option.name for option in fields(SplitConfig)}
    if unknown := sorted(set(options) - known):
        raise ConfigError(f"a split has no option {unknown}; it has {', '.join(sorted(known))}")
    config = SplitConfig(name, **options)
    if scene.doubt:
        raise LabelError(f"scene '{scene.name}': {scene.doubt}")
    drawing, roles = draw(scene, config)
    config = drawing.config
    return Split(
        config=config,
        roles=tuple(roles),
        classes=scene.classes,
        dropped=tuple(sorted(drawing.dropped)),
        counts=drawing.count_roles(roles),
        units=drawing.count_units_with_labels(),
        ratio=scene.label_ratio,
        metres=_metres(scene.parts[0], scene.label_ratio),
        notes=drawing.notes,
        hash=_hash(config, roles),
    )


def _metres(part: Part, ratio: int) -> float | None:
    """Side of a label pixel in metres, None without a projected CRS or for pixels not square."""
    crs, (width, height) = part.grid.crs, part.grid.pixel_size
    if crs is None or not crs.is_projected or not np.isclose(width, height, rtol=0.01):
        return None
    return float(width * crs.linear_units_factor[1] / ratio)


def _hash(config: SplitConfig, roles: list[np.ndarray]) -> str:
    resolved = replace(config, guard=config.test_guard)
    digest = hashlib.sha256(json.dumps(asdict(resolved), sort_keys=True).encode())
    for role in roles:
        digest.update(f"{role.shape}".encode())
        digest.update(np.ascontiguousarray(role).tobytes())
    return digest.hexdigest()
