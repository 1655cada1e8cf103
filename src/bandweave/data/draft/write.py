"""A first draft of a scene file, from the files that a user has."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from bandweave.data.check.labels import find_no_label_codes
from bandweave.data.draft.classes import ClassCount, count_classes
from bandweave.data.draft.group import Group, group
from bandweave.data.draft.look import Looked, Table, Vector, look
from bandweave.data.scenefile.parts import PATTERN, discover_parts
from bandweave.data.scenefile.schema import Code
from bandweave.errors import FileError
from bandweave.raster.alignment import Finer, Same, relation, short_crs
from bandweave.raster.grid import Grid
from bandweave.raster.polygons import read_polygons

_TRAIN = re.compile(r"(?:^|[_\W])(?:tr|train|training)(?=$|[_\W\d]|lab|gt|mask|roi)", re.I)
_TEST = re.compile(r"(?:^|[_\W])(?:te|ts|test|testing)(?=$|[_\W\d]|lab|gt|mask|roi)", re.I)
_FIELDS = ("species", "taxon", "class", "label", "cover", "landuse", "type", "code", "name")


def draft_scene(
    files: Sequence[str | os.PathLike[str]], folder: str | os.PathLike[str] = "."
) -> str:
    """Draft a scene file in YAML for these files, with a comment on each decision.

    Layers are named by their bands (hsi, ms, rgb, sar, lidar, pan); files of one band each that
    belong together make one layer, files of many places parts. A single band of few whole numbers
    is taken as labels, as are polygons; a CSV file as the table to join them with.

    files    or folders, each of which stands for the files in it
    folder   where the scene file will lie: paths beneath it are written relative to it

    Files of no use are named at the end. Raises FileError for a file that does not exist or a
    folder without files, and where no file can be a layer.
    """
    found = look(files)
    groups = group(found.rasters)
    layers = [one for one in groups if not one.is_labels and not one.is_flags]
    if not layers:
        why = "; ".join(found.unused[:5]) or "rasters of measured values are wanted"
        raise FileError(f"none of the {len(files)} files can be a layer: {why}")
    names = _name_layers(layers)
    grid = _choose_grid(names)
    writer = _Writer(Path(folder).resolve())
    writer.line("# A draft: look at each line, then `bandweave scenes check` this file.")
    writer.line(f"grid: {grid}", _say_why_grid(names, grid))
    _write_layers(writer, names, grid)
    _write_parts(writer, [one for one in layers if one.parts], names[grid].raster.grid)
    if not any(one.raster.grid.crs for one in layers):
        placed = names[grid].raster.grid.georeferenced
        what = "a transform and no CRS: state it" if placed else "no georeference"
        writer.line("# crs: EPSG:…", f"the files have {what}")
    labels = [one for one in groups if one.is_labels]
    _write_labels(writer, labels, found, names[grid].raster.grid)
    for one in groups:
        if one.is_flags:
            writer.line(f"# left out: {_name_files(one)}, flags of the pixels' quality by its name")
    for why in found.unused:
        writer.line(f"# left out: {' '.join(why.split())}")
    return "\n".join(writer.lines) + "\n"


class _Writer:
    """Lines of YAML, each with its comment."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lines = folder, []  # type: tuple[Path, list[str]]

    def line(self, text: str, why: str = "") -> None:
        self.lines.append(f"{text}  # {why}" if why else text)

    def path(self, path: str) -> str:
        full = Path(path).resolve() if PATTERN not in path else Path(os.path.abspath(path))
        inside = full.is_relative_to(self.folder)
        return json.dumps(
            str(full.relative_to(self.folder) if inside else full), ensure_ascii=False
        )

    def paths(self, paths: Sequence[str], indent: str) -> None:
        if len(paths) == 1:
            self.line(f"{indent}path: {self.path(paths[0])}")
            return
        self.line(f"{indent}path:")
        for path in paths:
            self.line(f"{indent}  - {self.path(path)}")


# ------------------------------------------------------------------------------------------ layers


