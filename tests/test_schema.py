"""Dataclasses are made strictly from mappings, turned back into them, and compared."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandweave.errors import ConfigError
from bandweave.schema import OneOrMore, check_choices, from_dict, list_differences, to_dict
from bandweave.training.config import TrainConfig
from bandweave.yaml_files import parse_yaml, yaml_text


@dataclass
class Inner:
    depth: int = 2
    kind: Literal["tokens", "pooled"] = "tokens"


@dataclass
class Other:
    width: int = 1
    height: int = 1


@dataclass
class Outer:
    name: str
    rate: float = 0.1
    flag: bool = False
    count: int | None = None
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    sizes: tuple[int, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    names: list[str] = field(default_factory=list)
    components: dict[str, int] = field(default_factory=dict)
    folder: Path | None = None
    either: int | str = 0
    some: OneOrMore[int | str] = ()
    which: Inner | Other | Literal["all"] = "all"
    anything: Any = None


def test_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match=r"train\.learning_rat: no such option"):
        from_dict(TrainConfig, {"learning_rat": 1}, "train")
    with pytest.raises(ConfigError, match=r"train\.warm_up: no such option; did you mean 'warmup'"):
        from_dict(TrainConfig, {"warm_up": 0.1}, "train")
    with pytest.raises(ConfigError, match=r"model\.inner\.dept: .* did you mean 'depth'"):
        from_dict(Outer, {"name": "a", "inner": {"dept": 3}}, where="model")
    with pytest.raises(ConfigError, match=r"model\.maybe\.dept: .* did you mean 'depth'"):
        from_dict(Outer, {"name": "a", "maybe": {"dept": 3}}, where="model")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": "fast"}, r"x\.rate: expected a number, got 'fast' \(str\)"),
        ({"rate": True}, r"x\.rate: expected a number, got True \(bool\)"),
        ({"count": 1.5}, r"x\.count: expected a whole number or null, got 1\.5 \(float\)"),
        ({"count": True}, r"x\.count: expected a whole number or null, got True"),
        ({"flag": 1}, r"x\.flag: expected true or false, got 1 \(int\)"),
        ({"flag": None}, r"x\.flag: expected true or false, got null"),
        (
            {"inner": {"kind": "poled"}},
            r"inner\.kind: expected one of 'tokens', 'pooled'.*'pooled'\?",
        ),
        ({"inner": 3}, r"x\.inner: expected a mapping of options, got 3"),
        ({"sizes": 3}, r"x\.sizes: expected a list, each a whole number, got 3"),
        ({"sizes": [1, "a"]}, r"x\.sizes\[1\]: expected a whole number, got 'a'"),
        ({"pair": [1]}, r"x\.pair: expected a list of 2"),
        ({"components": {"hsi": "many"}}, r"x\.components\.hsi: expected a whole number"),
        ({"either": 1.5}, r"x\.either: expected a whole number or text, got 1\.5"),
        ({"some": 1.5}, r"x\.some: expected a whole number or text, got 1\.5"),
        ({"some": [1, None]}, r"x\.some\[1\]: expected a whole number or text, got null"),
        ({"which": {"widht": 2, "height": 3}}, r"x\.which\.widht: .* did you mean 'width'"),
        (
            {"which": "al"},
            r"expected a mapping or one of 'all', got 'al' \(str\); did you mean 'all'",
        ),
        ({"maybe": 3}, r"x\.maybe: expected a mapping or null, got 3"),
        ({"folder": 3}, r"x\.folder: expected a path or null, got 3"),
        ({"name": None}, r"x\.name: expected text, got null"),
    ],
)
def test_wrong_type_names_path_value_and_expected(options, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(Outer, {"name": "a", **options}, where="x")


def test_missing_key_and_no_mapping():
    with pytest.raises(ConfigError, match=r"x\.name: missing; expected text"):
        from_dict(Outer, {}, where="x")
    with pytest.raises(ConfigError, match=r"x: expected a mapping of options, got \['a'\]"):
        from_dict(Outer, ["a"], where="x")  # type: ignore[arg-type]


# PyYAML folds line breaks other than \n in keys; no option is named so
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]))
outers = st.builds(
    Outer,
    name=texts,
    rate=st.floats(allow_nan=False),
    flag=st.booleans(),
    count=st.none() | st.integers(),
    inner=st.builds(Inner, depth=st.integers(), kind=st.sampled_from(["tokens", "pooled"])),
    maybe=st.none() | st.builds(Inner, depth=st.integers()),
    sizes=st.lists(st.integers()).map(tuple),
    pair=st.tuples(st.integers(), st.floats(allow_nan=False)),
    names=st.lists(
        texts | st.sampled_from(["on", "no", "1e-4", "1E5", "null", "true", "~", "0x1"])
    ),
    components=st.dictionaries(texts, st.integers()),
    folder=st.none() | st.just(Path("runs/a")),
    either=st.integers() | texts,
    some=st.lists(st.integers() | texts).map(tuple),
    which=st.just("all")
    | st.builds(Inner, depth=st.integers())
    | st.builds(Other, width=st.integers()),
)


@given(outers)
def test_round_trip_through_dict_and_yaml(outer):
    assert from_dict(Outer, to_dict(outer)) == outer
    assert from_dict(Outer, parse_yaml(yaml_text(to_dict(outer)))) == outer


def test_one_value_stands_for_a_list_of_one():
    assert from_dict(Outer, {"name": "a", "some": 3}).some == (3,)
    assert from_dict(Outer, {"name": "a", "some": "b"}).some == ("b",)
    assert from_dict(Outer, {"name": "a", "some": [3, "b"]}).some == (3, "b")
    assert from_dict(Outer, {"name": "a", "some": []}).some == ()


def test_of_several_dataclasses_the_one_that_knows_the_keys_is_meant():
    for options, meant in (({"depth": 3}, Inner(3)), ({"height": 3}, Other(1, 3)), ({}, Inner())):
        assert from_dict(Outer, {"name": "a", "which": options}).which == meant


def test_a_number_may_be_nan_and_infinite_but_no_other_text():
    assert math.isnan(from_dict(Outer, {"name": "a", "rate": "nan"}).rate)
    assert from_dict(Outer, {"name": "a", "rate": "-inf"}).rate == -math.inf
    with pytest.raises(ConfigError, match=r"rate: expected a number, got '0\.5' \(str\)"):
        from_dict(Outer, {"name": "a", "rate": "0.5"})


def test_a_file_is_named_before_the_path_in_it():
    with pytest.raises(ConfigError, match=r"^a\.yaml: inner\.dept: no such option"):
        from_dict(Outer, {"name": "a", "inner": {"dept": 3}}, "a.yaml:")
    with pytest.raises(ConfigError, match=r"^a\.yaml: expected a mapping of options, got 3"):
        from_dict(Outer, 3, "a.yaml:")  # type: ignore[arg-type]


def test_differences_are_dotted_paths():
    then = {"train": {"lr": 0.1, "seed": 0}, "bands": [1, 2], "old": None}
    now = {"train": {"lr": 0.2, "seed": 0}, "bands": (1, 3), "new": {"a": 1}}
    assert list_differences(then, now) == [
        "train.lr: 0.1 then, 0.2 now",
        "bands: [1, 2] then, [1, 3] now",
        "old: null then, absent now",
        "new.a: absent then, 1 now",
    ]
    assert list_differences(then, then) == []


def test_values_are_among_their_choices():
    @dataclass
    class Choice:
        way: Literal["up", "down"] = "up"
        ways: Literal[1, 4] = 4
        table: dict[str, int] | None = None

    check_choices(Choice())
    with pytest.raises(ConfigError, match=r"^clip\.way is 'left'; it is one of up, down$"):
        check_choices(Choice("left"), "clip.")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^ways is 3; it is one of 1, 4$"):
        check_choices(Choice(ways=3))  # type: ignore[arg-type]
