"""One model under honest and leaky protocols."""

import json

import numpy as np
import pytest

import bandweave as bw
from bandweave.cli.main import main
from bandweave.data.splits.splitting import TEST, TRAIN
from bandweave.data.write_scene import write_scene
from bandweave.errors import ConfigError, OutputError, RunError, SplitError
from bandweave.landcover.audit.result import HONEST, PROTOCOLS, Audit, write_page
from bandweave.landcover.audit.shortcuts import Trial, audit, read_scores
from bandweave.landcover.config import LandCoverConfig
from bandweave.landcover.metrics import Scores
from bandweave.output_files import only_writer_of_folder

TINY = {
    "model": {"name": "m3amba_tiny", "width": 8, "depth": 1, "state": 1},
    "samples": {"scales": [], "crop": 4, "batch": 2},
    "train": {"steps": 2},
}
OPTIONS = {"size": 8, "seeds": 1, "quiet": True}


@pytest.fixture(scope="module")
def scene():
    return bw.simulated_scene(seed=1, height=40, width=48, bands=8)


@pytest.fixture
def config():
    return LandCoverConfig.read(json.loads(json.dumps(TINY)))


def test_every_protocol_is_scored_and_kept(scene, config, tmp_path, monkeypatch):
    found = audit(config, scene, tmp_path / "audit", **OPTIONS)
    assert found.scores.keys() == PROTOCOLS.keys()
    assert (found.split, found.guard, found.reach, found.seeds) == ("blocks", 3, 3, 1)
    honest = bw.split(scene, "blocks", size=8, guard=3, seed=0, context="inductive")
    assert found.scores[HONEST][0].support.sum() == honest.counts[TEST].sum()
    assert found.scores["training"][0].support.sum() == honest.counts[TRAIN].sum()
    train, test = honest.counts[TRAIN].sum(), honest.counts[TEST].sum()
    labelled = honest.counts[1:].sum()
    random = found.scores["random"][0].support.sum()
    assert labelled - random == pytest.approx(train, abs=len(scene.classes))
    assert train + test < labelled  # the guard's
    assert "crops" in (tmp_path / "audit" / "audit.html").read_text()
    stored = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert stored["protocols"]["random"]["overall_accuracy"] == found.accuracies("random").tolist()
    assert "A single seed gives no interval" in stored["paragraph"]

    monkeypatch.setattr(
        "bandweave.landcover.audit.shortcuts.train", None
    )  # nothing is trained again
    again = audit(config, scene, tmp_path / "audit", **OPTIONS)
    assert again.to_dict() == found.to_dict()
    scores = tmp_path / "audit" / "scores" / "seed-0-crops.json"
    before = scores.read_text()
    scores.unlink()
    audit(config, scene, tmp_path / "audit", **OPTIONS)
    assert scores.read_text() == before

    other = LandCoverConfig.read({**TINY, "train": {"steps": 3}})
    with pytest.raises(RunError, match="holds another audit"):
        audit(other, scene, tmp_path / "audit", **OPTIONS)


def test_overlapping_crops_leak_and_repeat(scene, config, tmp_path):
    trial = Trial(config, scene, tmp_path, 0, "blocks", {"size": 8, "guard": 3}, True)
    drawn = trial.draw_crops()
    (roles,), (weights,) = drawn.roles, trial.weights
    assert weights.max() > 1
    assert ((roles == TRAIN) & (weights > 0)).any()  # test crops hold training pixels
    assert not ((roles == TEST) & (weights == 0)).any()
    honest = bw.split(scene, "blocks", size=8, guard=3, seed=0)
    assert drawn.counts[TRAIN].sum() >= honest.counts[TRAIN].sum()
    assert drawn.counts[TRAIN].sum() == (roles == TRAIN).sum()


def made_up(points, seeds=5, spread=0.0):
    """An audit in which each protocol is so many points above the honest one."""
    rng = np.random.default_rng(0)
    base = 6000 + rng.integers(-300, 300, seeds)
    scores = {
        name: [
            Scores(
                np.array([[right := int(b + 100 * plus + n), 10_000 - right], [0, 0]]),
                ("a", "b"),
                {"pixels": {"train": 100, "test": 150}},
            )
            for b, n in zip(base, rng.normal(0, 100 * spread, seeds), strict=True)
        ]
        for name, plus in zip(PROTOCOLS, points, strict=True)
    }
    return Audit("m3amba_tiny", "town", "blocks", 15, 15, scores)


