"""Results that are kept in a file: they count without their run folders, and are written once."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

import bandweave as bw
from bandweave.comparison.kept import explain_kept, find_kept, keep_results, read_kept
from bandweave.comparison.plan import Cell
from bandweave.comparison.results import Result
from bandweave.errors import ConfigError, RunError

SCENE = "simulated_scene(seed={seed}, height=32, width=48, bands=4)"
ASKED = {
    "models": ["knn", "random_forest"],
    "scenes": {"town": SCENE},
    "splits": {"blocks": {"size": 8, "guard": 1, "drop": True}},
    "seeds": 2,
    "maps": False,
    "features": False,
    "against": "classical",
    "quiet": True,
}


def test_what_is_kept_is_read_back(tmp_path):
    cell = Cell(("town", "blocks"), "knn", 3, {"config": {"k": 5}})
    values = {("town", "blocks"): {"": {"kappa": 0.25, "psnr": math.inf}, "a": {"kappa": math.nan}}}
    facts = {"versions": {"bandweave": "0.0.9"}, "identity": cell.identity}
    path = tmp_path / "rows" / "kept.jsonl"
    keep_results(path, [Result(cell, facts, values), Result(cell, failed="it broke")], {})
    found = read_kept(path, [cell])
    result = find_kept(found, cell)
    assert result.values[cell.case][""] == {"kappa": 0.25, "psnr": math.inf}
    assert math.isnan(result.values[cell.case]["a"]["kappa"])
    assert explain_kept([result]) == [
        "1 cell measured earlier, with bandweave 0.0.9, and kept in a file"
    ]
    keep_results(path, [Result(cell, facts, values)], found)
    assert len(path.read_text().splitlines()) == 1, "a result stands there once"
    changed = Cell(cell.case, cell.model, cell.seed, {"config": {"k": 7}})
    other = find_kept(read_kept(path, [changed]), changed)
    assert "knn: measured with other options than the plan has now (config.k: 5 then, 7 now)" in (
        explain_kept([other])
    )
    path.write_text(path.read_text()[:-9])
    with pytest.raises(RunError, match=r"line 1 of .* cannot be read"):
        read_kept(path, [cell])


def test_a_comparison_goes_on_from_its_file_alone(tmp_path, monkeypatch):
    """Each seed has a scene of its own; gains are over the best classical method."""
    rows = tmp_path / "rows.jsonl"
    first = bw.compare(**ASKED, out=tmp_path / "a", rows=rows)
    assert not first.failed
    assert len(rows.read_text().splitlines()) == 4
    origins = {each.cell.work["scene"] for each in first.results}
    assert origins == {SCENE.replace("{seed}", str(seed)) for seed in (0, 1)}
    assert "OA over " in first.table
    shutil.rmtree(tmp_path / "a")
    monkeypatch.setattr("bandweave.landcover.comparison.cell.train", None)
    again = bw.compare(**ASKED, out=tmp_path / "b", rows=rows)
    assert not again.failed
    assert len(rows.read_text().splitlines()) == 4
    numbers, same = ([line.rpartition("| `")[0] for line in made.table.splitlines()
                      if line.startswith("| ")] for made in (first, again))  # fmt: skip
    assert same == numbers
    assert "4 cells measured earlier" in again.table
    assert json.loads(rows.read_text().splitlines()[0])["model"] == "knn"


def test_a_reference_that_is_not_in_the_table(tmp_path):
    with pytest.raises(ConfigError, match="against 'knnn': no such model in the table"):
        bw.compare(**{**ASKED, "against": "knnn"}, out=Path(tmp_path / "c"))
