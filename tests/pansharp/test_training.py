"""From pairs of files to a run folder and back: train, resume, sharpen without seams, errors."""

from __future__ import annotations

import itertools
import json
import logging
import re
import shutil
import signal
import time

import numpy as np
import pytest
import rasterio
import torch
from safetensors import safe_open

from bandweave.cli.main import main
from bandweave.errors import ConfigError, GridMismatch, RunError, SceneMismatch
from bandweave.landcover.run import Run
from bandweave.pansharp.pair.open import open_ms, open_pair
from bandweave.pansharp.run import SharpenRun
from bandweave.pansharp.sharpening import sharpen, super_resolve
from bandweave.pansharp.simulate import simulated_pair
from bandweave.pansharp.trained import Trained
from bandweave.pansharp.training import train_sharpener
from bandweave.raster.grid import Window
from bandweave.training.checkpoint import load_model, save_model
from bandweave.training.history import read_history

STEPS = 40
OPTIONS = {"patch": 8, "batch": 2, "steps": STEPS, "lr": 1e-2, "quiet": True}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Four pairs, ratio 2, three bands; MS of the last lies half a PAN pixel off."""
    folder = tmp_path_factory.mktemp("pairs")
    shapes = [(96, 96), (96, 112), (72, 88), (96, 120)]
    offsets = [(0, 0), (0, 0), (0, 0), (0.5, 0.5)]
    return [
        simulated_pair(folder / str(i), seed=i, size=shape, ratio=2, bands=3, offset=offset)
        for i, (shape, offset) in enumerate(zip(shapes, offsets, strict=True))
    ]


def files(*chosen):
    return [(pair.pan, pair.ms) for pair in chosen]


def train(chosen, out, **options):
    return train_sharpener(files(*chosen), "mmmamba_tiny", out, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def run(pairs, tmp_path_factory):
    """A run of a few steps; for reading only."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return train(pairs[:2], out, validation=files(pairs[2]), validate_every=20)


