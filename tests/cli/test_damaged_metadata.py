"""What a model file says of itself, of a version without checksums and of any type, is one line."""

from __future__ import annotations

import json

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

CHANGES = {
    "format": "x",
    "kind": 3,
    "config": "x",
    "config.model": [],
    "config.model.clip": "x",
    "classes": {"a": 1},
    "classes.0": "x",
    "classes.0.color": None,
    "layers": "x",
    "layers.hsi": None,
    "layers.hsi.bands": "x",
    "layers.hsi.ratio": "x",
    "layers.hsi.wavelengths": "x",
    "layers.hsi.units": 3,
    "layers.hsi.numbers": ["x"],
    "scaling": 1,
    "scaling.layers": None,
    "bands": [],
    "bands.hsi": "x",
    "output_ratio": "x",
    "facts": "x",
    "facts.machine": None,
    "facts.parameters": "x",
    "facts.seconds": "x",
    "facts.temperature": "x" * 100_000,
}


def rewritten(run, place=None, value=None):
    """The run with its model in the form without checksums, and another value at a place."""
    path = run / "model.safetensors"
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["bandweave"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if place:
        *places, last = place.split(".")
        found = metadata
        for name in places:
            found = found[int(name) if isinstance(found, list) else name]
        found[int(last) if isinstance(found, list) else last] = value
    save_file(tensors, path, metadata={"bandweave": json.dumps(metadata)})
    return run


@pytest.mark.parametrize(("place", "value"), CHANGES.items(), ids=CHANGES)
def test_metadata_that_misstate_are_refused_in_a_line(call, run_copy, scene_file, place, value):
    run = rewritten(run_copy, place, value)
    results = [call("info", run), call("map", run, scene_file, run / "map.tif", "--quiet")]
    assert 2 in (results[0].status, results[1].status)
    for result in results:
        assert result.status in (0, 2), result.err  # neither needs all of it
        assert len(result.err) < 2100
        if result.status == 2:
            (line,) = result.err.splitlines()
            assert line.startswith("bandweave: error: ")
    assert (run / "map.tif").exists() == (results[1].status == 0)


def test_a_run_without_checksums_is_told_mapped_and_scored(call, run_copy, scene_file):
    run = rewritten(run_copy)
    assert call("info", run).status == 0
    assert call("map", run, scene_file, run / "old.tif", "--quiet").status == 0
    assert call("score", run, scene_file, "--quiet").status == 0


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"pixels": null}', '{"pixels": {}, "calibration": 3}', "{", "1", "[" * 100_000],
)
def test_scores_that_are_none(refused, run_copy, text):
    (run_copy / "scores.json").write_text(text)
    told = refused("info", run_copy)
    assert "scores.json is damaged" in told
    assert "score the run again" in told
