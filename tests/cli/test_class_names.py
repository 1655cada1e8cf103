"""Classes by their names: samples labelled by them, and classes renamed after training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import rasterio
import yaml


def changed(scene_file: Path, path: Path, change) -> Path:
    """A scene file like another, of the same files, its content changed."""
    content = yaml.safe_load(scene_file.read_text())
    for entry in [*content["layers"].values(), content["labels"]]:
        entry["path"] = str(scene_file.parent / entry["path"])
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def mapped(call, scene_file, run_copy) -> Path:
    """A copy of the run with its map."""
    assert call("map", run_copy, scene_file, run_copy / "map.tif", "--quiet").status == 0
    return run_copy


@pytest.fixture
def sample(call, scene_file, mapped, tmp_path):
    """sample(write): a scene file whose labels are places of the map, written by `write`."""
    drawn = tmp_path / "points.geojson"
    assert call("sample", mapped / "map.tif", drawn, "--per-class", "5").status == 0
    classes = yaml.safe_load(scene_file.read_text())["classes"]
    names = {code: entry["name"] for code, entry in classes.items()}

    def labelled(name: str, write) -> Path:
        content = json.loads(drawn.read_text())
        with rasterio.open(mapped / "map.tif") as file:
            for feature in content["features"]:
                place = [feature["geometry"]["coordinates"]]
                unit, code = feature["properties"]["unit"], int(next(file.sample(place))[0])
                code = 3 if unit % 5 == 0 else code  # so that the map is wrong in places
                feature["properties"]["class"] = write(unit, code, names[code])
        (tmp_path / f"{name}.geojson").write_text(json.dumps(content))
        labels = {
            "path": str(tmp_path / f"{name}.geojson"),
            "field": "class",
            "sampling": "stratified by map class",
        }
        return changed(
            scene_file, tmp_path / f"{name}.yaml", lambda scene: scene.update(labels=labels)
        )

    return labelled


def test_a_sample_labelled_by_names_gives_the_areas_of_one_labelled_by_codes(call, mapped, sample):
    found = {}
    for name, write in (
        ("codes", lambda unit, code, name: code),
        ("names", lambda unit, code, name: name),
        ("loose", lambda unit, code, name: f" {name.upper()} "),
        ("both", lambda unit, code, name: name if unit % 2 else str(code)),
    ):
        scene = sample(name, write)
        (mapped / "areas.csv").unlink(missing_ok=True)
        assert call("report", mapped, scene, "--quiet").status == 0
        found[name] = (mapped / "areas.csv").read_text()
    heading, *rows = found["codes"].splitlines()
    assert heading.endswith(",sample_units")
    units = [int(row.split(",")[-1]) for row in rows]
    assert len(rows) == 10
    assert sum(units) >= 10
    assert any(0 < float(row.split(",")[6] or 0) < 1 for row in rows), "a user's accuracy"
    assert {name: text == found["codes"] for name, text in found.items()} == dict.fromkeys(
        ("codes", "names", "loose", "both"), True
    )


def test_a_misspelt_name_in_a_sample_is_one_line(refused, mapped, sample):
    def misspelt(unit, code, name):
        return name.replace("shrubs", "shrubz")

    told = refused("report", mapped, sample("misspelt", misspelt), "--quiet")
    assert "the labels have code shrubz" in told
    assert "did you mean 'shrubs' by 'shrubz'?" in told
    assert not (mapped / "areas.csv").exists()


def test_a_class_renamed_after_training_changes_nothing(call, scene_file, mapped, tmp_path):
    def rename(content):
        content["classes"][3] = {"name": "bushes", "color": "#123456"}
        content["classes"][7]["name"] = "road"

    scene = changed(scene_file, tmp_path / "renamed.yaml", rename)
    assert call("map", mapped, scene, tmp_path / "map.tif", "--quiet").status == 0
    for name in ("map.tif", "map.qml", "map.tif.aux.xml"):
        assert (tmp_path / name).read_bytes() == (mapped / name).read_bytes()
    scores = []
    for each in (scene_file, scene):
        assert call("score", mapped, each, "--quiet").status == 0
        scores.append(json.loads((mapped / "scores.json").read_text()))
    assert "shrubs" in scores[0]["pixels"]["per_class"], "the run's names stay"
    assert scores[0] == scores[1]
    assert call("report", mapped, scene, "--quiet").status == 0
    assert "shrubs" in (mapped / "report.html").read_text()
