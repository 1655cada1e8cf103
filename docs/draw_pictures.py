"""Draw the pictures of the pages from simulated scenes: python docs/draw_pictures.py [NAME…].

Each function draws one picture of docs/images. Runs and comparisons are made under build/pictures
and kept there, so that a second call draws at once; all take an hour on two cores.
Pages (reports, comparisons) are photographed by Chromium, which has to be installed.
"""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pyogrio.raw
import rasterio
import rasterio.transform
import shapely
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

import bandweave as bw
from bandweave.cli.main import main as bandweave
from bandweave.data.splits.roles import GUARD, TEST, TRAIN
from bandweave.landcover.report.reduced import choose_bands
from bandweave.pansharp.simulate import simulated_pair

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "pictures"
IMAGES = ROOT / "docs" / "images"
RGB = [2, 1, 0]  # of the bands blue, green, red, NIR
GAP = 8  # px between pictures
TEAL, ORANGE = "#12939a", "#d9822b"
NO_LABEL = (240, 240, 236)


def draw_map() -> None:
    """A town's image and height, and the map that `bandweave demo` makes of them."""
    demo = made_demo()
    scene = bw.open_scene(demo / "scene" / "scene.yaml")
    draw_panels(
        "map",
        {
            "hyperspectral image": true_colour(scene, "hsi") ** 0.7,
            "height": read_layer(scene, "lidar")[0],
            "land-cover map": coloured_map(demo / "run" / "map.tif"),
        },
    )


