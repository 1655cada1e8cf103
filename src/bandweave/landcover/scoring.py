"""Score a run on the test pixels of a split: each pixel once, by pixel and by object."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandweave.data.match import match_layers, with_bands, with_classes
from bandweave.data.scene import IGNORED, Scene
from bandweave.data.splits.splitting import TEST, TRAIN, VALIDATION, Split, split
from bandweave.errors import LabelError, RunError, SceneMismatch, SplitError
from bandweave.landcover.calibration import Calibration
from bandweave.landcover.ensemble import open_run
from bandweave.landcover.metrics import Scores, assert_supports, confusion_matrix, score_objects
from bandweave.landcover.predict.classify import predict_part
from bandweave.landcover.run import Run
from bandweave.training.progress import Progress

log = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class SceneScores:
    """Scores over test pixels, and over test objects where labels are polygons.

    calibration  of the map's confidence on the test pixels; None of a run that gives classes alone,
                 and in scores of earlier versions
    """

    pixels: Scores
    objects: Scores | None = None
    calibration: Calibration | None = None

    @property
    def overall_accuracy(self) -> float:
        """Overall accuracy over the test pixels, 0 to 1."""
        return self.pixels.overall_accuracy

    @property
    def average_accuracy(self) -> float:
        """Average accuracy over the test pixels, 0 to 1."""
        return self.pixels.average_accuracy

    @property
    def kappa(self) -> float:
        """Cohen's kappa over the test pixels."""
        return self.pixels.kappa

    def to_dict(self) -> dict[str, Any]:
        """What scores.json holds."""
        return {
            "pixels": self.pixels.to_dict(),
            "objects": self.objects.to_dict() if self.objects else None,
            "calibration": self.calibration.to_dict() if self.calibration else None,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> SceneScores:
        """Read what `to_dict` gave; raises RunError for anything else."""
        if not isinstance(stored, dict) or not isinstance(stored.get("pixels"), dict):
            raise RunError("the stored scores cannot be read (no 'pixels'); score the run again")
        objects, calibration = stored.get("objects"), stored.get("calibration")
        return cls(
            Scores.from_dict(stored["pixels"]),
            Scores.from_dict(objects) if objects else None,
            Calibration.from_dict(calibration) if calibration else None,
        )

    def __str__(self) -> str:
        text = str(self.pixels)
        if self.calibration is not None:
            sure = ", ".join(
                f"{100 * self.calibration.accuracy_at(share):.2f} % of the surest {share:.0%}"
                for share in (0.5, 0.8, 0.9)
            )
            text += (
                f"\n\nconfidence: expected calibration error "
                f"{100 * self.calibration.expected_error:.2f} points; right are {sure}"
            )
        if self.objects is None:
            return text
        return (
            f"{text}\n\nby object: {self.objects.headline(units=False)}   "
            f"({self.objects.confusion.sum()} test objects, each given the class of most pixels)"
        )


def score(
    run: PathLike | Run | Sequence[PathLike | Run],
    scene: Scene,
    split: Split | None = None,
    *,
    match_bands: bool = False,
    tta: bool = False,
    quiet: bool = False,
) -> SceneScores:
    """Map the scene and score the test pixels of the split; the run's own split if none is given.

    run  its folder, or the run itself; of several, the mean of their probabilities is scored

    The scores are also written to scores.json in the run's folder, if it has one. Raises SplitError
    where the split that the run was trained with comes out otherwise on this scene, or has no test
    side, and where there is no such split, as several runs were trained with several.
    """
    run = open_run(run)
    scene = with_bands(scene, match_layers(run.layers, scene, match_bands))
    labelled, scene = scene, with_classes(scene, run.classes)
    if scene.label_ratio != run.output_ratio:
        raise SceneMismatch(
            f"the run's map is {run.output_ratio} times finer than the grid, the labels of scene "
            f"{scene.name!r} are {scene.label_ratio} times; give them ratio: {run.output_ratio}"
        )
    split = redraw_split(run, scene) if split is None else split
    predictor = run.predictor(scene.reference, tta=tta)
    protocol = {**split.protocol(run.reach(scene)), "scene": scene.name, **run.protocol_facts}
    if seen := count_trained(run, labelled, split):
        protocol["test_px_trained_on"] = seen
    number = len(run.classes)
    total = np.zeros((number, number), np.int64)
    objects, truths, predictions, first = [], [], [], 0
    calibration = Calibration.count(np.zeros(0), np.zeros(0, bool))
    with Progress("scoring, parts", len(scene.parts), quiet=quiet) as bar:
        for part, roles in zip(scene.parts, split.roles, strict=True):
            test = roles == TEST
            if test.any() and part.labels is not None:
                answer = predict_part(predictor, part, run.output_ratio, run.temperature, test)
                predicted = answer.classes
                truth = np.where(test, part.labels.values, IGNORED)
                total += confusion_matrix(truth, predicted, number)
                known = truth != IGNORED
                calibration += Calibration.count(
                    answer.confidence[known], (predicted == truth)[known]
                )
                if part.labels.objects is not None:
                    own = part.labels.objects
                    objects.append(np.where(own > 0, own + first, 0)[test])
                    truths.append(truth[test])
                    predictions.append(predicted[test])
                    first += int(own.max(initial=0))
            bar.advance()
    names = tuple(each.name for each in run.classes)
    pixels = Scores(total, names, protocol)
    assert_supports(pixels, split)
    by_object = None
    if objects:
        own, truth, predicted = (np.concatenate(each) for each in (objects, truths, predictions))
        by_object = score_objects(own, truth, predicted, names, protocol)
    scores = SceneScores(pixels, by_object, calibration if run.gives_probabilities else None)
    if run.has_folder:
        run.folder.write_scores(scores.to_dict())
    return scores


def count_trained(run: Run, scene: Scene, split: Split) -> int:
    """Count test pixels of a split that are on the training side of the run, and warn of them.

    Those of a run that was trained on another scene are not known, and not counted.
    """
    seen = [np.zeros(roles.shape, bool) for roles in split.roles]
    for member in run.members:
        if member.facts["split_hash"] == split.hash:
            continue
        try:
            own = redraw_split(member, with_classes(scene, member.classes))
        except (SplitError, LabelError, SceneMismatch):
            continue
        for known, mine, roles in zip(seen, own.roles, split.roles, strict=True):
            known |= np.isin(mine, (TRAIN, VALIDATION)) & (roles == TEST)
    number = sum(int(known.sum()) for known in seen)
    if number:
        log.warning(
            "%s trained on %d of the %d test pixels, so the scores are too high",
            "the run was" if len(run.members) == 1 else "runs of the ensemble were",
            number,
            sum(int((roles == TEST).sum()) for roles in split.roles),
        )
    return number


def redraw_split(run: Run, scene: Scene) -> Split:
    """Draw the split that the run was trained with again, and compare its hash.

    Raises SplitError where it comes out otherwise, or where there is none: several runs may have
    been trained with several.
    """
    if run.facts["split_hash"] is None:
        raise SplitError(
            f"the runs were not trained on one split, whose test pixels none has seen: "
            f"{'; '.join(run.facts['protocol']['splits'])}. Name the split, `--split NAME`"
        )
    drawn = split(scene, **vars(run.config.split))
    if drawn.hash != run.facts["split_hash"]:
        raise SplitError(
            f"the run was trained on a {drawn.config.name!r} split with hash "
            f"{run.facts['split_hash'][:12]}…, on scene {scene.name!r} the same options give "
            f"{drawn.hash[:12]}…: this is not the scene it was trained on, or its labels changed. "
            f"Score it with a split of this scene's own, `--split NAME`"
        )
    return drawn
