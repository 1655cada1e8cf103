import base64
import io
import json
import os
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import from_origin

import bandweave as bw
from bandweave.data.match import describe_layers
from bandweave.data.scaling import LayerScaling, Scaling
from bandweave.data.scene import IGNORED, ClassInfo, Labels, Layer, LayerInfo, Part, Scene
from bandweave.data.splits.splitting import TEST, split
from bandweave.errors import FileError, OutputError, SceneMismatch, SplitError
from bandweave.landcover.config import LandCoverConfig
from bandweave.landcover.maps import files as map_files
from bandweave.landcover.maps.files import verdict
from bandweave.landcover.metrics import Scores, confusion_matrix, score_objects
from bandweave.landcover.report import page as landcover_report
from bandweave.landcover.report import reduced
from bandweave.landcover.report.colours import RIM, add_markers, colour_confidence
from bandweave.landcover.report.conclusion import describe_interval, write_conclusion
from bandweave.landcover.report.ground import describe_ground
from bandweave.landcover.report.interval import UnitCounts, bootstrap_interval, number_units
from bandweave.landcover.report.reduced import choose_bands, read_layer, reduce_labels
from bandweave.landcover.report.sections import SECTIONS
from bandweave.landcover.report.sections.training import read_expert_shares
from bandweave.landcover.run import NetRun, build_model
from bandweave.landcover.scoring import SceneScores
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import PIXELS, Grid
from bandweave.raster.sensor_bands import nominal_wavelengths
from bandweave.raster.source import BandInfo
from bandweave.raster.writing.raster import MapWriter, RasterForm
from bandweave.report.curves import Curve, draw_curve, draw_shares
from bandweave.report.pictures import photograph
from bandweave.report.section import fill_section
from bandweave.training.atomic import write_json, write_yaml
from bandweave.training.folder import RunFolder, machine

UTM = CRS.from_epsg(32617)
CLASSES = (
    ClassInfo(3, "water", "#0000ff"),
    ClassInfo(7, "stressed <b>grass</b>", "#00cd00"),
    ClassInfo(12, "roof & wall", "#ff8000"),
)
VOID = {"meta", "link", "br", "img", "hr", "path", "use"}


class Page(HTMLParser):
    """A page as checked text, tables and images; a tag that is not closed in order is an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.attributes, self.rows, self.cells = [], [], [], [], []
        self.words, self.titles = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.attributes += attributes
        if tag == "img":
            self.images.append(dict(attributes))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.cells.append(dict(attributes))

    def handle_startendtag(self, tag, attributes):
        self.attributes += attributes

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data.strip()
        self.words.append(data)
        if self.open and self.open[-1] == "b" and "figcaption" in self.open:
            self.titles.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    def row(self, first):
        return next(row for row in self.rows if row and row[0] == first)


def write_report(run, scene, **options):
    """Without the baseline, which has tests of its own."""
    return landcover_report.write_report(run, scene, baseline=False, **options)


def read_page(path):
    text = Path(path).read_text(encoding="utf-8")
    return text, Page(text)


def pixels_of(image):
    from matplotlib.image import imread

    kind, data = re.fullmatch(r"data:image/(png|jpeg);base64,(.*)", image["src"]).groups()
    values = imread(io.BytesIO(base64.b64decode(data)), format=kind)
    return values if values.dtype == np.uint8 else np.round(255 * values).astype(np.uint8)


def make_part(name, height, width, *, bands=4, ratio=1, labelled=True, seed=0, left=500_000):
    rng = np.random.default_rng(seed)
    grid = Grid(height, width, from_origin(left, 4_000_000, 2, 2), UTM)
    values = rng.normal(size=(bands, height, width)).astype(np.float32)
    info = BandInfo(wavelengths=tuple(450.0 + 70 * np.arange(bands)))
    layers = {"hsi": Layer(ArraySource(values, grid, info=info))}
    if not labelled:
        return Part(name, grid, layers)
    size = (height * ratio, width * ratio)
    labels = rng.integers(-1, len(CLASSES), size).astype(np.int16)
    objects = np.arange(1, 1 + labels.size, dtype=np.int32).reshape(size) // 5 + 1
    return Part(name, grid, layers, Labels(labels, ratio, np.where(labels < 0, 0, objects)))


def make_scene(*parts, classes=CLASSES):
    labelled = any(part.labels is not None for part in parts)
    return Scene("plots", tuple(parts), "hsi", classes if labelled else (), origin="plots.yaml")


def make_run(folder, scene, drawn=None, classes=CLASSES, **facts):
    """A run whose weights were never trained, of which a report asks nothing."""
    config = LandCoverConfig.read(
        {
            "scene": "plots.yaml",
            "model": {"name": "m3amba_tiny", "width": 8, "depth": 1},
            "samples": {"crop": 8},
            "train": {"steps": 3},
        }
    )
    if drawn is not None:
        config = replace(config, split=drawn.config)
    layers = describe_layers(scene)
    bands = {name: facts["bands"] for name, facts in layers.items()}
    run = NetRun(
        folder=RunFolder(folder),
        config=config,
        model=build_model(config, bands, classes, layers, scene.label_ratio),
        scaling=Scaling({n: LayerScaling(np.zeros(b), np.ones(b)) for n, b in bands.items()}),
        classes=classes,
        layers=layers,
        window=8,
        output_ratio=scene.label_ratio,
        facts={
            "protocol": drawn.protocol(7) if drawn else {},
            "split_hash": drawn.hash if drawn else "",
            "scaling_from": "all valid pixels",
            "parameters": 12_345,
            "seconds": 754.0,
            "steps": 3,
            "machine": machine(),
            "versions": {"bandweave": "0.1.0"},
        }
        | facts,
    )
    run.folder.path.mkdir(exist_ok=True)
    write_yaml(run.folder.config, config.to_dict())
    return run


def write_history(run, steps=12):
    lines = ["step,loss,supervised,accuracy,gradient_norm,lr,validation,seconds"]
    for step in range(1, steps + 1):
        validation = 0.5 if step % 5 == 0 else ""
        lines.append(f"{step},{3 / step},{2 / step},{1 - 0.5 / step},1,0.001,{validation},{step}")
    run.folder.history.write_text("\n".join(lines) + "\n")


def write_map(path, part, indices, classes=CLASSES, ratio=1, dtype="uint8"):
    codes = np.array([0, *(each.code for each in classes)])[indices + 1]
    colors = {each.code: each.color for each in classes} if dtype == "uint8" else None
    grid = part.grid.finer(ratio)
    with MapWriter(path, grid, RasterForm(dtype=dtype, nodata=0, colors=colors)) as writer:
        writer.write(grid.window, codes.astype(dtype))


def write_confidence(path, part, ratio=1, value=0.75):
    grid = part.grid.finer(ratio)
    with MapWriter(
        path, grid, RasterForm(dtype="float32", nodata=np.nan, overviews="average")
    ) as writer:
        writer.write(grid.window, np.full((grid.height, grid.width), value, np.float32))


def guess(truth, seed=1):
    """A map that is right on most labelled pixels."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(truth.shape) < 0.3
    return np.where(wrong | (truth < 0), rng.integers(0, len(CLASSES), truth.shape), truth)


