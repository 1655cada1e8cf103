"""Files of arrays as people have them: HDF5 products, structs, cells, archives, damage."""

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine

from bandweave.cli.main import main
from bandweave.data.draft import draft_scene
from bandweave.data.scene_file import open_scene
from bandweave.errors import ConfigError, FileError
from bandweave.raster.array_files import list_arrays
from bandweave.raster.open import open_source

CUBE = np.arange(8 * 30 * 40, dtype=np.uint16).reshape(8, 30, 40)  # bands, rows, columns
FIELDS = "HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields"


def read(source):
    return source.read(source.grid.window)[0]


@pytest.fixture
def prisma(tmp_path):
    """Two cubes as PRISMA's products hold them: lines, bands, samples."""
    path = tmp_path / "PRS_L2D_STD.he5"
    with h5py.File(path, "w") as file:
        file[f"{FIELDS}/VNIR_Cube"] = CUBE.transpose(1, 0, 2)
        file[f"{FIELDS}/SWIR_Cube"] = CUBE[:5].transpose(1, 0, 2) + 1
        file["other/Cube"] = CUBE.transpose(1, 0, 2)
    return path


# ------------------------------------------------------------------------------- the band axis


@pytest.mark.parametrize("key", [f"{FIELDS}/VNIR_Cube", "VNIR_Cube", f"//{FIELDS}/VNIR_Cube"])
def test_a_known_product_tells_its_band_axis(prisma, key):
    np.testing.assert_array_equal(read(open_source(prisma, key=key)), CUBE)


def test_gdal_s_way_of_writing_a_key_is_understood(prisma):
    key = f"{FIELDS}/VNIR_Cube".replace(" ", "_")
    np.testing.assert_array_equal(read(open_source(prisma, key=key)), CUBE)


def test_an_axis_that_nothing_tells_is_asked_for(prisma):
    with pytest.raises(FileError, match=r"30×8×40; which axis.*`axis: 1` \(8 bands of 30×40 px\)"):
        open_source(prisma, key="other/Cube")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_stated_axis_is_honoured(prisma, axis):
    source = open_source(prisma, key="other/Cube", axis=axis)
    np.testing.assert_array_equal(read(source), np.moveaxis(CUBE.transpose(1, 0, 2), axis, 0))


def test_another_layer_or_labels_tell_the_axis(prisma, write_geotiff):
    grid = write_geotiff("grid.tif", CUBE[:1])
    layers = {"a": str(grid), "b": {"path": str(prisma), "key": "other/Cube"}}
    scene = open_scene({"grid": "a", "layers": layers})
    np.testing.assert_array_equal(read(scene.parts[0].layers["b"].source), CUBE)


def test_two_cubes_are_one_layer(prisma):
    layer = {"path": str(prisma), "key": ["VNIR_Cube", "SWIR_Cube"]}
    source = open_scene({"layers": {"hsi": layer}}).parts[0].layers["hsi"].source
    np.testing.assert_array_equal(read(source), np.concatenate([CUBE, CUBE[:5] + 1]))
    picked = open_scene({"layers": {"hsi": layer | {"bands": [9, 1]}}}).parts[0].layers["hsi"]
    np.testing.assert_array_equal(read(picked.source), [CUBE[0] + 1, CUBE[0]])


def test_several_keys_of_several_sizes_or_of_none_are_refused(prisma, tmp_path):
    np.savez(tmp_path / "a.npz", one=np.ones((4, 5)), two=np.ones((5, 4)))
    with pytest.raises(FileError, match="make layers of them"):
        open_source(tmp_path / "a.npz", key=["one", "two"])
    with pytest.raises(ConfigError, match="0 arrays"):
        open_source(prisma, key=[])


@pytest.mark.parametrize("shape", [(30, 4, 40), (145, 145, 200), (12, 30, 12), (512, 217, 224)])
def test_numpy_and_matlab_cubes_of_doubtful_shape_are_asked_about(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    scipy.io.savemat(tmp_path / "a.mat", {"cube": np.zeros(shape, np.uint8)})
    for name in ("a.npy", "a.mat"):
        with pytest.raises(FileError, match=r"which axis counts its bands\? State `axis: 0`"):
            open_source(tmp_path / name)


def test_a_list_of_wavelengths_in_the_file_tells_the_axis(tmp_path):
    scipy.io.savemat(
        tmp_path / "a.mat",
        {"hsi": {"Data": np.zeros((9, 9, 12)), "info": {"wavelength": np.linspace(400, 950, 12)}}},
    )
    source = open_source(tmp_path / "a.mat", key="hsi.Data")
    assert source.bands == 12
    assert source.info.wavelengths is not None
    assert source.info.wavelengths[0] == 400


def test_a_guess_that_is_not_plain_is_said(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((6, 7, 9), np.uint8))
    scene = open_scene({"layers": {"a": str(tmp_path / "a.npy")}})
    assert any("6 bands of 7×9 px; `axis:`" in note for note in scene.notes)


# ----------------------------------------------------------------------- places inside a file


def test_structs_and_cells_are_listed_and_reached(tmp_path, capsys):
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = CUBE[:2], CUBE[2]
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"hsi": {"Data": CUBE.transpose(1, 2, 0), "n": 3}, "c": cells})
    assert main(["info", str(path)]) == 0
    listed = capsys.readouterr().out
    for line in ("hsi.Data", "30×40×8 uint16", "c{1}", "c{2}"):
        assert line in listed
    np.testing.assert_array_equal(read(open_source(path, key="hsi.Data")), CUBE)
    np.testing.assert_array_equal(read(open_source(path, key="c{2}"))[0], CUBE[2])
    with pytest.raises(FileError, match=r"no key 'hsi.x'; it has hsi.Data 30×40×8 uint16"):
        open_source(path, key="hsi.x")