def _name_layers(layers: Sequence[Group]) -> dict[str, Group]:
    names: dict[str, Group] = {}
    for one in layers:
        name, number = one.kind, 1
        while name in names:
            number += 1
            name = f"{one.kind}{number}"
        names[name] = one
    return names


def _choose_grid(names: dict[str, Group]) -> str:
    """Choose the hyperspectral layer's grid, else the multispectral's, else the coarsest."""
    for name in ("hsi", "ms"):
        if name in names:
            return name
    return max(names, key=lambda name: _rank_grid(names[name].raster.grid))


def _rank_grid(grid: Grid) -> tuple[float, int]:
    return (grid.pixel_size[0] if grid.georeferenced else 0.0, -grid.height * grid.width)


def _say_why_grid(names: dict[str, Group], grid: str) -> str:
    if len(names) == 1:
        return "the only layer"
    why = "most bands" if grid in ("hsi", "ms") else "the coarsest"
    return f"{why}; the others are brought to its pixels"


def _write_layers(writer: _Writer, names: dict[str, Group], grid: str) -> None:
    reference = names[grid].raster.grid
    writer.line("layers:")
    for name, one in names.items():
        raster = one.raster
        facts = f"{one.bands} band{'s' if one.bands > 1 else ''} of {raster.dtype}, {raster.grid}"
        if raster.wavelengths:
            facts += f", {min(raster.wavelengths):g} to {max(raster.wavelengths):g} nm"
        lines, why, fits = _fit(raster.grid, reference)
        if not fits:
            writer.line(f"  # {name} left out: {_name_files(one)} ({facts}) {why}")
            continue
        writer.line(f"  {name}:", facts)
        writer.paths(one.paths, "    ")
        if raster.key:
            writer.line(f"    key: {json.dumps(raster.key)}")
        for text in lines if name != grid else []:
            writer.line(f"    {text}", why)
            why = ""


def _write_parts(writer: _Writer, layers: Sequence[Group], reference: Grid) -> None:
    """Write that all parts count, or list the named ones that have a file of every layer."""
    layers = [one for one in layers if _fit(one.raster.grid, reference)[2]]
    if not layers:
        return
    given = list(dict.fromkeys(part for one in layers for part in one.parts))
    whole = [part for part in given if all(part in one.parts for one in layers)] or given
    beside = set().union(*(discover_parts(one.paths[0]) for one in layers)) - set(given)
    if len(whole) == len(given) and not beside:
        writer.line("parts: all", f"{len(given)} found: {_list_some(given)}")
        return
    lacking = [part for part in given if part not in whole]
    why = (
        f"without a file of each layer: {_list_some(lacking)}"
        if lacking
        else "those that were named"
    )
    writer.line(f"parts: {json.dumps(whole, ensure_ascii=False)}", why)


def _name_files(one: Group) -> str:
    return f"{one.paths[0]}{f':{one.raster.key}' if one.raster.key else ''}"


def _fit(grid: Grid, reference: Grid) -> tuple[list[str], str, bool]:
    """Write the lines that bring a grid to the reference, why, and whether that can be."""
    found = relation(grid, reference)
    if isinstance(found, Same):
        return [], "", True
    if isinstance(found, Finer):
        return [f"ratio: {found.ratio}"], "finer, with the same corner: kept as it is", True
    if not (grid.georeferenced and reference.georeferenced):
        return [], f"does not fit {reference} and has no place to be warped by", False
    lines, why = ["warp: bilinear"], f"lies otherwise ({found.reason}): warped to the grid"
    if grid.crs == reference.crs:
        ratio = round(reference.pixel_size[0] / grid.pixel_size[0])
        if ratio > 1:
            lines.append(f"ratio: {ratio}")
            why += f" {ratio} times finer, to keep its detail"
    elif not (grid.crs and reference.crs):
        return [], "cannot be warped: state its `crs`", False
    else:
        why += f", from {short_crs(grid.crs)} to {short_crs(reference.crs)}"
    return lines, why, True


# ------------------------------------------------------------------------------------------ labels


