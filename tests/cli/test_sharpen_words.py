"""What the sharpening commands say: warnings, in the words of the command line, or nothing."""

from __future__ import annotations

import inspect
from dataclasses import fields

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from scipy import ndimage

import bandweave as bw
from bandweave.cli.sharpen import parse as parse_sharpening
from bandweave.cli.sharpen_score import parse as parse_scoring
from bandweave.pansharp.options import SharpenOptions
from bandweave.pansharp.scoring import ScoreOptions
from bandweave.pansharp.simulate import simulated_pair
from bandweave.pansharp.training import train_sharpener


def write(path, values, pixel, names=()):
    values = values.reshape(-1, *values.shape[-2:]).astype(np.uint16)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(values), dtype="uint16", height=values.shape[1],
        width=values.shape[2], crs="EPSG:32631", transform=from_origin(5e5, 4e6, pixel, pixel),
    ) as file:  # fmt: skip
        file.write(values)
        if names:
            file.descriptions = names
    return path


def pair_with_shift(folder, down, side=256):
    """A pair whose PAN lies `down(col)` pixels lower than MS: a number, or from left to right."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((side + 40, side + 40))
    scene = 2000 + 3000 * ndimage.gaussian_filter(noise, 2)
    scene += 9000 * ndimage.gaussian_filter(noise, 8)
    y, x = np.indices((side, side)) + 20
    pan = ndimage.map_coordinates(scene, (y - down, x))
    ms = scene[20:-20, 20:-20].reshape(side // 4, 4, side // 4, 4).mean((1, 3))
    folder.mkdir()
    bands = write(folder / "ms.tif", np.stack([ms, ms / 2]), 4, ("blue", "green"))
    return write(folder / "pan.tif", pan, 1), bands


@pytest.fixture(scope="module")
def off(tmp_path_factory):
    """A pair that is two PAN pixels off everywhere."""
    return pair_with_shift(tmp_path_factory.mktemp("off") / "pair", 2.0)


@pytest.fixture(scope="module")
def varying(tmp_path_factory):
    """One whose shift runs from -6 to 6 PAN pixels."""
    return pair_with_shift(
        tmp_path_factory.mktemp("varying") / "pair", np.linspace(-6, 6, 512)[None], 512
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one step, on registered pairs of ratio 4 and two bands of QuickBird."""
    folder = tmp_path_factory.mktemp("run")
    made = simulated_pair(folder / "pair", size=(160, 160), ratio=4, bands=2)
    options = {"steps": 1, "patch": 8, "batch": 1, "quiet": True}
    train_sharpener(
        [(made.pan, made.ms)], "mmmamba_tiny", folder / "run", sensor="quickbird", register=True,
        **options,
    )  # fmt: skip
    return folder / "run"


@pytest.mark.parametrize("words", [(), ("--register",)])
def test_a_shift_that_varies_is_warned_of(call, varying, tmp_path, words):
    out = tmp_path / "o.tif"
    told = call("sharpen", *varying, out, *words)
    assert told.status == 0
    assert "warning: the shift between PAN and MS varies over the scene by " in told.err
    assert "over the scene it varies by " in told.err
    with rasterio.open(out) as file:
        assert float(file.tags()["BANDWEAVE_SHIFT_VARIES"].split()[0]) > 4
        assert file.tags()["BANDWEAVE_REGISTERED"] == ("yes" if words else "no")


def test_one_shift_is_told_with_how_much_it_varies(call, off, tmp_path):
    told = call("sharpen", *off, tmp_path / "o.tif")
    assert "over the scene it varies by" in told.err
    assert "; --register corrects it" in told.err
    assert "`" not in told.err
    told = call("sharpen", *off, tmp_path / "p.tif", "--register")
    assert "corrected" in told.err
    assert "warning" not in told.err
    with rasterio.open(tmp_path / "p.tif") as file:
        row, _, col, *_ = file.tags()["BANDWEAVE_SHIFT"].split()
        assert (float(row), float(col)) == pytest.approx((2, 0), abs=0.2)


def test_quiet_is_quiet(call, off, varying, run, tmp_path):
    """Not even warnings; errors are."""
    out = tmp_path / "o.tif"
    for words in (
        ("sharpen", *off, out),
        ("sharpen", *varying, out, "--sensor", "landsat-7", "--method", "bicubic"),
        ("sharpen", *off, out, "--run", run),
        ("sharpen", off[1], out, "--run", run, "--ms-only"),
        ("sharpen-score", "--pan", off[0], "--ms", off[1], "--methods", "gsa", "--peak", "9999"),
        ("sharpen-train", "--pan", off[0], "--ms", off[1], "--model", "mmmamba_tiny",
         "--steps", "1", "--patch", "4", "--batch", "1", "--out", tmp_path / "run"),
    ):  # fmt: skip
        again = ("--overwrite",) if words[0] == "sharpen" else ()
        told = call(*words, "--quiet", *again)
        assert (told.status, told.err) == (0, ""), words
    told = call("sharpen", off[1], off[0], out, "--quiet")
    assert told.status == 2
    assert len(told.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ratio", "1"), "--ratio is 1"),
        (("--ratio", "5"), "--ratio says 5 and the files' transforms 4"),
        (("--window", "2"), "--window is 2 px"),
        (("--method", "mmmamba"), "give the folder of a run, as --run,"),
        (("--window", "-5"), "--window is -5 px"),
        (("--peak", "2"), "--peak: no such option"),
        (("--bands", "0"), "--bands is [0]"),
    ],
)
def test_errors_name_flags(refused, off, tmp_path, words, said):
    told = refused("sharpen", *off, tmp_path / "o.tif", *words, "--quiet")
    assert said in told


