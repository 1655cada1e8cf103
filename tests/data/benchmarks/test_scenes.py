"""Benchmarks: what the catalogue says, and folders in the formats of their known copies."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io
from rasterio.transform import Affine

from bandweave.data.benchmarks.catalogue import Benchmark, benchmark_names, describe
from bandweave.data.benchmarks.scenes import benchmark_scene, check, get
from bandweave.data.scene import IGNORED
from bandweave.data.splits.roles import TEST, TRAIN, UNUSED
from bandweave.data.splits.splitting import split
from bandweave.errors import BandweaveError, ConfigError, FileError, GridMismatch, LabelError

SHAPE = (7, 11)
CUBE = np.arange(7 * 11 * 5, dtype=np.float64).reshape(7, 11, 5)
HEIGHT = np.arange(77, dtype=np.float64).reshape(SHAPE) / 10


def masks(classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test codes: of each class two pixels and three."""
    train, test = np.zeros((2, 77), np.uint8)
    for code in range(1, classes + 1):
        train[5 * code - 5 : 5 * code - 3], test[5 * code - 3 : 5 * code] = code, code
    return train.reshape(SHAPE), test.reshape(SHAPE)


def tiny(name: str, variant: str, bands: dict[str, int], published: bool = True) -> Benchmark:
    """The benchmark as if it were 7×11 px with the counts of `masks`."""
    benchmark = describe(name)
    classes = benchmark.classes
    if published:
        classes = {
            code: replace(entry, train=2, test=3, labelled=5) for code, entry in classes.items()
        }
    chosen = replace(benchmark.variants[variant], bands=bands)
    return replace(benchmark, shape=SHAPE, classes=classes, variants={variant: chosen})


def wrong(findings: list) -> list:
    return [finding for finding in findings if finding.kind != "note"]


@pytest.mark.parametrize("name", benchmark_names())
def test_the_catalogue_holds_together(name: str) -> None:
    benchmark = describe(name)
    assert benchmark.name == name
    assert len(benchmark.shape) == 2
    assert benchmark.grid in benchmark.layers
    assert list(benchmark.classes) == list(range(1, len(benchmark.classes) + 1))
    assert len({entry.name for entry in benchmark.classes.values()}) == len(benchmark.classes)
    assert len({entry.color for entry in benchmark.classes.values()}) == len(benchmark.classes)
    for layer in benchmark.layers.values():
        assert layer.wavelengths is None or len(layer.wavelengths) == layer.bands
    for variant in benchmark.variants.values():
        assert benchmark.grid in variant.layers
        assert set(variant.layers) <= set(benchmark.layers)
        assert (variant.roles == "none") == (variant.train is None) == (variant.test is None)
        assert variant.labels or variant.train
        for file in variant.files:
            assert file.sha256 is None or len(file.sha256) == 64
    if benchmark.official:
        assert all(c.train and c.test for c in benchmark.classes.values())


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("houston2013", 2832, 12197),
        ("augsburg", 761, 77533),
        ("trento", 819, 29395),
        ("berlin", 2820, 461851),
        ("whu_hi_hanchuan", 1600, 255930),
    ],
)
def test_published_counts_add_up(name: str, train: int, test: int) -> None:
    classes = describe(name).classes.values()
    assert sum(entry.train or 0 for entry in classes) == train
    assert sum(entry.test or 0 for entry in classes) == test


@pytest.mark.parametrize(
    ("name", "labelled"),
    [("muufl", 53687), ("pavia_university", 42776), ("indian_pines", 10249), ("salinas", 54129)],
)
def test_benchmarks_without_a_split_say_so(name: str, labelled: int) -> None:
    benchmark = describe(name)
    assert not benchmark.official
    assert sum(entry.total or 0 for entry in benchmark.classes.values()) == labelled


def test_an_unknown_name_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'houston2013'"):
        describe("huston2013")
    with pytest.raises(ConfigError, match="did you mean 'contest'"):
        benchmark_scene("houston2013", tmp_path, variant="contst")
    with pytest.raises(FileError, match="no such folder"):
        check("trento", "/nowhere/at/all")


def write_trento(folder: Path) -> None:
    train, test = masks(6)
    scipy.io.savemat(folder / "HSI.mat", {"HSI": CUBE})
    scipy.io.savemat(folder / "LiDAR.mat", {"LiDAR": HEIGHT})
    scipy.io.savemat(folder / "TRLabel.mat", {"TRLabel": train})
    scipy.io.savemat(folder / "TSLabel.mat", {"TSLabel": test})


