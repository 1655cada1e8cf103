"""Each row of the benchmarks over models is a config that its preset takes, and differs."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from bandweave.landcover.config import LandCoverConfig, option_groups
from bandweave.training.sections import grouped, merged

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """script(name): a benchmark as a module."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def config_of(preset, options):
    """What `bandweave.train` makes of a preset and options by name."""
    return LandCoverConfig.read(
        merged(grouped(option_groups(preset), options), {"model": {"name": preset}})
    )


def test_every_ablation_is_another_model(script):
    ablations = script("ablations")
    for preset, rows in ablations.ROWS.items():
        models = {
            repr(config_of(preset, options).model)
            for row, options in rows.items()
            if row != ablations.NAMELESS
        }
        assert len(models) == len(rows) - (ablations.NAMELESS in rows), preset


def test_every_method_on_real_scenes_takes_its_options(script):
    land_cover = script("land_cover")
    for table in land_cover.TABLES.values():
        assert set(table.own) <= {preset for preset, _ in land_cover.MODELS.values()}
        for preset, options in land_cover.MODELS.values():
            given = {**table.own.get(preset, {}), **options}
            given.pop("pca", None)
            config_of(preset, given)


def test_a_table_of_ablations_sets_each_seed_against_its_own(script):
    ablations = script("ablations")
    rows = [
        {"model": "mambamoe_tiny", "row": row, "seed": seed, "overall_accuracy": accuracy,
         "average_accuracy": 0.5, "kappa": 0.5, "parameters": 1234}
        for row, seed, accuracy in (
            (ablations.WHOLE, 0, 0.8), (ablations.WHOLE, 1, 0.6), ("one direction", 1, 0.7)
        )
    ]  # fmt: skip
    lines = ablations.table("mambamoe_tiny", rows).splitlines()
    assert lines[2].startswith("| whole model | 70.0 ± 14.1 | 50.0 ± 0.0 |")
    assert (
        lines[3] == "| one direction | 70.0 ± 0.0 | 50.0 ± 0.0 | 50.0 ± 0.0 | 1 | +10.0 | 1,234 |"
    )
    assert len(lines) == 4


def test_a_mean_gain_is_over_the_seeds_of_both(script):
    mean_gain = script("rows").mean_gain
    other = dict.fromkeys(range(5), 0.5)
    own = {0: 0.51, 1: 0.52, 2: 0.53, 3: 0.52, 4: 0.52, 7: 0.9}
    assert mean_gain(own, other, 1.0) == "+2.0 (-0.2 to +4.2)"  # t = 2.776, variance 0.5
    assert mean_gain(own, other, 0) == "+2.0 (+1.1 to +2.9)"
    assert mean_gain({0: 0.51, 1: 0.53}, other, 1.0) == "+2.0", "two seeds have no interval"
    assert mean_gain({7: 0.9}, other, 1.0) == "–"


def gains_of(script, kind):
    """Of each line of land_cover's tables in the results: its method and the gain."""
    land_cover = script("land_cover")
    text = land_cover.tables(land_cover.read_rows(land_cover.RESULTS))
    cells = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {(each[0].strip("| "), each[1]): each[kind] for each in cells}


def test_gains_are_over_the_best_classical_method_by_the_test_of_compare(script):
    gains = gains_of(script, 6)
    houston, plots = "hsi + rgb", "hsi + chm + rgb"
    assert gains["svm", houston] == gains["random forest", "hsi"] == "–"
    assert gains["cf_ipt_small", houston].startswith("-3.0 (-")
    assert gains["mambamoe_small", houston].startswith("-1.4 (-")
    assert gains["mambamoe_small", plots] == "+2.6 (-1.5 to +6.8)"
    assert gains["m3amba_small", "rgb"] == "+19.8", "three seeds have no interval"


def test_the_readme_shows_the_tables_of_the_results(script):
    land_cover = script("land_cover")
    rows = land_cover.read_rows(land_cover.RESULTS)
    readme = (FOLDER.parent / "README.md").read_text()
    for line in land_cover.tables(rows).splitlines():
        cells = line.strip("| ").split(" | ")
        if "±" in line:
            assert f" | {' | '.join(cells[2:5])} | {cells[6]} |" in readme, line
        elif line.startswith("Guidance"):
            assert line.rpartition(": ")[2].replace("+", "") in readme.replace("+", ""), line
