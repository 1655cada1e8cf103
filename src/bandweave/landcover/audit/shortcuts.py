"""What each shortcut of a protocol is worth: one model, trained and scored honestly and not.

    inductive     official masks, or blocks, with a guard as wide as the model's reach; the images
                  of test pixels are hidden from training
    transductive  the same split; the images are seen, the labels are not
    random        as many training pixels of each class, drawn singly: neighbours of test pixels
    crops         overlapping crops shared out at random; each pixel of a test crop counts as often
                  as crops hold it, training pixels among them
    training      the transductive run, scored on its own training labels

The last is how the release of M³amba scored Houston 2013; crops are near to how it scored Augsburg
and MUUFL. Each seed draws anew and trains anew, and differences are taken seed by seed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bandweave.data.match import describe_layers
from bandweave.data.scene import Scene
from bandweave.data.splits.protocols import SPLITS, Context, SplitConfig
from bandweave.data.splits.splitting import TEST, TRAIN, UNUSED, Split, split
from bandweave.errors import ConfigError, RunError, SplitError
from bandweave.landcover.audit.result import PROTOCOLS, Audit, write_page
from bandweave.landcover.config import LandCoverConfig
from bandweave.landcover.metrics import Scores, confusion_matrix
from bandweave.landcover.predict.classify import predict_classes
from bandweave.landcover.predict.feeding import seen_at_once
from bandweave.landcover.run import Run, build_model
from bandweave.landcover.training import train
from bandweave.output_files import only_writer_of_folder
from bandweave.raster.grid import tiles
from bandweave.training.atomic import write_json, write_text
from bandweave.training.folder import RunFolder, claim_folder

WHOLE = 32  # px of the grid: side of a crop, of a model that is fed with whole parts


def audit(
    config: LandCoverConfig,
    scene: Scene,
    out: str | os.PathLike[str],
    *,
    seeds: int = 5,
    name: str | None = None,
    size: int | None = None,
    guard: int | None = None,
    quiet: bool = False,
) -> Audit:
    """Train and score a model under every protocol; write audit.json and a page into `out`.

    config  of the model, its samples and its training; its split and seed are replaced
    out     a folder, which is continued where the same audit was interrupted
    name    the honest split; official where the scene has such masks, else blocks
    size    px of the label grid: side of a block; by default 64, or twice the guard and half a crop
    guard   px of the label grid; by default the model's reach

    Raises SplitError where the honest split leaves too little: then the crops are too large for the
    scene. Raises ConfigError and RunError as training does, OutputError where another process
    writes to `out`.
    """
    if seeds < 1:
        raise ConfigError(f"{seeds} seeds: at least one is needed, and five say something")
    asked = SplitConfig(name or "blocks").protocol
    if not (asked.tested and asked.apart):
        raise ConfigError(
            f"the split {name!r} is what an audit warns of; take official, given, blocks, objects "
            f"or parts"
        )
    name = name or _choose_split(scene)
    ratio = scene.label_ratio
    window = seen_at_once(config.samples.map_window, scene)
    train = replace(config.train, validate_every=0, patience=0, hold_out=0.0)
    # nothing is held out: the last weights are scored, after as many steps under every protocol
    config = replace(config, temperature=False, train=train)
    reach = _find_reach(config, scene, window) * ratio
    guard = reach if guard is None else guard
    options: dict[str, Any] = {"guard": guard}
    if "size" in SPLITS[name].options:
        by_default = max(64, 2 * guard + window * ratio // 2)
        options["size"] = by_default if size is None else size
    elif size is not None:
        raise ConfigError(f"the split {name!r} has no blocks; leave out size")
    _draw_split(scene, name, 0, "inductive", options)  # before anything is written
    folder = Path(out)
    with only_writer_of_folder(folder, "an audit"):
        _claim(folder, config, scene, {"name": name, **options})
        found: dict[str, list[Scores]] = {protocol: [] for protocol in PROTOCOLS}
        for seed in range(seeds):
            trial = Trial(config, scene, folder, seed, name, options, quiet)
            for protocol in PROTOCOLS:
                found[protocol].append(trial.scores(protocol))
        result = Audit(config.name, scene.name, name, guard, reach, found)
        write_json(folder / "audit.json", result.to_dict())
        write_text(folder / "audit.html", write_page(result))
    return result


class Trial:
    """One seed: splits, runs and scores, each kept in the folder once it is done."""

    def __init__(
        self,
        config: LandCoverConfig,
        scene: Scene,
        folder: Path,
        seed: int,
        name: str,
        options: dict[str, Any],
        quiet: bool,
    ) -> None:
        self.scene, self.folder, self.seed, self.quiet = scene, folder, seed, quiet
        self.config = replace(config, train=replace(config.train, seed=seed))
        self.name, self.options = name, options
        self.weights: list[np.ndarray] = []  # of each pixel of test crops

    def scores(self, protocol: str) -> Scores:
        """Scores under one protocol, from the folder if they stand there."""
        path = self.folder / "scores" / f"seed-{self.seed}-{protocol}.json"
        if path.exists():
            return read_scores(path)
        scores = self._measure(protocol)
        path.parent.mkdir(exist_ok=True)
        write_json(path, scores.to_dict())
        return scores

    def _measure(self, protocol: str) -> Scores:
        if protocol == "training":
            drawn = self._draw_honest("transductive")
            return self._score(self._train("transductive", drawn), drawn, TRAIN, protocol)
        make: dict[str, Callable[[], Split]] = {
            "inductive": lambda: self._draw_honest("inductive"),
            "transductive": lambda: self._draw_honest("transductive"),
            "random": self._draw_random,
            "crops": self.draw_crops,
        }
        drawn = make[protocol]()
        return self._score(self._train(protocol, drawn), drawn, TEST, protocol)

    def _draw_honest(self, context: Context) -> Split:
        return _draw_split(self.scene, self.name, self.seed, context, self.options)

    def _draw_random(self) -> Split:
        counts = self._draw_honest("transductive").counts
        train = counts[TRAIN].sum() / counts[1:].sum()  # guards have labels too
        return split(self.scene, "random", seed=self.seed, train=float(train))

    def draw_crops(self) -> Split:
        """Draw overlapping crops until those that train hold as many labels as the honest split."""
        base = self._draw_random()
        wanted = int(self._draw_honest("transductive").counts[TRAIN].sum())
        side = (self.config.samples.crop or WHOLE) * self.scene.label_ratio
        used = [roles != UNUSED for roles in base.roles]
        places = [
            (part, crop.row, crop.col)
            for part, roles in enumerate(used)
            for crop in tiles(roles.shape[0], roles.shape[1], side, side - max(side // 2, 1))
        ]
        training = [np.zeros(roles.shape, bool) for roles in used]
        self.weights = [np.zeros(roles.shape, np.int64) for roles in used]
        held = 0
        for number in np.random.default_rng(self.seed).permutation(len(places)):
            part, row, col = places[number]
            at = np.s_[row : row + side, col : col + side]
            if held < wanted:
                held += int((used[part][at] & ~training[part][at]).sum())
                training[part][at] = True
            else:
                self.weights[part][at] += 1
        roles = tuple(
            np.where(use & train, TRAIN, np.where(use & (weight > 0), TEST, UNUSED)).astype(
                np.uint8
            )
            for use, train, weight in zip(used, training, self.weights, strict=True)
        )
        digest = hashlib.sha256(b"".join(each.tobytes() for each in roles)).hexdigest()
        note = f"overlapping crops of {side} label px, shared out at random: this leaks"
        return replace(
            base, roles=roles, counts=self._count_labels(roles), hash=digest, notes=[note]
        )

    def _count_labels(self, roles: tuple[np.ndarray, ...]) -> np.ndarray:
        """Count the label pixels of each role and class."""
        total = np.zeros((5, len(self.scene.classes)), np.int64)
        for part, own in zip(self.scene.parts, roles, strict=True):
            if part.labels is not None:
                known = part.labels.values >= 0
                np.add.at(total, (own[known], part.labels.values[known]), 1)
        return total

    def _train(self, protocol: str, drawn: Split) -> Run:
        folder = RunFolder(self.folder / "runs" / f"seed-{self.seed}-{protocol}")
        if folder.finished:
            return Run.open(folder.path)
        return train(
            self.scene, drawn, out=folder.path, config=self.config, resume=True, quiet=self.quiet
        )

    def _score(self, run: Run, drawn: Split, role: int, protocol: str) -> Scores:
        """Score the pixels of a role; those of test crops as often as crops hold them."""
        number = len(self.scene.classes)
        predictor = run.predictor(self.scene.reference)
        total = np.zeros((number, number), np.int64)
        for k, (part, roles) in enumerate(zip(self.scene.parts, drawn.roles, strict=True)):
            counted = (roles == role).astype(np.int64)
            if protocol == "crops":
                counted = np.where(roles != UNUSED, self.weights[k], 0)
            if part.labels is None or not counted.any():
                continue
            predicted = predict_classes(predictor, part, run.output_ratio, counted > 0)
            for times in range(1, int(counted.max()) + 1):
                where = counted >= times
                total += confusion_matrix(part.labels.values[where], predicted[where], number)
        names = tuple(each.name for each in self.scene.classes)
        pixels = {"train": int(drawn.counts[TRAIN].sum()), "test": int(drawn.counts[TEST].sum())}
        facts = {"protocol": PROTOCOLS[protocol], "hash": drawn.hash, "pixels": pixels}
        return Scores(total, names, facts)


def read_scores(path: Path) -> Scores:
    """Read scores that an audit kept; raises RunError for damaged ones or an older version's."""
    try:
        scores = Scores.from_dict(json.loads(path.read_text(encoding="utf-8")))
        _ = {role: int(scores.protocol["pixels"][role]) for role in ("train", "test")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError, RunError) as error:
        raise RunError(
            f"{path} cannot be read, or is of an older version that kept no pixels of its split "
            f"({error!s:.200}); audit into another folder"
        ) from error
    return scores


