"""Sharpening methods compared: cells made once, continued, refused, traced to, and tabled."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

import bandweave as bw
from bandweave.cli.main import main
from bandweave.errors import ConfigError, FileError, OutputError, RunError, SceneMismatch
from bandweave.output_files import only_writer_of_folder
from bandweave.pansharp.pair.open import open_pair
from bandweave.pansharp.scoring import score_sharpeners, trained
from bandweave.pansharp.simulate import simulated_pair

TINY = {"model": "mmmamba_tiny", "patch": 16, "batch": 1, "steps": 3, "checkpoint_every": 1}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Four pairs, ratio 2, three bands, no georeference; the first two to train on."""
    folder = tmp_path_factory.mktemp("pairs")
    made = [
        simulated_pair(folder / str(i), seed=i, size=(96, 96 + 8 * i), ratio=2, bands=3, crs=None)
        for i in range(4)
    ]
    return [(pair.pan, pair.ms) for pair in made]


@pytest.fixture(scope="module")
def asked(files):
    return {
        "models": {"tiny": TINY, "gsa": {}, "bicubic": {}},
        "pairs": files[:2],
        "test": {"north": files[2], "south/1": files[3]},
        "seeds": 2,
        "sensor": "quickbird",
        "quiet": True,
    }


@pytest.fixture(scope="module")
def made(asked, tmp_path_factory):
    """For reading only."""
    return bw.compare_sharpeners(**asked, out=tmp_path_factory.mktemp("compare") / "made")


@pytest.fixture
def copy(made, tmp_path):
    """The comparison in a folder of the test's own."""
    return Path(shutil.copytree(made.folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def lists(files, tmp_path_factory):
    """The two files of pairs for the command."""
    folder = tmp_path_factory.mktemp("lists")
    pairs = [{"pan": str(pan), "ms": str(ms)} for pan, ms in files]
    (folder / "train.yaml").write_text(yaml.safe_dump({"pairs": pairs[:2]}))
    named = [{"name": n, **pair} for n, pair in zip(("north", "south/1"), pairs[2:], strict=True)]
    (folder / "test.yaml").write_text(yaml.safe_dump({"pairs": named}))
    return folder


def rows(folder):
    return list(csv.DictReader((folder / "results.csv").open()))


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", ".writer.lock")
    }


def test_every_number_can_be_traced(made, files):
    names = {path.name for path in made.folder.iterdir()}
    tables = {"results.csv", "times.csv", "table.md", "table.tex", "compare.html", "compare.yaml"}
    strips = {f"strip-{pair}-{p}.png" for pair in ("north", "south-1") for p in ("reduced", "full")}
    assert names == {"runs", *tables, *strips}
    assert not made.failed
    found = rows(made.folder)
    cells = [("tiny", "0"), ("tiny", "1"), ("gsa", ""), ("bicubic", "")]
    assert [(r["model"], r["seed"], r["pair"], r["protocol"]) for r in found] == [
        (*cell, pair, protocol)
        for cell in cells for pair in ("north", "south/1") for protocol in ("reduced", "full")
    ]  # fmt: skip
    text = (made.folder / "table.md").read_text()
    for place in ("runs/tiny/seed-*", "runs/gsa", "runs/bicubic"):
        assert f"`{place}`" in text
    for row in found:
        folder = made.folder / row["run"]
        cell = json.loads((folder / "cell.json").read_text())
        assert str(cell["seed"] or 0) == (row["seed"] or "0")
        assert {"bandweave", "torch", "python"} <= set(cell["versions"])
        stored = json.loads((folder / "scores.json").read_text())["pairs"][row["pair"]]
        score = "psnr" if row["protocol"] == "reduced" else "hqnr"
        assert float(row[score]) == stored["scores"][row["protocol"]][score]
    assert found[0]["psnr"] != found[4]["psnr"], "seeds train to different weights"


def test_the_scores_are_those_of_sharpen_score(made, files):
    """Of a classical method, and of the run that a cell left."""
    run = bw.SharpenRun.open(made.folder / "runs" / "tiny" / "seed-1")
    assert run.config.train.seed == 1
    alone = score_sharpeners(
        {"north": open_pair(*files[2])}, ["gsa"], runs={"tiny": trained(run)},
        sensor="quickbird", samples=0, quiet=True,
    )  # fmt: skip
    for row in alone.rows:
        seed = 1 if row.method == "tiny" else None
        assert made.scores[row.method, seed, "north", row.protocol] == pytest.approx(row.scores)


def test_tables_have_means_over_pairs_and_seeds(made):
    psnr = {
        seed: np.mean(
            [made.scores["tiny", seed, p, "reduced"]["psnr"] for p in ("north", "south/1")]
        )
        for seed in (0, 1)
    }
    values = list(psnr.values())
    mean = f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}"
    text, tex = ((made.folder / f"table.{kind}").read_text() for kind in ("md", "tex"))
    assert f"| tiny | {mean} |" in text
    assert "tiny & " + mean.replace("±", "$\\pm$") + " &" in tex
    assert "\\textbf" not in tex
    assert "PSNR dB $\\uparrow$" in tex
    assert "Nothing is bold: 2 test pairs cannot tell what holds on others" in text
    gsa = next(line for line in text.splitlines() if line.startswith("| gsa |"))
    assert "±" not in gsa, "a classical method has no seeds"
    times = list(csv.DictReader((made.folder / "times.csv").open()))
    assert [bool(row["train"]) for row in times] == [True, True, False, False]


