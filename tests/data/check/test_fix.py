"""Keys set in the text of a scene file: the rest of the text stays as it was."""

import pytest

from bandweave.data.check.findings import Edit
from bandweave.data.check.fix import edit_scene_text
from bandweave.errors import ConfigError
from bandweave.yaml_files import parse_yaml

NODATA = Edit(("layers", "a"), "nodata", -9999)
STYLES = {
    "bare": "layers:\n  a: a.tif  # the cube\n  b: b.tif\n",
    "braces": "layers:\n  a: {path: a.tif, units: m}  # the cube\n",
    "block": "layers:\n  # one\n  a:  # two\n    path: a.tif  # three\n    # four\n    units: m\n",
    "all in braces": "{layers: {a: a.tif}}\n",
    "list in brackets": "layers:\n  a: [a.tif, 'b, c.tif']\n",
    "list of lines": "layers:\n  a:\n    - a.tif  # red\n    - b.tif\n",
    "list at the key": "layers:\n  a:\n  - a.tif\n  - b.tif\n",
    "paths of lines": "layers:\n  a:\n    path:\n      - a.tif  # red\n      - b.tif\nname: x\n",
    "no last line end": "layers:\n  a: a.tif",
    "set already": "layers:\n  a: {path: a.tif, nodata: 0}\n",
    "Windows": "layers:\r\n  a:\r\n    path: a.tif\r\n",
}


@pytest.mark.parametrize("text", STYLES.values(), ids=STYLES)
def test_a_key_of_a_layer(text):
    new = edit_scene_text(text, [NODATA])
    entry = parse_yaml(new)["layers"]["a"]
    before = parse_yaml(text)["layers"]["a"]
    before = before if isinstance(before, dict) else {"path": before}
    assert entry == {**before, "nodata": -9999}
    for line in text.splitlines():
        assert line.partition("#")[2] in new, "comments stay"
    assert edit_scene_text(new, [NODATA]) == new, "the same again changes nothing"
    assert ("\r\n" in new) == ("\r\n" in text)


def test_keys_of_the_file_and_of_classes():
    text = "layers: {a: a.tif}\nclasses:\n  -1: class -1  # none\n  1: class 1  # water\n# end\n"
    edits = [
        Edit((), "ignore", [-1]),
        Edit(("classes",), -1, None),
        Edit(("classes",), 0, "class 0"),
    ]
    new = edit_scene_text(text, edits)
    content = parse_yaml(new)
    assert content["ignore"] == [-1]
    assert content["classes"] == {0: "class 0", 1: "class 1"}
    assert "# water" in new
    assert "# end" in new
    flow = edit_scene_text("layers: {a: a.tif}\nclasses: {-1: x, 1: y}\n", edits[1:])
    assert parse_yaml(flow)["classes"] == {0: "class 0", 1: "y"}


def test_what_others_share_is_not_touched():
    text = "layers:\n  a: &one\n    path: a.tif\n  b: *one\n"
    with pytest.raises(ConfigError, match="cannot be written into layer 'a'"):
        edit_scene_text(text, [NODATA])
