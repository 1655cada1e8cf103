"""Published scores, and what in them does not fit the benchmark they are said to be of.

A YAML file says what was published, all of it optional but enough to compare:

    benchmark: houston2013                     # counts and order of its classes and masks
    masks: {train: {path: gt.mat, key: tr}, test: {path: gt.mat, key: te}}    # or in its place
    classes: [healthy grass, …]                # of the rows below; by default as the benchmark
    confusion: [[…], …]                        # rows are the truth
    supports: [1053, …]                        # pixels that were scored, per class
    accuracy: [100.0, …]                       # per class, in percent or as shares
    overall_accuracy: 97.31
    average_accuracy: 97.32
    kappa: 97.11                               # likewise, κ or 100 κ
    map: {path: predicted.mat, key: pred}      # codes as in the masks; 0: nothing was predicted
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bandweave.data.benchmarks.catalogue import describe
from bandweave.data.benchmarks.files import read_matrix
from bandweave.errors import ConfigError, GridMismatch
from bandweave.landcover.metrics import map_metrics
from bandweave.schema import from_dict, nearest
from bandweave.yaml_files import read_yaml

MOST_PIXELS = 2**40  # of a class


@dataclass(frozen=True)
class CodeFile:
    """A raster of class codes, 0 for none; `key` in a .mat file."""

    path: Path
    key: str | None = None


@dataclass(frozen=True)
class MaskFiles:
    """Training and test labels of a benchmark."""

    train: CodeFile
    test: CodeFile


@dataclass(frozen=True)
class PublishedFile:
    """The YAML file, as it stands."""

    benchmark: str | None = None
    masks: MaskFiles | None = None
    classes: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    supports: tuple[int, ...] = ()
    accuracy: tuple[float, ...] = ()
    overall_accuracy: float | None = None
    average_accuracy: float | None = None
    kappa: float | None = None
    map: CodeFile | None = None


@dataclass(frozen=True, eq=False)
class Published:
    """What was published, as shares and in one order, beside what is known of the benchmark.

    classes           names, in the order of the rows as published
    places            for each row its place in the benchmark's own order; () where unknown
    train, test       the benchmark's pixels of each row's class; None where unknown
    train_mask, test_mask, predicted   (H, W) codes of the benchmark's order from 1, 0 for none
    """

    classes: tuple[str, ...]
    places: tuple[int, ...] = ()
    train: np.ndarray | None = None
    test: np.ndarray | None = None
    confusion: np.ndarray | None = None
    supports: np.ndarray | None = None
    accuracy: np.ndarray | None = None
    printed: dict[str, float] = field(default_factory=dict)
    train_mask: np.ndarray | None = None
    test_mask: np.ndarray | None = None
    predicted: np.ndarray | None = None


def read_published(path: str | os.PathLike[str]) -> Published:
    """Read the file and whatever it names.

    Raises ConfigError for keys and values that do not fit together, FileError for files that
    cannot be read, GridMismatch for masks and a map of different sizes.
    """
    path = Path(path)
    stored = from_dict(PublishedFile, read_yaml(path), f"{path}:")
    train_mask, test_mask, predicted = _read_rasters(stored, path.parent)
    own: tuple[str, ...] = ()
    train = test = None
    if stored.benchmark is not None:
        known = describe(stored.benchmark).classes.values()
        own = tuple(each.name for each in known)
        if all(each.train is not None and each.test is not None for each in known):
            train, test = (np.array([getattr(c, s) for c in known]) for s in ("train", "test"))
    number = len(own) or max(map(len, (stored.classes, stored.supports, stored.accuracy,
                                       stored.confusion)))  # fmt: skip
    if train_mask is not None and test_mask is not None:
        number = number or int(max(train_mask.max(), test_mask.max()))
        train, test = (_count_codes(mask, number, path) for mask in (train_mask, test_mask))
    if number < 2:
        raise ConfigError(
            f"{path} says nothing that could be compared; give `confusion`, `supports`, "
            f"`accuracy` or `map`, and `benchmark` or `masks`"
        )
    classes = stored.classes or own or tuple(f"class {i + 1}" for i in range(number))
    places = _find_places(classes, own, path) if own else tuple(range(number))
    for name in ("classes", "supports", "accuracy", "confusion"):
        given = getattr(stored, name)
        if given and len(given) != number:
            raise ConfigError(f"{path}: `{name}` has {len(given)} entries for {number} classes")
    if any(len(row) != number for row in stored.confusion):
        raise ConfigError(f"{path}: `confusion` is not square")
    if any(n < 0 for row in (*stored.confusion, stored.supports) for n in row):
        raise ConfigError(f"{path}: counts of pixels are not negative")
    if any(n > MOST_PIXELS for n in (*sum(stored.confusion, ()), *stored.supports)):
        raise ConfigError(f"{path}: a count above {MOST_PIXELS} is no count of pixels")
    printed = {n: v for n in map_metrics() if (v := getattr(stored, n, None)) is not None}
    shares, scale = [*printed.values(), *stored.accuracy], 1.0
    if shares and max(shares) > 1:
        scale = 100.0
    if any(not -1 <= value / scale <= 1 for value in shares):
        raise ConfigError(f"{path}: accuracies are shares, or percent, all in the same way")
    order = list(places)
    return Published(
        classes=classes,
        places=places,
        train=None if train is None else train[order],
        test=None if test is None else test[order],
        confusion=np.array(stored.confusion, np.int64) if stored.confusion else None,
        supports=np.array(stored.supports, np.int64) if stored.supports else None,
        accuracy=np.array(stored.accuracy) / scale if stored.accuracy else None,
        printed={name: value / scale for name, value in printed.items()},
        train_mask=train_mask,
        test_mask=test_mask,
        predicted=predicted,
    )


def _read_rasters(stored: PublishedFile, folder: Path) -> tuple[np.ndarray | None, ...]:
    if stored.map and not stored.masks:
        raise ConfigError("a `map` is compared with masks; give `masks: {train: …, test: …}`")
    entries = [stored.masks.train, stored.masks.test] if stored.masks else [None, None]
    read: list[np.ndarray | None] = []
    for entry in (*entries, stored.map):
        codes = None if entry is None else read_matrix(folder / entry.path, entry.key)
        if codes is not None:
            codes = np.maximum(codes, 0)
        for other in read:
            if codes is None or entry is None or other is None:
                continue
            if codes.shape != other.shape:
                raise GridMismatch(
                    f"masks and map differ in size: {other.shape[0]}×{other.shape[1]} px and "
                    f"{codes.shape[0]}×{codes.shape[1]} px ({entry.path})"
                )
        read.append(codes)
    return tuple(read)


def _count_codes(mask: np.ndarray, number: int, path: Path) -> np.ndarray:
    if mask.max() > number:
        raise ConfigError(f"{path}: a mask holds code {mask.max()}, there are {number} classes")
    return np.bincount(mask.ravel(), minlength=number + 1)[1:]


def _find_places(classes: tuple[str, ...], own: tuple[str, ...], path: Path) -> tuple[int, ...]:
    lowered = [name.lower() for name in own]
    places = []
    for name in classes:
        if name.lower() not in lowered:
            raise ConfigError(f"{path}: no class {name!r}{nearest(name.lower(), lowered)}")
        places.append(lowered.index(name.lower()))
    if len(set(places)) != len(own):
        raise ConfigError(f"{path}: `classes` must name each of the {len(own)} classes once")
    return tuple(places)