def test_the_page_shows_all_methods_and_says_the_protocol(made):
    page = (made.folder / "compare.html").read_text()
    for protocol in ("reduced", "full"):
        assert f"<h2>north, {protocol} resolution</h2>" in page
    assert "Trained with seed 0." in page
    line = "test pairs: 2 (north, south/1); training pairs: 2; seeds 0, 1 (of training)"
    assert "2 (0/pan, 1/pan)" in page
    assert page.count(line) == 2 * 3 + 4, "tables, pairs, costs, and four strips"
    for method in ("tiny", "gsa"):
        assert page.count(f'alt="{method}, a crop of north"') == 2, "each resolution"
        assert page.count(f'alt="errors of {method} on north"') == 1
    assert "against seconds of training" in page
    assert "http" not in page.replace("http-equiv", "")


def test_what_is_finished_is_not_repeated(copy, asked, monkeypatch):
    before = contents(copy)
    monkeypatch.setattr("bandweave.pansharp.comparison.cell.train_sharpener", None)
    monkeypatch.setattr("bandweave.pansharp.comparison.cell.score_sharpeners", None)
    bw.compare_sharpeners(**asked, out=copy)
    assert contents(copy) == before


def test_a_second_comparison_in_a_folder_is_refused(copy, asked):
    before = contents(copy)
    with (
        only_writer_of_folder(copy, "a comparison"),
        pytest.raises(OutputError, match="is being written by process"),
    ):
        bw.compare_sharpeners(**asked, out=copy)
    assert contents(copy) == before


def test_a_comparison_may_grow(copy, asked):
    before = contents(copy / "runs")
    more = {"models": {"brovey": {}, **asked["models"]}, "seeds": 3, "pictures": False}
    grown = bw.compare_sharpeners(**{**asked, **more}, out=copy)
    after = contents(copy / "runs")
    assert {name: after[name] for name in before} == before
    assert [(r.cell.model, r.cell.seed) for r in grown.results] == [
        ("brovey", None), ("tiny", 0), ("tiny", 1), ("tiny", 2), ("gsa", None), ("bicubic", None),
    ]  # fmt: skip
    assert not list(copy.glob("runs/brovey/images/*"))


