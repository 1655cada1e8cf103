"""Scores of methods on pairs: as whole images give them, whatever the windows; tables and CSV."""

import csv
import io
import math

import numpy as np
import pytest
import rasterio

from bandweave.errors import ConfigError, FileError, GridMismatch
from bandweave.pansharp.classical.methods import CLASSICAL
from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.open import open_pair
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.resample import upsample
from bandweave.pansharp.pair.wald import ReducedPair, reduce_window
from bandweave.pansharp.scores.full import full_scores
from bandweave.pansharp.scores.reduced import reduced_scores
from bandweave.pansharp.scores.tables import ScoreRow, format_scores, format_tables, make_tables
from bandweave.pansharp.scoring import score_sharpeners
from bandweave.pansharp.sensors import find_sensor
from bandweave.pansharp.simulate import simulated_pair
from bandweave.raster.formats.arrays import ArraySource
from bandweave.raster.grid import PIXELS, Grid, Window

QUICKBIRD = find_sensor("quickbird", 4)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A simulated pair, 256×320 px of PAN, half a PAN pixel off."""
    folder = tmp_path_factory.mktemp("pair")
    return simulated_pair(folder, seed=3, size=(256, 320), offset=(0.5, -0.5))


@pytest.fixture
def pair(made):
    return open_pair(made.pan, made.ms)


def arrays_pair(pan, ms, ratio=4):
    return Pair(
        ArraySource(pan[None], Grid(*pan.shape, PIXELS)),
        ArraySource(ms, Grid(*ms.shape[1:], PIXELS)),
        Nesting(ratio),
    )


def score(pairs, methods=("gsa",), **options):
    options = {"sensor": "quickbird", "quiet": True, "samples": 0} | options
    return score_sharpeners(pairs, methods, **options)


def row(scores, method, protocol):
    return next(r for r in scores.rows if (r.method, r.protocol) == (method, protocol)).scores


# Against whole images ----------------------------------------------------------------------------


def test_reduced_scores_are_those_of_walds_protocol_on_the_whole(pair):
    whole = reduce_window(pair.read(pair.grid.window, 64), QUICKBIRD.mtf, QUICKBIRD.mtf_pan)
    image = upsample(whole.ms, Nesting(4), whole.pan.shape)
    expected = reduced_scores(whole.target, image, 4, 2047, whole.valid)
    found = row(score({"a": pair}, ["bicubic"], protocols=["reduced"]), "bicubic", "reduced")
    assert found == pytest.approx(expected, rel=1e-5)


def test_full_scores_are_those_of_the_whole(pair):
    seen = pair.read(pair.grid.window)
    image = upsample(seen.ms, seen.nesting, seen.pan.shape)
    expected = full_scores(image, seen.pan, seen.ms, seen.nesting, QUICKBIRD.mtf, QUICKBIRD.mtf_pan)
    found = row(score({"a": pair}, ["bicubic"], protocols=["full"]), "bicubic", "full")
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_windows_change_nothing(pair):
    """Classical methods of all kinds: by substitution, by resolution, with a box filter."""
    methods = ["gsa", "mtf-glp-hpm", "gfpca"]
    whole = score({"a": pair}, methods, window=4096)
    tiled = score({"a": pair}, methods, window=128)
    for one, other in zip(whole.rows, tiled.rows, strict=True):
        assert one.method == other.method
        assert other.scores == pytest.approx(one.scores, rel=2e-4, abs=2e-5)
    assert whole.pairs[0].counted == tiled.pairs[0].counted


@pytest.mark.parametrize("ratio", [2, 3])
def test_a_reduced_scene_reads_any_window_alike(tmp_path, ratio):
    made = simulated_pair(tmp_path, 1, (150, 132), ratio, 4, offset=(0.5, 0.25))
    scene = ReducedPair(open_pair(made.pan, made.ms), QUICKBIRD)
    whole = scene.read(Window(0, 0, *scene.shape), 4 * ratio)
    truth, valid = scene.read_truth(Window(0, 0, *scene.shape))
    assert valid.all()
    assert scene.shape[0] % ratio == scene.shape[1] % ratio == 0
    window = Window(7, 5, 16, 11)
    part = scene.read(window, 3)
    rows, cols = Window(7 - 3, 5 - 3, 22, 17).slices((-4 * ratio, -4 * ratio))
    np.testing.assert_allclose(part.pan, whole.pan[rows, cols], rtol=1e-5)
    np.testing.assert_array_equal(scene.read_truth(window)[0], truth[:, 7:23, 5:16])
    near = scene.read(window, 3 * ratio)
    image = upsample(near.ms, near.nesting, near.pan.shape)[:, *near.core]
    expected = upsample(whole.ms, whole.nesting, whole.pan.shape)[:, *whole.core][:, 7:23, 5:16]
    np.testing.assert_allclose(image, expected, rtol=1e-5)


def test_sharpening_a_simulated_scene_beats_interpolation(pair):
    scores = score({"a": pair}, ["bicubic", "gsa"])
    bicubic, gsa = (row(scores, name, "reduced") for name in ("bicubic", "gsa"))
    assert gsa["psnr"] > bicubic["psnr"] + 1
    assert gsa["ergas"] < bicubic["ergas"]


# Holes, registration, sizes ----------------------------------------------------------------------


def test_what_lies_in_holes_counts_nowhere(pair):
    seen = pair.read(pair.grid.window)
    pan, ms = seen.pan.copy(), seen.ms.copy()
    pan[40:60, 100:120] = np.nan
    ms[:, 10:14, 10:16] = np.nan
    other = pan.copy(), ms.copy()
    found = score({"a": arrays_pair(pan, ms)}, ["bicubic", "hpf"], peak=2047.0)
    counted = found.pairs[0].counted
    height, width = pan.shape
    assert counted["full"]["pixels"] == height * width - 20 * 20 - 16 * 24
    assert counted["reduced"]["pixels"] < ms[0].size - 20 * 20 // 16 - 24
    assert all(math.isfinite(value) for each in found.rows for value in each.scores.values())
    # the same with other holes in the same place: what was there cannot matter
    again = score({"a": arrays_pair(*other)}, ["bicubic", "hpf"], peak=2047.0)
    assert [r.scores for r in again.rows] == [r.scores for r in found.rows]


def test_every_method_gets_the_registered_pair(tmp_path):
    made = simulated_pair(tmp_path, seed=5, size=(320, 320))
    good = open_pair(made.pan, made.ms)
    off = good.move(1.5, -2.0)
    (right,), (wrong,), (mended,) = (
        score({"a": p}, ["gsa"], protocols=["reduced"], register=register).rows
        for p, register in ((good, False), (off, False), (off, True))
    )
    assert wrong.scores["psnr"] < right.scores["psnr"] - 0.5
    assert mended.scores["psnr"] > right.scores["psnr"] - 0.5
    told = score({"a": off}, ["gsa"], protocols=["reduced"], register=True)
    assert told.pairs[0].registered
    assert told.pairs[0].shift_rows == pytest.approx(-1.5, abs=0.2)
    assert told.pairs[0].shift_cols == pytest.approx(2.0, abs=0.2)
    assert "; registered: on PAN" in str(told)
    assert "; not registered: on PAN" in str(score({"a": off}, ["gsa"], protocols=["full"]))


def test_a_constant_band_is_scored():
    """Sharpened perfectly: every score has its best value."""
    pan, ms = np.full((64, 64), 300, np.float32), np.full((2, 16, 16), 200, np.float32)
    scores = score({"flat": arrays_pair(pan, ms)}, ["bicubic"], sensor="generic", peak=1000.0)
    assert row(scores, "bicubic", "reduced")["psnr"] > 120
    assert row(scores, "bicubic", "full")["qnr"] == pytest.approx(1)


def test_what_cannot_be_scored_is_said(pair):
    with pytest.raises(ConfigError, match="no method 'gsb'; did you mean 'gs'"):
        score({"a": pair}, ["gsb"])
    with pytest.raises(ConfigError, match="no protocol"):
        score({"a": pair}, protocols=["half"])
    with pytest.raises(ConfigError, match="no pair"):
        score({})
    with pytest.raises(ConfigError, match=r"uint16 of the sensor 'generic'.*state `peak`"):
        score({"a": pair}, sensor="generic")
    with pytest.raises(ConfigError, match="peak -1"):
        score({"a": pair}, peak=-1.0)
    pan, ms = np.ones((8, 8), np.float32), np.ones((4, 2, 2), np.float32)
    with pytest.raises(GridMismatch, match="2×2 MS pixels cannot be scored"):
        score({"small": arrays_pair(pan, ms)}, peak=1.0)
    pan, ms = np.full((64, 64), np.nan, np.float32), np.ones((4, 16, 16), np.float32)
    with pytest.raises(FileError, match="empty: PAN and MS have no valid pixel"):
        score({"empty": arrays_pair(pan, ms)}, ["bicubic"], peak=1.0)
    with pytest.raises(ConfigError, match="two methods are called 'gsa'"):
        score({"a": pair}, runs={"gsa": lambda pair, sensor: None})


def test_the_peak_is_declared(pair):
    assert score({"a": pair}, protocols=["full"]).pairs[0].peak == 2047  # the sensor's 11 bits
    bright = score({"a": pair}, ["bicubic"], protocols=["reduced"], peak=4095.0)
    usual = score({"a": pair}, ["bicubic"], protocols=["reduced"])
    gained = 20 * math.log10(4095 / 2047)
    psnr = [row(each, "bicubic", "reduced")["psnr"] for each in (usual, bright)]
    assert psnr[1] - psnr[0] == pytest.approx(gained)


# Tables ------------------------------------------------------------------------------------------

REDUCED = {"psnr": 30.0, "ssim": 0.9, "sam": 0.05, "sam_degrees": 3.0, "ergas": 4.0,
           "q": 0.8, "q2n": 0.8, "scc": 0.7}  # fmt: skip


def rows_of(*given):
    return [
        ScoreRow(method, pair, "reduced", REDUCED | scores, 1.0) for method, pair, scores in given
    ]


def test_the_best_of_each_column_is_marked_both_ways():
    rows = rows_of(
        ("a", "x", {"psnr": 31.0, "ergas": 5.0, "ssim": math.nan}), ("b", "x", {"ergas": 3.0})
    )
    (table,) = make_tables(rows)
    best = dict(zip(table.heads, table.best.T.tolist(), strict=True))
    assert best["PSNR dB"] == [True, False]
    assert best["ERGAS"] == [False, True]
    assert best["SSIM"] == [False, True]
    assert best["Q"] == [True, True]
    text = format_tables(rows)[0].splitlines()
    assert "31.00*" in text[3]
    assert "3.000*" in text[4]
    assert "–" in text[3]
    assert len({line.index("Q2ⁿ") for line in text if "Q2ⁿ" in line}) == 1


def test_several_pairs_are_averaged_and_shown_side_by_side():
    rows = rows_of(
        ("a", "x", {"psnr": 30.0}), ("b", "x", {"psnr": 31.0}),
        ("a", "y", {"psnr": 36.0}), ("b", "y", {"psnr": 32.0}),
    )  # fmt: skip
    mean, by_pair = make_tables(rows)
    assert "mean of 2 pairs" in mean.title
    assert [text[0] for text in mean.texts] == ["33.00", "31.50"]
    assert by_pair.heads == ["x", "y"]
    assert by_pair.best.tolist() == [[False, True], [True, False]]


def test_csv_has_a_line_for_each_method_pair_and_protocol():
    rows = rows_of(("a", 'x, "y"', {"scc": math.nan, "psnr": math.inf}))
    (read,) = csv.DictReader(io.StringIO(format_scores(rows, {'x, "y"': {"peak": 255.0}})))
    assert read["pair"] == 'x, "y"'
    assert float(read["psnr"]) == math.inf
    assert read["scc"] == read["qnr"] == ""
    assert float(read["sam"]) == 0.05
    assert float(read["peak"]) == 255


def test_all_methods_are_scored_by_default(tmp_path):
    made = simulated_pair(tmp_path, size=(128, 128), ratio=2)
    scores = score({"a": open_pair(made.pan, made.ms)}, ())
    assert [r.method for r in scores.rows] == 2 * list(CLASSICAL)
    assert {r.protocol for r in scores.rows} == {"reduced", "full"}
    assert all(math.isfinite(v) for r in scores.rows for v in r.scores.values())


def test_a_trained_run_is_scored_beside_the_classical_methods(made, pair, tmp_path):
    """At both resolutions, though a reduced scene is no file."""
    from bandweave.pansharp.scoring import trained
    from bandweave.pansharp.training import train_sharpener

    run = train_sharpener(
        [(made.pan, made.ms)], "mmmamba_tiny", tmp_path / "run", sensor="quickbird",
        steps=2, batch=1, patch=8, quiet=True, accelerator="cpu",
    )  # fmt: skip
    scores = score({"a": pair}, ["bicubic"], runs={"mine": trained(run, "cpu")})
    assert [(r.method, r.protocol) for r in scores.rows] == [
        (method, protocol) for protocol in ("reduced", "full") for method in ("bicubic", "mine")
    ]
    mine, bicubic = (row(scores, name, "reduced") for name in ("mine", "bicubic"))
    assert all(math.isfinite(value) for value in mine.values())
    assert mine["psnr"] > bicubic["psnr"] - 6  # after two steps it still interpolates, about
    alone = score(
        {"a": pair}, [], runs={"alone": trained(run, "cpu", "ms as pan")}, protocols=["reduced"]
    )
    assert [r.method for r in alone.rows] == ["alone"], "no method is none, beside a run"
    found = row(alone, "alone", "reduced")
    assert found["psnr"] > bicubic["psnr"] - 6
    assert found != mine


def test_the_toolboxs_hqnr_is_a_column_of_its_own(tmp_path):
    """Windows leave no trace in it, and holes touch no block that counts."""
    made = simulated_pair(tmp_path / "p", size=(192, 224), ratio=4, bands=3)
    pair = open_pair(made.pan, made.ms)
    pair.pan = ArraySource(pair.pan.read_nan(pair.pan.grid.window), pair.pan.grid)
    pair.pan._values[0, 70:80, 70:80] = np.nan
    options = {"sensor": "generic", "peak": 2047, "protocols": ["full"], "quiet": True}
    whole = score_sharpeners({"p": pair}, ["gsa"], hqnr="toolbox", window=1024, **options)
    parts = score_sharpeners({"p": pair}, ["gsa"], hqnr="toolbox", window=64, **options)
    names = ["d_lambda_khan_toolbox", "d_s_toolbox", "hqnr_toolbox"]
    (one,), (other,) = whole.rows, parts.rows
    for name in names:
        assert 0 < one.scores[name] < 1
        assert other.scores[name] == pytest.approx(one.scores[name], rel=1e-5)
    assert "HQNR toolbox" in str(whole)
    assert "hqnr_toolbox" in whole.csv()
    plain = score_sharpeners({"p": pair}, ["gsa"], **options)
    assert "toolbox" not in str(plain) + plain.csv()
    assert plain.rows[0].scores["hqnr"] == one.scores["hqnr"]
    with pytest.raises(ConfigError, match="hqnr is 'x'"):
        score_sharpeners({"p": pair}, ["gsa"], hqnr="x", **options)


def test_scores_do_not_depend_on_scale_and_offset(made, tmp_path):
    """The same values in float, and stored as integers with a scale and an offset."""
    with rasterio.open(made.ms) as file:
        values, profile = file.read(), file.profile
    pairs = {}
    for name, dtype in (("floats", "float32"), ("integers", "uint16")):
        path = tmp_path / f"{name}.tif"
        with rasterio.open(path, "w", **{**profile, "dtype": dtype}) as file:
            file.write((values * 1e-3 - 0.5).astype("float32") if dtype != "uint16" else values)
            if dtype == "uint16":
                file.scales, file.offsets = (1e-3,) * 4, (-0.5,) * 4
        pairs[name] = open_pair(made.pan, path)
    stated = score({"p": pairs["floats"]}, peak=2047e-3 - 0.5).rows
    found = score({"p": pairs["integers"]})
    assert found.pairs[0].peak == pytest.approx(2047e-3 - 0.5)
    for one, other in zip(stated, found.rows, strict=True):
        assert other.scores == pytest.approx(one.scores, rel=1e-4)