def scored(scene, drawn, maps):
    total = np.zeros((len(CLASSES),) * 2, np.int64)
    for part, roles, mapped in zip(scene.parts, drawn.roles, maps, strict=True):
        truth = np.where(roles == TEST, part.labels.values, IGNORED)
        total += confusion_matrix(truth, mapped, len(CLASSES))
    protocol = {**drawn.protocol(7), "scene": scene.name, "model": "m3amba_tiny"}
    names = tuple(each.name for each in CLASSES)
    first = scene.parts[0].labels
    test = np.where(drawn.roles[0] == TEST, first.values, IGNORED)
    objects = score_objects(first.objects, test, maps[0], names, protocol)
    return SceneScores(Scores(total, names, protocol), objects)


@pytest.fixture
def finished(tmp_path):
    """A run with all that a report shows: (run, scene, split, scores, mapped indices)."""
    part = make_part("plot", 24, 32)
    scene = make_scene(part)
    drawn = split(scene, "blocks", size=4, guard=1)
    run = make_run(tmp_path / "run", scene, drawn)
    write_history(run)
    mapped = guess(part.labels.values)
    write_map(run.folder.map, part, mapped)
    write_confidence(tmp_path / "run" / "map_confidence.tif", part)
    scores = scored(scene, drawn, [mapped])
    write_json(run.folder.scores, scores.to_dict())
    return run, scene, drawn, scores, mapped


def test_page_is_well_formed_and_needs_nothing_else(finished):
    run, scene, *_ = finished
    path = write_report(run, scene, quiet=True)
    assert path == run.folder.report
    text, page = read_page(path)
    assert "://" not in text
    assert "<script" not in text
    assert "@import" not in text
    assert all(found.startswith("#") for found in re.findall(r"url\(([^)]*)\)", text))
    links = [value for name, value in page.attributes if name in ("src", "href", "xlink:href")]
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    identifiers = [value for name, value in page.attributes if name == "id"]
    assert len(identifiers) == len(set(identifiers))
    assert {link[1:] for link in links if link.startswith("#")} <= set(identifiers)
    assert "stressed <b>grass</b>" not in text
    assert "stressed &lt;b&gt;grass&lt;/b&gt;" in text