def test_structs_and_cells_of_matlab_7_3(tmp_path, write_mat73):
    path = write_mat73("a.mat", {"hsi/Data": CUBE.transpose(1, 2, 0), "#refs#/a": CUBE[3]})
    with h5py.File(path, "a") as file:
        cell = file.create_dataset("c", (1, 1), dtype=h5py.ref_dtype)
        cell[0, 0] = file["#refs#/a"].ref
        cell.attrs["MATLAB_class"] = np.bytes_("cell")
    assert [entry.key for entry in list_arrays(path)] == ["c{1}", "hsi/Data"]
    np.testing.assert_array_equal(read(open_source(path, key="hsi.Data")), CUBE)
    np.testing.assert_array_equal(read(open_source(path, key="c{1}"))[0], CUBE[3])


def test_sparse_labels_of_either_matlab(tmp_path, write_geotiff):
    codes = (np.arange(1200).reshape(30, 40) % 3).astype(float)
    sparse = scipy.sparse.csc_matrix(codes)
    scipy.io.savemat(tmp_path / "old.mat", {"gt": sparse})
    with h5py.File(tmp_path / "new.mat", "w") as file:
        group = file.create_group("gt")
        group.attrs["MATLAB_sparse"] = np.uint64(30)
        group["data"], group["ir"], group["jc"] = sparse.data, sparse.indices, sparse.indptr
    grid = str(write_geotiff("grid.tif", CUBE[:1]))
    for name in ("old.mat", "new.mat"):
        labels = {"path": str(tmp_path / name), "key": "gt"}
        scene = open_scene({"layers": {"a": grid}, "labels": labels})
        assert scene.parts[0].labels is not None
        np.testing.assert_array_equal(scene.parts[0].labels.values, codes - 1)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_of_numpy(tmp_path, save, capsys):
    save(tmp_path / "a.npz", cube=CUBE, gt=np.ones((30, 40), np.uint8))
    scene = open_scene(
        {
            "layers": {"a": {"path": str(tmp_path / "a.npz"), "key": "cube"}},
            "labels": {"path": str(tmp_path / "a.npz"), "key": "gt"},
        }
    )
    np.testing.assert_array_equal(read(scene.parts[0].layers["a"].source), CUBE)
    assert scene.parts[0].labels is not None
    assert main(["info", str(tmp_path / "a.npz")]) == 0
    assert "8×30×40 uint16" in capsys.readouterr().out
    with pytest.raises(FileError, match="2 arrays that could be a layer"):
        open_source(tmp_path / "a.npz")


def test_an_archive_under_the_name_of_an_array_is_what_it_is(tmp_path):
    np.savez(tmp_path / "a.npz", cube=CUBE)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    np.testing.assert_array_equal(read(open_source(tmp_path / "a.npy")), CUBE)


def test_archives_sharpen_by_file_and_key(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "a.npz",
        pan=rng.integers(1, 200, (32, 32)).astype(np.uint8),
        ms=rng.integers(1, 200, (3, 16, 16)).astype(np.uint8),
    )
    out = tmp_path / "out.tif"
    files = [f"{tmp_path / 'a.npz'}:pan", f"{tmp_path / 'a.npz'}:ms", str(out)]
    assert main(["sharpen", *files, "--method", "brovey", "--quiet"]) == 0
    assert open_source(out).bands == 3


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_python_objects_are_not_read(tmp_path, kind):
    array = np.array([[{"a": 1}, None], [None, None]], object)
    path = tmp_path / f"a.{kind}"
    np.save(path, array, allow_pickle=True) if kind == "npy" else np.savez(path, x=array)
    with pytest.raises(FileError, match=rf"a\.{kind}"):
        open_source(path)


def test_drafts_know_arrays_in_archives_and_structs(tmp_path):
    np.savez(tmp_path / "a.npz", cube=CUBE, gt=np.ones((30, 40), np.uint8))
    text = draft_scene([tmp_path / "a.npz"], tmp_path)
    assert 'key: "cube"' in text
    assert 'key: "gt"' in text


# --------------------------------------------------------------------------- HDF5's conventions