def test_what_a_kill_left_half_done_is_completed(copy, asked):
    """Without cell.json, and without other files, every cell comes out as it was."""
    whole = contents(copy)
    one, two, gsa, bicubic = (
        copy / "runs" / name for name in ("tiny/seed-0", "tiny/seed-1", "gsa", "bicubic")
    )
    for folder in (one, two, gsa, bicubic):
        (folder / "cell.json").unlink()
    stored = json.loads((one / "scores.json").read_text())
    del stored["pairs"]["south/1"]  # was not scored yet
    (one / "scores.json").write_text(json.dumps(stored))
    (two / "model.safetensors").unlink()  # was in training
    (two / "scores.json").unlink()
    (gsa / "scores.json").write_text('{"pairs": {')
    shutil.rmtree(bicubic / "images")
    bw.compare_sharpeners(**asked, out=copy)
    after = contents(copy)
    assert after.keys() == whole.keys()
    for name in whole:
        if name.endswith((".npy", ".png", "results.csv")):
            assert after[name] == whole[name], name


def test_a_method_that_fails_does_not_stop_the_others(asked, tmp_path):
    models = {"wide": {**TINY, "patch": 99}, "gsa": {}}
    asked = {**asked, "models": models, "pictures": False}
    found = bw.compare_sharpeners(**asked, out=tmp_path / "c")
    assert [(r.cell.model, r.cell.seed) for r in found.failed] == [("wide", 0), ("wide", 1)]
    text = str(found)
    assert "| wide | – [1] |" in text
    assert "[1] wide: seed 0, 1: " in text
    assert "set `patch` to" in text
    assert found.scores["gsa", None, "north", "reduced"]["psnr"] > 0
    failed = [row for row in rows(found.folder) if row["failed"]]
    assert [(row["model"], row["seed"], row["psnr"]) for row in failed] == [
        ("wide", "0", ""), ("wide", "1", ""),
    ]  # fmt: skip
    assert "the reason is among the footnotes" in (found.folder / "compare.html").read_text()


def test_another_configuration_is_refused_and_changes_nothing(copy, asked, files):
    before = contents(copy)
    slower = {**asked["models"], "tiny": {**TINY, "steps": 4}}
    with pytest.raises(RunError, match=r"holds another comparison: tiny\.train\.steps: 3 then, 4"):
        bw.compare_sharpeners(**{**asked, "models": slower}, out=copy)
    with pytest.raises(RunError, match=r"options\.register: False then, True now"):
        bw.compare_sharpeners(**{**asked, "register": True}, out=copy)
    with pytest.raises(RunError, match=r"test\.north\.pan: .* then, absent now"):
        bw.compare_sharpeners(**{**asked, "test": {"south/1": files[3]}}, out=copy)
    with pytest.raises(RunError, match=r"training\.pairs\..*pan\.tif: .* then, absent now"):
        bw.compare_sharpeners(**{**asked, "pairs": files[:1]}, out=copy)
    with pytest.raises(RunError, match="it has the seed 1"):
        bw.compare_sharpeners(**{**asked, "seeds": 1}, out=copy)
    with pytest.raises(RunError, match="it has 'tiny' among its models"):
        bw.compare(["knn"], ["simulated_scene(seed=0, height=32, width=48, bands=4)"], out=copy)
    assert contents(copy) == before


def test_a_test_pair_that_changed_is_refused(copy, asked):
    """Methods that were added later would be scored on other pixels."""
    path = copy / "runs" / "gsa" / "scores.json"
    stored = json.loads(path.read_text())
    stored["pairs"]["north"]["facts"]["counted"]["reduced"]["pixels"] += 1
    path.write_text(json.dumps(stored))
    with pytest.raises(RunError, match=r"scored on other pixels of the test pair 'north' \(pixels"):
        bw.compare_sharpeners(**asked, out=copy)


