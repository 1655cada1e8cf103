"""The kinds of input that are damaged: how each is made whole, damaged, and read.

A kind is a row of KINDS. Of `write`, `damage` and `reads`, the first is called once, in a folder
that is then copied; the second damages the copy, the same way for the same seed; each of `reads` is
what a user may do with it, and ends with a right result or a BandweaveError.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import inputs
from .damage import (
    as_text,
    damage_anywhere,
    damage_bytes,
    damage_file,
    damage_json,
    damage_npy,
    damage_safetensors,
    damage_tiff,
    damage_tree,
)

Read = Callable[[Path], None]
MOST = 256  # pixels along a side that are read of a window


@dataclass(frozen=True)
class Kind:
    """One row of KINDS."""

    write: Callable[[Path], None]
    damage: Callable[[Path, random.Random], None]
    reads: tuple[Read, ...]


class WrongResult(AssertionError):
    """A damaged input was read without an error, and the result is none."""


# What is done with an input -----------------------------------------------------------------------


def command(*words: object) -> Read:
    """A command line, in which `{}` stands for the input's folder; what it prints is looked at."""

    def read(folder: Path) -> None:
        from bandweave.cli.main import _run
        from bandweave.errors import printable

        printed = io.StringIO()
        with redirect_stdout(printed):
            _run([str(word).replace("{}", str(folder)) for word in words] + ["--quiet"])
        if printable(text := printed.getvalue()) != text:
            raise WrongResult("control characters printed")

    return read


def scene(folder: Path) -> None:
    """Open `scene.yaml`, and read a window of every layer and the labels."""
    from bandweave.data.scenefile.open import open_scene

    opened = open_scene(folder / "scene.yaml")
    for part in opened.parts:
        for layer in part.layers.values():
            look_at(layer.source)
        if (
            part.labels is not None
            and not np.isin(part.labels.values, range(-1, len(opened.classes))).all()
        ):
            raise WrongResult("labels that are no class")


def pair(folder: Path) -> None:
    """Open PAN and MS as `sharpen` does, and read a window of both."""
    from bandweave.pansharp.pair.open import open_pair

    opened = open_pair(folder / "pan.tif", folder / "ms.tif")
    look_at(opened.pan)
    look_at(opened.ms)


def look_at(source: Any) -> None:
    """Read the first and the last window of a source: finite where valid, of the right shape."""
    from bandweave.raster.grid import Window

    grid = source.grid
    if not all(map(math.isfinite, tuple(grid.transform)[:6])):
        raise WrongResult(f"a transform of {tuple(grid.transform)[:6]}")
    height, width = min(MOST, grid.height), min(MOST, grid.width)
    if source.bands * height * width > 50_000_000:
        height, width = 1, min(width, 8)
    for row, col in {(0, 0), (grid.height - height, grid.width - width)}:
        values, valid = source.read(Window(row, col, height, width))
        if values.shape != (source.bands, height, width) or valid.shape != (height, width):
            raise WrongResult(f"values {values.shape} and valid {valid.shape} of {height}×{width}")
        if not np.isfinite(values[:, valid]).all():
            raise WrongResult("values that are not finite where they are valid")


# Rasters and arrays -------------------------------------------------------------------------------


def raster(
    name: str,
    write: Callable[[Path], None],
    how: Callable[[random.Random, bytes], bytes],
    damaged: str = "",
    labelled: bool = True,
    **keys: Any,
) -> Kind:
    """A file that a scene has as its layer.

    damaged    the file that is damaged, where it is not the layer's
    labelled   the scene has labels too
    keys       of the layer in the scene file
    """

    def make(folder: Path) -> None:
        write(folder / name)
        inputs.write_tiff(folder / "gt.tif", inputs.codes()[None])
        inputs.write_scene_file(folder / "scene.yaml", labelled, a={"path": name, **keys})

    return Kind(
        make,
        lambda folder, rng: damage_file(folder / (damaged or name), rng, how),
        (
            command("info", f"{{}}/{name}"),
            scene,
            seldom(command("scenes", "check", "{}/scene.yaml")),
        ),
    )


def seldom(read: Read, every: int = 8) -> Read:
    """What takes long is done with one input in so many: the name of its folder decides."""

    def sometimes(folder: Path) -> None:
        if int(folder.name) % every == 0:
            read(folder)

    return sometimes