def test_numbers_are_those_of_the_scores(finished):
    run, scene, drawn, scores, _ = finished
    text, page = read_page(write_report(run, scene, quiet=True))
    pixels, objects = scores.pixels, scores.objects
    for value in (pixels.overall_accuracy, pixels.average_accuracy):
        assert f"<b>{100 * value:.2f} %</b>" in text
    assert f"<b>{pixels.kappa:.4f}</b>" in text
    assert f"<b>{100 * objects.overall_accuracy:.2f} %</b>" in text
    assert f"Each of {objects.confusion.sum()} test objects" in page.text
    train = drawn.protocol()["pixels_per_class"]
    for index, info in enumerate(CLASSES):
        columns = (pixels.accuracy, pixels.precision, pixels.f1, pixels.iou)
        row = page.row(info.name)
        assert row[1:3] == [str(train[info.name]["train"]), str(pixels.support[index])]
        assert row[3:7] == [f"{100 * column[index]:.2f} %" for column in columns]
        assert row[7:9] == [
            str(objects.support[index]),
            f"{100 * objects.accuracy[index]:.2f} %",
        ]
        cells = [row for row in page.rows if row and row[0] == info.name][-1][1:]
        assert [int(cell.replace("·", "0")) for cell in cells] == pixels.confusion[index].tolist()
    heat = [float(cell["style"].split(":")[1]) for cell in page.cells if "style" in cell]
    expected = pixels.confusion / pixels.support[:, None]
    np.testing.assert_allclose(heat, expected.ravel(), atol=5e-4)


def test_protocol_stands_beside_the_scores(finished):
    run, scene, drawn, _, _ = finished
    text, page = read_page(write_report(run, scene, quiet=True))
    headline = text[text.index('class="headline"') : text.index("</section>")]
    share = drawn.share_within(7)
    for words in (
        "blocks of 4 px (8 m)",
        "seed 0",
        "1 px (2 m)",
        "transductive",
        f"7 px (14 m); {100 * share:.1f} % of the test pixels",
        f"{drawn.counts[TEST].sum()} test",
        drawn.hash,
    ):
        assert words in headline
    assert "12,345" in page.text
    assert "3 steps in 12 min 34 s" in page.text
    assert "not the split that the model was trained with" not in page.text


def test_pictures_show_what_the_files_hold(finished):
    run, scene, drawn, _, mapped = finished
    _, page = read_page(write_report(run, scene, quiet=True))
    assert page.titles[:6] == [
        "hsi", "training labels", "test labels", "map", "confidence", "right and wrong",
    ]  # fmt: skip
    pictures = [pixels_of(image) for image in page.images[:6]]
    assert {each.shape for each in pictures} == {(24, 32, 4)}
    colours = np.array([[0, 0, 255, 255], [0, 205, 0, 255], [255, 128, 0, 255], [0, 0, 0, 0]])
    truth = scene.parts[0].labels.values
    for picture, indices in (
        (pictures[1], np.where(drawn.roles[0] == 1, truth, IGNORED)),
        (pictures[2], np.where(drawn.roles[0] == TEST, truth, IGNORED)),
        (pictures[3], mapped),
    ):
        np.testing.assert_array_equal(picture, colours[indices])
    test = drawn.roles[0] == TEST
    right, wrong = test & (mapped == truth), test & (mapped != truth)
    np.testing.assert_array_equal(pictures[5][..., 3] > 0, test)
    assert len(np.unique(pictures[5][right], axis=0)) == 1
    assert len(np.unique(pictures[5][wrong], axis=0)) == 1
    assert (pictures[5][right][0] != pictures[5][wrong][0]).any()
    assert f"{right.sum()} of {test.sum()} test px right" in page.text
    assert "other settings" not in page.text
    assert "mean 75.0 %" in page.text
    brightest = np.unravel_index(
        np.argmax(scene.parts[0].layers["hsi"].source._values[3]), (24, 32)
    )
    assert pictures[0][brightest][0] == 255  # 660 nm is red


def test_command_makes_the_same_run(finished):
    from bandweave.cli.map import parse as parse_map
    from bandweave.cli.score import parse as parse_score
    from bandweave.cli.train import parse as parse_train

    run, scene, *_ = finished
    text, page = read_page(write_report(run, scene, quiet=True))
    commands = re.findall(r"<pre>(bandweave [^<]*)</pre>", text)
    train, map_, score = (shlex.split(command.replace("&#39;", "'")) for command in commands)
    assert train[:2] == ["bandweave", "train"]
    assert parse_train(train[2:]).config.to_dict() == run.config.to_dict()
    assert parse_map(map_[2:]).scene == scene.origin
    assert parse_score(score[2:]).runs == [parse_train(train[2:]).out]
    assert page.row("train.steps")[1:] == ["600", "3"]
    assert page.row("model.width")[2] == "8"


def test_opened_from_its_folder(finished):
    run, scene, *_ = finished
    run.save()
    write_report(run.folder.path, scene, quiet=True)
    one = run.folder.report.read_text()
    write_report(run, scene, quiet=True)
    assert run.folder.report.read_text() == one


def test_whole_or_not_at_all(finished, monkeypatch):
    run, scene, *_ = finished
    run.folder.report.write_text("the report before")
    before = sorted(run.folder.path.iterdir())

    def full(path, text, **_):
        path.write_bytes(text.encode()[:1000])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OutputError, match="No space left"):
            write_report(run, scene, quiet=True)
    assert run.folder.report.read_text() == "the report before"
    assert sorted(run.folder.path.iterdir()) == before