def test_errors_on_arrays_name_file_and_key(refused, tmp_path):
    from scipy.io import savemat

    savemat(tmp_path / "two.mat", {"one": np.ones((8, 8)), "other": np.ones((4, 4))})
    told = refused("sharpen", tmp_path / "two.mat", tmp_path / "two.mat", tmp_path / "o.tif")
    assert "FILE:KEY" in told
    assert "`key`" not in told


def test_the_axis_that_is_asked_for_can_be_given(call, refused, tmp_path):
    rng = np.random.default_rng(0)
    cube = rng.integers(1, 99, (12, 3, 16)).astype(np.uint16)
    np.save(tmp_path / "ms.npy", cube)
    np.save(tmp_path / "pan.npy", rng.integers(1, 99, (48, 64)))
    words = ("sharpen", tmp_path / "pan.npy", tmp_path / "ms.npy", tmp_path / "o.tif", "--quiet")
    told = refused(*words)
    assert "State --axis 0 (12 bands of 3×16 px) or --axis 1 (3 bands of 12×16 px)" in told
    assert call(*words, "--axis", "1", "--method", "bicubic").status == 0
    with rasterio.open(tmp_path / "o.tif") as file:
        assert (file.count, file.height, file.width) == (3, 48, 64)
        middle = file.read(2).reshape(12, 4, 16, 4).mean((1, 3))
    assert np.corrcoef(middle.ravel(), cube[:, 1].ravel())[0, 1] > 0.9
    assert "--axis" in refused(*words, "--axis", "5")


def test_a_dead_band_is_left_out_by_the_flag_that_is_told(call, refused, off, tmp_path):
    with rasterio.open(off[1]) as file:
        values, profile = file.read(), file.profile
    values[0] = 0
    with rasterio.open(tmp_path / "dead.tif", "w", **{**profile, "nodata": 0}) as file:
        file.write(values)
    told = refused("sharpen", off[0], tmp_path / "dead.tif", tmp_path / "o.tif")
    assert "MS band 1 has no valid pixel" in told
    assert told.endswith("leave it out with --bands 2")
    files = ("--pan", off[0], "--ms", tmp_path / "dead.tif")
    options = ("--model", "mmmamba_tiny", "--out", tmp_path / "run", "--quiet")
    told = refused("sharpen-train", *files, *options)
    assert told.endswith("MS band 1 has no valid pixel, all is nodata; give files without it")
    assert not (tmp_path / "run").exists()
    listed = tmp_path / "test.yaml"
    listed.write_text(f"pairs: [{{name: north, pan: {off[0]}, ms: {tmp_path / 'dead.tif'}}}]")
    told = refused(
        "sharpen-compare", "--models", "gsa", "--test", listed, "--peak", "9999",
        "--out", tmp_path / "compare", "--quiet",
    )  # fmt: skip
    assert "north: MS band 1 has no valid pixel" in told
    assert not (tmp_path / "compare").exists()
    words = ("sharpen", off[0], tmp_path / "dead.tif", tmp_path / "o.tif", "--bands", "2")
    assert call(*words).status == 0


def test_a_hole_in_pan_is_masked_under_whole_numbers(call, off, tmp_path):
    with rasterio.open(off[0]) as file:
        values, profile = file.read().astype(np.float32), file.profile
    values[0, 100:140, 60:100] = np.nan
    with rasterio.open(tmp_path / "pan.tif", "w", **{**profile, "dtype": "float32"}) as file:
        file.write(values)
    assert call("sharpen", tmp_path / "pan.tif", off[1], tmp_path / "o.tif").status == 0
    with rasterio.open(tmp_path / "o.tif") as file:
        assert (file.dtypes[0], file.nodata) == ("uint16", None)
        hole = file.dataset_mask() == 0
        assert (file.read()[:, hole] == 0).all()
    expected = np.zeros((256, 256), bool)
    expected[100:140, 60:100] = True
    np.testing.assert_array_equal(hole, expected)


# The sensor --------------------------------------------------------------------------------------