def tiff(bands: int = 3, kind: str = "uint16", **profile: Any) -> Callable[[Path], None]:
    """Writes a GeoTIFF."""
    return lambda path: inputs.write_tiff(path, inputs.values(bands, kind), **profile)


def write_npy(path: Path) -> None:
    np.save(path, inputs.values(3))


def write_npz(path: Path) -> None:
    np.savez_compressed(path, cube=inputs.values(3), gt=inputs.codes())


RASTERS = {
    "gtiff:strips": raster("a.tif", tiff(nodata=0), damage_tiff),
    "gtiff:tiles": raster("a.tif", tiff(2, "float32", tiled=True, blockxsize=16, blockysize=16,
                                        compress="deflate", predictor=3), damage_tiff),
    "gtiff:lzw": raster("a.tif", tiff(4, "int16", compress="lzw", interleave="pixel"), damage_tiff),
    "gtiff:rgba": raster("a.tif", tiff(4, "uint8", photometric="RGB", alpha="YES"), damage_tiff),
    "gtiff:tags": raster("a.tif", inputs.write_tagged, damage_tiff),
    "gtiff:cog": raster("a.tif", inputs.write_cog, damage_tiff, labelled=False),
    "envi:hdr": raster("a.hdr", inputs.write_envi, as_text),
    "envi:data": raster("a.hdr", inputs.write_envi, damage_bytes, "a.img"),
    "vrt:xml": raster("a.vrt", inputs.write_vrt, as_text),
    "mat:v5": raster("a.mat", inputs.write_mat, damage_bytes, key="cube"),
    "mat:packed": raster("a.mat", inputs.write_packed_mat, damage_bytes, key="cube"),
    "mat:v73": raster("a.mat", inputs.write_mat73, damage_anywhere, key="cube"),
    "hdf5:cube": raster("a.h5", inputs.write_hdf5, damage_anywhere, key="cube"),
    "netcdf:cube": raster("a.nc", inputs.write_netcdf, damage_anywhere,
                          labelled=False, key="cube"),
    "npy:cube": raster("a.npy", write_npy, damage_npy),
    "npz:cube": raster("a.npz", write_npz, damage_bytes, key="cube"),
}  # fmt: skip


def labels_kind(damaged: str, how: Callable[[random.Random, bytes], bytes]) -> Kind:
    """A raster of labels, or what stands beside it."""

    def make(folder: Path) -> None:
        from bandweave.raster.writing.style import aux_xml, qml  # what `map` writes

        inputs.write_tiff(folder / "a.tif", inputs.values(3))
        inputs.write_tiff(folder / "gt.tif", inputs.codes()[None], nodata=0, compress="deflate")
        (folder / "gt.tif.aux.xml").write_text(aux_xml(_categories()))
        (folder / "gt.qml").write_text(qml(_categories()))
        inputs.write_scene_file(folder / "scene.yaml", a="a.tif")

    reads = (
        scene,
        command("info", "{}/gt.tif"),
        seldom(command("scenes", "make", "{}/a.tif", "{}/gt.tif")),
    )
    return Kind(make, lambda folder, rng: damage_file(folder / damaged, rng, how), reads)


def _categories() -> list[Any]:
    from bandweave.data.scene import ClassInfo

    named = (1, "fir", "#1b6e28"), (2, "oak", "#8fd14f"), (3, "grass", "#d9c84a")
    return [ClassInfo(*each) for each in named]


def pair_kind() -> Kind:
    """PAN and MS as GeoTIFF, of which one is damaged."""

    def make(folder: Path) -> None:
        from bandweave.pansharp.simulate import simulated_pair

        simulated_pair(folder, size=(32, 40), ratio=2, bands=3)

    def damage(folder: Path, rng: random.Random) -> None:
        damage_file(folder / rng.choice(("pan.tif", "ms.tif")), rng, damage_tiff)

    sharpened = command("sharpen", "{}/pan.tif", "{}/ms.tif", "{}/out.tif", "--method", "brovey")
    return Kind(make, damage, (pair, seldom(sharpened, 4)))


# Vectors and tables -------------------------------------------------------------------------------


