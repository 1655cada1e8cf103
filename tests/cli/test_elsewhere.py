"""A scene whose layers lie at an address: checked, trained on and mapped as one of this machine."""

from __future__ import annotations

import rasterio
import yaml

KNN = ("--model", "knn", "--size", "8", "--guard", "1", "--quiet")


def test_a_scene_elsewhere(call, refused, serve, scene_file, tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    with rasterio.open(scene_file.parent / "hsi.img") as file:
        options = file.profile | {"driver": "GTiff", "tiled": True, "blockxsize": 16,
                                  "blockysize": 16, "interleave": "pixel"}  # fmt: skip
        with rasterio.open(folder / "hsi.tif", "w", **options) as copy:
            copy.write(file.read())
    content = yaml.safe_load(scene_file.read_text())
    server = serve(folder)
    local, away = tmp_path / "local.yaml", tmp_path / "away.yaml"
    for path, place in ((local, str(folder)), (away, server.address)):
        content["layers"]["hsi"] = f"{place}/hsi.tif"
        for entry in (content["layers"], content):
            for name in ("lidar", "labels"):
                if name in entry:
                    entry[name] = _beside(entry[name], scene_file.parent)
        path.write_text(yaml.safe_dump(content, sort_keys=False))
    checks = [call("scenes", "check", path) for path in (local, away)]
    assert checks[0].out.replace("local", "away") == checks[1].out
    maps = []
    for path in (local, away):
        run, image = tmp_path / f"{path.stem}_run", tmp_path / f"{path.stem}.tif"
        trained = call("train", "--scene", path, "--out", run, *KNN)
        assert trained.status == 0, trained.err
        assert call("map", run, path, image, "--quiet").status == 0
        maps.append(image.read_bytes())
    assert maps[0] == maps[1]
    assert f"{server.address}/hsi.tif" in call("info", f"{server.address}/hsi.tif").out
    gone = serve(folder)
    gone.close()
    content["layers"]["hsi"] = f"{gone.address}/hsi.tif"
    away.write_text(yaml.safe_dump(content))
    said = refused("map", tmp_path / "away_run", away, tmp_path / "other.tif")
    assert said.startswith(f"layer 'hsi': {gone.address}/hsi.tif cannot be read: nothing answers")


def _beside(entry, folder):
    """A layer or labels by paths in a folder."""
    if isinstance(entry, str):
        return str(folder / entry)
    if "path" in entry:
        return entry | {"path": str(folder / entry["path"])}
    return {role: _beside(one, folder) for role, one in entry.items()}