def test_a_sensor_of_another_ratio_or_other_bands_is_warned_of(call, off, tmp_path):
    told = call("sharpen", *off, tmp_path / "o.tif", "--sensor", "landsat-7", "--bands", "1")
    assert "one of these files 4" in told.err
    made = simulated_pair(tmp_path / "four", size=(96, 96), ratio=2, bands=4)
    told = call("sharpen", made.pan, made.ms, tmp_path / "o.tif", "--sensor", "quickbird")
    assert "an MS pixel of quickbird is 4 PAN pixels wide, one of these files 2" in told.err
    assert "check --sensor" in told.err
    with rasterio.open(made.ms) as file:
        four = write(tmp_path / "four.tif", file.read(), 1)
    pan = write(tmp_path / "pan.tif", np.random.default_rng(0).integers(9, 99, (192, 192)), 0.25)
    told = call("sharpen", pan, four, tmp_path / "o.tif", "--sensor", "worldview-2")
    assert "worldview-2 has 8 bands and these files 4; they were taken for blue, green" in told.err
    scored = call(
        "sharpen-score", "--pan", made.pan, "--ms", made.ms, "--sensor", "quickbird",
        "--methods", "bicubic",
    )  # fmt: skip
    assert "an MS pixel of quickbird is 4 PAN pixels wide" in scored.err


def test_the_right_sensor_is_no_doubt(call, tmp_path):
    made = simulated_pair(tmp_path / "four", size=(96, 96), ratio=4, bands=4)
    told = call("sharpen", made.pan, made.ms, tmp_path / "o.tif", "--sensor", "quickbird")
    assert "warning" not in told.err


# Scores check what sharpening checks --------------------------------------------------------------


def test_scores_check_a_run_as_sharpening_does(call, refused, off, run, tmp_path):
    both = ("--pan", off[0], "--ms", off[1], "--methods", "none", "--run", run)
    said = "the run was trained on registered pairs; --register gives it such"
    assert said in call("sharpen", *off, tmp_path / "o.tif", "--run", run).err
    assert said in call("sharpen-score", *both).err
    assert said not in call("sharpen-score", *both, "--register").err
    for words in (("sharpen", *off, tmp_path / "o.tif", "--run", run), ("sharpen-score", *both)):
        told = refused(*words, "--sensor", "ikonos")
        assert "--sensor 'ikonos': the run" in told
        assert "was trained for 'quickbird'" in told
    three = simulated_pair(tmp_path / "three", size=(48, 64), ratio=4, bands=3)
    two = simulated_pair(tmp_path / "r2", size=(48, 64), ratio=2, bands=2)
    for pair, told in ((three, "trained on 2 (blue, green)"), (two, "2 PAN pixels wide")):
        files = ("--pan", pair.pan, "--ms", pair.ms, "--methods", "none", "--run", run)
        assert told in refused("sharpen-score", *files)
        assert told in refused("sharpen", pair.pan, pair.ms, tmp_path / "o.tif", "--run", run)


def test_scores_take_the_sensor_of_the_run(call, off, run):
    told = call("sharpen-score", "--pan", off[0], "--ms", off[1], "--methods", "gsa", "--run", run)
    assert told.status == 0, told.err
    assert "sensor quickbird" in told.out


# The same from Python ----------------------------------------------------------------------------


def test_python_takes_what_the_commands_take():
    """Every flag is an argument or an option of the same name."""
    told = {"quiet", "debug", "list"}
    flags = set(vars(parse_sharpening(["p", "m", "o"]))) - told - {"ms_only"}
    known = {
        name for f in (bw.sharpen, bw.super_resolve) for name in inspect.signature(f).parameters
    } | {option.name for option in fields(SharpenOptions)}
    assert flags <= known
    flags = set(vars(parse_scoring(["--pan", "p", "--ms", "m"]))) - told
    given = {"pan", "ms"}  # a pair of `pairs`
    chosen = {"full_only", "reduced_only"}  # `protocols`
    known = set(inspect.signature(bw.score_sharpeners).parameters)
    assert flags - given - chosen <= known | {option.name for option in fields(ScoreOptions)}


def test_scores_from_python_are_those_of_the_command(call, off, run, tmp_path):
    words = ("--pan", off[0], "--ms", off[1], "--methods", "gsa", "--run", run, "--register")
    assert call("sharpen-score", *words, "--out", tmp_path / "a", "--quiet").status == 0
    scores = bw.score_sharpeners(
        [off], ["gsa"], run=run, register=True, out=tmp_path / "b", quiet=True
    )
    assert [path.name for path in scores.written][:2] == ["scores.csv", "report.html"]
    one, other = ((tmp_path / n / "scores.csv").read_text().splitlines() for n in "ab")
    heads = one[0].split(",")
    for mine, theirs in zip(one, other, strict=True):
        rows = (dict(zip(heads, line.split(","), strict=False)) for line in (mine, theirs))
        left, right = ({k: v for k, v in row.items() if k != "seconds"} for row in rows)
        assert left == right


def test_files_of_pairs_from_python(off, tmp_path):
    listed = tmp_path / "pairs.yaml"
    listed.write_text(f"pairs:\n- {{name: a, pan: {off[0]}, ms: {off[1]}}}\n")
    options = {"steps": 1, "patch": 4, "batch": 1, "quiet": True}
    made = train_sharpener(listed, "mmmamba_tiny", tmp_path / "run", **options)
    assert made.config.pairs[0].pan == str(off[0])
    scores = bw.score_sharpeners(listed, ["bicubic"], peak=9999, quiet=True)
    assert [facts.name for facts in scores.pairs] == ["a"]