def weights_of(path):
    with safe_open(path / "model.safetensors", "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_the_loss_falls(run):
    rows = read_history(run.folder.history)
    assert len(rows) == STEPS
    losses = [row["loss"] for row in rows]
    assert np.mean(losses[-8:]) < 0.6 * np.mean(losses[:4])
    scores = [row["validation"] for row in rows if "validation" in row]
    assert len(scores) == 2
    assert scores[1] > scores[0]


def test_a_run_has_all_that_is_needed_to_use_it(run):
    with safe_open(run.folder.model, "pt") as file:
        stored = json.loads(file.metadata()["bandweave"])
    assert stored["kind"] == "sharpening"
    assert (stored["bands"], stored["ratio"]) == (["blue", "green", "red"], 2)
    assert (stored["sensor"], stored["registered"], stored["window"]) == ("generic", False, 16)
    assert "99.9%" in stored["scale"]["source"]
    assert stored["facts"]["steps"] == STEPS
    again = SharpenRun.open(run.folder.path)
    assert again.config == run.config
    assert (again.names, again.ratio, again.scale) == (run.names, run.ratio, run.scale)
    assert same(again.model.state_dict(), run.model.state_dict())


def test_runs_whose_blocks_had_one_norm_for_both_streams_open(run, tmp_path):
    shutil.copytree(run.folder.path, tmp_path / "former")
    tensors, stored = load_model(run.folder.model)
    former = {}
    for name, tensor in tensors.items():
        former.setdefault(re.sub(r"_norms\.\d\.", "_norm.", name), tensor)
    assert len(former) == len(tensors) - 2
    save_model(tmp_path / "former" / "model.safetensors", former, stored)
    again = SharpenRun.open(tmp_path / "former").model.state_dict()
    assert again.keys() == tensors.keys()
    for name in ("fuse_norms", "network_norms"):
        weight = tensors[f"blocks.0.{name}.0.weight"]
        assert all(torch.equal(again[f"blocks.0.{name}.{s}.weight"], weight) for s in (0, 1))


def test_the_same_seed_gives_the_same_weights_and_another_does_not(pairs, tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        train(pairs[:1], tmp_path / name, seed=seed, steps=3)
    one, two, other = (weights_of(tmp_path / name) for name in ("one", "two", "other"))
    assert same(one, two)
    assert not same(one, other)


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(begin, pairs, tmp_path, capfd):
    """Through the command, in a process of its own; then it goes on, through the command too."""
    pan, ms = ([str(getattr(pair, kind)) for pair in pairs[:2]] for kind in ("pan", "ms"))
    small = {"patch": 8, "batch": 2, "steps": 60, "checkpoint-every": 1}
    words = ["sharpen-train", "--pan", *pan, "--ms", *ms]
    words += ["--model", "mmmamba_tiny", *(f"--{key}={value}" for key, value in small.items())]
    out = tmp_path / "killed"
    process = begin(*words, "--out", out)
    began = time.monotonic()
    while not (out / "last.ckpt").exists() and time.monotonic() - began < 300:
        time.sleep(0.02)
    process.send(signal.SIGKILL)
    process.wait(60)
    assert not (out / "model.safetensors").exists(), "it was faster"
    capfd.readouterr()
    assert main([*words, "--out", str(out), "--resume", "--quiet"]) == 0
    told = capfd.readouterr()
    assert told.err == ""
    assert f"bandweave sharpen PAN MS OUT --run {out}" in told.out
    train(pairs[:2], tmp_path / "whole", steps=60, lr=SharpenRun.open(out).config.train.lr)
    assert same(weights_of(out), weights_of(tmp_path / "whole"))


# Sharpening ---------------------------------------------------------------------------------------


def read(path):
    with rasterio.open(path) as file:
        return file.read().astype(float), file.profile


def test_it_sharpens_better_than_interpolation(run, pairs, tmp_path):
    (pan, ms), truth = files(pairs[2])[0], read(pairs[2].truth)[0]
    sharp, profile = read(sharpen(pan, ms, tmp_path / "s.tif", run=run.folder.path, quiet=True))
    smooth, _ = read(sharpen(pan, ms, tmp_path / "b.tif", method="bicubic", quiet=True))
    assert profile["dtype"] == "uint16"
    assert sharp.shape == truth.shape
    assert np.mean((sharp - truth) ** 2) < 0.9 * np.mean((smooth - truth) ** 2)


def whole(trained, pair, size):
    """The pair sharpened in windows of a size, the first of which is smaller by some pixels."""
    height, width = pair.grid.height, pair.grid.width
    out = np.empty((pair.bands, height, width), np.float32)
    for row, below in _cuts(height, size):
        for col, right in _cuts(width, size):
            window = pair.read(Window(row, col, below - row, right - col), trained.margin)
            out[:, row:below, col:right] = trained.apply(window)[:, *window.core]
    return out


def _cuts(length, size):
    edges = [0, *range(size - 7, length, size), length]
    return list(itertools.pairwise(edges))


@pytest.mark.parametrize("zero_shot", [None, "ms stream"])
def test_shifted_tilings_agree(run, pairs, monkeypatch, zero_shot):
    monkeypatch.setattr("bandweave.pansharp.trained.TILE", 56)
    pair = open_pair(pairs[3].pan, pairs[3].ms) if zero_shot is None else open_ms(pairs[3].ms, 2)
    assert zero_shot is None or pair.grid.transform.a == 0.5
    trained = Trained(run, pair, zero_shot=zero_shot, device="cpu")
    trained.fit([pair.read(pair.grid.window, trained.margin)])
    results = [whole(trained, pair, size) for size in (200, 61)]
    detail = results[0].std()
    for result in results[1:]:
        assert np.abs(result - results[0]).max() < 1e-3 * detail


def test_statistics_of_many_windows_are_those_of_a_share_of_patches(run, pairs, monkeypatch):
    pair = open_pair(pairs[3].pan, pairs[3].ms)
    counted = []
    for most in (1024, 12):
        monkeypatch.setattr("bandweave.pansharp.trained.LOOKED_AT", most)
        trained = Trained(run, pair, device="cpu")
        images = trained._image
        counted.append(0)

        def count(tile, images=images):
            counted[-1] += 1
            return images(tile)

        trained._image = count
        trained.fit(
            pair.read(w, trained.margin) for w in (Window(0, 0, 94, 60), Window(0, 60, 94, 58))
        )
    assert counted[0] == 6 * 4 * 2
    assert 8 <= counted[1] <= 16


def test_without_pan_the_result_has_ratio_times_the_pixels(run, pairs, tmp_path):
    ms = pairs[2].ms
    values, profile = read(ms)
    results = []
    for way in ("ms stream", "ms twice", "ms as pan"):
        out = super_resolve(
            ms, tmp_path / "o.tif", run.folder.path, zero_shot=way, overwrite=True, quiet=True
        )
        sharp, made = read(out)
        assert sharp.shape == (3, 2 * values.shape[1], 2 * values.shape[2])
        assert made["transform"].a == profile["transform"].a / 2
        coarse = sharp.reshape(3, values.shape[1], 2, values.shape[2], 2).mean((2, 4))
        assert np.corrcoef(coarse.ravel(), values.ravel())[0, 1] > 0.9
        results.append(sharp)
    assert np.abs(results[0] - results[1]).max() > 0
    assert np.abs(results[0] - results[2]).max() > 0


def test_holes_stay_holes_and_empty_windows_cost_nothing(run, tmp_path, write_geotiff):
    pan = np.full((64, 64), 500, np.uint16)
    ms = np.full((3, 32, 32), 400, np.uint16)
    ms[:, :, 16:] = 0
    pan = write_geotiff("pan.tif", pan, rasterio.Affine(1, 0, 5e5, 0, -1, 4e6))
    ms = write_geotiff("ms.tif", ms, rasterio.Affine(2, 0, 5e5, 0, -2, 4e6), nodata=0)
    out = sharpen(pan, ms, tmp_path / "o.tif", run=run.folder.path, window=32, quiet=True)
    values, _ = read(out)
    assert (values[:, :, 32:] == 0).all()
    assert (values[:, :, :32] > 0).all()


# What is refused ----------------------------------------------------------------------------------


def test_a_trained_method_needs_a_run(run, pairs, tmp_path):
    pan, ms = files(pairs[0])[0]
    out = tmp_path / "o.tif"
    with pytest.raises(ConfigError, match=r"mmmamba is a model that has to be trained.*`run`"):
        sharpen(pan, ms, out, method="mmmamba")
    with pytest.raises(ConfigError, match="give one of the two"):
        sharpen(pan, ms, out, method="gsa", run=run.folder.path)
    with pytest.raises(ConfigError, match="was trained for 'generic'"):
        sharpen(pan, ms, out, run=run.folder.path, sensor="ikonos")
    with pytest.raises(ConfigError, match="zero_shot is 'pan'; it is one of ms stream, ms twice"):
        super_resolve(ms, out, run.folder.path, zero_shot="pan")
    with pytest.raises(RunError, match="no such run folder"):
        sharpen(pan, ms, out, run=tmp_path / "none")
    assert not out.exists()


def test_files_that_are_not_like_those_of_the_run(run, pairs, tmp_path):
    path, out = run.folder.path, tmp_path / "o.tif"
    pan, ms = files(pairs[0])[0]
    with pytest.raises(SceneMismatch, match=r"2 bands \(blue, green\).*trained on 3"):
        sharpen(pan, ms, out, run=path, bands=[1, 2])
    with pytest.raises(SceneMismatch, match=r"red, green, blue.*in this order"):
        sharpen(pan, ms, out, run=path, bands=[3, 2, 1])
    other = simulated_pair(tmp_path, seed=0, size=(64, 64), ratio=4, bands=3)
    with pytest.raises(SceneMismatch, match=r"4 PAN pixels wide.*trained on 2"):
        sharpen(other.pan, other.ms, out, run=path)
    with pytest.raises(SceneMismatch, match="1 bands"):
        super_resolve(ms, out, path, bands=[1])
    with pytest.raises(RunError, match=r"a run for sharpening, and .* one for land cover"):
        Run.open(path)


def test_pairs_that_cannot_be_trained_on_together(pairs, tmp_path):
    out = tmp_path / "run"
    other = simulated_pair(tmp_path / "4", seed=0, size=(64, 64), ratio=4, bands=3)
    with pytest.raises(SceneMismatch, match=r"3 bands .* at ratio 4, .* at ratio 2"):
        train([pairs[0], other], out)
    with pytest.raises(ConfigError, match="no pair to train on"):
        train([], out)
    with pytest.raises(ConfigError, match=r"a pair is \(PAN file, MS file"):
        train_sharpener([pairs[0].pan], "mmmamba_tiny", out)
    with pytest.raises(ConfigError, match="validate_every is 0"):
        train(pairs[:1], out, validation=files(pairs[2]))
    with pytest.raises(ConfigError, match="no validation pair"):
        train(pairs[:1], out, validate_every=5)
    with pytest.raises(ConfigError, match="pach: no such option; did you mean 'patch'"):
        train(pairs[:1], out, pach=3)
    with pytest.raises(ConfigError, match="no model 'mmmmamba'; did you mean 'mmmamba'"):
        train_sharpener(files(pairs[0]), "mmmmamba", out)
    with pytest.raises(ConfigError, match="no sensor 'worldveiw-2'"):
        train(pairs[:1], out, sensor="worldveiw-2")
    with pytest.raises(GridMismatch, match="set `patch` to 24 or less"):
        train(pairs[:1], out, patch=99)
    assert not out.exists()


def test_a_run_is_neither_lost_nor_continued_otherwise(run, pairs):
    with pytest.raises(RunError, match="holds a finished run"):
        train(pairs[:2], run.folder.path)
    with pytest.raises(RunError, match=r"train\.steps: 40 then, 41 now"):
        train(
            pairs[:2],
            run.folder.path,
            validation=files(pairs[2]),
            validate_every=20,
            steps=41,
            resume=True,
        )


def test_registered_pairs_are_said_to_be(pairs, tmp_path, caplog):
    registered = train(pairs[:1], tmp_path / "run", register=True, steps=1)
    assert registered.config.register
    pan, ms = files(pairs[0])[0]
    with caplog.at_level(logging.WARNING, "bandweave"):
        sharpen(pan, ms, tmp_path / "o.tif", run=tmp_path / "run", quiet=True)
    assert "was trained on registered pairs" in caplog.text


def test_resampled_ms_trains_with_a_ratio(pairs, tmp_path, write_geotiff):
    """MS that lies on PAN's grid already, without a transform."""
    truth, _ = read(pairs[0].truth)
    pan, _ = read(pairs[0].pan)
    ms = truth.reshape(3, 48, 2, 48, 2).mean((2, 4)).repeat(2, 1).repeat(2, 2)
    where = {"transform": rasterio.Affine.identity(), "crs": None}
    one = write_geotiff("pan.tif", pan.astype(np.uint16), **where)
    two = write_geotiff("ms.tif", ms.astype(np.uint16), **where)
    made = train_sharpener(
        [(one, two)], "mmmamba_tiny", tmp_path / "run", **{**OPTIONS, "steps": 1, "ratio": 2}
    )
    assert made.ratio == 2
