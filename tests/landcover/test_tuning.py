"""Options that held-out pixels favour."""

import json
from dataclasses import replace

import pytest

import bandweave as bw
from bandweave.errors import ConfigError, RunError, SplitError
from bandweave.landcover import length, tuning
from bandweave.landcover.config import LandCoverConfig
from bandweave.landcover.tuning import draw_options
from bandweave.yaml_files import read_yaml

TINY = {"width": 8, "depth": 1, "state": 2, "crop": 8, "batch": 4, "steps": 10}


@pytest.fixture
def clock(monkeypatch):
    """Is late after it was asked `left` times."""
    monkeypatch.setattr(length, "LOOKS", 2)

    class Clock:
        left = 2

        def monotonic(self):
            self.left -= 1
            return 0.0 if self.left >= 0 else 1e9

    made = Clock()
    monkeypatch.setattr(tuning, "time", made)
    return made


def config(**options):
    return LandCoverConfig.from_options("m3amba_tiny", {**TINY, **options})


def tune(scene, split, out, clock, more, **options):
    """With as many trials more as are asked for; the first comes without asking."""
    clock.left = 1 + more
    return bw.tune(scene, split, out, config=config(**options), minutes=1 / 60, quiet=True)


def without_times(trials):
    return [replace(each, length=replace(each.length, seconds=0.0)) for each in trials]


def test_the_best_of_the_trials_is_what_trains(scene, split, tmp_path, clock):
    found = tune(scene, split, tmp_path / "tuned", clock, 2)
    assert len(found.trials) == 3
    assert found.trials[0].options == {}
    assert found.best.length.score == max(trial.length.score for trial in found.trials)
    lines = (tmp_path / "tuned" / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line)["trial"] for line in lines] == list(range(len(found.trials)))
    assert LandCoverConfig.read(read_yaml(tmp_path / "tuned" / "config.yaml")) == found.config
    run = bw.train(scene, split, "m3amba_tiny", tmp_path / "run", config=found.config, quiet=True)
    assert run.facts["steps"] == found.best.length.steps
    assert "length" not in run.facts


def test_more_minutes_go_on_where_it_stopped(scene, split, tmp_path, clock):
    whole = tune(scene, split, tmp_path / "whole", clock, 2)
    some = tune(scene, split, tmp_path / "some", clock, 0)
    more = tune(scene, split, tmp_path / "some", clock, 2)
    assert [len(each.trials) for each in (whole, some, more)] == [3, 1, 3]
    assert without_times(more.trials) == without_times(whole.trials)


def test_an_interrupted_trial_is_finished(scene, split, tmp_path, clock, monkeypatch):
    whole = tune(scene, split, tmp_path / "whole", clock, 0)
    taken = []

    def stop(text):
        taken.append(text)
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "write_text", lambda path, text: stop(text))
    with pytest.raises(KeyboardInterrupt):
        tune(scene, split, tmp_path / "cut", clock, 0)
    monkeypatch.undo()
    monkeypatch.setattr(length, "LOOKS", 2)
    checkpoint = tmp_path / "cut" / "trials" / "0" / "held_out" / "last.ckpt"
    assert checkpoint.exists()
    again = bw.tune(scene, split, tmp_path / "cut", config=config(), minutes=1e-9, quiet=True)
    assert without_times(again.trials) == without_times(whole.trials)
    assert not checkpoint.exists()


def test_draws_follow_from_seed_and_number():
    one, two = config(), config(seed=1)
    draws = [draw_options(one, number) for number in range(20)]
    assert draws[0] == {}
    assert draws == [draw_options(one, number) for number in range(20)]
    assert draws[1:] != [draw_options(two, number) for number in range(1, 20)]
    names = {name for each in draws for section in each.values() for name in section}
    assert {"lr", "weight_decay", "balance", "scales", "augment", "dropout", "drop_path"} <= names
    assert "class_balance" not in names  # an option of another model
    rates = [each["train"]["lr"] for each in draws if "lr" in each.get("train", {})]
    assert all(one.train.lr / 4 <= rate <= one.train.lr * 4 for rate in rates)


def test_the_strength_of_changes_is_one_option():
    changed = tuning._changed(config(), {"samples": {"augment": 2.0}})
    before, after = config().samples.augment, changed.samples.augment
    assert after.noise == 2 * before.noise
    assert after.flips is before.flips
    assert tuning._changed(config(band_dropout=0.4), {"samples": {"augment": 2.0}}).samples.augment


@pytest.mark.parametrize("name", ["cf_ipt_tiny", "mambamoe_tiny", "cnn2d"])
def test_every_draw_is_a_configuration(name):
    base = LandCoverConfig.read({"model": name})
    for number in range(20):
        tuning._changed(base, draw_options(base, number))


def test_what_cannot_be_tuned_is_refused(scene, split, tmp_path, clock):
    with pytest.raises(ConfigError, match="steps is 9: too few"):
        tune(scene, split, tmp_path / "few", clock, 1, steps=9)
    with pytest.raises(ConfigError, match="minutes is 0"):
        bw.tune(scene, split, tmp_path / "none", config=config(), minutes=0)
    whole = bw.split(scene, "blocks", size=40, guard=0, drop=True)
    with pytest.raises(SplitError, match="there is nothing to tune on"):
        tune(scene, whole, tmp_path / "whole", clock, 1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(RunError, match="something else than a tuning"):
        tune(scene, split, tmp_path / "other", clock, 1)
    tune(scene, split, tmp_path / "tuned", clock, 0)
    with pytest.raises(RunError, match=r"holds another tuning: .*width"):
        tune(scene, split, tmp_path / "tuned", clock, 1, width=16)
    assert not (tmp_path / "few").exists()
