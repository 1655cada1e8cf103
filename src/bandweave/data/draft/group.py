"""Groups of files that belong together: bands of one layer, parts of one scene."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bandweave.data.draft.look import FLAGS, HEIGHTS, LABELS, PANS, RADAR, RGB, THERMAL, Raster
from bandweave.data.scenefile.parts import PATTERN
from bandweave.raster.alignment import Same, relation
from bandweave.raster.formats.gdal.reader import EnviReader
from bandweave.raster.grid import Grid

_BAND = re.compile(r"^(?P<before>.*?)(?:b|band)_?(?P<band>\d+[a-z]?)$", re.I)


_POLARISATION = re.compile(r"(?:^|[_\W])(?:vv|vh|hh|hv)(?=$|[_\W\d])", re.I)


@dataclass
class Group:
    """Files that make one layer, or labels, in one or many parts.

    paths    one path, or one a band; holding {part} where there are parts
    raster   the first of them, for what they share
    parts    names of the parts; empty for one place
    members  the rasters of all parts, where there are parts
    """

    paths: list[str]
    raster: Raster
    bands: int
    parts: list[str] = field(default_factory=list)
    members: list[Raster] = field(default_factory=list)

    @property
    def is_flags(self) -> bool:
        """A band that tells of each pixel's quality, as Landsat and its kin have beside theirs."""
        return self.bands == 1 and bool(FLAGS.search(self.raster.name))

    @property
    def is_labels(self) -> bool:
        """A band of few whole numbers, whose name speaks for labels or against nothing else."""
        if self.raster.codes is None or self.bands != 1 or self.is_flags:
            return False
        words = self.raster.words
        other = HEIGHTS.search(words) or RADAR.search(words) or PANS.search(words)
        return bool(LABELS.search(words)) or not other

    @property
    def kind(self) -> str:
        """A name for the layer: hsi, ms, rgb, sar, lidar, pan."""
        words = self.raster.words
        polarised = all(_POLARISATION.search(name) for name in self.raster.names or ("",))
        if (polarised or RADAR.search(words)) and self.bands < 32:
            return "sar"
        if self.bands >= 32:
            return "hsi"
        if self.bands in (3, 4) and (self.raster.dtype.name == "uint8" or RGB.search(words)):
            return "rgb"
        if self.bands > 1:
            return "ms"
        if THERMAL.search(words):
            return "thermal"
        return "lidar" if HEIGHTS.search(words) or self.raster.dtype.kind == "f" else "pan"


def group(rasters: Sequence[Raster]) -> list[Group]:
    """Group bands into layers, and places into parts; what stands alone is a group of one."""
    left = _drop_envi_twins(rasters)
    groups: list[Group] = []
    for find in (_group_by_band, _group_by_folder, _group_by_name):
        for found, members in find(left):
            groups.append(found)
            left = [raster for raster in left if raster not in members]
    groups += [Group([raster.path], raster, raster.bands) for raster in left]
    return sorted(groups, key=lambda one: (-one.bands, one.paths))


def _drop_envi_twins(rasters: Sequence[Raster]) -> list[Raster]:
    """Drop ENVI files whose header is there: both are one raster."""
    headers = {Path(raster.path).with_suffix("") for raster in rasters if _is_header(raster)}

    def is_data(raster: Raster) -> bool:
        path = Path(raster.path)
        return not _is_header(raster) and not headers.isdisjoint({path, path.with_suffix("")})

    return [raster for raster in rasters if not is_data(raster)]


def _is_header(raster: Raster) -> bool:
    return isinstance(raster.reader, EnviReader)


def _group_by_band(rasters: Sequence[Raster]) -> list[tuple[Group, list[Raster]]]:
    """Group files of one band: …_B1, …_B2, … of one grid."""
    series: dict[tuple[str, str], list[tuple[int, str, Raster]]] = {}
    for raster in rasters:
        match = _BAND.match(Path(raster.path).stem)
        if match and raster.bands == 1 and raster.key is None:
            folder = str(Path(raster.path).parent)
            number = int(re.sub(r"\D", "", match["band"]))
            series.setdefault((folder, match["before"]), []).append((number, match["band"], raster))
    found = []
    for members in series.values():
        ordered = [raster for _, _, raster in sorted(members, key=lambda member: member[:2])]
        while ordered:
            first = ordered[0]
            same = [one for one in ordered if isinstance(relation(one.grid, first.grid), Same)]
            ordered = [one for one in ordered if one not in same]
            if len(same) > 1:
                found.append((Group([one.path for one in same], first, len(same)), same))
    return found


def _group_by_folder(rasters: Sequence[Raster]) -> list[tuple[Group, list[Raster]]]:
    """Group parts that have a folder a layer: HSI/{part}.tif."""
    folders: dict[tuple[Path, str, int], list[Raster]] = {}
    for raster in rasters:
        file = Path(raster.path)
        folders.setdefault((file.parent, file.suffix, raster.bands), []).append(raster)
    found = []
    for (folder, suffix, bands), members in folders.items():
        if len(members) > 1 and _lie_apart([member.grid for member in members]):
            stems = [Path(member.path).stem for member in members]
            before, after = _find_shared(stems)
            names = [stem[len(before) : len(stem) - len(after)] for stem in stems]
            path = str(folder / f"{before}{PATTERN}{after}{suffix}")
            found.append((Group([path], members[0], bands, sorted(names), members), members))
    return found


def _group_by_name(rasters: Sequence[Raster]) -> list[tuple[Group, list[Raster]]]:
    """Group parts that have a folder of their own: {part}/hsi.tif."""
    names: dict[tuple[Path, int], list[Raster]] = {}
    for raster in rasters:
        path = Path(raster.path)
        pattern = path.parent.parent / PATTERN / path.name
        names.setdefault((pattern, raster.bands), []).append(raster)
    found = []
    for (pattern, bands), members in names.items():
        if len(members) > 1 and _lie_apart([member.grid for member in members]):
            parts = sorted(Path(member.path).parent.name for member in members)
            found.append((Group([str(pattern)], members[0], bands, parts, members), members))
    return found


def _lie_apart(grids: Sequence[Grid]) -> bool:
    """Tell whether each lies in another place: no two share half of the smaller."""
    if not all(grid.georeferenced for grid in grids):
        return False
    for one, other in itertools.combinations(grids, 2):
        left, bottom, right, top = one.bounds
        west, south, east, north = other.bounds
        width, height = min(right, east) - max(left, west), min(top, north) - max(bottom, south)
        smaller = min((right - left) * (top - bottom), (east - west) * (north - south))
        if max(width, 0) * max(height, 0) > smaller / 2:
            return False
    return True


def _find_shared(stems: Sequence[str]) -> tuple[str, str]:
    """Find what all begin and end with, up to a separator."""
    before = _find_beginning(stems)
    return before, _find_beginning([stem[len(before) :][::-1] for stem in stems])[::-1]


def _find_beginning(texts: Sequence[str]) -> str:
    columns = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    return re.sub(r"[A-Za-z0-9]+$", "", "".join(letters[0] for letters in columns))
