"""Benchmarks from a folder of files: what is missing or differs, and the scene."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bandweave.data.benchmarks.catalogue import Benchmark, BenchmarkFile, Variant, describe
from bandweave.data.benchmarks.files import (
    find_files,
    pick,
    read_matrix,
    sha256,
)
from bandweave.data.scene import IGNORED, Labels, Layer, Part, Scene
from bandweave.data.splits.roles import TEST, TRAIN, UNUSED
from bandweave.errors import BandweaveError, ConfigError, FileError, GridMismatch, LabelError
from bandweave.raster.bands import override_bands, to_nanometres
from bandweave.raster.formats.array_files import ArrayReader
from bandweave.raster.open import assign_crs, open_source
from bandweave.raster.readers import recognise
from bandweave.raster.source import WindowSource
from bandweave.schema import join_words, nearest


@dataclass(frozen=True)
class Finding:
    """Something about a benchmark's folder.

    kind   missing: no such file or key; differs: not what was published; note: worth knowing
    """

    kind: Literal["missing", "differs", "note"]
    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.file}: {self.message}" if self.file else self.message


def check(
    name: str | Benchmark, folder: str | os.PathLike[str], variant: str | None = None
) -> list[Finding]:
    """Compare a folder with what is known of a benchmark: files, keys, shapes, counts, checksums.

    The copy that most of the files belong to is taken unless `variant` names one; which it was is
    the first finding, a note. Nothing is wrong where all findings are notes. Raises FileError for a
    folder that is not there, ConfigError for a name or variant that is not known.
    """
    benchmark, found, chosen = _choose(name, folder, variant)
    copy = benchmark.variants[chosen]
    findings = [Finding("note", "", f"{benchmark.name}, copy '{chosen}': {copy.about}")]
    for file in dict.fromkeys(entry.file for entry in copy.files):
        if file.lower() not in found:
            findings.append(Finding("missing", file, "not in the folder, nor below it"))
    for layer, entry in copy.layers.items():
        if entry.file.lower() in found:
            try:
                _open_layer(benchmark, copy, layer, found)
            except (FileError, GridMismatch) as error:
                findings.append(_from_error(entry, error))
    for entry in copy.files:
        path = found.get(entry.file.lower())
        if entry.sha256 and path and sha256(path) != entry.sha256:
            findings.append(
                Finding("note", entry.file, "not the known copy (another SHA-256); its facts count")
            )
    return findings + _check_labels(benchmark, copy, found)


def benchmark_scene(
    name: str | Benchmark, folder: str | os.PathLike[str], variant: str | None = None
) -> Scene:
    """Open a benchmark from the folder that holds its files.

    Official masks become `Labels.given` (TRAIN, TEST) and make the scene `official` if their counts
    are the published ones; lists that only came with a copy are given and not official.

    name     one of `benchmark_names()`
    folder   holds the files, at any depth
    variant  which copy, where the folder holds several

    Raises FileError for a file that is missing, unreadable or lacks a key; GridMismatch for another
    size than published; LabelError for masks that overlap or hold unknown codes; ConfigError for a
    name that is not known.
    """
    benchmark, found, chosen = _choose(name, folder, variant)
    copy = benchmark.variants[chosen]
    missing = [
        file
        for file in dict.fromkeys(entry.file for entry in copy.files)
        if file.lower() not in found
    ]
    if missing:
        raise FileError(
            f"{benchmark.name}: {join_words(missing, 'and')} not in {folder}. "
            f"{instructions(benchmark)}"
        )
    sources = {layer: _open_layer(benchmark, copy, layer, found) for layer in copy.layers}
    codes, given = _read_labels(benchmark, copy, found)
    values = np.full(codes.shape, IGNORED, np.int16)
    for index, code in enumerate(benchmark.classes):
        values[codes == code] = index
    notes = [f"{benchmark.name}, copy '{chosen}': {copy.about}", *benchmark.notes]
    differing = _check_counts(benchmark, copy, codes, given)
    notes += [f"{finding.file}: {finding.message}" for finding in differing]
    official = copy.roles == "official" and not differing
    if copy.roles == "official" and differing:
        notes.append("these masks are given, not official: their counts are not the published ones")
    part = Part(
        benchmark.name,
        sources[benchmark.grid].grid,
        {layer: Layer(source) for layer, source in sources.items()},
        Labels(values, given=given),
    )
    return Scene(
        name=benchmark.name,
        parts=(part,),
        reference=benchmark.grid,
        classes=benchmark.class_infos,
        official=official,
        origin=f"benchmark_scene({benchmark.name!r}, {os.fspath(folder)!r}, {chosen!r})",
        notes=notes,
    )


def get(name: str, folder: str | os.PathLike[str]) -> Path:
    """Download a benchmark through rs-fusion-datasets into a folder, which is returned.

    Only on request, and only where that package (the extra `download`) offers the benchmark. Raises
    FileError that says where to get which files otherwise.
    """
    benchmark = describe(name)
    fetch = next((copy.fetch for copy in benchmark.variants.values() if copy.fetch), None)
    if fetch is None:
        raise FileError(f"{name} cannot be downloaded from here. {instructions(benchmark)}")
    try:
        import rs_fusion_datasets
    except ImportError:
        raise FileError(
            f"downloading {name} needs rs-fusion-datasets: pip install 'bandweave[download]'. "
            f"{instructions(benchmark)}"
        ) from None
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        getattr(rs_fusion_datasets, fetch)(data_home=target)
    except Exception as error:  # a download fails in as many ways as there are servers
        raise FileError(
            f"{name} could not be downloaded by rs-fusion-datasets ({error}). "
            f"{instructions(benchmark)}"
        ) from error
    return target


def instructions(benchmark: Benchmark) -> str:
    """Say where to get which files."""
    copies = "; or ".join(
        join_words(dict.fromkeys(entry.file for entry in copy.files), "and")
        for copy in benchmark.variants.values()
    )
    return (
        f"Get it from: {benchmark.source}. Put in one folder: {copies}. Terms: {benchmark.licence}"
    )


def _choose(
    name: str | Benchmark, folder: str | os.PathLike[str], variant: str | None
) -> tuple[Benchmark, dict[str, Path], str]:
    """The benchmark, the folder's files by name, and the copy that most of them belong to."""
    benchmark = describe(name) if isinstance(name, str) else name
    found = find_files(Path(folder))
    if variant is not None:
        if variant not in benchmark.variants:
            raise ConfigError(
                f"{benchmark.name} has no copy '{variant}'{nearest(variant, benchmark.variants)}"
            )
        return benchmark, found, variant

    def present(copy: Variant) -> tuple[bool, int]:
        names = {entry.file.lower() for entry in copy.files}
        return names <= found.keys(), len(names & found.keys())

    return benchmark, found, max(benchmark.variants, key=lambda v: present(benchmark.variants[v]))


