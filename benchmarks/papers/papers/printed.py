"""What papers print, as facts in YAML (benchmarks/papers/published), and what in it does not fit.

A row of a table has figures by scene, in the order of the table's columns, and the protocol that
they were measured under by scene, where that is not the table's. `ours` is the configuration of
bandweave that stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bandweave.data.benchmarks.catalogue import describe
from bandweave.errors import ConfigError
from bandweave.landcover.audit.published import Published
from bandweave.landcover.audit.published_checks import audit_published
from bandweave.schema import from_dict
from bandweave.yaml_files import read_yaml

FOLDER = Path(__file__).parents[1] / "published"
PAPERS = ("m3amba", "cf_ipt", "mambamoe")
AVERAGE = "average"  # of a paper's scenes, in place of a scene

Column = Literal["OA", "AA", "kappa", "parameters", "minutes"]


@dataclass(frozen=True)
class Ours:
    """A configuration of bandweave.

    id       its name among those of the paper; 'full' is the paper's model
    options  of the model, over the paper's `base`
    layers   of the scene's: all, the first (reference), or the others
    """

    id: str
    options: dict[str, Any] = field(default_factory=dict)
    layers: Literal["all", "reference", "others"] = "all"


@dataclass(frozen=True)
class PrintedRow:
    """A row: figures and protocols by scene."""

    name: str
    ours: Ours | None = None
    protocol: dict[str, str] = field(default_factory=dict)
    figures: dict[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table of scores by scene.

    comparison  of methods: others of ours may stand in it
    averaged    the paper prints means over its scenes alone
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    protocol: dict[str, str]
    rows: tuple[PrintedRow, ...]
    comparison: bool = False
    averaged: bool = False
    notes: tuple[str, ...] = ()

    def protocol_of(self, row: PrintedRow, scene: str) -> str:
        """The key of the protocol of a row's figures."""
        return row.protocol.get(scene, self.protocol[scene])


@dataclass(frozen=True)
class Counts:
    """Pixels of each class, in the order of the table's names."""

    train: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class ClassTable:
    """Accuracies of classes, a row each, by methods.

    classes    by the names that are printed; the rows are in the benchmark's own order
    named      the benchmark's names for those that are printed, where the order is another
    otherwise  the protocol of methods that `protocol` does not name
    """

    name: str
    scene: str
    methods: tuple[str, ...]
    ours: dict[str, Ours]
    protocol: dict[str, str]
    otherwise: str
    counts: Counts
    classes: dict[str, tuple[float, ...]]
    OA: tuple[float, ...]
    AA: tuple[float, ...]
    kappa: tuple[float, ...]
    named: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        number = len(self.methods)
        for name, row in {**self.classes, "OA": self.OA, "AA": self.AA, "κ": self.kappa}.items():
            if len(row) != number:
                raise ConfigError(f"{self.name}, {name}: {len(row)} figures of {number} methods")

    def protocol_of(self, method: str) -> str:
        """The key of the protocol of a method's figures."""
        return self.protocol.get(method, self.otherwise)


@dataclass(frozen=True)
class Cost:
    """Parameters and multiply-adds of a model for a scene's bands and classes.

    crop       px: the side of what the multiply-adds are of
    giga_macs  printed or found in the release
    """

    name: str
    bands: dict[str, int]
    classes: int
    text: str
    crop: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    giga_macs: float | None = None


@dataclass(frozen=True)
class Place:
    """How a scene enters: its layers, the split that the paper names, options of its own."""

    layers: tuple[str, ...]
    split: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """How figures were measured: in a few words, and in full."""

    label: str
    text: str


@dataclass(frozen=True)
class Paper:
    """A paper's tables.

    model      the name of its model, which is its preset's
    base       options of the model in all rows
    pca        components that the first layer is reduced to; 0: none
    elsewhere  the split of scenes that the paper does not have
    """

    paper: str
    model: str
    source: str
    base: dict[str, Any]
    scenes: dict[str, Place]
    elsewhere: dict[str, Any]
    protocols: dict[str, Protocol]
    tables: tuple[Table, ...]
    complexity: tuple[Cost, ...]
    class_tables: tuple[ClassTable, ...] = ()
    pca: int = 0

    def __post_init__(self) -> None:
        for table in self.tables:
            for row in table.rows:
                for scene, figures in row.figures.items():
                    if scene not in (*self.scenes, AVERAGE):
                        raise ConfigError(f"{table.name}, {row.name}: no scene {scene!r}")
                    if len(figures) != len(table.columns):
                        raise ConfigError(
                            f"{table.name}, {row.name}, {scene}: {len(figures)} figures for the "
                            f"columns {', '.join(table.columns)}"
                        )
        for key in self._named_protocols():
            if key not in self.protocols:
                raise ConfigError(f"{self.paper}: the protocol {key!r} is not described")

    def _named_protocols(self) -> Iterator[str]:
        for table in self.tables:
            yield from table.protocol.values()
            for row in table.rows:
                yield from row.protocol.values()
        for classes in self.class_tables:
            yield from (*classes.protocol.values(), classes.otherwise)


def read_paper(name: str) -> Paper:
    """One of PAPERS."""
    path = FOLDER / f"{name}.yaml"
    return from_dict(Paper, read_yaml(path), f"{path.name}:")


def misfits(table: ClassTable) -> dict[str, list[str]]:
    """What does not fit in each method's column: OA and AA against accuracies and counts."""
    own = [each.name for each in describe(table.scene).classes.values()]
    named = table.named or own
    rows = np.array(list(table.classes.values())) / 100
    found = {}
    for i, method in enumerate(table.methods):
        printed = {"overall_accuracy": table.OA[i] / 100, "average_accuracy": table.AA[i] / 100}
        published = Published(
            classes=tuple(named),
            places=tuple(own.index(name) for name in named),
            train=np.array(table.counts.train),
            test=np.array(table.counts.test),
            accuracy=rows[:, i],
            printed=printed,
        )
        found[method] = [f.message for f in audit_published(published) if f.kind == "differs"]
        if table.kappa[i] > table.OA[i]:
            found[method].append(
                f"κ is printed as {table.kappa[i]:.2f}, above the overall accuracy of "
                f"{table.OA[i]:.2f}; it cannot exceed it"
            )
    return {method: lines for method, lines in found.items() if lines}


def flat(options: Mapping[str, Any], before: str = "") -> str:
    """Options as the command takes them, in a line.

    >>> flat({"cross": False, "clip": {"mode": "none"}})
    'cross: false, clip.mode: none'
    """
    parts = []
    for key, value in options.items():
        if isinstance(value, Mapping):
            parts.append(flat(value, f"{before}{key}."))
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            parts.append(f"{before}{key}: {text}")
    return ", ".join(parts)