def _draw_split(
    scene: Scene, name: str, seed: int, context: Context, options: dict[str, Any]
) -> Split:
    try:
        return split(scene, name, seed=seed, context=context, **options)
    except SplitError as error:
        raise SplitError(
            f"{error}. The guard of {options['guard']} label px is as wide as the model "
            f"looks: take smaller crops (--crop), other blocks (--size), or a smaller guard"
        ) from None


def _choose_split(scene: Scene) -> str:
    masks = any(part.labels is not None and part.labels.given is not None for part in scene.parts)
    if not masks:
        return "blocks"
    try:
        split(scene, "official")
    except SplitError:  # they came with this copy only
        return "given"
    return "official"


def _find_reach(config: LandCoverConfig, scene: Scene, window: int) -> int:
    described = describe_layers(scene, config.layers)
    bands = {name: scene.layers[name].bands for name in described}
    model = build_model(config, bands, scene.classes, described, scene.label_ratio)
    return model.reach(window) + scene.reach(described)


def _claim(out: Path, config: LandCoverConfig, scene: Scene, options: dict[str, Any]) -> None:
    """Take the folder for this audit. Raises RunError where it holds something else."""
    now = {
        "audit": options,
        "scene": scene.origin or scene.name,
        "model": {"name": config.name},
        "config": {**config.to_dict(), "scene": "", "split": {}},
    }
    claim_folder(out, "audit.yaml", now, "an audit")