def test_masks_in_two_files(tmp_path: Path) -> None:
    write_trento(tmp_path)
    benchmark = tiny("trento", "mat", {"hsi": 5})
    findings = check(benchmark, tmp_path)
    assert wrong(findings) == []
    assert "copy 'mat'" in str(findings[0])
    assert sum("SHA-256" in finding.message for finding in findings) == 4
    scene = benchmark_scene(benchmark, tmp_path)
    assert scene.official
    assert [entry.name for entry in scene.classes][:2] == ["apple trees", "buildings"]
    (part,) = scene.parts
    values, valid = part.layers["hsi"].read(part.grid.window)
    np.testing.assert_array_equal(values, CUBE.transpose(2, 0, 1))
    assert valid.all()
    np.testing.assert_allclose(part.layers["lidar"].read(part.grid.window)[0][0], HEIGHT, rtol=1e-6)
    train, test = masks(6)
    assert part.labels is not None
    np.testing.assert_array_equal(part.labels.values, (train + test).astype(int) - 1)
    np.testing.assert_array_equal(part.labels.given == TRAIN, train > 0)
    np.testing.assert_array_equal(part.labels.given == TEST, test > 0)
    drawn = split(scene, "official")
    assert (drawn.roles[0] == TRAIN).sum() == 12
    assert (drawn.roles[0] == TEST).sum() == 18


def test_other_counts_are_found_and_the_masks_no_longer_official(tmp_path: Path) -> None:
    write_trento(tmp_path)
    benchmark = tiny("trento", "mat", {"hsi": 5}, published=False)
    found = wrong(check(benchmark, tmp_path))
    assert len(found) == 12
    assert str(found[0]) == (
        "differs: TRLabel.mat: class 1 (apple trees) has 2 pixels, published are 129"
    )
    scene = benchmark_scene(benchmark, tmp_path)
    assert not scene.official
    assert any("not official" in note for note in scene.notes)
    with pytest.raises(BandweaveError, match="official"):
        split(scene, "official")


def test_what_is_missing_or_differs_is_named(tmp_path: Path) -> None:
    write_trento(tmp_path)
    benchmark = tiny("trento", "mat", {"hsi": 5})
    (tmp_path / "LiDAR.mat").unlink()
    scipy.io.savemat(tmp_path / "HSI.mat", {"HSI": CUBE[:, :10]})
    (tmp_path / "TSLabel.mat").write_text("no MATLAB file")
    found = wrong(check(benchmark, tmp_path))
    assert [(finding.kind, finding.file) for finding in found] == [
        ("missing", "LiDAR.mat"),
        ("differs", "HSI.mat"),
        ("differs", "TSLabel.mat"),
    ]
    assert "7×10 px of 5 bands" in found[1].message
    with pytest.raises(FileError, match=r"LiDAR\.mat not in .* Get it from: Remote Sensing Lab"):
        benchmark_scene(benchmark, tmp_path)
    scipy.io.savemat(tmp_path / "LiDAR.mat", {"LiDAR": HEIGHT})
    with pytest.raises(GridMismatch, match="7×11 px of 5"):
        benchmark_scene(benchmark, tmp_path)


def test_overlapping_masks_and_unknown_codes_are_refused(tmp_path: Path) -> None:
    write_trento(tmp_path)
    benchmark = tiny("trento", "mat", {"hsi": 5})
    train, test = masks(6)
    test[0, 0] = 1
    scipy.io.savemat(tmp_path / "TSLabel.mat", {"TSLabel": test})
    with pytest.raises(LabelError, match="1 px are both training and test"):
        benchmark_scene(benchmark, tmp_path)
    train[6, 10] = 9
    scipy.io.savemat(tmp_path / "TRLabel.mat", {"TRLabel": train})
    with pytest.raises(LabelError, match="codes 9 are no classes of trento"):
        benchmark_scene(benchmark, tmp_path)
    assert [finding.kind for finding in wrong(check(benchmark, tmp_path))] == ["differs"]