def test_map_of_a_scene_without_labels(tmp_path):
    part = make_part("forest", 16, 20, labelled=False)
    scene = make_scene(part)
    drawn = split(make_scene(make_part("plot", 24, 32)), "blocks", size=4, guard=1)
    run = make_run(tmp_path / "run", scene, drawn)
    mapped = np.zeros((16, 20), int)
    mapped[:4] = 2
    mapped[4:6] = IGNORED
    write_map(tmp_path / "map.tif", part, mapped)
    _, page = read_page(write_report(run, scene, map_path=tmp_path / "map.tif", quiet=True))
    assert page.titles == ["hsi", "map"]
    assert "no scores" in page.text
    assert "no labels to score a map by" in page.text
    assert drawn.hash in page.text  # what it was trained on
    shares = [[row for row in page.rows if row and row[0] == c.name][-1][1:] for c in CLASSES]
    assert shares == [["0.0801 ha", "71.4 %"], ["0 ha", "0.0 %"], ["0.0320 ha", "28.6 %"]]
    assert "no standard error" in page.text
    lines = run.folder.areas.read_text().splitlines()
    assert lines[0] == "class,mapped_ha"
    assert [line.split(",")[0] for line in lines[1:]] == [c.name for c in CLASSES]


def test_scores_without_a_map(finished):
    run, scene, _, scores, _ = finished
    run.folder.map.unlink()
    run.folder.history.unlink()
    run.folder.scores.unlink()
    text, page = read_page(write_report(run, scene, scores=scores, quiet=True))
    assert f"<b>{100 * scores.overall_accuracy:.2f} %</b>" in text
    assert page.titles == ["hsi", "training labels", "test labels"]
    assert "There is no map" in page.text
    assert "<svg" not in text


def test_neither_labels_nor_scores_nor_map(tmp_path):
    scene = make_scene(make_part("forest", 16, 20, labelled=False))
    _, page = read_page(write_report(make_run(tmp_path / "run", scene), scene, quiet=True))
    assert page.titles == ["hsi"]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1), (1, 3000)])
def test_scenes_of_one_pixel_or_one_row(tmp_path, height, width):
    part = make_part("thin", height, width, bands=1, labelled=False)
    scene = make_scene(part)
    run = make_run(tmp_path / "run", scene)
    write_map(run.folder.map, part, np.ones((height, width), int))
    _, page = read_page(write_report(run, scene, quiet=True))
    assert page.titles == ["hsi", "map"]
    for image in page.images:
        sides = int(image["height"]), int(image["width"])
        assert pixels_of(image).shape[:2] == sides
        assert max(sides) <= 60 * min(sides)
        assert max(sides) <= 1200
    assert (pixels_of(page.images[1]) == (0, 205, 0, 255)).all()
    assert ("widened" in page.text) == (max(height, width) >= 80)


def test_labels_finer_than_the_grid(tmp_path):
    part = make_part("fine", 10, 12, ratio=4)
    scene = make_scene(part)
    drawn = split(scene, "blocks", size=8, guard=2)
    run = make_run(tmp_path / "run", scene, drawn)
    mapped = guess(part.labels.values)
    write_map(run.folder.map, part, mapped, ratio=4)
    scores = scored(scene, drawn, [mapped])
    _, page = read_page(write_report(run, scene, scores=scores, quiet=True))
    assert [image["width"] for image in page.images] == ["12", "48", "48", "48", "48"]
    assert "2 label px, 0.5 px of the grid (1 m)" in page.text
    assert "other settings" not in page.text


def test_contact_sheet_of_many_parts(tmp_path):
    parts = [make_part(f"plot_{i}", 8, 9, seed=i, left=500_000 + 100 * i) for i in range(14)]
    parts[13] = make_part("plot_13", 8, 9, labelled=False, left=900_000)
    scene = make_scene(*parts)
    drawn = split(scene, "parts")
    run = make_run(tmp_path / "run", scene, drawn)
    (tmp_path / "run" / "map").mkdir()
    (tmp_path / "run" / "map" / "confidence").mkdir()
    for part in parts:
        write_map(tmp_path / "run" / "map" / f"{part.name}.tif", part, np.zeros((8, 9), int))
        write_confidence(tmp_path / "run" / "map" / "confidence" / f"{part.name}.tif", part)
    text, page = read_page(write_report(run, scene, quiet=True))
    assert "12 of 14 parts" in page.text
    shown = set(re.findall(r"<h3>(plot_\d+)</h3>", text))
    tested = {p.name for p, roles in zip(parts, drawn.roles, strict=True) if (roles == TEST).any()}
    assert len(shown) == 12
    assert tested <= shown
    assert "plot_13" not in shown
    assert page.titles.count("confidence") == 12
    assert page.titles.count("right and wrong") == len(tested)
    rows = [row for row in page.rows if row and row[0] == CLASSES[0].name]
    assert rows[-1][2] == "100.0 %"  # of all parts, also those that are not shown