def test_what_is_refused_before_anything_is_trained(asked, files, tmp_path, tmp_path_factory):
    out = tmp_path / "c"

    def refused(error, match, **other):
        with pytest.raises(error, match=match):
            bw.compare_sharpeners(**{**asked, **other}, out=out)
        assert not out.exists()

    both = {"a": files[2], "b": files[1], "c": files[0]}
    refused(
        ConfigError, r"of the test pairs, 'b', 'c' are trained on too: .*pan\.tif of 'b'", test=both
    )
    refused(ConfigError, "'north' is trained on too", validation=files[2:3],
            options={"train": {"validate_every": 2}})  # fmt: skip
    refused(ConfigError, "tiny: there are validation pairs, but validate_every is 0",
            validation=files[:1])  # fmt: skip
    refused(ConfigError, "'a' and 'b' are the same files", test={"a": files[2], "b": files[2]})
    refused(ConfigError, "tiny: there is no pair to train on", pairs=[])
    refused(ConfigError, "there is no test pair", test={})
    refused(ConfigError, "two test pairs are called 'pan'", test=files[2:])
    refused(ConfigError, "no model 'gsaa'; did you mean 'gsa'", models=["gsaa"])
    refused(ConfigError, "the classical method 'gsa' has no option", models={"gsa": {"steps": 3}})
    refused(ConfigError, "stepps: no such option", models={"tiny": {**TINY, "stepps": 3}})
    refused(ConfigError, "tiny: the seeds are those of the", models={"tiny": {**TINY, "seed": 3}})
    refused(ConfigError, "the model 'gsa' is named twice", models=["gsa", "gsa"])
    refused(ConfigError, "no sensor 'quickbrid'", sensor="quickbrid")
    refused(ConfigError, "options.ratio: expected a whole number", ratio="two")
    refused(ConfigError, "seeds 0", seeds=0)
    refused(ConfigError, "two test pairs have names that make the same folder",
            test={"a/b": files[2], "a:b": files[3]})  # fmt: skip
    refused(FileError, "none.tif does not exist", test={"a": ("none.tif", "none.tif")})
    folder = tmp_path_factory.mktemp("other")
    other = simulated_pair(folder, size=(96, 96), ratio=4, bands=3)
    refused(SceneMismatch, "at ratio 4, .* at ratio 2", test={"a": (other.pan, other.ms)})
    other = simulated_pair(folder, size=(96, 96), ratio=2, bands=3, dtype="float32")
    refused(ConfigError, "a: nothing tells the largest value", test={"a": (other.pan, other.ms)},
            sensor="generic")  # fmt: skip


def test_links_and_names_of_arrays_are_seen_through(files, tmp_path):
    from scipy.io import savemat

    link = tmp_path / "link.tif"
    link.symlink_to(files[0][0])
    with pytest.raises(ConfigError, match=r"'link' is trained on too"):
        bw.compare_sharpeners(["gsa"], files[:1], [(link, files[1][1])], out=tmp_path / "c")
    values = np.random.default_rng(0).integers(1, 2000, (2, 96, 96)).astype(np.uint16)
    savemat(tmp_path / "two.mat", {
        **{f"pan{i}": values[i] for i in (0, 1)},
        **{f"ms{i}": np.stack([values[i, ::2, ::2]] * 3, axis=-1) for i in (0, 1)},
    })  # fmt: skip
    pairs = [(f"{tmp_path}/two.mat:pan{i}", f"{tmp_path}/two.mat:ms{i}") for i in (0, 1)]
    made = bw.compare_sharpeners(
        ["gsa"], pairs[:1], {"b": pairs[1]}, out=tmp_path / "d", peak=2047, quiet=True
    )
    assert not made.failed