@pytest.mark.parametrize("first", [0, 1])
def test_masks_as_lists_of_places_counted_from_either(first: int, tmp_path: Path) -> None:
    train, test = masks(7)
    below = tmp_path / "Augsburg"
    below.mkdir()
    scipy.io.savemat(below / "augsburg_hsi.mat", {"augsburg_hsi": CUBE.astype(np.uint16)})
    scipy.io.savemat(below / "augsburg_sar.mat", {"augsburg_sar": CUBE[..., :4]})
    scipy.io.savemat(below / "augsburg_gt.mat", {"augsburg_gt": train + test})
    lists = {"train": np.argwhere(train) + first, "test": np.argwhere(test) + first}
    scipy.io.savemat(
        below / "augsburg_index.mat", {f"augsburg_{role}": at for role, at in lists.items()}
    )
    benchmark = tiny("augsburg", "ouc", {"hsi": 5})
    assert wrong(check(benchmark, tmp_path)) == []
    scene = benchmark_scene(benchmark, tmp_path)
    assert scene.official
    assert {name: layer.bands for name, layer in scene.layers.items()} == {"hsi": 5, "sar": 4}
    labels = scene.parts[0].labels
    assert labels is not None
    np.testing.assert_array_equal(labels.given == TRAIN, train > 0)
    np.testing.assert_array_equal(labels.given == UNUSED, train + test == 0)
    scipy.io.savemat(
        below / "augsburg_index.mat",
        {"augsburg_train": np.array([[6, 10]]), "augsburg_test": lists["test"]},
    )
    with pytest.raises(FileError, match="without a label"):
        benchmark_scene(benchmark, tmp_path)


def test_a_matlab_structure_without_split(tmp_path: Path) -> None:
    train, test = masks(11)
    labels = (train + test).astype(np.float64)
    labels[labels == 0] = -1
    flights = np.empty(2, object)
    flights[:] = [{"z": CUBE[..., :2]}, {"z": CUBE[..., 2:4]}]
    hsi = {
        "Data": CUBE,
        "Lidar": flights,
        "info": {"wavelength": np.linspace(0.4, 1.0, 5)},  # micrometres
        "sceneLabels": {"labels": labels},
    }
    scipy.io.savemat(tmp_path / "muufl_gulfport_campus_1_hsi_220_label.mat", {"hsi": hsi})
    benchmark = tiny("muufl", "gatorsense", {"hsi": 5})
    benchmark = replace(
        benchmark,
        classes={code: replace(c, train=None, test=None) for code, c in benchmark.classes.items()},
    )
    assert wrong(check(benchmark, tmp_path)) == []
    scene = benchmark_scene(benchmark, tmp_path)
    assert not scene.official
    assert scene.layers["hsi"].info.wavelengths == pytest.approx((400, 550, 700, 850, 1000))
    assert scene.layers["lidar"].bands == 2
    found = scene.parts[0].labels
    assert found is not None
    assert found.given is None
    assert (found.values == IGNORED).sum() == (labels == -1).sum()
    with pytest.raises(BandweaveError, match="official"):
        split(scene, "official")


def test_regions_of_interest_in_text(tmp_path: Path, write_geotiff) -> None:
    transform = Affine(2.5, 0, 270795, 0, -2.5, 3290640)
    for name, array in (("CASI", CUBE.transpose(2, 0, 1)), ("LiDAR", HEIGHT)):
        path = tmp_path / f"2013_IEEE_GRSS_DF_Contest_{name}.tif"
        write_geotiff(path, array.astype(np.float32), transform=transform, crs=None)
    train, test = masks(15)
    for suffix, mask in (("TR", train), ("VA", test)):
        lines = ["; ENVI Output of ROIs (4.3)", "; Number of ROIs: 15"]
        for code in range(1, 16):
            places = np.argwhere(mask == code) + 1
            lines += [
                f"   {number}   {column}  {row}  29.7  -95.3"
                for number, (row, column) in enumerate(places, 1)
            ]
            lines.append("")
        path = tmp_path / f"2013_IEEE_GRSS_DF_Contest_Samples_{suffix}.txt"
        path.write_text("\n".join(lines))
    benchmark = tiny("houston2013", "contest", {"hsi": 5})
    assert wrong(check(benchmark, tmp_path)) == []
    scene = benchmark_scene(benchmark, tmp_path)
    (part,) = scene.parts
    assert scene.official
    assert part.grid.transform == transform
    assert part.grid.crs is not None
    assert part.grid.crs.to_epsg() == 32615
    assert part.labels is not None
    np.testing.assert_array_equal(part.labels.values + 1, train + test)
    path.write_text("; ENVI Output of ROIs (4.3)\n1 99 1\n")
    with pytest.raises(FileError, match="line 2: row 1, column 99 lies outside 7×11 px"):
        benchmark_scene(benchmark, tmp_path)


