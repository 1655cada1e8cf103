"""Runs on derived layers: training, mapping, and inductive honesty, from a scene file on."""

import dataclasses

import numpy as np
import pytest
import rasterio

import bandweave as bw
from bandweave.cli.main import main
from bandweave.data.write_scene import write_scene
from bandweave.errors import SceneMismatch
from bandweave.raster.formats.arrays import ArraySource
from bandweave.training.atomic import write_yaml
from bandweave.yaml_files import read_yaml

DERIVED = {
    "ndvi": {"index": "ndvi", "of": "hsi"},
    "means": {"gaussian": [1, 2], "of": "hsi", "bands": [2, 5]},
    "profile": {"profile": [1, 2], "of": "lidar"},
    "steep": {"slope": True, "of": "lidar"},
}
LAYERS = ["hsi", *DERIVED]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The scene file of a simulated town with derived layers."""
    folder = tmp_path_factory.mktemp("scene")
    scene = bw.simulated_scene(seed=0, height=40, width=48, bands=20)
    write_scene(scene, folder)
    file = folder / "scene.yaml"
    write_yaml(file, {**read_yaml(file), "derived": DERIVED})
    return file


def train(scene, out, model="m3amba_tiny", **options):
    drawn = bw.split(scene, "blocks", size=8, guard=1, **options.pop("split", {}))
    if model == "m3amba_tiny":
        options = {"steps": 2, "width": 8, "crop": 8, "batch": 2, "quiet": True, **options}
    return bw.train(scene, drawn, model, out, layers=LAYERS, **options)


@pytest.mark.parametrize("model", ["m3amba_tiny", "knn"])
def test_a_run_on_derived_layers_maps_scores_and_is_described(path, tmp_path, capsys, model):
    scene = bw.open_scene(path)
    run = train(scene, tmp_path / "run", model)
    assert list(run.layers) == LAYERS
    assert run.facts["protocol"]["reach_px"] == run.reach(scene) >= 34
    bw.map_scene(tmp_path / "run", scene, tmp_path / "map.tif", quiet=True)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.shape == (40, 48)
        assert (file.read() > 0).all()
    assert bw.score(tmp_path / "run", scene, quiet=True).pixels.support.sum() > 0
    assert main(["info", str(tmp_path / "run")]) == 0
    assert "derived by {gaussian: [1, 2], of: hsi, bands: [2, 5]}" in capsys.readouterr().out
    plain = path.with_name("plain.yaml")
    write_yaml(plain, {key: value for key, value in read_yaml(path).items() if key != "derived"})
    with pytest.raises(SceneMismatch, match=r"add `derived: \{ndvi: \{index: ndvi"):
        bw.map_scene(tmp_path / "run", bw.open_scene(plain), tmp_path / "other.tif", quiet=True)


@pytest.mark.parametrize("model", ["m3amba_tiny", "knn"])
def test_inductive_training_does_not_depend_on_what_the_test_looks_like(path, tmp_path, model):
    tables = []
    for name in ("as it is", "changed"):
        scene = bw.open_scene(path)
        if tables:
            scene = with_test_pixels_changed(scene)
        run = train(scene, tmp_path / name, model, split={"context": "inductive"})
        tables.append(
            run.fitted.values
            if model == "knn"
            else np.concatenate([w.detach().ravel() for w in run.model.parameters()])
        )
    np.testing.assert_array_equal(*tables)


def with_test_pixels_changed(scene):
    """Other values of files wherever an inductive training may not look."""
    hidden = bw.split(scene, "blocks", size=8, guard=1, context="inductive").hidden(0)
    (part,) = scene.parts

    def change(source):
        if hasattr(source, "apply_to"):
            return source.apply_to(change(source.source))
        whole = source.read_nan(source.grid.window)
        return ArraySource(np.where(hidden, 7 - 2 * whole, whole), source.grid, info=source.info)

    layers = {
        name: dataclasses.replace(layer, source=change(layer.source))
        for name, layer in part.layers.items()
    }
    return dataclasses.replace(scene, parts=(dataclasses.replace(part, layers=layers),))