def test_ground_that_is_in_both_is_told(tmp_path, caplog):
    one, two = (
        simulated_pair(tmp_path / name, seed=i, size=(96, 96), ratio=2, bands=3)
        for i, name in enumerate(("one", "two"))
    )
    made = bw.compare_sharpeners(
        ["bicubic"], [(one.pan, one.ms)], {"two": (two.pan, two.ms)},
        out=tmp_path / "c", sensor="quickbird", pictures=False, quiet=True,
    )  # fmt: skip
    said = "these test pairs overlap training pairs on the ground: two."
    assert said in str(made)
    assert said in caplog.text
    assert said in (tmp_path / "c" / "compare.html").read_text()


# The command -------------------------------------------------------------------------------------


def words_of(lists, out):
    own = ["--patch=16", "--batch=1", "--steps=3", "--checkpoint-every=1"]
    lists_of = ["--pairs", lists / "train.yaml", "--test", lists / "test.yaml"]
    models = ["--models", "mmmamba_tiny,gsa,bicubic", "--sensor", "quickbird"]
    words = ["sharpen-compare", *models, *lists_of, "--seeds", "2", *own, "--out", out]
    words += ["--no-pictures", "--quiet"]
    return [str(word) for word in words]


@pytest.mark.slow
def test_a_killed_command_continues_to_the_same_csv(begin, made, lists, tmp_path, capsys):
    """Its cells are made in two processes; then it is given again, for one."""
    out = tmp_path / "c"
    words = words_of(lists, out)
    words += ["--threads", "1"]
    process = begin(*words, "--processes", "2")
    deadline = time.monotonic() + 120
    while not list(out.glob("runs/mmmamba_tiny/*/last.ckpt")):
        assert process.wait(0) is None, "it was faster"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send(signal.SIGKILL)
    process.wait(60)
    assert not (out / "results.csv").exists()
    assert main(words) == 0
    told = capsys.readouterr()
    assert told.err == ""
    text = (out / "results.csv").read_text()
    expected = (made.folder / "results.csv").read_text()
    assert text == expected.replace("tiny", "mmmamba_tiny")
    assert told.out == (out / "table.md").read_text() + "\n"


def test_the_command_refuses_in_a_line(lists, tmp_path, capsys):
    def refused(*words):
        assert main(["sharpen-compare", *map(str, words)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        return err

    test = ["--test", lists / "test.yaml", "--out", tmp_path / "c"]
    assert "which models? Give --models" in refused(*test)
    assert "which test? Give --test" in refused("--models", "gsa", "--out", tmp_path / "c")
    assert "which out? Give --out" in refused("--models", "gsa", *test[:2])
    both = refused(
        "--models", "gsa", *test, "--pairs", lists / "train.yaml", "--test", lists / "train.yaml"
    )
    assert "a pair before is called 'pan' too" in both
    assert "--seeds x: how many" in refused("--models", "gsa", *test, "--seeds", "x")
    assert "--train.seed: the seeds are those" in refused("--models", "gsa", *test, "--seed", "3")
    assert "--sensr: no such option; did you mean --sensor" in refused(*test, "--sensr", "x")
    config = tmp_path / "plan.yaml"
    config.write_text("models: gsa\nscenes: [a.yaml]\n")
    assert "scenes: no such option" in refused("--config", config, *test)
    config.write_text("models: gsa\ntest: {a: b}\n")
    assert "expected the name of a file that lists pairs" in refused("--config", config, *test[2:])
    assert not (tmp_path / "c").exists()


def test_cells_that_fail_end_with_status_1(lists, tmp_path, capsys):
    config = tmp_path / "plan.yaml"
    config.write_text(yaml.safe_dump({
        "models": {"wide": {**TINY, "patch": 99}, "gsa": {}},
        "pairs": str(lists / "train.yaml"),
        "test": str(lists / "test.yaml"),
        "sensor": "quickbird",
        "seeds": 1,
    }))  # fmt: skip
    words = ["sharpen-compare", "--config", config, "--no-pictures", "--out", tmp_path / "c"]
    assert main([*map(str, words), "--quiet"]) == 1
    assert "| wide | – [1] |" in capsys.readouterr().out
