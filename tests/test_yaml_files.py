"""YAML is read as a user means it, and what is broken is named with its line."""

from __future__ import annotations

import pytest

from bandweave.errors import ConfigError, FileError
from bandweave.yaml_files import parse_yaml, read_yaml, yaml_text


def test_yaml_reads_what_a_user_means(tmp_path):
    (tmp_path / "c.yaml").write_text("lr: 1e-4\non: id\nseed: 3\nname: no\nflag: true\n")
    assert read_yaml(tmp_path / "c.yaml") == {
        "lr": 1e-4, "on": "id", "seed": 3, "name": "no", "flag": True,
    }  # fmt: skip


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


def test_keys_are_the_same_when_their_values_are():
    assert parse_yaml("a: {1: x, '1': y}") == {"a": {1: "x", "1": "y"}}
    with pytest.raises(ConfigError, match="the key 16 stands twice"):
        parse_yaml("a: {16: x, 0x10: y}")
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}"
    assert parse_yaml(text)["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize("inline", [False, True])
def test_text_is_read_back_as_it_was(inline):
    content = {"classes": {1: {"name": "1e5"}, "no": {"name": "on"}}, "bands": [1, 2e-7], "x": None}
    text = yaml_text(content, inline)
    assert parse_yaml(text) == content
    assert ("bands: [1, 2.0e-07]" in text) is inline


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: " + "[" * 3000 + "]" * 3000, "line 1, column 63: .* more than 60 levels"),
        ("\n".join(" " * i + "a:" for i in range(200)), "line 60, .* more than 60 levels"),
        ("a: &a [*a]", "more than 60 levels"),
        ("a: " + "9" * 5000, "thousands of digits"),
        ("a: 0x" + "9" * 5000, "a number of 60.. digits"),
        ("a: " + "9" * 400, "a number of 400 digits"),
    ],
)
def test_what_no_options_have_is_refused_in_a_line(text, told):
    with pytest.raises(ConfigError, match=told) as caught:
        parse_yaml(text, "a.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("merge", [True, False])
def test_aliases_cannot_grow_without_end(merge):
    lines = ["a0: &a0 {x: 1}" if merge else "a0: &a0 [x]"]
    for i in range(1, 9):
        several = ", ".join([f"*a{i - 1}"] * 9)
        lines.append(f"a{i}: &a{i} " + (f"{{<<: [{several}]}}" if merge else f"[{several}]"))
    with pytest.raises(ConfigError, match=r"merges|more than 250,000 values"):
        parse_yaml("\n".join(lines))


def test_a_merge_is_merged():
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}"
    assert parse_yaml(text)["b"] == {"x": 1, "y": 3}


def test_a_file_that_is_too_long_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("a: 1\n" + "#" * 2**20)
    with pytest.raises(ConfigError, match="has 1048581 bytes"):
        read_yaml(tmp_path / "a.yaml")
