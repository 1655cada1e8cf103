"""Every option of the configuration is a flag and a YAML key, and a misspelt one is named."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandweave.cli.main import COMMANDS
from bandweave.cli.option_texts import read_option_texts
from bandweave.cli.options import UNNAMED, find_full_name
from bandweave.cli.train import parse
from bandweave.errors import ConfigError
from bandweave.landcover.config import LandCoverConfig
from bandweave.models import LAND_COVER
from bandweave.training.atomic import write_yaml


def leaves(config: object, path: str = "") -> dict[str, object]:
    """The value of each option by its full name."""
    found: dict[str, object] = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value, name = getattr(config, field.name), f"{path}{field.name}"
        inner = leaves(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
        found |= inner
    return found


def read(*words: object) -> LandCoverConfig:
    return parse([str(word) for word in words]).config


DEFAULTS = {
    name: value
    for name, value in leaves(LandCoverConfig.read({})).items()
    if name.split(".")[0] in ("model", "split", "samples", "train")
}
NAMES = [*DEFAULTS, "model.name", "scene", "out", "self-contained", "pca"]


@pytest.mark.parametrize("preset", LAND_COVER)
def test_defaults_are_those_of_the_preset(preset):
    assert read("--model", preset) == LandCoverConfig.read({"model": preset})


def test_every_option_can_be_given_as_a_flag_and_as_a_key(tmp_path):
    """Its own default, given in full, changes nothing."""
    written = {name: "null" if value is None else value for name, value in DEFAULTS.items()}
    assert read(*(f"--{name}={value}" for name, value in written.items())) == read()
    write_yaml(tmp_path / "c.yaml", read().to_dict())
    assert read("--config", tmp_path / "c.yaml") == read()


numbers = st.fixed_dictionaries(
    {},
    optional={
        "model.width": st.integers(1, 999),
        "model.dropout": st.floats(0, 0.9),
        "model.cross": st.booleans(),
        "model.average": st.sampled_from(["transition", "rate"]),
        "model.clip.mode": st.sampled_from(["none", "frozen", "adapters", "finetune"]),
        "model.clip.weights": st.sampled_from(["a/b", "/x y/z.pt", "1e3", "true"]),
        "split.guard": st.none() | st.integers(0, 99),
        "split.validation": st.floats(0, 0.9),
        "samples.crop": st.integers(1, 99),
        "samples.augment.noise": st.floats(0, 9),
        "samples.augment.flips": st.booleans(),
        "train.lr": st.floats(1e-9, 1),
        "train.precision": st.sampled_from(["auto", "fp32", "bf16", "fp16"]),
    },
)


@settings(deadline=None, max_examples=20)
@given(options=numbers, equals=st.booleans(), full=st.booleans())
def test_flags_and_a_file_mean_the_same(options, equals, full):
    """Any options, by their full names or the shortest ends that are clear."""
    stored: dict = {}
    words: list[str] = []
    for name, value in options.items():
        *groups, last = name.split(".")
        place = stored
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
        flag = f"--{name if full else SHORT.get(name, last)}"
        text = "null" if value is None else str(value)
        words += [f"{flag}={text}"] if equals else [flag, text]
    assert read(*words) == LandCoverConfig.read(stored)


SHORT = {"model.clip.mode": "clip", "split.guard": "guard", "model.clip.weights": "clip.weights"}


@settings(deadline=None)
@given(st.sampled_from(list(DEFAULTS)), st.data())
def test_a_flag_may_be_any_end_of_its_name(name, data):
    words = name.split(".")
    end = ".".join(words[data.draw(st.integers(0, len(words) - 1)) :])
    written = data.draw(st.sampled_from([end, end.upper(), end.replace("_", "-")]))
    assert find_full_name(name, NAMES) == name
    if end in ("clip", "name"):  # what a section is called, and what two sections have
        return
    alike = [other for other in NAMES if f".{other}".endswith(f".{end}")]
    depth = min(other.count(".") for other in alike)
    shallow = [other for other in alike if other.count(".") == depth]
    if len(shallow) > 1:
        with pytest.raises(ConfigError, match=r"which one\? There are --.* and --"):
            find_full_name(written, NAMES)
    else:
        assert find_full_name(written, NAMES) == shallow[0]


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("steps", "train.steps"),
        ("size", "split.size"),
        ("crop", "samples.crop"),
        ("noise", "samples.augment.noise"),
        ("augment.noise", "samples.augment.noise"),
        ("split", "split.name"),
        ("model", "model.name"),
        ("clip", "model.clip.mode"),
        ("model.clip", "model.clip.mode"),
        ("train.clip", "train.clip"),
        ("clip.weights", "model.clip.weights"),
        ("precision", "train.precision"),
        ("weight-decay", "train.weight_decay"),
        ("self_contained", "self-contained"),
        ("pca.hsi", "pca.hsi"),
    ],
)
def test_short_flags_mean_what_is_stated(flag, meant):
    assert find_full_name(flag, NAMES) == meant


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--stepz", "3"], "--stepz: no such option; did you mean --steps?"),
        (["--train.step", "3"], "--train.step: no such option; did you mean --train.steps?"),
        (["--clip.wieghts", "x"], "--clip.wieghts: no such option; did you mean --clip.weights?"),
        (["--zzzz=3"], "--zzzz: no such option; --help lists what there is"),
        (["--seed", "3"], "--seed: which one? There are --split.seed and --train.seed"),
        (["--steps", "many"], "train.steps: expected a whole number, got 'many' (str)"),
        (["--steps", "1.5"], "train.steps: expected a whole number, got '1.5' (str)"),
        (["--lr=fast"], "train.lr: expected a number, got 'fast' (str)"),
        (["--guard", "x"], "split.guard: expected a whole number or null, got 'x' (str)"),
        (["--cross", "3"], "unrecognized arguments: 3"),
        (["--cross=3"], "model.cross: expected true or false, got '3' (str)"),
        (["--clip", "adapter"], "did you mean 'adapters'?"),
        (["--split", "block"], "did you mean 'blocks'?"),
        (["--model", "m3anba"], "there is no model 'm3anba'; did you mean 'm3amba'?"),
        (["--pca.hsi", "x"], "pca: expected a whole number, got x"),
        (["--devices", "x"], "devices: expected a whole number, got x"),
        (["--steps", "0"], "train: steps=0 must be at least 1"),
        (["--steps"], "expected one argument"),
        (["--config"], "expected one argument"),
        (["--split", "official", "--size", "3"], "has no use for size=3"),
        (["--patience", "3"], "validate_every is 0"),
    ],
)
def test_wrong_flags_are_named(words, told):
    with pytest.raises(ConfigError) as error:
        read(*words)
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("trian: {steps: 3}", "trian: no such option; did you mean 'train'?"),
        ("train: {step: 3}", "train.step: no such option; did you mean 'steps'?"),
        ("train: {steps: many}", "train.steps: expected a whole number, got 'many' (str)"),
        (
            "samples: {augment: {nois: 3}}",
            "samples.augment.nois: no such option; did you mean 'noi",
        ),
        ("model: {clip: {mode: adapter}}", "model.clip.mode: expected one of"),
        ("model: {name: m3anba}", "there is no model 'm3anba'; did you mean 'm3amba'?"),
        ("model: 3", "model: expected a mapping, got 3"),
        ("layers: hsi", "config.layers: expected a list"),
        ("pca: {hsi: x}", "config.pca.hsi: expected a whole number"),
        ("train: {steps: 3", "broken YAML"),
        ("train:\n  steps: 3\n  steps: 4", "the key 'steps' stands twice"),
        ("- 3", "expected a mapping of options"),
    ],
)
def test_wrong_keys_are_named_with_their_file(tmp_path, text, told):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        read("--config", file)
    assert str(error.value).startswith(str(file))
    assert told in str(error.value)


def test_flags_come_before_the_file_before_the_preset(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("scene: s\nmodel: {name: m3amba_tiny, width: 8, clip: none}\ntrain: {lr: 1e-2}")
    config = read("--config", file, "--width=16")
    preset = LandCoverConfig.read({"model": "m3amba_tiny"})
    assert (config.scene, config.name) == ("s", "m3amba_tiny")
    assert (config.model.width, config.model.depth) == (16, preset.model.depth)
    assert (config.train.lr, config.train.steps) == (0.01, preset.train.steps)


def test_another_model_or_split_leaves_the_options_of_the_file_s(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("model: {name: m3amba_tiny, width: 8}\nsplit: {size: 16}\ntrain: {steps: 7}")
    config = read("--config", file, "--model", "m3amba_small", "--split=random")
    assert config.model == LandCoverConfig.read({"model": "m3amba_small"}).model
    assert (config.split.name, config.split.size) == ("random", None)
    assert config.train.steps == 7
    same = read("--config", file, "--model", "m3amba_tiny", "--split", "blocks")
    assert (same.model.width, same.split.size) == (8, 16)


def test_layers_and_components():
    config = read("--layers", "hsi,lidar", "--pca.hsi", "30", "--pca.rgb=2")
    assert config.layers == ["hsi", "lidar"]
    assert config.pca == {"hsi": 30, "rgb": 2}


def test_a_switch_needs_no_value():
    assert read("--drop", "--download", "--flips", "false").split.drop
    config = read("--drop", "--download", "--flips", "false")
    assert config.model.clip.download
    assert not config.samples.augment.flips


def test_the_last_flag_counts():
    assert read("--steps", "3", "--train.steps", "4").train.steps == 4


def test_each_option_has_a_help_that_says_what_it_is(call):
    """But for those whose name and type say it all."""
    text = " ".join(call("train", "--help").out.split())
    assert "batches a step, one after another (type: int, default: 1)" in text
    assert "crops in a step of one process (type: int" in text
    for config in (LandCoverConfig.read({}).split, LandCoverConfig.read({}).samples):
        assert set(read_option_texts(type(config))) >= set(vars(config)) - {"augment"}


def test_the_help_shows_the_values_of_the_preset_asked_for(call):
    for preset in ("m3amba", "m3amba_tiny"):
        text = " ".join(call("train", "--model", preset, "--help").out.split())
        assert f"(type: int, default: {LAND_COVER[preset].config.width})" in text


def test_the_model_of_an_unnamed_section_is_the_default_one():
    """The table of options does not import the models, which take a second."""
    from bandweave.models import DEFAULT_MODEL

    assert UNNAMED["model"] == DEFAULT_MODEL


def test_a_command_is_in_the_module_of_its_name():
    folder = Path(__file__).parents[2] / "src" / "bandweave" / "cli"
    assert {command.replace("-", "_") for command in COMMANDS} <= {
        file.stem for file in folder.glob("*.py")
    }
    for file in folder.glob("*.py"):
        assert (
            ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
            or not file.stat().st_size
        )