def vector(name: str, driver: str, ends: tuple[str, ...], crs: str = inputs.UTM) -> Kind:
    """Polygons, of which one of the files that end so is damaged."""

    def make(folder: Path) -> None:
        inputs.write_tiff(folder / "a.tif", inputs.values(3))
        inputs.write_polygons(folder / name, driver, crs)
        labels = {"path": name, "field": "kind"}
        write_yaml(folder / "scene.yaml", {"layers": {"a": "a.tif"}, "labels": labels})

    def damage(folder: Path, rng: random.Random) -> None:
        file = (folder / name).with_suffix(rng.choice(ends))
        text = file.suffix in (".prj", ".cpg", ".geojson")
        damage_file(file, rng, as_text if text and rng.random() < 0.8 else damage_bytes)

    reads = (
        scene,
        command("info", f"{{}}/{name}"),
        seldom(command("scenes", "make", "{}/a.tif", f"{{}}/{name}")),
    )
    return Kind(make, damage, reads)


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    from bandweave.yaml_files import yaml_text

    path.write_text(yaml_text(content))


def joined() -> Kind:
    """Polygons that a table gives their class."""

    def make(folder: Path) -> None:
        inputs.write_tiff(folder / "a.tif", inputs.values(3))
        inputs.write_polygons(folder / "p.gpkg", "GPKG")
        rows = "\n".join(f"{i},{('fir', 'oak', 'grass')[i % 3]},{i / 3:.2f}" for i in range(1, 7))
        (folder / "join.csv").write_text(f"id,species,height\n{rows}\n")
        labels = {"path": "p.gpkg", "field": "species", "join": {"csv": "join.csv", "on": "id"}}
        write_yaml(folder / "scene.yaml", {"layers": {"a": "a.tif"}, "labels": labels})

    reads = scene, seldom(command("scenes", "make", "{}/a.tif", "{}/p.gpkg", "{}/join.csv"))
    return Kind(make, lambda folder, rng: damage_file(folder / "join.csv", rng, as_text), reads)


# YAML ---------------------------------------------------------------------------------------------


def damage_yaml(rng: random.Random, data: bytes) -> bytes:
    """YAML with another tree, anchors and tags of its own, or damaged as a text."""
    import yaml

    what = rng.random()
    if what < 0.6:
        changed = damage_tree(rng, yaml.safe_load(data))
        try:
            return yaml.safe_dump(changed, sort_keys=False).encode("utf-8", "replace")
        except RecursionError:
            return b"[" * 900
    if what < 0.65:
        return _bomb(rng) + data
    return as_text(rng, data)


def _bomb(rng: random.Random) -> bytes:
    """Aliases of aliases, one of itself, a merge, or brackets without an end."""
    laughs = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, rng.choice((3, 7, 12)))
    )
    other = rng.choice(("a: &a [*a]\n", "a: &a {<<: *a}\n", "? [a, b]\n: c\n", "a: " + "[" * 600))
    return rng.choice((laughs, other + "\n")).encode()


def yaml_kind(
    name: str, content: dict[str, Any], more: Callable[[Path], None], *reads: Read
) -> Kind:
    """A file of options."""

    def make(folder: Path) -> None:
        more(folder)
        write_yaml(folder / name, content)

    return Kind(make, lambda folder, rng: damage_file(folder / name, rng, damage_yaml), reads)


def two_layers(folder: Path) -> None:
    """What the scene files of YAML kinds name."""
    inputs.write_tiff(folder / "a.tif", inputs.values(3))
    inputs.write_tiff(folder / "b.tif", inputs.values(1))
    inputs.write_tiff(folder / "gt.tif", inputs.codes()[None] * (np.arange(24) < 12))
    inputs.write_tiff(folder / "test.tif", inputs.codes()[None] * (np.arange(24) >= 12))
    inputs.write_polygons(folder / "p.gpkg", "GPKG")
    for part in ("one", "two"):
        inputs.write_tiff(folder / f"{part}.tif", inputs.values(2))
        inputs.write_tiff(folder / f"{part}_gt.tif", inputs.codes()[None])


