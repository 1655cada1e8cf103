"""The page, the strips and the CSV that scoring leaves, and the command that does it all."""

import base64
import csv
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandweave.errors import ConfigError, OutputError
from bandweave.pansharp.pair.files import pair_files
from bandweave.pansharp.pair.open import open_pair
from bandweave.pansharp.report.page import check_folder, write_scores
from bandweave.pansharp.report.pictures import chosen_pixels, framed, shown_bands
from bandweave.pansharp.scores.samples import Sample, take_sample
from bandweave.pansharp.scoring import SharpeningScores, score_sharpeners
from bandweave.pansharp.sensors import find_sensor
from bandweave.pansharp.simulate import simulated_pair
from bandweave.raster.grid import Window
from bandweave.report.pictures import photograph

METHODS = ["bicubic", "brovey", "gsa", "hpf", "sfim", "pca"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return simulated_pair(tmp_path_factory.mktemp("pair"), seed=2, size=(512, 448))


@pytest.fixture(scope="module")
def scores(made):
    pairs = {"north <b>": open_pair(made.pan, made.ms)}
    return score_sharpeners(pairs, METHODS, sensor="quickbird", quiet=True)


@pytest.fixture(scope="module")
def written(scores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores") / "new" / "folder"
    return write_scores(scores, folder, ["sfim"])


def pixels(data: bytes) -> np.ndarray:
    from matplotlib.image import imread

    values = imread(io.BytesIO(data), format="png")
    return np.round(255 * values).astype(np.uint8) if values.dtype != np.uint8 else values


def pictures(page: str) -> list[tuple[str, np.ndarray]]:
    """Alternative text and pixels of all images."""
    found = re.findall(r'<img src="data:image/png;base64,([^"]*)"[^>]*alt="([^"]*)"', page)
    return [(alt, pixels(base64.b64decode(data))) for data, alt in found]


def test_the_page_has_every_method_at_both_resolutions(written, scores):
    page = next(p for p in written if p.suffix == ".html").read_text(encoding="utf-8")
    assert "north &lt;b&gt;" in page
    assert "<b>north <b>" not in page
    assert "http" not in re.sub(r'xmlns[^ >]*|http-equiv="[^"]*"', "", page)
    assert not re.search(r"\{[{%]|nan\b|None", re.sub(r"base64,[^\"]*", "", page))
    shown = [alt for alt, _ in pictures(page)]
    for method in METHODS[1:]:  # bicubic is what "MS, bicubic" shows
        assert shown.count(f"{method}, a crop of north &lt;b&gt;") == 4
        assert shown.count(f"errors of {method} on north &lt;b&gt;") == 1
    for name, times in (("PAN", 4), ("MS, bicubic", 4), ("truth", 2)):
        assert shown.count(f"{name}, a crop of north &lt;b&gt;") == times
    best = re.findall(r'<td class="best">([^<]*)', page)
    found = {row.method: row.scores["psnr"] for row in scores.rows if row.protocol == "reduced"}
    assert f"{max(found.values()):.2f}" in best
    assert page.count("<svg") == 5  # spectra: bright, dark, median, edge, vegetation
    assert f"{found['gsa']:.2f} dB" in page


def test_crops_are_at_the_truths_stretch(written, scores):
    """Pixels of a picture, by hand from the arrays."""
    page = next(p for p in written if p.suffix == ".html").read_text(encoding="utf-8")
    sample = scores.samples[0]
    row, col, height, width = sample.crops[0]
    for name, image in (("truth", sample.truth), ("gsa", sample.images["gsa"])):
        got = next(seen for alt, seen in pictures(page) if alt.startswith(f"{name}, a crop"))
        assert got.shape[:2] == (height, width)
        for channel, band in enumerate((2, 1, 0)):  # red, green, blue of QuickBird
            low, high = np.percentile(sample.truth[band], (2, 98))
            expected = 255 * np.clip((image[band] - low) / (high - low), 0, 1)
            cut = expected[row : row + height, col : col + width]
            np.testing.assert_allclose(got[..., channel], cut, atol=1)


def test_files_are_written_together_or_not_at_all(scores, written, tmp_path):
    assert sorted(path.name for path in written) == [
        "report.html", "scores.csv", "strip-north-b-full.png", "strip-north-b-reduced.png",
    ]  # fmt: skip
    assert {path.name for path in written[0].parent.iterdir()} == {path.name for path in written}
    for path in written:
        if path.suffix == ".png":
            assert pixels(path.read_bytes()).std() > 20
    rows = list(csv.DictReader(written[0].open()))
    assert len(rows) == 2 * len(METHODS)
    assert [r["pair"] for r in rows] == ["north <b>"] * len(rows)
    (tmp_path / "report.html").write_text("old")
    (tmp_path / "strip-north-b-full.png").mkdir()  # the last of the files cannot be written
    with pytest.raises(OutputError):
        write_scores(scores, tmp_path)
    assert (tmp_path / "report.html").read_text() == "old"
    assert not (tmp_path / "scores.csv").exists()
    with pytest.raises(OutputError, match="is a file"):
        check_folder(written[0] / "within")


def test_a_page_without_pictures_has_its_tables(scores, tmp_path):
    bare = SharpeningScores(rows=scores.rows, pairs=scores.pairs)
    paths = write_scores(bare, tmp_path)
    assert [path.name for path in paths] == ["scores.csv", "report.html"]
    assert "PSNR" in paths[1].read_text(encoding="utf-8")


# What is shown -----------------------------------------------------------------------------------


def test_pixels_are_the_ones_their_names_say(scores):
    sample = scores.samples[0]
    bands = sample.truth
    level, places = bands.mean(axis=0), chosen_pixels(sample)
    assert level[places["bright"]] == level.max()
    assert level[places["dark"]] == level.min()
    index = (bands[3] - bands[2]) / (bands[3] + bands[2])
    assert index[places["vegetation"]] == index[level >= np.percentile(level, 25)].max()


def test_pixels_without_data_are_never_chosen(scores):
    sample = scores.samples[0]
    valid = np.ones_like(sample.valid)
    for at in chosen_pixels(sample).values():
        valid[at] = False
    holes = Sample(**{**vars(sample), "valid": valid})
    assert all(valid[at] for at in chosen_pixels(holes).values())


@settings(max_examples=15)
@given(size=st.tuples(st.integers(20, 300), st.integers(20, 300)), seed=st.integers(0, 99))
def test_crops_lie_in_the_region_and_apart(size, seed):
    from bandweave.pansharp.scores.samples import choose_crops

    rng = np.random.default_rng(seed)
    pan, bands = rng.normal(size=size), rng.uniform(1, 2, (3, *size))
    crops = choose_crops(pan, bands, np.ones(size, bool))
    assert 1 <= len(crops) <= 2
    count = np.zeros(size, int)
    for crop in crops:
        assert crop.clip(*size) == crop
        count[crop.slices()] += 1
    assert count.max() == 1


def test_a_region_is_where_the_detail_is(made):
    """All of a flat scene's detail in one corner."""
    from bandweave.pansharp.pair.nesting import Nesting
    from bandweave.pansharp.pair.pair import Pair
    from bandweave.raster.formats.arrays import ArraySource
    from bandweave.raster.grid import PIXELS, Grid

    pan = np.full((1, 1024, 1024), 100, np.float32)
    pan[:, 800:, 800:] += np.random.default_rng(0).normal(0, 20, (224, 224))
    ms = np.full((4, 256, 256), 50, np.float32)
    sources = (ArraySource(a, Grid(*a.shape[1:], PIXELS)) for a in (pan, ms))
    sample = take_sample(Pair(*sources, Nesting(4)), None)
    assert sample.place == Window(768, 768, 256, 256)
    assert sample.truth is None
    assert sample.crops[0].row >= 24


def test_bands_shown():
    assert shown_bands(find_sensor("landsat-7", 6))[0] == [2, 1, 0]
    assert shown_bands(find_sensor("worldview-3", 8))[0] == [4, 2, 1]
    assert shown_bands(find_sensor("generic", 2)) == ([0], "band 1")
    assert shown_bands(find_sensor("generic", 5))[0] == [2, 1, 0]


def test_frames_stand_around_the_crop():
    rgba = np.zeros((20, 20, 4), np.uint8)
    done = framed(rgba, [Window(4, 6, 8, 8)])
    assert not rgba.any()
    marked = done[..., 0] > 0
    assert marked[4, 6:14].all()
    assert marked[4:12, 13].all()
    assert not marked[6:10, 8:12].any()
    assert marked.sum() == 8 * 8 - 4 * 4


def test_a_given_stretch_is_kept():
    values = np.array([[[0.0, 5, 10, 20]]])
    rgba, ranges = photograph(values, [(0, 10)])
    assert rgba[0, :, 0].tolist() == [0, 128, 255, 255]
    assert ranges == [(0, 10)]


# The command -------------------------------------------------------------------------------------


def test_the_command_scores_a_list_of_pairs(made, begin, tmp_path):
    folder = made.pan.parent
    (folder / "pairs.yaml").write_text(
        "pairs:\n- {pan: pan.tif, ms: ms.tif, name: one}\n- {pan: pan.tif, ms: [ms.tif]}\n"
    )
    words = ["sharpen-score", "--pairs", folder / "pairs.yaml", "--methods", "bicubic,gsa"]
    words += ["--sensor", "quickbird", "--register", "--reduced-only", "--quiet"]
    assert begin(*words, "--out", tmp_path / "out").wait(300) == 0
    printed = (tmp_path / "begun.out").read_text()
    assert "mean of 2 pairs" in printed
    assert "Full resolution" not in printed
    assert (tmp_path / "out" / "report.html").exists()
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert {(r["method"], r["pair"]) for r in rows} == {
        (m, s) for m in ("bicubic", "gsa") for s in ("one", "pan")
    }
    assert {r["registered"] for r in rows} == {"True"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give --pan and --ms, or --pairs"),
        (["--pan", "a.tif", "--ms", "b.tif", "--pairs", "c.yaml"], "instead of --pan and --ms"),
        (["--pan", "{pan}", "--ms", "{ms}", "--methods", "gsb"], "no method 'gsb'"),
        (["--pan", "{pan}", "--ms", "{ms}", "--methods", "none"], "leaves nothing to score"),
        (["--pan", "{pan}", "--ms", "{ms}"], "state --peak"),
        (["--pan", "{pan}", "--ms", "{ms}", "--run", "{folder}"], "run"),
        (["--full-only", "--reduced-only"], "not allowed with"),
        (["--pan", "{pan}", "--ms", "{ms}", "--out", "{pan}/x"], "is a file"),
    ],
)
def test_bad_input_is_one_line(made, capsys, words, told):
    from bandweave.cli.main import main

    names = {"pan": made.pan, "ms": made.ms, "folder": made.pan.parent}
    assert main(["sharpen-score", *(word.format(**names) for word in words)]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert told in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pairs: []", "expected `pairs:`"),
        ("scenes: [{pan: a, ms: b}]", "expected `pairs:`"),
        ("pairs: [{pan: a}]", "pair 1: expected"),
        ("pairs: [{pan: a, ms: 3}]", "`ms` one or a list"),
        ("pairs: [{pan: a, ms: b}, {pan: a, ms: c}]", "pair 2: a pair before is called 'a' too"),
    ],
)
def test_a_wrong_list_of_pairs(tmp_path, text, told):
    path = tmp_path / "pairs.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        pair_files(str(path))
