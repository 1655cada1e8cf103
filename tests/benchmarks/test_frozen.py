"""What accuracy is compared on is what it was when the first number was measured."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "benchmarks"
FROZEN = yaml.safe_load((FOLDER / "frozen.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def freeze():
    return runpy.run_path(str(FOLDER / "accuracy" / "freeze.py"))


def test_towns_are_those_of_before(freeze):
    towns = freeze["find_towns"]()
    assert [town.pop("labels") for town in towns] == [town["labels"] for town in FROZEN["towns"]]
    for town, then in zip(towns, FROZEN["towns"], strict=True):
        assert town == {name: pytest.approx(then[name], rel=2e-3) for name in town}


@pytest.mark.parametrize("name", FROZEN["splits"])
def test_splits_are_those_of_before(freeze, name):
    if "BANDWEAVE_DATA" not in os.environ:
        pytest.skip("needs the scenes in BANDWEAVE_DATA")
    assert freeze["find_splits"](name) == FROZEN["splits"][name]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("houston2018-crop, guard 8", "houston-guard8"),
        ("houston2018-crop, guard 28", "houston-reach"),
        ("idtrees2020, whole plots", "idtrees"),
    ],
)
def test_rows_were_measured_on_these_splits(name, rows):
    lines = (FOLDER / "results" / f"{rows}.jsonl").read_text(encoding="utf-8").splitlines()
    measured = [json.loads(line) for line in lines]
    hashes = {(row["seed"], row["facts"]["protocol"]["hash"]) for row in measured}
    assert hashes == set(enumerate(FROZEN["splits"][name]))