SCENE = {
    "name": "tiny",
    "grid": "a",
    "layers": {
        "a": {"path": "a.tif", "bands": [1, 3], "nodata": 0, "wavelengths": [480.0, 650.0]},
        "b": {"path": ["b.tif"], "warp": "bilinear", "scale": 0.5, "offset": 1.0, "units": "m"},
    },
    "labels": {"train": {"path": "gt.tif"}, "test": {"path": "test.tif"}},
    "classes": {1: {"name": "fir", "color": "#1b6e28"}, 2: "oak", 3: "grass"},
    "ignore": [0],
    "others": "ignore",
    "crs": 32632,
}
PARTS = {
    "layers": {"a": {"path": "{part}.tif"}},
    "labels": {"path": "{part}_gt.tif"},
    "classes": {1: "fir", 2: "oak", 3: "grass"},
    "ignore": [0],
    "parts": ["one", "two"],
}
TRAIN = {
    "scene": "scene.yaml",
    "layers": ["a"],
    "pca": {"a": 2},
    "model": {"name": "m3amba_tiny", "width": 8, "clip": {"mode": "none"}},
    "samples": {"crop": 8, "batch": 2, "augment": {"noise": 0.1}},
    "split": {"name": "blocks", "size": 8, "guard": 1},
    "train": {"steps": 2, "lr": 1e-3, "precision": "fp32"},
}
SHARPEN = {
    "model": {"name": "mmmamba_tiny"},
    "pairs": [{"pan": "pan.tif", "ms": ["ms.tif"]}],
    "validation": [],
    "sensor": "generic",
    "register": False,
    "samples": {"patch": 4, "batch": 1},
    "train": {"steps": 1},
}
PLAN = {
    "models": {"wide": {"model": "m3amba_tiny", "width": 16}, "random_forest": {}},
    "scenes": ["scene.yaml"],
    "splits": {"near": {"name": "blocks", "size": 8, "guard": 1}, "random": {}},
    "seeds": 2,
    "train": {"steps": 2},
}
PUBLISHED = {
    "classes": ["a", "b", "c"],
    "confusion": [[5, 1, 0], [0, 7, 2], [1, 0, 4]],
    "supports": [6, 9, 5],
    "accuracy": [83.3, 77.8, 80.0],
    "overall_accuracy": 80.0,
    "average_accuracy": 80.4,
    "kappa": 69.5,
    "masks": {"train": {"path": "gt.tif"}, "test": {"path": "gt.tif"}},
    "map": {"path": "gt.tif"},
}


def parsed(module: str, *words: str) -> Read:
    """The options of a command, over those of a file: nothing is done with them."""

    def read(folder: Path) -> None:
        from importlib import import_module

        parse = import_module(f"bandweave.cli.{module}").parse
        parse([word.replace("{}", str(folder)) for word in words])

    return read


def planned(folder: Path) -> None:
    """The plan of `compare`, from its file to its cells."""
    from bandweave.cli.compare import parse
    from bandweave.landcover.comparison.plan import Plan

    args = parse(["--config", str(folder / "plan.yaml"), "--out", str(folder / "out")])
    scenes = {str(name): (str(name), None) for name in args.scenes}
    plan = Plan.make(
        *(args.models, scenes, args.splits, args.seeds),
        {**args.sections, "layers": args.layers, "pca": args.pca},
        args.split,
    )
    for _, cell in zip(range(100), plan.cells(), strict=False):
        _ = cell.place, cell.identity


YAMLS = {
    "yaml:scene": yaml_kind("scene.yaml", SCENE, two_layers, scene,
                            seldom(command("scenes", "check", "{}/scene.yaml"))),
    "yaml:parts": yaml_kind("scene.yaml", PARTS, two_layers, scene),
    "yaml:train": yaml_kind("config.yaml", TRAIN, two_layers,
                            parsed("train", "--config", "{}/config.yaml")),
    "yaml:sharpen": yaml_kind("config.yaml", SHARPEN, lambda folder: None,
                              parsed("sharpen_train", "--config", "{}/config.yaml")),
    "yaml:compare": yaml_kind("plan.yaml", PLAN, two_layers, planned),
    "yaml:published": yaml_kind("published.yaml", PUBLISHED, two_layers,
                                command("audit", "--published", "{}/published.yaml")),
}  # fmt: skip


# Runs ---------------------------------------------------------------------------------------------


def run_kind(
    write: Callable[[Path], None], damage: Callable[[Path, random.Random], None], *reads: Read
) -> Kind:
    """A folder `run`, in which one file is damaged."""
    return Kind(write, damage, (*reads, command("info", "{}/run")))


def land_cover(folder: Path) -> None:
    """A scene and a run that was trained on it, scored."""
    _scene_of_run(folder)
    inputs.write_run(folder / "run", folder / "scene.yaml")
    inputs.call("score", folder / "run", folder / "scene.yaml", "--quiet")


