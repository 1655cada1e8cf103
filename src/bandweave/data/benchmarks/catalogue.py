"""Facts on the field's benchmark scenes: files, shapes, classes, masks, terms.

Each is a YAML file in `benchmarks/`. A benchmark comes in several known copies (variants) that hold
the same pixels under other names.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Literal

from bandweave.data.scene import ClassInfo
from bandweave.errors import ConfigError
from bandweave.schema import from_dict, nearest
from bandweave.yaml_files import read_yaml

NAMES = (
    "houston2013",
    "augsburg",
    "muufl",
    "trento",
    "berlin",
    "houston2018",
    "pavia_university",
    "indian_pines",
    "salinas",
    "whu_hi_hanchuan",
)


@dataclass(frozen=True)
class BenchmarkFile:
    """A file, by the name it is passed on under, anywhere below the folder.

    key          the variable in a .mat; `a.b[0].c` goes into structures; the only array if unset
    sha256       of the known copy; None where no copy was at hand to those who published it
    wavelengths  key of the wavelengths in the same file
    """

    file: str
    key: str | None = None
    sha256: str | None = None
    wavelengths: str | None = None


@dataclass(frozen=True)
class BenchmarkLayer:
    """A layer as published: number of bands, sensor, units, wavelengths in nm."""

    bands: int
    sensor: str
    units: str | None = None
    wavelengths: tuple[float, ...] | None = None


@dataclass(frozen=True)
class BenchmarkClass:
    """A class with its published pixel counts: in the masks, or in all where there are none."""

    name: str
    color: str
    train: int | None = None
    test: int | None = None
    labelled: int | None = None

    @property
    def total(self) -> int | None:
        """All labelled pixels; None where no count was published."""
        if self.train is not None and self.test is not None:
            return self.train + self.test
        return self.labelled


@dataclass(frozen=True)
class Variant:
    """One known copy of a benchmark.

    roles   official: the published masks; given: lists that came with this copy only; none
    layers  one file each; a copy may lack some of the benchmark's layers
    labels  codes of all labelled pixels, alone or with `train` and `test` as lists of places
    train, test  masks of codes, or ENVI regions of interest (.txt), or lists into `labels`
    bands   where this copy's number differs
    fetch   the function of rs-fusion-datasets that downloads it
    """

    about: str
    roles: Literal["official", "given", "none"]
    layers: dict[str, BenchmarkFile]
    labels: BenchmarkFile | None = None
    train: BenchmarkFile | None = None
    test: BenchmarkFile | None = None
    bands: dict[str, int] | None = None
    fetch: str | None = None

    @property
    def files(self) -> tuple[BenchmarkFile, ...]:
        """All its files, layers first."""
        others = (self.labels, self.train, self.test)
        return (*self.layers.values(), *(file for file in others if file))

    def band_count(self, layer: str, published: BenchmarkLayer) -> int:
        """Bands of a layer in this copy."""
        return (self.bands or {}).get(layer, published.bands)


@dataclass(frozen=True)
class Benchmark:
    """A benchmark scene as published.

    shape    rows and columns of the grid
    pixel    side of a pixel, metres
    grid     the reference layer
    classes  by code, in order
    crs      of files with coordinates that name none
    """

    name: str
    title: str
    shape: tuple[int, int]
    pixel: float
    grid: str
    layers: dict[str, BenchmarkLayer]
    classes: dict[int, BenchmarkClass]
    variants: dict[str, Variant]
    licence: str
    source: str
    citation: str
    notes: tuple[str, ...] = ()
    crs: str | None = None

    @property
    def official(self) -> bool:
        """Official masks exist."""
        return any(variant.roles == "official" for variant in self.variants.values())

    @property
    def class_infos(self) -> tuple[ClassInfo, ...]:
        """The classes as a scene has them."""
        return tuple(ClassInfo(code, c.name, c.color) for code, c in self.classes.items())


def benchmark_names() -> tuple[str, ...]:
    """The names of the known benchmarks.

    >>> benchmark_names()[:3]
    ('houston2013', 'augsburg', 'muufl')
    """
    return NAMES


def describe(name: str) -> Benchmark:
    """What is known of a benchmark; ConfigError for a name that is not known.

    >>> houston = describe("houston2013")
    >>> houston.shape, len(houston.classes), sum(c.test for c in houston.classes.values())
    ((349, 1905), 15, 12197)
    """
    if name not in NAMES:
        raise ConfigError(f"no benchmark is named '{name}'{nearest(name, NAMES)}")
    with as_file(files("bandweave.data.benchmarks") / f"{name}.yaml") as path:
        content = read_yaml(path)
    return from_dict(Benchmark, {"name": name, **content}, f"{name}.yaml:")