def test_the_interval_is_of_paired_differences():
    found = made_up((0, 1, 15, 12, 30), spread=0.0)
    for name, plus in zip(PROTOCOLS, (0, 1, 15, 12, 30), strict=True):
        assert found.inflation(name) == pytest.approx((plus, plus, plus))
    found = made_up((0, 1, 15, 12, 30), spread=2.0)
    from scipy.stats import ttest_rel

    honest, random = found.accuracies(HONEST), found.accuracies("random")
    plain = ttest_rel(100 * random, 100 * honest).confidence_interval()
    mean, low, high = found.inflation("random")
    wider = ((1 / 5 + 1.5) / (1 / 5)) ** 0.5  # 150 test pixels over 100 training pixels
    assert high - low == pytest.approx(wider * (plain.high - plain.low))
    assert mean == pytest.approx((low + high) / 2)
    few = made_up((0, 1, 15, 12, 30), seeds=4, spread=2.0)
    assert np.isnan(few.inflation("random")[1:]).all()
    assert "interval +" not in few.paragraph()
    assert "4 seeds give no interval" in few.paragraph()
    assert "Drawing single pixels at random instead adds" in found.paragraph()
    page = write_page(found)
    assert "<svg" in page
    assert found.paragraph().split(".")[0] in page.replace("&#39;", "'")


def test_too_large_a_guard_is_explained(scene, tmp_path):
    config = LandCoverConfig.read({**TINY, "samples": {"scales": [], "crop": 32, "batch": 2}})
    with pytest.raises(SplitError, match=r"guard of 31 label px .* take smaller crops"):
        audit(config, scene, tmp_path / "audit", seeds=1, quiet=True)
    for wrong, said in (
        ({"name": "blcks"}, "no split 'blcks'"),
        ({"name": "random"}, "what an audit warns of"),
        ({"guard": -3}, "guard -3"),
        ({"size": 0, "guard": 1}, "size 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            audit(config, scene, tmp_path / "audit", seeds=1, quiet=True, **wrong)
    assert not (tmp_path / "audit").exists()  # the corrected command may have it
    with pytest.raises(ConfigError, match="0 seeds"):
        audit(config, scene, tmp_path / "audit", seeds=0)


def test_a_second_audit_in_a_folder_is_refused(scene, config, tmp_path):
    folder = tmp_path / "audit"
    with (
        only_writer_of_folder(folder, "an audit"),
        pytest.raises(OutputError, match="is being written by process"),
    ):
        audit(config, scene, folder, **OPTIONS)
    assert not folder.exists()


def test_another_folder_is_left_alone(scene, config, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="something else than an audit"):
        audit(config, scene, tmp_path, **OPTIONS)


@pytest.mark.parametrize("text", ["{", "[]", '{"protocol": {}}'])
def test_scores_that_are_damaged_or_of_an_older_version_are_one_line(tmp_path, text):
    path = tmp_path / "seed-0-random.json"
    path.write_text(text)
    with pytest.raises(RunError, match=r"seed-0-random\.json cannot be read") as told:
        read_scores(path)
    assert "\n" not in str(told.value)


def test_the_command(scene, tmp_path, capsys):
    file = str(write_scene(scene, tmp_path / "scene"))
    small = (
        "--width 8 --depth 1 --state 1 --crop 8 --batch 2 --steps 1 --scales 1 --size 8 --seeds 2"
    )
    out = str(tmp_path / "out")
    command = ["audit", "m3amba_tiny", file, "--out", out, *small.split(), "--quiet"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "random pixels of each class" in printed
    assert "2 seeds give no interval" in printed
    run = f"{out}/runs/seed-0-random"
    assert main(["audit", run, file, "--out", f"{out}2", *small.split()[-4:-2],
                 "--seeds", "1", "--quiet"]) == 0  # fmt: skip
    for wrong, said in (
        (["audit", "m3amba_tiny"], "Give RUN or MODEL and a scene"),
        (["audit", "m3amba_tiny", file], "Give --out"),
        (["audit", "m3amba_tyny", file, "--out", out], "did you mean 'm3amba_tiny'"),
    ):
        assert main(wrong) == 2
        assert said in capsys.readouterr().err