def stopped(folder: Path) -> None:
    """A run that stopped after two steps of three, with averages, fp32, and a best state."""
    _scene_of_run(folder)
    more = "--validation", 0.2, "--validate-every", 1
    inputs.write_run(folder / "run", folder / "scene.yaml", *more)
    (folder / "run" / "model.safetensors").unlink()


def _scene_of_run(folder: Path) -> None:
    inputs.write_tiff(folder / "a.tif", inputs.values(3).repeat(2, 1).repeat(2, 2))
    inputs.write_tiff(folder / "gt.tif", inputs.codes()[None].repeat(2, 1).repeat(2, 2))
    inputs.write_scene_file(folder / "scene.yaml", a="a.tif")


def sharpening(folder: Path) -> None:
    """A pair and a run that was trained on it."""
    from bandweave.pansharp.simulate import simulated_pair

    simulated_pair(folder, size=(32, 40), ratio=2, bands=2)
    inputs.write_sharpener(folder / "run", folder)


def opened_run(folder: Path) -> None:
    """The run as `map` opens it."""
    from bandweave.landcover.run import Run

    Run.open(folder / "run")


def opened_sharpener(folder: Path) -> None:
    """The run as `sharpen` opens it."""
    from bandweave.pansharp.run import SharpenRun

    SharpenRun.open(folder / "run")


def curves(folder: Path) -> None:
    """The history as reports and a resumed run read it."""
    from bandweave.training.history import History, read_history

    for row in read_history(folder / "run" / "history.csv"):
        if not all(isinstance(number, float) for number in row.values()):
            raise WrongResult("a history that is not of numbers")
    History(folder / "run" / "history.csv", step=1)


def scored(folder: Path) -> None:
    """The scores as a report reads them."""
    from bandweave.cli.run_facts import _scores
    from bandweave.training.folder import RunFolder

    _scores(RunFolder(folder / "run"))


def resumed(folder: Path) -> None:
    """The run as `train --resume` goes on with it."""
    command("train", "--out", "{}/run", "--resume")(folder)


def in_run(
    name: str, how: Callable[[random.Random, bytes], bytes]
) -> Callable[[Path, random.Random], None]:
    """Damages a file of the folder `run`."""
    return lambda folder, rng: damage_file(folder / "run" / name, rng, how)


def damage_checkpoint(folder: Path, rng: random.Random) -> None:
    """Another tree in last.ckpt: keys left out, leaves of another kind or shape.

    With checksums that fit it half of the time: else nothing behind them would be reached.
    """
    import torch

    from bandweave.training.checkpoint import save_checkpoint

    path = folder / "run" / "last.ckpt"
    state = torch.load(path, map_location="cpu", weights_only=True)
    if rng.random() < 0.5:
        torch.save(damage_tree(rng, state, _tensor_or_value), path)
        return
    content = {key: part for key, part in state.items() if key not in ("format", "checksums")}
    changed = damage_tree(rng, content, _tensor_or_value)
    save_checkpoint(path, changed if isinstance(changed, dict) else {"weights": changed})


def _tensor_or_value(rng: random.Random) -> Any:
    import torch

    from .damage import value

    if rng.random() < 0.5:
        return value(rng)
    shapes = ((), (1,), (3, 5), (0,))
    kinds = torch.float32, torch.int64, torch.bool, torch.float16, torch.complex64
    tensor = torch.zeros(rng.choice(shapes), dtype=rng.choice(kinds))
    return torch.full((2,), math.nan) if rng.random() < 0.2 else tensor


def mapped(folder: Path) -> None:
    """A map of the run's scene."""
    command("map", "{}/run", "{}/scene.yaml", "{}/map.tif")(folder)


RUNS = {
    "st:meta": run_kind(land_cover, in_run("model.safetensors", damage_safetensors),
                        opened_run, seldom(mapped, 16)),
    "st:sharpen": run_kind(sharpening, in_run("model.safetensors", damage_safetensors),
                           opened_sharpener),
    "ckpt:tree": run_kind(stopped, damage_checkpoint, resumed),
    "ckpt:bytes": run_kind(stopped, in_run("last.ckpt", damage_anywhere), resumed),
    "csv:history": run_kind(land_cover, in_run("history.csv", as_text), curves),
    "json:scores": run_kind(land_cover, in_run("scores.json", damage_json), scored),
    "yaml:run": run_kind(land_cover, in_run("config.yaml", damage_yaml), opened_run),
}  # fmt: skip