def test_absent_and_dropped_classes(tmp_path):
    part = make_part("plot", 24, 32)
    values = np.where(part.labels.values == 2, IGNORED, part.labels.values)
    values[0, :3] = 2
    scene = make_scene(replace(part, labels=Labels(values)))
    drawn = split(scene, "blocks", size=8, guard=1, drop=True)
    run = make_run(tmp_path / "run", scene, drawn)
    truth = np.where(drawn.roles[0] == TEST, values, IGNORED)
    matrix = confusion_matrix(truth, np.zeros_like(truth), 3)
    names = tuple(each.name for each in CLASSES)
    scores = SceneScores(Scores(matrix, names, {**drawn.protocol(7), "scene": "plots"}))
    _, page = read_page(write_report(run, scene, scores=scores, quiet=True))
    assert "not in the average accuracy: roof & wall" in page.text
    assert "Left out of the split: roof & wall" in page.text
    assert page.row("roof & wall")[1:] == ["0", "0", "–", "–", "–", "–"]
    for note in drawn.notes:
        assert note in page.text


def test_scores_under_another_split_are_said_to_be(finished):
    run, scene, drawn, _, mapped = finished
    other = split(scene, "blocks", size=4, guard=1, seed=5)
    scores = scored(scene, other, [mapped])
    _, page = read_page(write_report(run, scene, scores=scores, quiet=True))
    assert "not the split that the model was trained with" in page.text
    assert "measured under another split than the one whose sides are shown" in page.text
    assert other.hash in page.text
    assert drawn.hash in page.text
    _, page = read_page(write_report(run, scene, scores=scores, split=other, quiet=True))
    assert "training side of the scored split" in page.titles
    test = int((other.roles[0] == TEST).sum())
    assert f"of {test} test px right" in page.text
    assert "whose sides are shown" not in page.text
    smaller = split(make_scene(make_part("plot", 12, 12)), "blocks", size=4, guard=0)
    with pytest.raises(SplitError, match="other parts or sizes"):
        write_report(run, scene, split=smaller, quiet=True)


def test_map_that_is_not_the_scored_one_is_said_to_be(finished):
    run, scene, _, scores, mapped = finished
    write_map(run.folder.map, scene.parts[0], (mapped + 1) % 3)
    _, page = read_page(write_report(run, scene, quiet=True))
    right = int(np.trace(scores.pixels.confusion))
    assert f"the scores count {right} of" in page.text
    assert "other settings" in page.text


def test_confidence_of_an_older_map(finished):
    run, scene, *_ = finished
    os.utime(run.folder.path / "map_confidence.tif", (1_000_000, 1_000_000))
    _, page = read_page(write_report(run, scene, quiet=True))
    assert "confidence" not in page.titles
    assert "older than the map" in page.text
    path = run.folder.path / "map_confidence.tif"
    _, page = read_page(write_report(run, scene, confidence_path=path, quiet=True))
    assert "confidence" in page.titles


def test_map_of_another_scene(finished, tmp_path):
    run, scene, *_ = finished
    elsewhere = make_part("elsewhere", 24, 32, left=600_000)
    for part in (make_part("small", 12, 32), elsewhere):
        write_map(tmp_path / "other.tif", part, np.zeros((part.grid.height, 32), int))
        with pytest.raises(SceneMismatch, match="map the scene again"):
            write_report(run, scene, map_path=tmp_path / "other.tif", quiet=True)
    with pytest.raises(FileError, match="cannot be opened"):
        write_report(run, scene, map_path=tmp_path / "none.tif", quiet=True)
    assert not run.folder.report.exists()
    write_map(run.folder.map, elsewhere, np.zeros((24, 32), int))
    _, page = read_page(write_report(run, scene, quiet=True))
    assert "map" not in page.titles
    assert "is not shown" in page.text


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"pixels": {}}', "\x00"])
def test_damaged_scores_and_history_are_noted(finished, damage):
    run, scene, *_ = finished
    run.folder.scores.write_text(damage)
    run.folder.history.write_text("step,loss\n1,two\n")
    _, page = read_page(write_report(run, scene, quiet=True))
    assert "scores.json in the run's folder cannot be read" in page.text
    assert "learning curves are not shown" in page.text


def test_scores_of_other_classes_are_refused(finished):
    run, scene, *_ = finished
    with pytest.raises(SceneMismatch, match="score this run again"):
        write_report(run, scene, scores=SceneScores(Scores(np.eye(2, dtype=int), ("a", "b"))))


def test_labels_with_classes_of_their_own(finished):
    run, scene, *_ = finished
    others = tuple(replace(each, name=f"other {each.code}") for each in CLASSES)
    run.folder.scores.unlink()
    _, page = read_page(write_report(run, replace(scene, classes=others), quiet=True))
    assert "other 12" in page.text
    assert "right and wrong" not in page.titles


