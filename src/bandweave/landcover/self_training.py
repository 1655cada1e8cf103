"""What a net learns of pixels without a label: the classes that an earlier training gives them.

A first training sees labels alone. Its net and a classical method then give each unlabelled pixel
(of a large scene, each near the labels) probabilities, the mean of both, and the net is trained
anew, on the labels and on classes that are drawn by these. The two err in other places, since one
looks at shapes and the other at the spectrum, and what is learnt of many pixels is steadier than
either.

Only what training may see is asked: in an inductive split the pixels that it hides are holes. No
label but those of training pixels has a part in it.

Source: Lee, "Pseudo-Label" (2013); Blum and Mitchell, "Combining labeled and unlabeled data with
co-training" (1998).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.special import softmax

from bandweave.data.samples.pseudo_labels import PseudoLabels, as_table
from bandweave.data.scene import Part, Scene
from bandweave.data.splits.hidden import blind_layers
from bandweave.data.splits.splitting import TRAIN, UNUSED, Split
from bandweave.errors import SplitError
from bandweave.landcover.baselines.methods import FittedMethod, fit_method
from bandweave.landcover.baselines.predictor import MethodPredictor
from bandweave.landcover.calibration import fit_temperature
from bandweave.landcover.config import ClassicalConfig
from bandweave.landcover.length import WINDOWS
from bandweave.landcover.predict.feeding import seen_at_once
from bandweave.landcover.predict.mean import MeanPredictor, Voice
from bandweave.landcover.predict.net import Predictor
from bandweave.landcover.run import NetRun
from bandweave.landcover.validation import Validation, collect_logits
from bandweave.training.atomic import whole
from bandweave.training.processes import is_main, wait_for_all
from bandweave.training.progress import Progress

log = logging.getLogger(__name__)

WHOLE = 2**20  # px of the grid: of a larger scene, only what lies near training pixels is asked
NEAR = 64  # px of the grid
MOST = 2000  # training pixels of a class that teach a classical method
TRIED = np.linspace(0, 1, 11)  # shares of the teacher
LEAST = 1e-6  # of a probability, so that one that was sure and wrong does not decide alone


def fit_teacher(
    name: str, scene: Scene, split: Split, layers: Sequence[str], seed: int
) -> FittedMethod:
    """Fit a classical method to training pixels, its options chosen on whole blocks of them.

    On pixels at random where there are too few blocks. Of many pixels of a class some are drawn.
    """
    split = thin_out_classes(scene, split, MOST, seed)
    config = ClassicalConfig.from_options(name, {"folds": "blocks"})
    try:
        return fit_method(name, config.model, scene, split, layers, seed)
    except SplitError:
        options = replace(config.model, folds="pixels")
        return fit_method(name, options, scene, split, layers, seed)


def thin_out_classes(scene: Scene, split: Split, most: int, seed: int) -> Split:
    """The split with at most so many training pixels of a class, drawn at random."""
    kept = np.minimum(most / np.maximum(split.counts[TRAIN], 1), 1)  # a share of each class
    if kept.min() == 1:
        return split
    rng, thinned = np.random.default_rng(seed), []
    for part, roles in zip(scene.parts, split.roles, strict=True):
        roles = roles.copy()
        if part.labels is not None:
            shares = kept[np.where(roles == TRAIN, part.labels.values, 0)]
            roles[(roles == TRAIN) & (rng.random(roles.shape) >= shares)] = UNUSED
        thinned.append(roles)
    return replace(split, roles=tuple(thinned))


@dataclass(frozen=True)
class Shares:
    """How the probabilities of a net and its teacher are averaged.

    temperature  that the net's logits are divided by
    teacher      its share of the mean
    teacher_temperature  that its log-probabilities are divided by
    """

    temperature: float = 1.0
    teacher: float = 0.5
    teacher_temperature: float = 1.0


def weigh_teacher(run: NetRun, scene: Scene, held: Split) -> Shares:
    """Find the mean of a net and its teacher that makes the held-out pixels likeliest.

    run   of a net that was trained without the validation pixels of `held`
    """
    train = run.config.train
    masks = Validation(run, scene, held, windows=WINDOWS).held_out
    logits, labels = collect_logits(run.predictor(scene.reference), scene, masks)
    temperature = fit_temperature(logits, labels)
    if not train.teacher:
        return Shares(temperature, 0.0)
    fitted = fit_teacher(train.teacher, scene, held, list(run.layers), train.seed)
    predictor = MethodPredictor(fitted, scene.reference, len(scene.classes))
    taught = np.maximum(collect_logits(predictor, scene, masks)[0], np.log(LEAST))
    other = fit_temperature(taught, labels)
    ours, theirs = (
        softmax(each, axis=1)[np.arange(len(labels)), labels]
        for each in (logits / temperature, taught / other)
    )
    losses = [
        -np.log(np.maximum((1 - share) * ours + share * theirs, LEAST)).mean() for share in TRIED
    ]
    best = float(TRIED[int(np.argmin(losses))])
    log.info("%s counts %.0f %% in the classes of unlabelled pixels", train.teacher, 100 * best)
    return Shares(temperature, best, other)


def teach(
    run: NetRun, shares: Shares, scene: Scene, split: Split, folder: Path, quiet: bool
) -> PseudoLabels:
    """Ask a net and its teacher for the classes of pixels, of a large scene near training pixels.

    A net of windows is asked with all sides of them that it was trained on, for the mean.

    folder  of the files that hold the answers, of each part one; what stands there is taken
    """
    paths = [folder / f"pseudo_labels_{number}.npy" for number in range(len(scene.parts))]
    if is_main() and not all(path.exists() for path in paths):
        predictor = join_teachers(run, shares, scene, split)
        seen = blind_layers(scene, split)
        near = sum(part.grid.height * part.grid.width for part in seen.parts) > WHOLE
        with Progress("asking for classes, parts", len(paths), quiet=quiet) as bar:
            for path, part, roles in zip(paths, seen.parts, split.roles, strict=True):
                if not path.exists():
                    shape = (*roles.shape, len(scene.classes))
                    write_table(path, shape, answers(predictor, part, roles, split.ratio, near))
                bar.advance()
    wait_for_all()
    tables = [np.load(path, mmap_mode="r") for path in paths]
    return PseudoLabels(tables, run.config.train.pseudo_labels)


def join_teachers(run: NetRun, shares: Shares, scene: Scene, split: Split) -> MeanPredictor:
    """What answers by the mean of a net and of the classical method that its config names."""
    order, train = range(len(scene.classes)), run.config.train
    teacher = shares.teacher if train.teacher else 0.0
    voices = []
    if teacher < 1:
        sides = [run.window]
        if run.model.fed == "crops":
            sides = run.config.samples.sides_within(seen_at_once(0, scene))
        for side in sides:
            predictor = replace(run, window=side).predictor(scene.reference)
            voices.append(Voice(predictor, (1 - teacher) / len(sides), shares.temperature, order))
    if teacher:
        fitted = fit_teacher(train.teacher, scene, split, list(run.layers), train.seed)
        method = MethodPredictor(fitted, scene.reference, len(order))
        voices.append(Voice(method, teacher, shares.teacher_temperature, order))
    return MeanPredictor(voices)


def answers(
    predictor: Predictor, part: Part, roles: np.ndarray, ratio: int, near: bool
) -> Iterable[tuple[tuple[slice, slice], np.ndarray]]:
    """Places on the labels' grid and tables (h, w, K) of the pixels of a part that are asked.

    near  only those near training pixels
    """
    asked = np.ones(roles.shape, bool)
    if near:
        reach = 2 * NEAR * ratio + 1
        asked = maximum_filter((roles == TRAIN).view(np.uint8), reach).astype(bool)
    if not asked.any():
        return
    for strip in predictor.strips(part, asked if near else None):
        place = strip.window.slices()
        sure = softmax(strip.logits, axis=0) * (strip.valid & asked[place])
        yield place, as_table(sure)


def write_table(
    path: Path,
    shape: tuple[int, ...],
    pieces: Iterable[tuple[tuple[slice, slice], np.ndarray]],
) -> None:
    """Write a table of probabilities piece by piece, whole or not at all."""
    with whole(path) as beside:
        table = np.lib.format.open_memmap(beside, "w+", np.uint8, shape)
        for place, piece in pieces:
            table[place] = piece
        table.flush()
