"""The baseline of a report: a classical method on the run's own training and test pixels.

It is a support vector machine with a radial kernel on the bands of single pixels: ahead of the
random forest in the benchmarks of this package, and quicker to train. Its scores
are kept in the run's folder, and a report that finds them there does not train again.

Its time grows with the training pixels squared and with test pixels × bands × training pixels, so
both are bounded: a seeded share of each class's training pixels is taken where there are many.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bandweave.data.match import match_layers, with_bands
from bandweave.data.scene import IGNORED, Scene
from bandweave.data.splits.splitting import TEST, TRAIN, UNUSED, Split
from bandweave.errors import BandweaveError, ConfigError, LabelError, SceneMismatch, SplitError
from bandweave.landcover.config import ClassicalConfig
from bandweave.landcover.mapping import map_scene
from bandweave.landcover.maps.files import RIGHT, WRONG
from bandweave.landcover.maps.writing import name_files
from bandweave.landcover.metrics import Scores, assert_supports, confusion_matrix
from bandweave.landcover.predict.classify import predict_classes
from bandweave.landcover.report.interval import UnitCounts, number_units
from bandweave.landcover.run import ClassicalRun, Run
from bandweave.landcover.scoring import redraw_split
from bandweave.landcover.training import fit_classical
from bandweave.training.folder import RunFolder
from bandweave.training.progress import Progress

METHOD = "svm"
OPTIONS: dict[str, Any] = {}  # of it, that are not its defaults
SEED = 0
MOST_TRAINED = 5000  # training pixels
FEWEST_TRAINED = 500  # below which, of many, the method is not itself any more
WORK = 3e10  # test pixels × bands × training pixels: a minute or two
VALUES = 2**27  # of a part's bands, which are held at once


@dataclass(frozen=True)
class Baseline:
    """A classical method beside a run.

    scores    on the test pixels of the run's split
    by_unit   test pixels, and those it is right on, by object, block or part
    trained   training pixels that it was trained on, of all `training`
    """

    method: str
    layers: tuple[str, ...]
    scores: Scores
    by_unit: UnitCounts
    trained: int
    training: int

    def to_dict(self) -> dict[str, Any]:
        """What baseline.json holds."""
        counts = self.by_unit
        return {
            "method": self.method,
            "layers": list(self.layers),
            "split_hash": self.scores.protocol["hash"],
            "trained": self.trained,
            "training": self.training,
            "scores": self.scores.to_dict(),
            "units": {
                "kind": counts.kind,
                "right": counts.right.tolist(),
                "tested": counts.tested.tolist(),
            },
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Baseline:
        """Read what `to_dict` gave; raises one of `UNREADABLE` for anything else."""
        units = stored["units"]
        right, tested = (np.array(units[name], np.int64) for name in ("right", "tested"))
        scores = Scores.from_dict(stored["scores"])
        if right.shape != tested.shape or right.ndim != 1 or (right > tested).any():
            raise ValueError("its units do not hold counts")
        if (right.sum(), tested.sum()) != (np.trace(scores.confusion), scores.confusion.sum()):
            raise ValueError("its units and scores differ")
        return cls(
            str(stored["method"]),
            tuple(map(str, stored["layers"])),
            scores,
            UnitCounts(str(units["kind"]), right, tested),
            int(stored["trained"]),
            int(stored["training"]),
        )


UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, BandweaveError)


def find_baseline(
    run: Run, scene: Scene, scores: Scores, quiet: bool = False
) -> tuple[Baseline | None, str]:
    """Take the baseline in the run's folder, or train one now and keep it there.

    scores  of the run, under whose split it is trained and scored

    Returns it, or None and why there is none ('' where nobody would look for one).
    """
    try:
        split = redraw_split(run, scene)
        scene = with_bands(scene, match_layers(run.layers, scene))
    except (SplitError, LabelError, SceneMismatch):
        return None, ""
    if scene.classes != run.classes or run.config.name == METHOD:
        return None, ""
    if scores.protocol.get("hash") != split.hash:
        return None, "the scores are of another split than the model was trained with"
    layers = tuple(run.layers)
    stored = _read_kept(run.folder)
    if stored is not None and _is_of(stored, scores, layers):
        return stored, ""
    try:
        with Progress("report, baseline", 1, quiet=quiet) as bar:
            found = _train(run.folder, scene, split, layers)
            bar.advance()
    except (ConfigError, SplitError, LabelError) as error:
        return None, str(error)
    run.folder.write_baseline(found.to_dict())
    return found, ""


def find_baseline_maps(folder: RunFolder, scene: Scene) -> tuple[Path, ...]:
    """Find the baseline's map of each part; empty where there is none."""
    place = _map_path(folder, scene)
    paths = [place / name if name else place for name in name_files(scene)]
    return tuple(paths) if all(path.exists() for path in paths) else ()