def _open_layer(
    benchmark: Benchmark, copy: Variant, layer: str, found: dict[str, Path]
) -> WindowSource:
    facts, entry = benchmark.layers[layer], copy.layers[layer]
    path, bands = found[entry.file.lower()], copy.band_count(layer, facts)
    shape = benchmark.shape
    source = open_source(path, key=entry.key, shape=shape)
    if (source.grid.height, source.grid.width, source.bands) != (*shape, bands):
        raise GridMismatch(
            f"{path}{f':{entry.key}' if entry.key else ''} is {source.grid.height}×"
            f"{source.grid.width} px of {source.bands} bands; {benchmark.name}'s {layer} is "
            f"{shape[0]}×{shape[1]} px of {bands}"
        )
    source.info = override_bands(source.info, bands, None, facts.units)
    wavelengths = facts.wavelengths if bands == facts.bands else None
    if entry.wavelengths:
        stored = recognise(path, ArrayReader).open_array(path, entry.wavelengths).array
        wavelengths = to_nanometres([float(value) for value in np.ravel(stored)])
    if wavelengths and len(wavelengths) == bands and source.info.wavelengths is None:
        source.info = override_bands(source.info, bands, wavelengths, None)
    if benchmark.crs and source.grid.georeferenced and source.grid.crs is None:
        source.grid = assign_crs(source.grid, benchmark.crs, str(path))
    return source


