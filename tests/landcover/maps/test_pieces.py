"""Maps that are made in pieces: the same bytes, and nothing is lost but a piece."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

import bandweave as bw
from bandweave.errors import ConfigError, GridMismatch, OutputError, RunError
from bandweave.landcover.maps import pieces
from bandweave.landcover.maps.pieces import Piece, make_piece
from bandweave.raster.grid import PIXELS, Grid

TINY = {"width": 8, "depth": 1, "state": 2, "crop": 8, "batch": 4, "scales": [1.0, 2.0]}


@pytest.fixture(scope="module")
def scene():
    return bw.simulated_scene(seed=1, height=150, width=60, bands=6)


@pytest.fixture(scope="module")
def runs(scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    split = bw.split(scene, "blocks", size=16, guard=2, drop=True)
    net = bw.train(
        scene, split, "m3amba_tiny", folder / "net", steps=3, hold_out=0.0, quiet=True, **TINY
    )
    knn = bw.train(scene, split, "knn", folder / "knn", quiet=True)
    return {"net": net, "knn": knn, "both": [net.folder.path, knn]}


@pytest.fixture(autouse=True)
def low_bands(monkeypatch):
    monkeypatch.setattr(pieces, "LEAST", 64)


@pytest.fixture
def in_this_process(monkeypatch):
    """Workers are this process, which makes the pieces one after another."""
    from bandweave.cluster import sharing

    def make(root, cells, options, processes, module):
        for cell in cells:
            yield cell, pieces.run_cell(root, cell, replace(options, threads=None))

    monkeypatch.setattr(sharing, "make_in_processes", make)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("name", ["net", "knn", "both"])
def test_the_bytes_are_those_of_one_process(scene, runs, tmp_path, name):
    for folder, workers in ((tmp_path / "one", 1), (tmp_path / "two", 2)):
        folder.mkdir()
        bw.map_scene(
            runs[name], scene, folder / "map.tif", confidence=True, uncertainty=True,
            probabilities=True, minimum=3, polygons=folder / "map.gpkg", workers=workers,
            quiet=True,
        )  # fmt: skip
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one.keys() == two.keys()
    assert len(one) == 7
    for file in one:
        if not file.endswith(".gpkg"):  # it has the time in it
            assert one[file] == two[file], file
    assert not (tmp_path / "two" / "map.tif.pieces").exists()


@pytest.mark.usefixtures("in_this_process")
def test_within_polygons_too(scene, runs, tmp_path):
    grid = scene.parts[0].grid
    left, bottom, right, top = grid.bounds
    middle = shapely.Point((left + right) / 2, (bottom + top) / 2)
    shape = shapely.to_wkb(middle.buffer((top - bottom) / 3))
    pyogrio.raw.write(
        tmp_path / "aoi.gpkg", np.array([shape], object), [], [], geometry_type="Polygon",
        crs=grid.crs.to_wkt(),
    )  # fmt: skip
    for name, workers in (("one", 1), ("two", 2)):
        bw.map_scene(
            runs["net"], scene, tmp_path / f"{name}.tif", within=tmp_path / "aoi.gpkg",
            workers=workers, quiet=True,
        )  # fmt: skip
    assert (tmp_path / "one.tif").read_bytes() == (tmp_path / "two.tif").read_bytes()
    with rasterio.open(tmp_path / "one.tif") as found:
        assert found.height < 150


def test_a_worker_that_fails_leaves_the_other_pieces(scene, runs, tmp_path, monkeypatch):
    made, full = [], True

    def sometimes(root, piece, options):
        made.append(piece)
        if piece.first == 64 and full:
            raise OutputError("the disk is full")
        make_piece(root, piece, options)

    monkeypatch.setattr(pieces, "make_piece", sometimes)
    out = tmp_path / "map"
    with pytest.raises(RunError, match=r"1 of 3 pieces failed \(part 1, rows 64 to 127: the disk"):
        bw.map_scene(runs["net"], scene, out, tiles=True, quiet=True)
    assert {piece.first for piece in made} == {0, 64, 128}
    assert len(list(out.glob("map-*.tif"))) == 2
    assert not list(out.glob("*.vrt"))
    made.clear()
    full = False
    bw.map_scene(runs["net"], scene, out, tiles=True, quiet=True)
    assert [piece.first for piece in made] == [64]


def test_tiles_are_opened_as_one(scene, runs, tmp_path):
    bw.map_scene(runs["net"], scene, tmp_path / "map.tif", confidence=True, quiet=True)
    written = bw.map_scene(
        runs["net"], scene, tmp_path / "map", confidence=True, tiles=True, quiet=True
    )
    assert [path.name for path in written if path.suffix == ".vrt"] == ["map.vrt", "confidence.vrt"]
    for kind, whole in (("map", "map.tif"), ("confidence", "map_confidence.tif")):
        with (
            rasterio.open(tmp_path / "map" / f"{kind}.vrt") as tiled,
            rasterio.open(tmp_path / whole) as one,
        ):
            np.testing.assert_array_equal(tiled.read(), one.read())
            assert tiled.transform == one.transform
            assert tiled.crs == one.crs
    with pytest.raises(RunError, match="holds another map"):
        bw.map_scene(runs["knn"], scene, tmp_path / "map", tiles=True, quiet=True)
    for options, said in (
        ({"minimum": 4}, "tiles leaves it in pieces"),
        ({"confidence": tmp_path / "c.tif"}, "with tiles its files stand beside the map's"),
        ({"overwrite": True}, "overwrite: tiles that are finished stay"),
    ):
        with pytest.raises(ConfigError, match=said):
            bw.map_scene(runs["net"], scene, tmp_path / "other", tiles=True, quiet=True, **options)


def test_a_run_that_was_trained_again_is_opened_again(scene, runs, tmp_path):
    run, split = tmp_path / "run", bw.split(scene, "blocks", size=16, guard=2, drop=True)
    shutil.copytree(runs["knn"].folder.path, run)
    bw.map_scene(run, scene, tmp_path / "before", tiles=True, quiet=True)
    bw.train(scene, split, "random_forest", run, trees=3, overwrite=True, quiet=True)
    bw.map_scene(run, scene, tmp_path / "after", tiles=True, quiet=True)
    bw.map_scene(run, scene, tmp_path / "map.tif", quiet=True)
    found = {}
    for name in ("before/map.vrt", "after/map.vrt", "map.tif"):
        with rasterio.open(tmp_path / name) as file:
            found[name] = file.read(1)
    np.testing.assert_array_equal(found["after/map.vrt"], found["map.tif"])
    assert (found["before/map.vrt"] != found["map.tif"]).any()


@pytest.mark.usefixtures("in_this_process")
def test_pieces_of_a_run_that_was_trained_again_are_not_taken(scene, runs, tmp_path):
    run, split = tmp_path / "run", bw.split(scene, "blocks", size=16, guard=2, drop=True)
    shutil.copytree(runs["knn"].folder.path, run)
    bw.map_scene(run, scene, tmp_path / "map", tiles=True, quiet=True)
    bw.train(scene, split, "knn", run, overwrite=True, neighbours=[1], quiet=True)
    with pytest.raises(RunError, match="holds another map"):
        bw.map_scene(run, scene, tmp_path / "map", tiles=True, quiet=True)


def test_what_cannot_be_shared_out_is_refused_before_any_work(scene, runs, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    alone = replace(scene, origin="")
    with pytest.raises(ConfigError, match="was made in memory"):
        bw.map_scene(runs["net"], alone, tmp_path / "map.tif", workers=2, quiet=True)
    part = scene.parts[0]
    nowhere = replace(scene, parts=(replace(part, grid=Grid(150, 60, PIXELS)),))
    with pytest.raises(GridMismatch, match="tiles are joined by their place"):
        bw.map_scene(runs["net"], nowhere, tmp_path / "tiles", tiles=True, quiet=True)
    with pytest.raises(ConfigError, match="workers is 0; it must be at least 1"):
        bw.map_scene(runs["net"], scene, tmp_path / "map.tif", workers=0, quiet=True)
    monkeypatch.setattr("bandweave.cluster.dask.PATIENCE", "0.2s")
    with pytest.raises(ConfigError, match="no scheduler answers"):
        bw.map_scene(runs["net"], scene, tmp_path / "map.tif", dask="tcp://127.0.0.1:9", quiet=True)
    (tmp_path / "map.tif").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        bw.map_scene(runs["net"], scene, tmp_path / "map.tif", workers=2, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]


def test_overviews_of_tiles_are_those_asked_for(scene, runs, tmp_path, monkeypatch):
    asked = []
    write = pieces.write_map

    def keep(*given, **options):
        asked.append(options["overviews"])
        return write(*given, **options)

    monkeypatch.setattr(pieces, "write_map", keep)
    bw.map_scene(runs["knn"], scene, tmp_path / "a", tiles=True, overviews="mode", quiet=True)
    assert asked == ["mode"] * 3


def test_a_piece_is_written_once(scene, runs, tmp_path):
    options = pieces.options_of([runs["knn"]], scene, {"map": tmp_path})
    make_piece(tmp_path, Piece(0, 0, 64), options)
    file = tmp_path / "map-0-0000000.tif"
    before = file.stat().st_mtime_ns
    make_piece(tmp_path, Piece(0, 0, 64), options)
    assert file.stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.slow
def test_a_cluster_of_which_a_worker_is_killed(distributed, scene, runs, tmp_path, monkeypatch):
    bw.map_scene(runs["net"], scene, tmp_path / "one.tif", quiet=True)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    out, began = tmp_path / "two.tif", threading.Event()
    with distributed.LocalCluster(**options, silence_logs=50) as cluster:
        victim = next(iter(cluster.workers.values())).pid

        def kill() -> None:
            while not list((tmp_path / "two.tif.pieces").glob("*.yaml")):
                time.sleep(0.005)
            os.kill(victim, signal.SIGKILL)
            began.set()

        thread = threading.Thread(target=kill)
        thread.start()
        bw.map_scene(runs["net"], scene, out, dask=cluster.scheduler_address, quiet=True)
        thread.join()
        assert began.is_set()
        assert out.read_bytes() == (tmp_path / "one.tif").read_bytes()
        monkeypatch.setattr(
            "bandweave.cluster.dask._ask",
            lambda client, question, *_: {"tcp://a": question is os.path.isdir or "0.0.1"},
        )
        with pytest.raises(ConfigError, match=r"worker tcp://a has bandweave 0.0.1, and this is"):
            bw.map_scene(
                runs["net"], scene, tmp_path / "three.tif", dask=cluster.scheduler_address,
                quiet=True,
            )  # fmt: skip


@pytest.mark.slow
def test_processes_of_this_machine(scene, runs, tmp_path):
    for workers in (1, 2):
        bw.map_scene(runs["knn"], scene, tmp_path / f"{workers}.tif", workers=workers, quiet=True)
    assert (tmp_path / "1.tif").read_bytes() == (tmp_path / "2.tif").read_bytes()
