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
