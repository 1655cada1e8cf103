"""Options are read strictly, written back, and compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandweave.errors import ConfigError, FileError
from bandweave.run.config import (
    TrainConfig,
    differences,
    from_dict,
    parse_yaml,
    read_yaml,
    to_dict,
    write_yaml,
    yaml_text,
)


@dataclass
class Inner:
    depth: int = 2
    kind: Literal["tokens", "pooled"] = "tokens"


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
    anything: Any = None


def test_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match=r"train\.learning_rat: no such option"):
        from_dict(TrainConfig, {"learning_rat": 1})
    with pytest.raises(ConfigError, match=r"train\.warm_up: no such option; did you mean 'warmup'"):
        from_dict(TrainConfig, {"warm_up": 0.1})
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
)


@given(outers)
def test_round_trip_through_dict_and_yaml(outer):
    assert from_dict(Outer, to_dict(outer)) == outer
    assert from_dict(Outer, parse_yaml(yaml_text(to_dict(outer)))) == outer


def test_yaml_reads_what_a_user_means(tmp_path):
    (tmp_path / "c.yaml").write_text("lr: 1e-4\non: id\nseed: 3\nname: no\nflag: true\n")
    assert read_yaml(tmp_path / "c.yaml") == {
        "lr": 1e-4, "on": "id", "seed": 3, "name": "no", "flag": True,
    }  # fmt: skip
    write_yaml(tmp_path / "d.yaml", {"train": TrainConfig(lr=1e-5), "at": Path("x")})
    read = read_yaml(tmp_path / "d.yaml")
    assert from_dict(TrainConfig, read["train"]) == TrainConfig(lr=1e-5)
    assert list(tmp_path.glob(".*")) == []


def test_broken_yaml_names_file_and_line(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("a: 1\nb: [1, 2\nc: 3\n")
    with pytest.raises(ConfigError, match=r"c\.yaml, line 3, column \d+: broken YAML"):
        read_yaml(file)
    file.write_text("a: 1\nb: 2\na: 3\n")
    with pytest.raises(ConfigError, match=r"c\.yaml, line 3, .*the key 'a' stands twice"):
        read_yaml(file)
    file.write_text("- 1\n- 2\n")
    with pytest.raises(ConfigError, match="expected a mapping of options"):
        read_yaml(file)
    file.write_text("a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match=r"line 1, .*could not determine a constructor"):
        read_yaml(file)
    file.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(FileError, match="not a YAML text file"):
        read_yaml(file)
    with pytest.raises(FileError, match="No such file"):
        read_yaml(tmp_path / "missing.yaml")
    assert parse_yaml("") == {}


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"warmup": 1.5}, {"ema": 1.0},
        {"clip": -1.0}, {"accumulate": 0}, {"checkpoint_every": 0}, {"patience": 2}, {"seed": -1},
    ],
)  # fmt: skip
def test_impossible_values_are_named(options):
    with pytest.raises(ConfigError, match=f"train: {next(iter(options))}="):
        from_dict(TrainConfig, options)


def test_differences_are_dotted_paths():
    then = {"train": {"lr": 0.1, "seed": 0}, "bands": [1, 2], "old": None}
    now = {"train": {"lr": 0.2, "seed": 0}, "bands": (1, 3), "new": {"a": 1}}
    assert differences(then, now) == [
        "train.lr: 0.1 then, 0.2 now",
        "bands: [1, 2] then, [1, 3] now",
        "old: null then, absent now",
        "new.a: absent then, 1 now",
    ]
    assert differences(then, then) == []