def test_one_layer_and_all_labels(tmp_path: Path) -> None:
    train, test = masks(9)
    scipy.io.savemat(tmp_path / "PaviaU.mat", {"paviaU": CUBE, "other": CUBE})
    scipy.io.savemat(tmp_path / "PaviaU_gt.mat", {"paviaU_gt": train + test})
    benchmark = tiny("pavia_university", "ehu", {"hsi": 5}, published=False)
    assert len(wrong(check(benchmark, tmp_path))) == 9  # all counts differ
    scene = benchmark_scene(benchmark, tmp_path)
    assert not scene.official
    assert scene.reference == "hsi"
    scipy.io.savemat(tmp_path / "PaviaU.mat", {"another": CUBE})
    missing = wrong(check(benchmark, tmp_path))[0]
    assert (missing.kind, missing.file) == ("missing", "PaviaU.mat")
    assert "paviaU" in missing.message


def test_the_copy_that_most_files_belong_to_is_taken(tmp_path: Path) -> None:
    for name in ("Italy_hsi.mat", "Italy_lidar.mat", "HSI.mat"):
        (tmp_path / name).write_text("")
    findings = check("trento", tmp_path)
    assert "copy 'italy'" in findings[0].message
    assert ("missing", "allgrd.mat") in [(f.kind, f.file) for f in findings]
    assert "copy 'mat'" in check("trento", tmp_path, variant="mat")[0].message


def test_downloads_are_left_to_the_package_that_offers_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch_trento(data_home: Path) -> None:
        asked.append(data_home)

    def fetch_muufl(data_home: Path) -> None:
        raise ValueError("Failed to download from all urls")

    package = SimpleNamespace(fetch_trento=fetch_trento, fetch_muufl=fetch_muufl)
    monkeypatch.setitem(sys.modules, "rs_fusion_datasets", package)
    assert get("trento", tmp_path / "new") == tmp_path / "new"
    assert asked == [tmp_path / "new"]
    with pytest.raises(FileError, match=r"Failed to download from all urls.*MUUFLGulfport"):
        get("muufl", tmp_path)
    with pytest.raises(FileError, match=r"cannot be downloaded.*PaviaU\.mat"):
        get("pavia_university", tmp_path)
    monkeypatch.setitem(sys.modules, "rs_fusion_datasets", None)
    with pytest.raises(FileError, match=r"pip install 'bandweave\[download\]'"):
        get("trento", tmp_path)


@pytest.fixture
def houston(real_data) -> Path:
    return real_data("houston2013")


def test_real_houston_lacks_its_cube_and_has_the_official_masks(houston: Path) -> None:
    found = wrong(check("houston2013", houston))
    assert [(finding.kind, finding.file) for finding in found] == [
        ("missing", "2013_IEEE_GRSS_DF_Contest_CASI.tif")
    ]


def test_real_houston_masks_with_simulated_bands(
    houston: Path, tmp_path: Path, write_geotiff
) -> None:
    for name in ("houston_gt.mat", "2013_IEEE_GRSS_DF_Contest_LiDAR.tif"):
        (tmp_path / name).symlink_to(houston / name)
    bands = np.random.default_rng(0).integers(1, 255, (3, 349, 1905), np.uint8)
    write_geotiff(
        tmp_path / "2013_IEEE_GRSS_DF_Contest_CASI.tif",
        bands,
        transform=Affine(2.5, 0, 270795, 0, -2.5, 3290640),
        crs=None,
    )
    benchmark = describe("houston2013")
    variant = replace(benchmark.variants["masks"], bands={"hsi": 3})
    scene = benchmark_scene(replace(benchmark, variants={"masks": variant}), tmp_path)
    assert scene.official
    drawn = split(scene, "official")
    assert (drawn.roles[0] == TRAIN).sum() == 2832
    assert (drawn.roles[0] == TEST).sum() == 12197
    (part,) = scene.parts
    height, valid = part.layers["lidar"].read(part.grid.window)
    assert valid.all()
    assert 4 < height.min() < height.max() < 71