# Comparisons and CLIP -----------------------------------------------------------------------------

COMPARE = (
    *("compare", "--models", "random_forest", "--scenes", "{}/scene.yaml", "--splits", "blocks"),
    *("--split.size", "8", "--split.guard", "1", "--seeds", "1", "--no-maps", "--no-features"),
    *("--out", "{}/out"),
)


def compared(folder: Path) -> None:
    """A scene and a comparison of one cell, by a path that a copy of the folder has too."""
    _scene_of_run(folder)
    command(*COMPARE)(folder)


def results(folder: Path) -> None:
    """The finished cells, as `compare` reads them."""
    from bandweave.comparison.results import read_results
    from bandweave.comparison.tables import format_results, format_times
    from bandweave.landcover.comparison.plan import Plan
    from bandweave.landcover.comparison.task import LandCoverTask
    from bandweave.yaml_files import read_yaml

    stored = read_yaml(next(folder.glob("out/compare.yaml")))
    scenes = {name: (origin, None) for name, origin in stored["scenes"].items()}
    options = {"size": 8, "guard": 1}
    plan = Plan.make(["random_forest"], scenes, ["blocks"], 1, split_options=options)
    task = LandCoverTask(plan)
    found = read_results(folder / "out", plan.cells(), task.read_result)
    format_results(task, found)
    format_times(task, found)


def in_cell(name: str) -> Callable[[Path, random.Random], None]:
    """Damages a file of the only cell."""
    return lambda folder, rng: damage_file(
        next(folder.glob(f"out/runs/**/{name}")), rng, damage_json
    )


def write_clip(folder: Path) -> None:
    """A tiny CLIP with random weights, in transformers' format and in OpenCLIP's."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import CLIPConfig, CLIPModel

    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 30}
    text |= {"num_attention_heads": 2, "projection_dim": 8, "max_position_embeddings": 12}
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "patch_size": 8}
    vision |= {"num_attention_heads": 2, "image_size": 16, "projection_dim": 8}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))
    model.save_pretrained(folder / "clip")
    torch.save(load_file(folder / "clip" / "model.safetensors"), folder / "clip.pt")
    save_file(load_file(folder / "clip" / "model.safetensors"), folder / "clip.safetensors")


def clip(folder: Path) -> None:
    """The vision tower of each format."""
    from bandweave.nn.clip.weights import load_tower, load_vision_weights

    load_tower(load_vision_weights(str(folder / "clip")))


def clip_file(folder: Path) -> None:
    """The tensors of a bare file."""
    from bandweave.nn.clip.files import read_tensors

    read_tensors(folder / "clip.pt")


def damage_clip(folder: Path, rng: random.Random) -> None:
    """One of the files."""
    name, how = rng.choice(
        (
            ("clip/config.json", damage_json),
            ("clip/model.safetensors", damage_safetensors),
            ("clip.pt", partial(damage_bytes, head=4096)),
        )
    )
    damage_file(folder / name, rng, how)


KINDS: dict[str, Kind] = {
    **RASTERS,
    "labels:tif": labels_kind("gt.tif", damage_tiff),
    "labels:aux": labels_kind("gt.tif.aux.xml", as_text),
    "labels:qml": labels_kind("gt.qml", as_text),
    "pair:tif": pair_kind(),
    "vec:shp": vector("p.shp", "ESRI Shapefile", (".shp", ".shx", ".dbf", ".dbf", ".prj", ".cpg")),
    "vec:gpkg": vector("p.gpkg", "GPKG", (".gpkg",)),
    "vec:geojson": vector("p.geojson", "GeoJSON", (".geojson",), "EPSG:4326"),
    "vec:fgb": vector("p.fgb", "FlatGeobuf", (".fgb",)),
    "csv:join": joined(),
    **YAMLS,
    **RUNS,
    "json:cell": Kind(compared, in_cell("cell.json"), (results,)),
    "json:results": Kind(compared, in_cell("scores.json"), (results,)),
    "clip:files": Kind(write_clip, damage_clip, (clip, clip_file)),
}


def changed(folder: Path, kind: Kind, seed: int, name: str) -> None:
    """Damage a copy of a kind's folder: the same for the same name and seed."""
    kind.damage(folder, random.Random(f"{name} {seed}"))