def test_curves_of_loss_parts_and_accuracy(finished):
    run, scene, *_ = finished
    text, page = read_page(write_report(run, scene, quiet=True))
    assert page.titles[6:] == ["loss", "supervised", "accuracy"]
    assert "points: validation" in page.text
    assert text.count("<svg") == 3
    assert "#0102" not in text  # the page's colours have taken their places


def test_the_use_of_experts_is_drawn_where_a_run_has_some(finished):
    run, scene, *_ = finished
    assert "use of experts" not in read_page(write_report(run, scene, quiet=True))[1].titles
    names = ("rows", "columns", "rows_back", "columns_back")
    history = "step,loss," + ",".join(f"expert_{name}" for name in names) + "\n"
    run.folder.history.write_text(history + "1,3,0.5,0.5,0,0\n2,2,0.25,0.25,0.5,0\n3,1,0,0\n")
    text, page = read_page(write_report(run, scene, quiet=True))
    assert page.titles[6:] == ["loss", "use of experts"]
    assert "columns back" in page.text
    assert text.count("<svg") == 2


@pytest.mark.parametrize("steps", [1, 2, 900])
def test_shares_stand_on_top_of_each_other(steps):
    rng = np.random.default_rng(0)
    values = rng.dirichlet(np.ones(3), steps).T
    names = [f"expert_{name}" for name in "abc"]
    rows = [
        {"step": i + 1, **dict(zip(names, column, strict=True))}
        for i, column in enumerate(values.T)
    ]
    shares = read_expert_shares(rows)
    assert list(shares.parts) == ["a", "b", "c"]
    np.testing.assert_array_equal(np.stack(list(shares.parts.values())), values)
    Page(draw_shares(shares))
    assert read_expert_shares([{"step": 1, "loss": 2}]) is None
    assert read_expert_shares([]) is None


@pytest.mark.parametrize("y", [[1.0], [np.nan, np.inf], [], [2.0] * 5000])
def test_curves_of_any_length(y):
    svg = draw_curve(Curve("loss", np.arange(len(y)) + 1.0, np.array(y, float)))
    Page(svg)
    assert len(svg) < 60_000


# Pictures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bands", "wavelengths", "shown"),
    [
        (1, None, (0,)),
        (2, None, (0,)),
        (3, None, (0, 1, 2)),
        (5, (450.0, 550.0, 650.0, 750.0, 850.0), (2, 1, 0)),
        (3, (1500.0, 1600.0, 1700.0), (0, 1, 2)),
        (7, None, (5, 3, 1)),
        (4, (640.0, 645.0, 650.0, 655.0), (2, 1, 0)),
        (3, (650.0, 550.0, 450.0), (0, 1, 2)),
    ],
)
def test_bands_that_are_shown(bands, wavelengths, shown):
    found = choose_bands(LayerInfo(bands, 1, BandInfo(wavelengths=wavelengths)))
    assert found.bands == shown
    assert all(0 <= band < bands for band in found.bands)


def test_true_colours_of_known_sensors_by_the_names_of_their_bands():
    """Sentinel-2's bands 2, 5, 8 of 13 by position would show the cirrus band."""
    names = [*(f"B{k}" for k in range(1, 9)), "B8A", *(f"B{k}" for k in range(9, 13))]
    info = BandInfo(names=tuple(names), nominal=nominal_wavelengths(names, "s.tif"))
    found = choose_bands(LayerInfo(13, 1, info))
    assert found.bands == (3, 2, 1)
    assert found.words == "true colour: 665, 560 and 492 nm as red, green and blue"
    unknown = BandInfo(names=("B2", "mask", "B4"), nominal=(482.0, np.nan, 655.0))
    assert choose_bands(LayerInfo(3, 1, unknown)).words.startswith("colours as the file has them")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.integers(0, 99))
def test_reduced_layers_are_means(height, width, longest, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(2, height, width)).astype(np.float32)
    values[:, rng.random((height, width)) < 0.3] = np.nan
    grid = Grid(height, width, PIXELS)
    part = Part("p", grid, {"hsi": Layer(ArraySource(values, grid))})
    before, reduced.MEMORY = reduced.MEMORY, 2**10  # several windows
    try:
        small = read_layer(part, part.layers["hsi"], (1,), longest)
    finally:
        reduced.MEMORY = before
    step = -(-max(height, width) // longest)
    assert max(small.shape) <= longest
    for row in range(small.shape[1]):
        for col in range(small.shape[2]):
            block = values[1, row * step : (row + 1) * step, col * step : (col + 1) * step]
            known = block[np.isfinite(block)]
            expected = known.mean() if known.size else np.nan
            np.testing.assert_allclose(small[0, row, col], expected, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 40), st.integers(0, 99))
