"""What the campaigns once found does not come back, and what they begin with is whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .kinds import KINDS
from .verdict import make, read_all, try_input

REPLAYED = [
    ("mat:v5", 66),
    ("mat:v5", 95),
    ("mat:v5", 150),
    ("mat:v73", 119),
    ("netcdf:cube", 218),
    ("npy:cube", 23),
    ("yaml:scene", 198),
    ("yaml:scene", 202),
    ("yaml:parts", 133),
    ("yaml:compare", 68),
    ("yaml:compare", 80),
    ("yaml:compare", 82),
    ("yaml:compare", 104),
    ("yaml:compare", 208),
    ("yaml:compare", 214),
    ("yaml:compare", 1324),
    ("yaml:compare", 2053),
    ("yaml:run", 59),
    ("json:cell", 6),
    ("json:cell", 98),
    ("json:results", 123),
    ("json:results", 234),
    ("json:scores", 175),
    ("clip:files", 15),
    ("clip:files", 117),
    ("clip:files", 157),
    ("clip:files", 570),
    ("clip:files", 593),
    ("clip:files", 1746),
    ("ckpt:tree", 0),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """whole("vec:shp") -> the folder of the whole input; kinds that are written alike share it."""
    made: dict[object, Path] = {}

    def folder(name: str) -> Path:
        write = KINDS[name].write
        if write not in made:
            made[write] = make(name, tmp_path_factory.mktemp("inputs"))
        return made[write]

    return folder


@pytest.mark.parametrize("name", KINDS)
def test_a_whole_input_is_read(name, whole, tmp_path):
    """Else damage would prove nothing."""
    folder = tmp_path / "0"
    shutil.copytree(whole(name), folder)
    verdict = read_all(KINDS[name], folder)
    assert verdict.findings == []
    assert not verdict.refused


@pytest.mark.parametrize(("name", "seed"), REPLAYED)
def test_what_was_found_is_mended(name, seed, whole):
    assert try_input(name, seed, whole(name)).findings == []