def _write_labels(writer: _Writer, labels: Sequence[Group], found: Looked, grid: Grid) -> None:
    if labels and found.vectors:
        writer.line(
            "# polygons or points left out, as there are label rasters: "
            + _list_some([vector.path for vector in found.vectors])
        )
    if labels:
        _write_raster_labels(writer, labels, grid)
    elif found.vectors:
        _write_polygons(writer, found.vectors, found.tables)
    else:
        writer.line("# no labels among the files: this scene can be mapped, not trained on")


def _write_raster_labels(writer: _Writer, labels: Sequence[Group], reference: Grid) -> None:
    train = [one for one in labels if _TRAIN.search(one.raster.name)]
    test = [one for one in labels if _TEST.search(one.raster.name) and one not in train]
    writer.line("labels:", "a single band of few whole numbers")
    if len(train) == 1 and len(test) == 1:
        chosen = {"train": train[0], "test": test[0]}
        for role, one in chosen.items():
            writer.line(f"  {role}:", "by its name")
            _write_label(writer, one, reference, "    ")
    else:
        chosen = {"": labels[0]}
        _write_label(writer, labels[0], reference, "  ")
    for one in labels:
        if one not in chosen.values():
            writer.line(f"# left out: {_name_files(one)}, labels too")
    counts: Counter[int] = Counter()
    for one in chosen.values():
        for raster in one.members or [one.raster]:
            counts.update(raster.codes or {})
    odd = find_no_label_codes(Counter(counts))
    none = [0, *odd] if 0 in counts and not any(code < 0 for code in odd) else odd
    if none:
        why = ", ".join(f"{code}: {counts.pop(code)} px" for code in none)
        if 0 in counts:
            why += "; no data, so that 0 is a class: is it?"
        else:
            why += f"; {_list_some([str(code) for code in none])} most often no label"
        writer.line(f"ignore: [{', '.join(map(str, none))}]", why)
    if not counts:
        writer.line("# classes: no code but 0 was found")
        return
    names: dict[Code, str] = {code: f"class {code}" for code in sorted(counts)}
    for code, own in _keep_classes(writer, names).items():
        pixels = own.pixels if own else counts[int(code)]
        writer.line(f"  {code}: {names[code]}", f"{pixels} px; give it its name")


def _keep_classes(writer: _Writer, names: Mapping[Code, str]) -> dict[Code, ClassCount | None]:
    """Write the line before the classes and those that are left out; return those to write.

    A class is left out where it has no pixel with data. Without any such pixel all labels are.
    """
    counts = count_classes("\n".join(writer.lines), writer.folder, names)
    if counts is None:  # of other parts' files, say, that the pattern finds too
        writer.line("classes:")
        return dict.fromkeys(names)
    kept: dict[Code, ClassCount | None] = {
        code: count for code, count in counts.items() if count.pixels
    }
    if not kept:
        start = next(i for i, line in enumerate(writer.lines) if line.startswith("labels:"))
        writer.lines[start:] = [f"# {line}" for line in writer.lines[start:]]
        writer.line("# labels left out: none has a pixel where the layers have data")
        return {}
    absent = [str(code) for code in names if code not in kept]
    if absent and not any(line.startswith("others:") for line in writer.lines):
        writer.line("others: ignore", "codes that `classes` does not name")
    writer.line("classes:")
    if absent:
        writer.line(f"  # without a pixel here: {_list_some(absent, 20)}")
    return kept


def _write_label(writer: _Writer, one: Group, reference: Grid, indent: str) -> None:
    writer.paths(one.paths, indent)
    if one.raster.key:
        writer.line(f"{indent}key: {json.dumps(one.raster.key)}")
    found = relation(one.raster.grid, reference)
    if isinstance(found, Finer):
        writer.line(f"{indent}ratio: {found.ratio}", "finer than the grid")
    elif not isinstance(found, Same):
        writer.line(f"{indent}warp: nearest", f"lies otherwise than the grid: {found.reason}")


