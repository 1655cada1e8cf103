"""The plans of the accuracy tables: what they ask for exists, and what was measured is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bandweave.cli import compare, sharpen_compare
from bandweave.cli.main import main
from bandweave.comparison.kept import read_kept
from bandweave.landcover.comparison.plan import Plan
from bandweave.pansharp.comparison.plan import Options
from bandweave.pansharp.comparison.plan import Plan as PairPlan
from bandweave.pansharp.pair.files import pair_files, pairs_to_train

FOLDER = Path(__file__).parents[2]
PLANS = sorted((FOLDER / "benchmarks" / "plans").glob("*.yaml"))
SHARPENING = [path for path in PLANS if "sharpen-compare" in path.read_text(encoding="utf-8")]
LAND_COVER = [path for path in PLANS if path not in SHARPENING]


def land_cover_plan(path):
    args = compare.parse(["--config", str(path), "--out", "nowhere"])
    scenes = {name: (origin, None) for name, origin in args.scenes.items()}
    shared = {**args.sections, "layers": args.layers, "pca": args.pca}
    return args, Plan.make(args.models, scenes, args.splits, args.seeds, shared, args.split)


@pytest.fixture
def in_project(monkeypatch):
    """Plans name files from the project's folder."""
    monkeypatch.chdir(FOLDER)
    monkeypatch.setenv("BANDWEAVE_DATA", "/no/such/data")


@pytest.mark.parametrize("path", LAND_COVER, ids=lambda path: path.stem)
def test_every_row_of_land_cover_is_another_model_and_was_measured(path, in_project):
    args, plan = land_cover_plan(path)
    configs = {json.dumps(config, sort_keys=True) for config in plan.models.values()}
    assert len(configs) == len(plan.models)
    kept, cells = read_kept(FOLDER / args.rows, plan.cells()), [*plan.cells()]
    if "Not all measured yet" in path.read_text(encoding="utf-8"):
        assert 0 < len(kept) < len(cells)
    else:
        assert len(kept) == len(cells)
    assert args.against in (*plan.models, "classical")


@pytest.mark.parametrize("path", SHARPENING, ids=lambda path: path.stem)
def test_every_row_of_sharpening_exists_and_was_measured(path, in_project):
    args = sharpen_compare.parse(["--config", str(path), "--out", "nowhere"])
    learnt, held = pairs_to_train(args.pairs or (), ())
    options = Options(**{name: getattr(args, name) for name in Options.__dataclass_fields__})
    plan = PairPlan.make(args.models, learnt, held, pair_files(args.test), args.seeds, options)
    assert all(pair.pan.startswith("/no/such/data") for pair in plan.test.values())
    if not (FOLDER / args.rows).exists():
        assert "Not measured yet" in path.read_text(encoding="utf-8")
        pytest.skip("not measured yet")
    kept = read_kept(FOLDER / args.rows, plan.cells())
    assert len(kept) == len([*plan.cells()])


def test_gains_are_over_the_best_classical_method_by_the_corrected_test(
    in_project, tmp_path, capsys
):
    """The tables come from kept rows alone: no data is there."""
    for name, gains in {
        "houston-guard8": {"m3amba_small": "+1.55 (−3.91 to +7.02)", "svm": "–"},
        "idtrees": {"mambamoe_small": "+2.65 (−1.52 to +6.81)"},
        "houston-layers": {"m3amba_small, rgb": "−5.97"},  # three seeds have no interval
    }.items():
        words = ["--config", f"benchmarks/plans/{name}.yaml", "--out", str(tmp_path / name)]
        assert main(["compare", *words, "--quiet"]) == 0
        lines = capsys.readouterr().out.splitlines()
        cells = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in lines}
        place = next(i for i, head in enumerate(cells["model"]) if " over " in head)
        for model, gain in gains.items():
            assert cells[model][place] == gain, cells[model]


def test_sharpening_tables_need_no_data_either(in_project, tmp_path, capsys):
    words = ["--config", "benchmarks/plans/landsat7-zero-shot.yaml", "--out", str(tmp_path / "z")]
    assert main(["sharpen-compare", *words, "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "| mmmamba_small, ms as pan | 35.07 |" in out
    assert "Full resolution" not in out, "nothing was scored there"
    assert "measured earlier" in out