def _read_labels(
    benchmark: Benchmark, copy: Variant, found: dict[str, Path]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Codes (H, W), 0 where there are none, and roles (H, W) uint8 or None."""
    every = _read_codes(benchmark, copy.labels, found) if copy.labels else None
    if copy.train is None or copy.test is None:
        assert every is not None, "a copy has labels, or masks"
        return every, None
    masks = []
    for entry in (copy.train, copy.test):
        path = found[entry.file.lower()]
        if every is not None:
            masks.append(pick(every, read_matrix(path, entry.key), f"{path}:{entry.key}"))
        else:
            masks.append(_read_codes(benchmark, entry, found))
    train, test = masks
    both = int(((train > 0) & (test > 0)).sum())
    if both:
        raise LabelError(
            f"{benchmark.name}: {both} px are both training and test in {copy.train.file} and "
            f"{copy.test.file}; scores on them would mean nothing"
        )
    given = np.where(train > 0, TRAIN, np.where(test > 0, TEST, UNUSED)).astype(np.uint8)
    return train + test, given


def _read_codes(benchmark: Benchmark, entry: BenchmarkFile, found: dict[str, Path]) -> np.ndarray:
    path = found[entry.file.lower()]
    codes = read_matrix(path, entry.key, benchmark.shape)
    if codes.shape != benchmark.shape:
        where = f"{path}:{entry.key}" if entry.key else f"{path}"
        raise GridMismatch(
            f"{where} is {codes.shape[0]}×{codes.shape[1]} px; {benchmark.name} is "
            f"{benchmark.shape[0]}×{benchmark.shape[1]} px"
        )
    codes[codes < 0] = 0  # some copies write -1
    unknown = sorted(set(np.unique(codes).tolist()) - {0, *benchmark.classes})
    if unknown:
        raise LabelError(
            f"{path}: the codes {join_words(unknown, 'and')} are no classes of {benchmark.name}, "
            f"which has 1 to {max(benchmark.classes)}"
        )
    return codes


def _check_labels(benchmark: Benchmark, copy: Variant, found: dict[str, Path]) -> list[Finding]:
    entries = [entry for entry in (copy.labels, copy.train, copy.test) if entry]
    if any(entry.file.lower() not in found for entry in entries):
        return []
    try:
        codes, given = _read_labels(benchmark, copy, found)
    except (FileError, GridMismatch, LabelError) as error:
        at_fault = (entry for entry in entries if entry.file in str(error))
        return [_from_error(next(at_fault, entries[0]), error)]
    return _check_counts(benchmark, copy, codes, given)


def _check_counts(
    benchmark: Benchmark, copy: Variant, codes: np.ndarray, given: np.ndarray | None
) -> list[Finding]:
    """Classes whose pixel counts are not the published ones."""
    findings = []
    compared: list[tuple[BenchmarkFile | None, np.ndarray, str]]
    if given is None or copy.roles == "given":
        compared = [(copy.labels, codes, "total")]
    else:
        compared = [
            (copy.train, codes[given == TRAIN], "train"),
            (copy.test, codes[given == TEST], "test"),
        ]
    for entry, selected, role in compared:
        counts = Counter(selected[selected > 0].tolist())
        for code, facts in benchmark.classes.items():
            published = getattr(facts, role)
            if published is not None and counts[code] != published:
                findings.append(
                    Finding(
                        "differs",
                        entry.file if entry else "",
                        f"class {code} ({facts.name}) has {counts[code]} pixels, "
                        f"published are {published}",
                    )
                )
    return findings


def _from_error(entry: BenchmarkFile, error: BandweaveError) -> Finding:
    kind: Literal["missing", "differs"] = "missing" if "has no" in str(error) else "differs"
    return Finding(kind, entry.file, str(error))