def _write_polygons(writer: _Writer, vectors: Sequence[Vector], tables: Sequence[Table]) -> None:
    paths = [vector.path for vector in vectors]
    rows = Counter({name: sum(values.values()) for name, values in _merge_fields(vectors).items()})
    join = _find_join(vectors, tables)
    own = {name: len(values) for name, values in _merge_fields(vectors).items()}
    candidates = _rank_fields(own, rows)
    if join:
        table, on = join
        values = {name: set(column) for name, column in table.columns.items() if name != on}
        sizes = {name: len(column) for name, column in table.columns.items()}
        candidates += _rank_fields({name: len(few) for name, few in values.items()}, Counter(sizes))
        candidates.sort(key=_rank_field)
    if not candidates:
        writer.line(
            "# labels: no field of the vector file looks like a class; choose one yourself:"
        )
        writer.line(f"#   path: {writer.path(paths[0])}")
        writer.line(f"#   field: {_list_some(list(own)) or 'they have none'}")
        return
    field = candidates[0][0]
    others = [name for name, _ in candidates[1:]]
    from_table = join is not None and field in join[0].columns
    mapping = {"csv": join[0].path, "on": join[1]} if join and from_table else None
    polygons = read_polygons(paths, field, join=mapping)
    writer.line("labels:", polygons.noun)
    writer.paths(paths, "  ")
    also = f"; or {_list_some(others)}" if others else ""
    writer.line(f"  field: {json.dumps(field)}", f"{candidates[0][1]} values{also}")
    if join and from_table:
        text = f"{{csv: {writer.path(join[0].path)}, on: {json.dumps(join[1])}}}"
        writer.line(f"  join: {text}", "the table has the same column")
    one = polygons.noun.removesuffix("s")
    if one == "point":
        writer.line("  overlap: last", "a pixel with several points is the last one's in the file")
    else:
        writer.line("  overlap: smallest", f"a pixel in several {one}s is the smallest's")
        writer.line("  all_touched: false", f"{one}s own pixels whose centre they hold")
    writer.line("others: ignore", "codes that `classes` does not name: delete what is not wanted")
    codes = Counter(polygons.codes)
    names = {code: f"class {code}" if isinstance(code, int) else str(code) for code in codes}
    kept = _keep_classes(writer, names)
    counts = {code: own.polygons or 0 if own else codes[code] for code, own in kept.items()}
    for code, count in sorted(counts.items(), key=lambda item: (-item[1], str(item[0]))):
        writer.line(
            f"  {json.dumps(code)}: {json.dumps(names[code])}",
            f"{count} {one}{'s' if count > 1 else ''}",
        )


def _merge_fields(vectors: Sequence[Vector]) -> dict[str, Counter]:
    """Merge the values of the fields that all files have."""
    shared = [name for name in vectors[0].fields if all(name in one.fields for one in vectors)]
    return {name: sum((one.fields[name] for one in vectors), Counter()) for name in shared}


def _find_join(vectors: Sequence[Vector], tables: Sequence[Table]) -> tuple[Table, str] | None:
    """Find the table that shares a column with the polygons, and half of that column's values."""
    best: tuple[float, Table, str] | None = None
    for table in tables:
        for name, values in _merge_fields(vectors).items():
            shared = len(set(values) & set(table.columns.get(name, ()))) / max(len(values), 1)
            if shared >= 0.5 and (best is None or shared > best[0]):
                best = (shared, table, name)
    return best and best[1:]


def _rank_fields(distinct: dict[str, int], rows: Counter[str]) -> list[tuple[str, int]]:
    """Rank fields that can be a class: few values, each of several polygons; the best first."""
    few = [
        (name, count)
        for name, count in distinct.items()
        if 2 <= count <= 64 and count <= 0.8 * rows[name]
    ]
    return sorted(few, key=_rank_field)


def _rank_field(candidate: tuple[str, int]) -> tuple[int, int]:
    name, count = candidate
    hints = [i for i, hint in enumerate(_FIELDS) if hint in name.lower()]
    return (min(hints, default=len(_FIELDS)), -count)


def _list_some(names: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(str(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
