"""sharpen-train, and what sharpen and info make of its runs, through the command."""

from __future__ import annotations

import numpy as np
import rasterio
import yaml
from safetensors.numpy import load_file

from bandweave.cli.sharpen_train import parse
from bandweave.models import SHARPENERS
from bandweave.pansharp.config import PairFiles, SharpenConfig
from bandweave.pansharp.simulate import simulated_pair
from bandweave.training.history import read_history

TINY = ("--model", "mmmamba_tiny", "--steps", "2", "--patch", "4", "--batch", "1")


def read(*words):
    return parse([str(word) for word in words]).config


def test_a_run_from_a_file_of_pairs(call, refused, tmp_path):
    """Trained, told of, repeated from its configuration, and used with PAN and without."""
    for name, seed in (("a", 0), ("b", 1)):
        simulated_pair(tmp_path / name, seed=seed, size=(48, 64), ratio=2, bands=2)
    listed, run = tmp_path / "pairs.yaml", tmp_path / "run"
    sections = {
        "pairs": [{"name": "as scores list it", "pan": "a/pan.tif", "ms": "a/ms.tif"}],
        "validation": [{"pan": "b/pan.tif", "ms": ["b/ms.tif"]}],
    }
    listed.write_text(yaml.safe_dump(sections))
    trained = call("sharpen-train", "--pairs", listed, "--out", run, *TINY, "--validate-every", "1")
    assert trained.status == 0, trained.err
    assert "mmmamba_tiny, " in trained.out
    assert f"bandweave sharpen PAN MS OUT --run {run}" in trained.out
    assert "psnr" in trained.err

    told = call("info", run).out
    for words in ("mmmamba_tiny", "blue, green", "1 to train on, 1 to validate on", "2 steps in"):
        assert words in told

    pan, ms, out = tmp_path / "b" / "pan.tif", tmp_path / "b" / "ms.tif", tmp_path / "o.tif"
    assert call("sharpen", pan, ms, out, "--run", run, "--quiet").out == f"{out}\n"
    for way in ("ms stream", "ms twice", "ms as pan"):
        words = ("--run", run, "--ms-only", "--zero-shot", way, "--quiet")
        assert call("sharpen", ms, out, "--overwrite", *words).out == f"{out}\n"
        with rasterio.open(out) as file:
            assert (file.count, file.height, file.width) == (2, 48, 64)
    again = call("sharpen-train", "--config", run / "config.yaml", "--out", tmp_path / "again")
    assert again.status == 0, again.err

    assert "--ms-only needs --run" in refused("sharpen", ms, out, "--ms-only")
    assert "an MS file is missing" in refused("sharpen", ms, out)
    assert "--zero-shot is for --ms-only" in refused("sharpen", pan, ms, out, "--zero-shot", "x")
    said = refused("sharpen", ms, out, "--run", run, "--ms-only", "--register")
    assert "--register says nothing" in said
    assert "has to be trained" in refused("sharpen", pan, ms, out, "--method", "mmmamba_tiny")


def test_two_processes_train_one_run(call, shell, tmp_path):
    """On average near the weights of one process that takes both batches in a step.

    Not every weight: Adam's first steps are as long as the rate, 5e-3, however small the gradient.
    """
    pair = simulated_pair(tmp_path, size=(48, 64), ratio=2, bands=2)
    words = ("sharpen-train", "--pan", pair.pan, "--ms", pair.ms, *TINY, "--accelerator", "cpu")
    two = shell(*words, "--devices", "2", "--out", tmp_path / "two")
    assert two.status == 0, two.err
    assert two.out.count("use it") == 1, "rank 0 alone prints"
    assert two.err.count("2 process(es)") == 1
    assert [row["step"] for row in read_history(tmp_path / "two" / "history.csv")] == [1, 2]
    one = call(*words, "--batch", "2", "--out", tmp_path / "one")
    assert one.status == 0, one.err
    found, expected = (load_file(tmp_path / n / "model.safetensors") for n in ("two", "one"))
    apart = [np.abs(found[name] - values).ravel() for name, values in expected.items()]
    assert np.concatenate(apart).mean() < 1e-4


def test_the_configuration_that_flags_give():
    for preset in SHARPENERS:
        assert read("--model", preset) == SharpenConfig.read({"model": preset})
    config = read("--pan", "a.tif", "b.tif", "--ms", "c.tif", "d.tif", "--register", "--ratio", "4")
    assert config.pairs == [PairFiles("a.tif", ("c.tif",)), PairFiles("b.tif", ("d.tif",))]
    assert (config.register, config.ratio, config.sensor) == (True, 4, "generic")
    assert read("--pan", "a", "--ms", "b", "c").pairs == [PairFiles("a", ("b", "c"))]


def test_pairs_that_are_none(refused, tmp_path):
    words = ("sharpen-train", "--out", tmp_path / "run")
    assert "which files? Give --pan and --ms" in refused(*words)
    assert "--pan names 2 files and --ms 1" in refused(*words, "--pan", "a", "b", "--ms", "c")
    assert "which run folder?" in refused("sharpen-train", "--pan", "a", "--ms", "b")
    listed = tmp_path / "pairs.yaml"
    for text, told in (
        ("pairs: [{pan: a}]", "pairs[0].ms: missing"),
        ("pair: []", "pair: a file of pairs has no such key"),
        ("pairs: 3", "pairs.yaml: "),
    ):
        listed.write_text(text)
        assert told in refused(*words, "--pairs", listed)
    assert "give one of the two" in refused(*words, "--pairs", listed, "--pan", "a", "--ms", "b")
    assert "none.tif does not exist" in refused(*words, "--pan", "none.tif", "--ms", "none.tif")
