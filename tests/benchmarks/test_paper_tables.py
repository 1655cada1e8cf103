"""The tables of papers: what is printed, whether it fits, and ours beside it."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bandweave as bw
from bandweave.comparison.plan import Cell
from bandweave.comparison.results import Result
from bandweave.data.benchmarks.catalogue import describe
from bandweave.errors import ConfigError
from bandweave.landcover.metrics import Scores

FOLDER = Path(__file__).parents[2] / "benchmarks" / "papers"


@pytest.fixture
def papers(monkeypatch):
    """papers(name): a module of benchmarks/papers; `papers()` is the script."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delenv("BANDWEAVE_DATA", raising=False)
    return lambda name="": importlib.import_module(f"papers.{name}" if name else "paper_tables")


def class_tables(papers):
    return {table.name: table for table in papers("printed").read_paper("m3amba").class_tables}


def table_rows(text: str, title: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    lines = text[text.index(title) :].split("\n\n")[1].splitlines()
    return [line[2:-2].split(" | ") for line in lines[2:]]


@pytest.mark.parametrize("name", ["m3amba", "cf_ipt", "mambamoe"])
@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
def test_every_row_of_ours_has_options_that_exist(papers, tmp_path, name, size):
    entries, paper = papers("entries"), papers("printed").read_paper(name)
    everything = [*paper.tables, *paper.class_tables]
    models = ("own", "random_forest", "m3amba", "mambamoe", "cf_ipt")
    settings = entries.Settings(tmp_path, size=size, models=models, steps=7)
    scene = bw.simulated_scene(seed=0, height=32, width=32, bands=40)
    for place in [*paper.scenes, "elsewhere"]:
        plan = entries.plan_of(settings, paper, everything, place, scene)
        wanted = {row.ours.id for table in paper.tables for row in table.rows if row.ours}
        of_model = [m for m in plan.models if m.startswith(settings.preset(name))]
        assert len(of_model) >= len(wanted)
        assert "random_forest" in plan.models
        for config in plan.models.values():
            if "baseline" not in config:
                assert config["train"]["steps"] == 7
    official = entries.plan_of(settings, paper, everything, next(iter(paper.scenes)), scene)
    assert (
        official.splits.keys()
        == {
            "m3amba": {"official", "blocks-64-8"},
            "cf_ipt": {"random-40", "blocks-64-8"},
            "mambamoe": {"random-15", "blocks-64-8"},
        }[name]
    )


def test_ablations_are_other_configurations(papers, tmp_path):
    entries, paper = papers("entries"), papers("printed").read_paper("m3amba")
    settings = entries.Settings(tmp_path, size="paper", clip="some/clip")
    scene = bw.simulated_scene(seed=0, height=32, width=32, bands=40)
    both = [*paper.tables, *paper.class_tables]
    found = entries.plan_of(settings, paper, both, "houston2013", scene).models
    assert found["m3amba"]["model"]["clip"]["mode"] == "adapters"
    assert found["m3amba"]["model"]["clip"]["weights"] == "some/clip"
    assert found["m3amba-no-clip"]["model"]["clip"]["mode"] == "none"
    assert found["m3amba-frozen"]["model"]["clip"]["mode"] == "frozen"
    assert found["m3amba-no-cross"]["model"]["cross"] is False
    assert found["m3amba-no-consistency"]["model"]["consistency"] == 0
    assert found["m3amba-h"]["layers"] == ["hsi"]
    assert found["m3amba-l"]["layers"] == ["lidar"]
    paper = papers("printed").read_paper("mambamoe")
    found = entries.plan_of(settings, paper, paper.tables, "pavia_university", scene).models
    assert found["mambamoe"]["train"]["lr"] == 1e-3  # the scene's own, not the preset's 5e-4


def test_printed_tables_agree_where_they_must(papers):
    paper = papers("printed").read_paper("m3amba")
    tables, classes = {table.name: table for table in paper.tables}, class_tables(papers)
    full = tables["Table I"].rows[-1].figures
    assert tables["Table II"].rows[-1].figures == full
    for table in classes.values():
        last = table.methods.index("M³amba")
        assert (table.OA[last], table.AA[last], table.kappa[last]) == full[table.scene]
        others = {row.name.split(" (")[0]: row.figures for row in tables["Table II"].rows}
        for i, method in enumerate(table.methods[:last]):
            printed = (table.OA[i], table.AA[i], table.kappa[i])
            assert printed == others[method][table.scene]
    adapted = tables["Table VII"].rows[-1].figures["average"][:3]
    assert np.mean(list(full.values()), axis=0) == pytest.approx(adapted, abs=0.0051)
    muufl = classes["Table X"]
    for row in tables["Table VI"].rows:  # said to be averages, they are MUUFL's
        assert row.figures["average"][1] == muufl.AA[muufl.methods.index(row.name)]


def test_what_does_not_fit_is_found(papers):
    misfits = papers("printed").misfits
    houston, augsburg, muufl = (misfits(table) for table in class_tables(papers).values())
    assert any("it follows from the training counts" in line for line in houston["M³amba"])
    assert not {"CALC", "HCT", "MFT", "ExViT", "S²Mamba"} & houston.keys()
    assert "the names stand beside the wrong rows" in augsburg["M³amba"][0]
    assert "cannot exceed it" in augsburg["S²Mamba"][-1]
    assert "M³amba" not in muufl
    counts = class_tables(papers)["Table VIII"].counts
    own = describe("houston2013").classes.values()
    assert counts.train == tuple(each.train for each in own)
    assert counts.test == tuple(each.test for each in own)


def test_printed_figures_that_are_miscounted_are_refused(papers):
    printed = papers("printed")
    table = class_tables(papers)["Table X"]
    with pytest.raises(ConfigError, match="Table X, OA: 10 figures of 11 methods"):
        replace(table, OA=table.OA[:10])
    paper = printed.read_paper("cf_ipt")
    row = replace(paper.tables[0].rows[0], figures={"muufl": (1.0, 2.0)})
    table = replace(paper.tables[0], rows=(row,))
    with pytest.raises(ConfigError, match="2 figures for the columns OA, AA, kappa, parameters"):
        replace(paper, tables=(table,))
    with pytest.raises(ConfigError, match="the protocol 'forty' is not described"):
        replace(paper, protocols={"forty-others": paper.protocols["forty-others"]})


def test_tables_of_a_scene_that_no_paper_has(papers, tmp_path, capsys):
    scene = "simulated_scene(seed=0, height=32, width=32, bands=8)"
    words = ["--papers", "m3amba", "--tables", "II", "VIII", "--scenes", scene, "--size", "tiny",
             "--seeds", "2", "--protocols", "published", "--models", "own",
             "--out", str(tmp_path)]  # fmt: skip
    main = papers().main
    assert main([*words, "--steps", "1"]) == 0
    text = capsys.readouterr().out
    assert text.rstrip() == (tmp_path / "tables.md").read_text().rstrip()
    assert "- Not here: houston2013 (not asked for)" in text
    rows = table_rows(text, "### M³amba, Table II")
    line = ["**simulated-0**", "CALC (2023)", "the paper", *"––––", "not in the paper", "–"]
    assert line in rows
    (full,) = (row for row in rows if "random-0.05" in row[-1])
    assert full[2] == "bandweave, m3amba_tiny"
    assert full[6] == "2"
    assert full[7].startswith("random, 5 % of each class")
    files = tmp_path.glob("m3amba/runs/*/*/m3amba_tiny/*/scores.json")
    stored = [json.loads(file.read_text()) for file in files]
    values = [100 * each["pixels"]["overall_accuracy"] for each in stored]
    assert full[3] == f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"
    classes = table_rows(text, "### M³amba, as Table VIII: classes of simulated-0")
    assert len(classes) == len(bw.simulated_scene(seed=0, height=32, width=32, bands=8).classes) + 5
    assert all(len(row) == 2 + 11 + 3 for row in classes)
    assert all(row[2:13] == ["–"] * 11 for row in classes[:10])
    done = {f: f.stat().st_mtime_ns for f in tmp_path.glob("m3amba/runs/**/cell.json")}
    assert len(done) == 3 * 2  # m3amba, of all layers, of either one
    assert main([*words, "--steps", "1"]) == 0
    assert capsys.readouterr().out == text
    assert {f: f.stat().st_mtime_ns for f in tmp_path.glob("m3amba/runs/**/cell.json")} == done
    assert main([*words, "--steps", "2"]) == 2
    assert "train.steps" in capsys.readouterr().err


def test_an_average_needs_all_of_its_scenes(papers, tmp_path):
    entries, paper = papers("entries"), papers("printed").read_paper("m3amba")
    percent = {"houston2013": [60, 80], "augsburg": [70, 70], "muufl": [80, 90]}
    results = []
    for scene, values in percent.items():
        for split in (paper.scenes[scene].split, {"name": "blocks"}):
            for seed, value in enumerate(values):
                cell = Cell((scene, split["name"]), "m3amba_tiny", seed, {"split": dict(split)})
                right = value if split["name"] != "blocks" else 10
                matrix = np.array([[right, 100 - right], [100 - right, right]])
                scores = Scores(matrix, ("a", "b"))
                own = {name: getattr(scores, name) for name in ("overall_accuracy", "kappa")}
                own["average_accuracy"] = scores.average_accuracy
                facts = {"seconds": {"train": 120.0}}
                results.append(Result(cell, facts, {cell.case: {"": own}}))
    found = entries.average(entries.Measured(results), paper, "m3amba_tiny")
    assert found["overall_accuracy"] == pytest.approx([0.7, 0.8])
    assert found["minutes"] == [2, 2]
    without = [each for each in results if each.cell.case[0] != "muufl"]
    assert entries.average(entries.Measured(without), paper, "m3amba_tiny") is None


def test_sizes_of_the_papers_models(papers):
    complexity, read = papers("complexity"), papers("printed").read_paper
    released, adapters, plain = (
        complexity.count(read("m3amba"), cost) for cost in read("m3amba").complexity
    )
    assert 0.9 * 70_814_543 < released.trained < 70_814_543  # without what cannot matter there
    assert released.products == pytest.approx(70.5e9, rel=0.02)
    assert adapters.products == plain.products
    assert adapters.frozen == 85_799_424 - 7_087_872 - 1_536
    assert plain.frozen == 0
    assert plain.scans == 4.5 * 27 * 4 * 16 * 768 * 32**2  # 18 cross ones, 9 of the fusion
    for cost in read("cf_ipt").complexity:
        counted = complexity.count(read("cf_ipt"), cost)
        assert 0.8 < counted.trained / cost.parameters < 1.1
        assert counted.products is None
    pavia = read("mambamoe").complexity[0]
    assert complexity.count(read("mambamoe"), pavia).trained == pytest.approx(0.69e6, rel=0.06)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tables", "XI"], "there is no table 'XI'; did you mean"),
        (["--scenes", "houston2031"], "did you mean 'houston2013'"),
        (["--scenes", "salinas"], "salinas is in no table of"),
        (["--scenes", "none.yaml"], "none.yaml: no such scene file"),
        (["--seeds", "0"], "seeds 0"),
    ],
)
def test_names_that_are_none(papers, tmp_path, capsys, words, message):
    assert papers().main([*words, "--print", "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_absent_scenes_are_named(papers, tmp_path, capsys):
    (tmp_path / "houston2013").mkdir()
    words = ["--print", "--tables", "I", "--papers", "m3amba", "--folder", str(tmp_path)]
    assert papers().main([*words, "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert f"- Not here: augsburg (no folder {tmp_path / 'augsburg'})" in text
    assert "2013_IEEE_GRSS_DF_Contest_CASI.tif: not in the folder" in text
    rows = table_rows(text, "### M³amba, Table I")
    printed = ["(A) raw images in place of CLIP", "the paper", "95.02", "95.06", "94.66", "–"]
    assert rows[0][1:7] == printed
    assert rows[1][1] == "`clip.mode: none`"
    assert rows[1][3:8] == ["–", "–", "–", "–", "the scene is not here"]


def test_what_fails_is_a_dash_with_its_reason(papers, tmp_path, capsys):
    scene = "simulated_scene(seed=0, height=32, width=32, bands=8)"
    words = ["--papers", "mambamoe", "--tables", "main", "--scenes", scene, "--block", "500",
             "--seeds", "1", "--models", "random_forest", "--out", str(tmp_path)]  # fmt: skip
    assert papers().main(words) == 1
    text = capsys.readouterr().out
    rows = {row[-2]: row for row in table_rows(text, "### MambaMoE, Main") if row[1] != "MambaMoE"}
    assert rows["blocks of 500 px, guard 8 px"][3:7] == ["– [1]", "– [1]", "– [1]", "0"]
    assert "\n[1] simulated-0, blocks-500-8, random_forest: seed 0: " in text
    random = next(row for label, row in rows.items() if label.startswith("random, 15 pixels"))
    assert float(random[3]) > 30
    assert rows["not run"][2] == "bandweave, mambamoe_small"