def test_reduced_labels_are_the_commonest(height, width, longest, seed):
    values = np.random.default_rng(seed).integers(-1, 3, (height, width)).astype(np.int16)
    reduced = reduce_labels(values, longest)
    step = -(-max(height, width) // longest)
    for row in range(reduced.shape[0]):
        for col in range(reduced.shape[1]):
            block = values[row * step : (row + 1) * step, col * step : (col + 1) * step]
            known = block[block >= 0]
            expected = np.bincount(known).argmax() if known.size else IGNORED
            assert reduced[row, col] == expected


def test_verdict_counts_holes_of_the_map_as_wrong(tmp_path):
    part = make_part("plot", 600, 7)
    truth = part.labels.values
    mapped = truth.astype(int)
    mapped[550:] = IGNORED
    write_map(tmp_path / "map.tif", part, mapped)
    test = truth >= 0
    test[:20] = False
    judged = verdict(tmp_path / "map.tif", truth, test, [each.code for each in CLASSES])
    rows = np.arange(600)[:, None]
    expected = np.where(rows < 550, 1, 0) * np.ones_like(truth)
    np.testing.assert_array_equal(judged, np.where(test, expected, IGNORED))


def test_large_maps_are_read_reduced(tmp_path):
    part = make_part("large", 1500, 700, bands=1, labelled=False)
    mapped = np.zeros((1500, 700), int)
    mapped[750:] = 2
    write_map(tmp_path / "map.tif", part, mapped)
    write_confidence(tmp_path / "conf.tif", part, value=0.25)
    indices = map_files.read_map(tmp_path / "map.tif", [3, 7, 12], 300)
    assert indices.shape == (300, 140)
    assert (indices[:149] == 0).all()
    assert (indices[151:] == 2).all()
    confidence = map_files.read_confidence(tmp_path / "conf.tif", 300)
    np.testing.assert_allclose(confidence, 0.25)


def test_photographs_are_stretched_and_holes_are_grey():
    values = np.arange(1000, dtype=np.float32).reshape(1, 20, 50)
    values[0, 3, 4] = np.nan
    rgba, ranges = photograph(values)
    low, high = ranges[0]
    assert low == pytest.approx(20, abs=2)
    assert high == pytest.approx(979, abs=2)
    assert (rgba[0, :10] == (0, 0, 0, 255)).all()
    assert (rgba[-1, -10:] == 255).all()
    assert tuple(rgba[3, 4]) == (148, 148, 148, 255)
    flat, _ = photograph(np.full((3, 4, 4), 7, np.float32))
    assert (flat[..., :3] == 128).all()
    empty, _ = photograph(np.full((1, 4, 4), np.nan, np.float32))
    assert (empty[..., :3] == 148).all()


def test_confidence_of_a_single_class():
    rgba = colour_confidence(np.array([[1.0, np.nan]], np.float32), 1.0)
    assert rgba[0, 0, 3] == 255
    assert rgba[0, 1, 3] == 0


def test_after_training(tmp_path):
    """The whole way, with what each step really leaves."""
    torch.set_num_threads(1)
    scene = bw.simulated_scene(seed=0, height=48, width=48, bands=8)
    drawn = split(scene, "blocks", size=6, guard=1, drop=True)
    run = bw.train(
        scene, drawn, model="m3amba_tiny", out=tmp_path / "run", steps=2, width=8, depth=1,
        crop=8, batch=2, quiet=True,
    )  # fmt: skip
    bw.map_scene(run, scene, run.folder.map, confidence=True, quiet=True)
    scores = bw.score(run, scene, drawn, quiet=True)
    text, page = read_page(write_report(tmp_path / "run", scene, quiet=True))
    assert f"<b>{100 * scores.overall_accuracy:.2f} %</b>" in text
    assert page.titles[:6] == [
        "hsi", "training labels", "test labels", "map", "confidence", "right and wrong",
    ]  # fmt: skip
    assert {"loss", "supervised", "accuracy"} <= set(page.titles)
    assert "other settings" not in page.text
    stored = json.loads(run.folder.scores.read_text())
    assert stored["pixels"]["protocol"]["hash"] in page.text


# Ground, interval, conclusion ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crs", "left", "top", "pixel", "metres"),
    [
        (32617, 500_000, 4_000_000, 2, 200),
        (4326, 10, 60, 0.001, 5_566),  # a degree of longitude is half as long at 60° N
        (3857, 1_000_000, 8_399_738, 10, 500),  # and so is Mercator's metre
        (2263, 1_000_000, 200_000, 10, 304.8),  # US survey feet
    ],
)
def test_scale_bars_are_metres_on_the_ground(crs, left, top, pixel, metres):
    grid = Grid(2, 100, from_origin(left, top, pixel, pixel), CRS.from_epsg(crs))
    ground = describe_ground(grid)
    number, unit = ground.length.split()
    length = float(number) * {"m": 1, "km": 1000}[unit]
    assert length / ground.bar == pytest.approx(metres, rel=0.01)
    assert 0.1 < ground.bar <= 0.4
    assert f"{left:,}" in ground.corners
    assert f"EPSG:{crs}" in ground.corners