def test_a_netcdf_grid_has_its_place_and_axis(tmp_path):
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file["y"], file["x"] = 4e6 - 10 * np.arange(30.0) - 5, 5e5 + 10 * np.arange(40.0) + 5
        file["y"].attrs["standard_name"] = np.bytes_("projection_y_coordinate")
        file["x"].attrs["standard_name"] = np.bytes_("projection_x_coordinate")
        crs = file.create_dataset("crs", data=0)
        crs.attrs["crs_wkt"] = CRS.from_epsg(32617).to_wkt()
        cube = file.create_dataset("refl", data=CUBE.transpose(1, 2, 0).astype(np.int16))
        cube.attrs["_FillValue"], cube.attrs["scale_factor"] = np.int16(5), 0.5
        cube.attrs["add_offset"], cube.attrs["grid_mapping"] = 1.0, "crs"
        for axis, name in enumerate("yx"):
            file[name].make_scale(name)
            cube.dims[axis].attach_scale(file[name])
    source = open_source(tmp_path / "a.nc", key="refl")
    assert source.grid.transform == Affine(10, 0, 5e5, 0, -10, 4e6)
    assert source.grid.crs == CRS.from_epsg(32617)
    values = source.read_nan(source.grid.window)
    assert np.isnan(values[0, 0, 5])
    np.testing.assert_allclose(values[1], CUBE[1] * 0.5 + 1)


def test_a_swath_with_a_lookup_table_is_put_on_its_grid(tmp_path):
    """As EMIT's: lines, samples and bands; columns and rows from 1, 0 where there is no pixel."""
    swath = np.arange(4 * 5 * 3, dtype=np.float32).reshape(4, 5, 3)
    columns = np.array([[0, 1, 2, 0], [3, 4, 5, 5], [0, 0, -2, 1]], np.int32)
    rows = np.array([[0, 1, 1, 0], [2, 3, 4, 4], [0, 0, -4, 2]], np.int32)
    with h5py.File(tmp_path / "EMIT_L2A_RFL.nc", "w") as file:
        reflectance = file.create_dataset("reflectance", data=swath)
        reflectance.attrs["_FillValue"] = np.float32(-9999)
        file["location/glt_x"], file["location/glt_y"] = columns, rows
        file["sensor_band_parameters/wavelengths"] = np.array([400.0, 500.0, 600.0])
        file.attrs["geotransform"] = [-80.0, 0.001, 0.0, 36.0, 0.0, -0.001]
        file.attrs["spatial_ref"] = CRS.from_epsg(4326).to_wkt()
    source = open_source(tmp_path / "EMIT_L2A_RFL.nc", key="reflectance")
    assert (source.bands, source.grid.height, source.grid.width) == (3, 3, 4)
    assert source.grid.crs == CRS.from_epsg(4326)
    assert source.grid.transform == Affine(0.001, 0, -80, 0, -0.001, 36)
    assert source.info.wavelengths == (400, 500, 600)
    values, valid = source.read(source.grid.window)
    np.testing.assert_array_equal(valid, columns != 0)
    for row, col in np.argwhere(valid):
        line, sample = abs(rows[row, col]) - 1, abs(columns[row, col]) - 1
        np.testing.assert_array_equal(values[:, row, col], swath[line, sample])


@pytest.mark.parametrize("chunks", [(1, 96, 96), (8, 16, 16), None])
def test_windows_of_any_chunks_are_the_same(tmp_path, chunks):
    cube = np.random.default_rng(0).integers(0, 9999, (8, 96, 96)).astype(np.int16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("c", data=cube, chunks=chunks, compression=chunks and "gzip")
    source = open_source(tmp_path / "a.h5")
    for row in range(0, 96, 32):
        window = source.grid.window._replace(row=row, col=40, height=32, width=17)
        np.testing.assert_array_equal(
            source.read(window)[0], cube[:, row : row + 32, 40:57].astype(np.float32)
        )


# -------------------------------------------------------------------------------------- damage


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    np.save(folder / "a.npy", CUBE[:, :4, :6])
    np.savez(folder / "a.npz", cube=CUBE[:, :4, :6])
    scipy.io.savemat(folder / "a.mat", {"s": {"c": CUBE[:, :4, :6]}, "x": CUBE[0, :3, :3]})
    with h5py.File(folder / "a.h5", "w") as file:
        file["g/c"] = CUBE[:, :4, :6]
    return {path.suffix: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", [".npy", ".npz", ".mat", ".h5"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_an_error_of_ours_that_names_the_file(whole_files, tmp_path, kind, data):
    raw = bytearray(whole_files[kind])
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(1, len(raw)))]
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=4)):
        raw[place] = data.draw(st.integers(0, 255))
    path = tmp_path / f"a{kind}"
    path.write_bytes(raw)
    told = f"a{kind}"
    try:
        list_arrays(path)
        source = open_source(path, axis=0)
        source.read(source.grid.window)
    except FileError as error:
        told = str(error)
    assert f"a{kind}" in told
    assert "\n" not in told