def _map_path(folder: RunFolder, scene: Scene) -> Path:
    """Where the baseline's map stands: a file, or a folder for a scene of many parts."""
    name = "map_baseline"
    return folder.path / (f"{name}.tif" if len(scene.parts) == 1 else name)


def _read_kept(folder: RunFolder) -> Baseline | None:
    """Read the baseline in the folder; None where there is none or it is damaged."""
    try:
        return Baseline.from_dict(json.loads(folder.baseline.read_text(encoding="utf-8")))
    except UNREADABLE:
        return None


def _is_of(stored: Baseline, scores: Scores, layers: Sequence[str]) -> bool:
    """Whether it is of this split and these layers, and of the pixels that were scored."""
    return (
        (stored.method, stored.layers) == (METHOD, tuple(layers))
        and stored.scores.protocol.get("hash") == scores.protocol.get("hash")
        and stored.scores.classes == scores.classes
        and np.array_equal(stored.scores.support, scores.support)
    )


def _train(folder: RunFolder, scene: Scene, split: Split, layers: tuple[str, ...]) -> Baseline:
    """Train, score, and map where that is quick. Raises SplitError where it would take too long."""
    bands = sum(scene.layers[name].bands for name in layers)
    training, tested = (
        sum(int((roles == role).sum()) for roles in split.roles) for role in (TRAIN, TEST)
    )
    if _count_values(scene, split, layers) > VALUES:
        raise SplitError("the bands of the scene are too many values to hold at once")
    most = min(MOST_TRAINED, int(WORK / max(tested * bands, 1)))
    if most < min(training, FEWEST_TRAINED):
        raise SplitError(f"{tested:,} test pixels of {bands} bands would take it too long")
    some = thin_training(scene, split, most)
    asked = {"model": {"name": METHOD, **OPTIONS}, "layers": list(layers), "train": {"seed": SEED}}
    run = fit_classical(ClassicalConfig.read(asked), scene, some, folder)
    scores, counts = _score(run, scene, split)
    _map(run, scene, bands)
    return Baseline(METHOD, layers, scores, counts, len(run.fitted.labels), training)


def _count_values(scene: Scene, split: Split, layers: Sequence[str]) -> int:
    """Count the values of the layers, at their resolution or the labels', in the largest part."""
    fine = sum(scene.layers[n].bands * max(scene.layers[n].ratio, split.ratio) ** 2 for n in layers)
    return fine * max(part.grid.height * part.grid.width for part in scene.parts)


def thin_training(scene: Scene, split: Split, most: int, seed: int = SEED) -> Split:
    """Keep about `most` of a split's training pixels: of each class the same share, at least 1.

    Its hash and protocol stay those of the whole.
    """
    places = [roles == TRAIN for roles in split.roles]
    total = sum(int(place.sum()) for place in places)
    if total <= most:
        return split
    none = np.zeros(0, np.int16)
    pairs = zip(scene.parts, places, strict=True)
    labels = np.concatenate([p.labels.values[at] if p.labels else none for p, at in pairs])
    rng, kept = np.random.default_rng(seed), np.zeros(total, bool)
    for index in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == index))
        kept[own[: -(-len(own) * most // total)]] = True
    thinned, first = [], 0
    for roles, place in zip(split.roles, places, strict=True):
        own, count = roles.copy(), int(place.sum())
        own[place] = np.where(kept[first : first + count], TRAIN, UNUSED)
        thinned.append(own)
        first += count
    return replace(split, roles=tuple(thinned))


def _score(run: ClassicalRun, scene: Scene, split: Split) -> tuple[Scores, UnitCounts]:
    """Score the test pixels, all together and by unit."""
    number, units = len(scene.classes), number_units(scene, split)
    counts, total = UnitCounts.zeros(units), np.zeros((number, number), np.int64)
    predictor = run.predictor(scene.reference)
    for index, (part, roles) in enumerate(zip(scene.parts, split.roles, strict=True)):
        test = roles == TEST
        if part.labels is None or not test.any():
            continue
        truth = part.labels.values[test]
        mapped = predict_classes(predictor, part, split.ratio, test)[test]
        total += confusion_matrix(truth, mapped, number)
        judged = np.full(roles.shape, IGNORED, np.int8)
        judged[test] = np.where(mapped == truth, RIGHT, WRONG)
        counts.add(units.numbers[index], judged)
    names = tuple(each.name for each in scene.classes)
    protocol = {**split.protocol(run.reach(scene)), "scene": scene.name, "model": METHOD}
    scores = Scores(total, names, protocol)
    assert_supports(scores, split)
    return scores, counts


def _map(run: ClassicalRun, scene: Scene, bands: int) -> None:
    """Map the scene where that is quick; else remove what stands there, which is another's."""
    import shutil

    place = _map_path(run.folder, scene)
    pixels = sum(part.grid.height * part.grid.width for part in scene.parts) * run.output_ratio**2
    if pixels * bands * len(run.fitted.estimator[-1].support_) <= WORK:
        map_scene(run, scene, place, overwrite=True, quiet=True)
    elif place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