def test_no_scale_where_there_is_no_place():
    assert describe_ground(Grid(5, 5, PIXELS)) == describe_ground(Grid(9, 9, PIXELS))
    assert describe_ground(Grid(5, 5, PIXELS)).corners == ""
    alone = describe_ground(Grid(5, 5, from_origin(7, 8, 2, 2)))
    assert alone.bar == 0
    assert "no CRS" in alone.corners


def test_page_has_scale_corners_interval_and_conclusion(finished):
    run, scene, _, scores, _ = finished
    text, page = read_page(write_report(run, scene, quiet=True))
    assert text.count('class="scale"') == 6  # each picture but other layers
    assert "upper left 500,000.0, 4,000,000.0; lower right 500,064.0, 3,999,952.0" in page.text
    assert "true colour: 660, 590 and 450 nm" in page.text
    assert "95 % interval, by bootstrap over the" in page.text
    weakest = CLASSES[int(np.argmin(scores.pixels.accuracy))].name
    header = page.text.split("Scores")[0]
    assert f"the weakest class is {weakest}" in header
    assert "on new ground expect less" in header


def test_intervals_are_over_units_and_wider_than_over_pixels():
    tested = np.full(40, 25)
    right = np.where(np.arange(40) < 30, 25, 0)  # whole units are right or wrong
    low, high = bootstrap_interval(UnitCounts("block", right, tested))
    assert low < 0.75 < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 40), rel=0.15)
    assert bootstrap_interval(UnitCounts("block", right[:9], tested[:9])) is None
    same = bootstrap_interval(UnitCounts("block", tested - 5, tested))
    assert same == pytest.approx((0.8, 0.8))


def test_units_are_the_coarser_of_blocks_and_objects():
    scene = make_scene(make_part("plot", 24, 32))
    blocks = split(scene, "blocks", size=4, guard=0)
    assert number_units(scene, blocks).kind == "block"
    assert number_units(scene, split(scene, "objects", guard=0)).kind == "object"
    raster = replace(scene.parts[0].labels, objects=None)
    scene = make_scene(replace(scene.parts[0], labels=raster))
    assert number_units(scene, split(scene, "random", train=0.5)).kind == "block"


def test_where_no_interval_can_be_given_it_is_said():
    names, protocol = ("a", "b"), {"split": "blocks", "test_share_within_reach": 0.0}
    scores = Scores(np.array([[8, 2], [5, 5]]), names, protocol)
    few = UnitCounts("block", np.array([13]), np.array([20]))
    assert describe_interval(few, scores)[0] == ""
    assert "lie in 1 block," in describe_interval(few, scores)[1]
    assert (
        "not the one that was scored"
        in describe_interval(UnitCounts("block", np.array([12]), np.array([20])), scores)[1]
    )
    assert describe_interval(None, scores)[0] == ""
    words = write_conclusion(scores, "", other_split=False)
    assert words.startswith("On 20 test pixels the map is right on 65.0 %; the weakest class is b,")
    assert "No test pixel lies within" in words
    assert "was trained on may be among them" in write_conclusion(scores, "", other_split=True)


def test_single_labels_of_a_large_picture_are_dots():
    rgba = np.zeros((600, 900, 4), np.uint8)
    rgba[300, 400] = rgba[0, 899] = (255, 0, 0, 255)
    rgba[50:80, 50:80] = (0, 255, 0, 255)
    marked, dots = add_markers(rgba)
    assert dots
    assert (marked == (255, 0, 0, 255)).all(axis=-1).sum() > 30
    assert (marked == RIM).all(axis=-1).any()
    np.testing.assert_array_equal(marked[50:80, 50:80], rgba[50:80, 50:80])
    small = rgba[:100, :100]
    assert add_markers(small)[0] is small
    full = np.full_like(rgba, 255)
    assert add_markers(full) == (full, False)


@pytest.mark.parametrize(
    ("wavelengths", "words"),
    [
        ((480.0, 560.0, 660.0), "true colour"),
        ((560.0, 660.0, 840.0), "false colour"),
        (None, "colours as the file has them"),
    ],
)
def test_false_colour_is_not_called_true(wavelengths, words):
    found = choose_bands(LayerInfo(3, 1, BandInfo(wavelengths=wavelengths)))
    assert found.words.startswith(words)


def test_a_section_that_is_added_is_shown_in_its_place(finished, monkeypatch):
    run, scene, _, scores, _ = finished

    def show_support(found):
        return fill_section(
            "Pixels & so on",
            '<p class="own">{{ support.sum() }}</p>',
            ".own { color: {{ colour }}; }",
            support=found.pixels.support,
            colour="red",
        )

    monkeypatch.setitem(SECTIONS, "Support", show_support)
    monkeypatch.setitem(SECTIONS, "Nothing", lambda found: None)
    text, _ = read_page(write_report(run, scene, quiet=True))
    assert re.findall(r"<h2>(.*?)</h2>", text)[-2:] == ["Again", "Pixels &amp; so on"]
    assert f'<p class="own">{scores.pixels.support.sum()}</p>' in text
    assert ".own { color: red; }" in text[: text.index("</style>")]