def draw_sharpened() -> None:
    """A crop of PAN, of MS and of what GSA makes of the two."""
    folder = WORK / "pair"
    if not folder.exists():
        simulated_pair(folder, seed=4, size=(512, 512))
        bw.sharpen(folder / "pan.tif", folder / "ms.tif", folder / "sharp.tif", method="gsa")
    pan, sharp = (read_crop(folder / name, 152, 192, 160) for name in ("pan.tif", "sharp.tif"))
    ms = read_crop(folder / "ms.tif", 152 // 4, 192 // 4, 160 // 4)
    low, high = np.percentile(sharp[RGB], (1, 96), axis=(1, 2))
    draw_panels(
        "sharpened",
        {
            "panchromatic, 0.5 m": stretch_grey(pan[0]) ** 0.6,
            "multispectral, 2 m": stretch(ms[RGB], low, high) ** 0.6,
            "sharpened, 0.5 m": stretch(sharp[RGB], low, high) ** 0.6,
        },
    )


def draw_comparison() -> None:
    """The page that `bandweave compare` writes."""
    folder, scene = WORK / "compare", made_demo() / "scene"
    if not (folder / "compare.html").exists():
        town = shutil.copy(scene / "scene.yaml", scene / "town.yaml")
        run("compare", "--models", "m3amba_tiny,random_forest,svm", "--scenes", str(town),
            "--splits", "blocks", "--split.size", "32", "--split.guard", "4", "--seeds", "5",
            "--out", str(folder))  # fmt: skip
    photograph("comparison", folder / "compare.html", (20, 475), (850, 1490))


def draw_training() -> None:
    """Loss and accuracy of the demo's training, step by step."""
    with (made_demo() / "run" / "history.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["loss"]]
    steps = [int(row["step"]) for row in rows]
    figure = blank_figure(10, 3)
    axes = figure.subplots(1, 2)
    for one, key, colour in zip(axes, ("loss", "accuracy"), (TEAL, ORANGE), strict=True):
        one.plot(steps, [float(row[key]) for row in rows], color=colour, linewidth=1.3)
        one.set_xlabel("step")
        one.set_title(f"{key} of training", fontsize=11)
        one.set_ylim(bottom=0)
    save_figure("training", figure)


def draw_mapping() -> None:
    """A map with the confidence and the uncertainty of each pixel."""
    target = WORK / "maps" / "map.tif"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        demo = made_demo()
        run("map", str(demo / "run"), str(demo / "scene" / "scene.yaml"), str(target),
            "--confidence", "--uncertainty")  # fmt: skip
    panels = {"map.tif": coloured_map(target)}
    for kind in ("confidence", "uncertainty"):
        file = target.with_name(f"map_{kind}.tif")
        panels[file.name] = viridis(read_raster(file)[0])
    draw_panels("mapping", panels)


def draw_report() -> None:
    """The head of the demo's report."""
    photograph("report", made_demo() / "run" / "report.html", (20, 1090))


def draw_audit() -> None:
    """What shortcuts of a protocol add, as benchmarks/accuracy/audit.py measured on a town."""
    stored = (ROOT / "benchmarks" / "results" / "audit.json").read_text(encoding="utf-8")
    found = json.loads(stored)["m3amba_tiny"]["protocols"]
    honest = np.array(found.pop("inductive")["overall_accuracy"])
    figure = blank_figure(10, 2.8)
    axes = figure.subplots()
    for place, protocol in enumerate(found.values()):
        gains = 100 * (np.array(protocol["overall_accuracy"]) - honest)
        low, high = protocol["interval95"]
        sure = low > 0
        axes.barh(place, gains.mean(), 0.55, color=ORANGE if sure else "#c3c8cf")
        axes.plot([low, high], [place, place], color="#444", linewidth=1.2)
        axes.plot(gains, [place] * len(gains), "o", color="#24292f", markersize=3.5)
    axes.axvline(0, color=TEAL, linewidth=1.5)
    axes.set_yticks(range(len(found)), [protocol["protocol"] for protocol in found.values()])
    axes.invert_yaxis()
    axes.set_xlabel("points of overall accuracy above the honest protocol; a dot is a seed")
    save_figure("audit", figure)


def draw_areas() -> None:
    """Places drawn from a map, and the areas that they tell, beside the counted and the true."""
    demo, folder = made_demo(), WORK / "areas"
    truth = bw.simulated_scene(seed=0, height=192, width=256, bands=72, labelled=1.0)
    codes = truth.parts[0].labels.values + 1
    if not (folder / "areas.csv").exists():
        folder.mkdir(exist_ok=True)
        shutil.copytree(demo / "run", folder / "run", dirs_exist_ok=True)
        run("sample", str(demo / "run" / "map.tif"), str(folder / "points.gpkg"), "--per-class",
            "50", "--overwrite")  # fmt: skip
        label_points(folder / "points.gpkg", codes, truth.parts[0].grid.transform)
        scene = yaml.safe_load((demo / "scene" / "scene.yaml").read_text(encoding="utf-8"))
        for layer in scene["layers"].values():
            layer["path"] = str(demo / "scene" / layer["path"])
        design = "stratified by map class"
        scene["labels"] = {"path": "points.gpkg", "field": "class", "sampling": design}
        del scene["ignore"]
        (folder / "sample.yaml").write_text(yaml.safe_dump(scene), encoding="utf-8")
        run("report", str(folder / "run"), str(folder / "sample.yaml"))
        shutil.copy(folder / "run" / "areas.csv", folder / "areas.csv")
    with (folder / "areas.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    hectares = np.bincount(codes.ravel(), minlength=len(rows) + 1)[1:] * 4 / 10_000
    figure = blank_figure(10, 3.6)
    axes = figure.subplots()
    places = np.arange(len(rows))
    estimated = np.array([float(row["estimated_ha"]) for row in rows])
    error = 1.96 * np.array([float(row["standard_error_ha"]) for row in rows])
    whiskers = {"linewidth": 1.2, "capsize": 3}
    counted = [float(row["mapped_ha"]) for row in rows]
    axes.bar(places - 0.2, counted, 0.38, color="#c3c8cf", label="counted on the map")
    axes.bar(places + 0.2, estimated, 0.38, yerr=error, color=TEAL, ecolor="#444",
             error_kw=whiskers, label="estimated, with 95 % interval")  # fmt: skip
    axes.plot(places, hectares, "D", color=ORANGE, markersize=5, label="true (of a simulated town)")
    axes.set_xticks(places, [row["class"] for row in rows])
    axes.set_ylabel("hectares")
    axes.legend(frameon=False)
    save_figure("areas", figure)


def draw_scenes() -> None:
    """The layers and labels of a scene, of which one is four times finer."""
    scene = bw.simulated_scene(seed=3, height=72, width=96, bands=72, rgb=4)
    palette = [tuple(bytes.fromhex(one.color[1:])) for one in scene.classes]
    labels = scene.parts[0].labels.values
    draw_panels(
        "scenes",
        {
            "hsi: 72 bands, 2 m": true_colour(scene, "hsi") ** 0.7,
            "lidar: height, 2 m": read_layer(scene, "lidar")[0],
            "rgb: 0.5 m": np.moveaxis(read_layer(scene, "rgb"), 0, -1) / 255,
            "labels": np.array([*palette, NO_LABEL], np.uint8)[labels],  # -1 is the last
        },
        columns=2,
    )


def draw_splits() -> None:
    """Who trains and who tests on one scene, by three splits."""
    scene = bw.simulated_scene(seed=0, height=192, width=256, bands=72)
    options = {"blocks": {"size": 32, "guard": 4}, "objects": {"guard": 4}, "random": {}}
    colours = dict.fromkeys(range(5), NO_LABEL) | {
        TRAIN: (18, 147, 154), TEST: (217, 130, 43), GUARD: (120, 124, 130)
    }  # fmt: skip
    table = np.array([colours[role] for role in range(5)], np.uint8)
    draw_panels(
        "splits",
        {
            name: table[bw.split(scene, name, **one, seed=0).roles[0]]
            for name, one in options.items()
        },
    )


def made_demo() -> Path:
    """The folder of a demo, made where it is missing."""
    folder = WORK / "demo"
    if not (folder / "run" / "report.html").exists():
        run("demo", "--out", str(folder))
    return folder


def run(*words: str) -> None:
    """Run a command of bandweave; its failure ends the drawing."""
    if status := bandweave([*words, "--quiet"]):
        sys.exit(status)


def label_points(path: Path, codes: np.ndarray, transform: rasterio.Affine) -> None:
    """Write into the field `class` of each point what is there."""
    meta, _, geometry, _ = pyogrio.raw.read(path)
    points = shapely.from_wkb(geometry)
    rows, columns = rasterio.transform.rowcol(
        transform, shapely.get_x(points), shapely.get_y(points)
    )
    found = codes[np.asarray(rows), np.asarray(columns)].astype(np.int64)
    pyogrio.raw.write(path, geometry, [found], ["class"], geometry_type="Point", crs=meta["crs"])


def read_raster(path: Path) -> np.ndarray:
    """All bands of a file."""
    with rasterio.open(path) as file:
        return file.read()


def viridis(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 1 in colours (H, W, 3)."""
    return matplotlib.colormaps["viridis"](np.nan_to_num(values))[..., :3]


def read_layer(scene: bw.Scene, name: str) -> np.ndarray:
    """All bands (C, H, W) of a layer of a scene of one part."""
    (part,) = scene.parts
    values, _ = part.layers[name].read(part.grid.window)
    return values


def true_colour(scene: bw.Scene, name: str) -> np.ndarray:
    """A layer in the colours (H, W, 3) that the report shows it in."""
    values = read_layer(scene, name)[list(choose_bands(scene.layers[name]).bands)]
    return stretch(values, *np.percentile(values, (2, 98), axis=(1, 2)))


def stretch(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Bands (3, H, W) as colours (H, W, 3): 0 at `low` and 1 at `high` of each band."""
    return np.clip((np.moveaxis(values, 0, -1) - low) / (high - low), 0, 1)


def stretch_grey(values: np.ndarray) -> np.ndarray:
    """One band from 0 to 1."""
    low, high = np.percentile(values, (1, 98))
    return np.clip((values - low) / (high - low), 0, 1)


def read_crop(path: Path, row: int, column: int, side: int) -> np.ndarray:
    """A square of all bands of a file."""
    with rasterio.open(path) as file:
        return file.read(window=((row, row + side), (column, column + side))).astype(np.float32)


def coloured_map(path: Path) -> np.ndarray:
    """A map in its classes' colours (H, W, 3)."""
    with rasterio.open(path) as file:
        codes, colours = file.read(1), file.colormap(1)
    table = np.array([colours[code][:3] for code in range(int(codes.max()) + 1)], np.uint8)
    return table[codes]


def draw_panels(name: str, panels: dict[str, np.ndarray], columns: int = 3) -> None:
    """Pictures side by side, each with its title in a corner."""
    height, width = next(iter(panels.values())).shape[:2]
    side = (1200 - (columns - 1) * GAP) // columns
    tall = round(side * height / width)
    rows = -(-len(panels) // columns)
    sheet = Image.new(
        "RGB", (columns * (side + GAP) - GAP, rows * (tall + GAP) - GAP), (255, 255, 255)
    )
    for number, (title, values) in enumerate(panels.items()):
        if values.dtype != np.uint8:
            values = (stretch_grey(values) if values.ndim == 2 else values) * 255
        picture = Image.fromarray(values.astype(np.uint8)).convert("RGB")
        picture = picture.resize((side, tall), Image.Resampling.NEAREST)
        write_title(picture, title)
        row, column = divmod(number, columns)
        sheet.paste(picture, (column * (side + GAP), row * (tall + GAP)))
    save_small(name, sheet)


def write_title(picture: Image.Image, title: str) -> None:
    """White on black, in the lower left corner."""
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    font = ImageFont.truetype(str(file), 17)
    pen = ImageDraw.Draw(picture)
    width, bottom = pen.textlength(title, font), picture.height
    pen.rectangle((0, bottom - 30, width + 20, bottom), fill=(20, 22, 25))
    pen.text((10, bottom - 26), title, fill=(255, 255, 255), font=font)


def blank_figure(width: float, height: float) -> Figure:
    """A figure for curves and bars."""
    matplotlib.rcParams.update(
        {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9.5}
    )
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(name: str, figure: Figure) -> None:
    """Write a figure as a picture 1200 px wide or so."""
    path = WORK / f"{name}.png"
    figure.savefig(path, dpi=120)
    save_small(name, Image.open(path).convert("RGB"))


def photograph(name: str, page: Path, *strips: tuple[int, int]) -> None:
    """Strips of a page as Chromium shows it, each from one row of pixels to another."""
    path = (WORK / f"{name}.png").resolve()
    height = max(bottom for _, bottom in strips)
    subprocess.run(
        [chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         f"--window-size=1000,{height}", f"--screenshot={path}", page.resolve().as_uri()],
        check=True, capture_output=True,
    )  # fmt: skip
    seen = np.asarray(Image.open(path).convert("RGB"))
    save_small(name, Image.fromarray(np.vstack([seen[top:bottom] for top, bottom in strips])))


def chromium() -> str:
    """The browser's command."""
    for command in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(command):
            return found
    sys.exit("Chromium is not installed: it photographs the pages")


def save_small(name: str, picture: Image.Image) -> None:
    """A picture of 256 colours at most."""
    IMAGES.mkdir(exist_ok=True)
    target = IMAGES / f"{name}.png"
    method = Image.Quantize.MAXCOVERAGE  # keeps a rare colour, such as that of a rare class
    picture.quantize(256, method, kmeans=4, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1000:.0f} kB")


PICTURES: dict[str, Callable[[], None]] = {
    "map": draw_map,
    "sharpened": draw_sharpened,
    "comparison": draw_comparison,
    "training": draw_training,
    "mapping": draw_mapping,
    "report": draw_report,
    "audit": draw_audit,
    "areas": draw_areas,
    "scenes": draw_scenes,
    "splits": draw_splits,
}


def main(names: Sequence[str]) -> None:
    """Draw the pictures of these names, or all."""
    WORK.mkdir(parents=True, exist_ok=True)
    for name in names or PICTURES:
        PICTURES[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
