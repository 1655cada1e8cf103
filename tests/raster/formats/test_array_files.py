"""Files of arrays as people have them: HDF5 products, structs, cells, archives, damage."""

import io
import zipfile

import h5py
import numpy as np
import pytest
import rasterio.shutil
import scipy.io
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine

from bandweave.cli.main import main
from bandweave.data.draft.write import draft_scene
from bandweave.data.scenefile.open import open_scene
from bandweave.errors import ConfigError, FileError
from bandweave.raster.grid import Window
from bandweave.raster.open import open_source
from bandweave.raster.reader import RasterReader
from bandweave.raster.readers import recognise

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
    assert [entry.key for entry in recognise(path, RasterReader).list_arrays(str(path))] == [
        "c{1}",
        "hsi/Data",
    ]
    np.testing.assert_array_equal(read(open_source(path, key="hsi.Data")), CUBE)
    np.testing.assert_array_equal(read(open_source(path, key="c{1}"))[0], CUBE[3])


@pytest.mark.parametrize("key", ["s(2).Data", "s[1].Data", "s(2)/Data"])
def test_elements_of_struct_arrays(tmp_path, key):
    elements = np.zeros((1, 2), [("Data", object), ("n", object)])
    elements[0, 0], elements[0, 1] = (CUBE[0], 1), (CUBE[1], 2)
    scipy.io.savemat(tmp_path / "old.mat", {"s": elements})
    with h5py.File(tmp_path / "new.mat", "w") as file:
        struct = file.create_group("s")
        struct.attrs["MATLAB_class"] = np.bytes_("struct")
        field = struct.create_dataset("Data", (2, 1), dtype=h5py.ref_dtype)
        for number in range(2):
            stored = file.create_dataset(f"#refs#/{number}", data=CUBE[number].T)
            stored.attrs["MATLAB_class"] = np.bytes_("uint16")
            field[number, 0] = stored.ref
    for name in ("old.mat", "new.mat"):
        source = open_source(tmp_path / name, key=key)
        np.testing.assert_array_equal(read(source), CUBE[1:2])


@pytest.mark.parametrize("key", ["c{2}", "c(2)", "c[1]", "c{1,2}"])
def test_ways_to_write_an_element_of_a_cell(tmp_path, key):
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = CUBE[0], CUBE[1]
    scipy.io.savemat(tmp_path / "a.mat", {"c": cells})
    np.testing.assert_array_equal(read(open_source(tmp_path / "a.mat", key=key)), CUBE[1:2])


def test_a_cell_of_rows_and_columns(tmp_path):
    cells = np.empty((2, 2), object)
    for number in range(4):
        cells[divmod(number, 2)] = CUBE[number]
    scipy.io.savemat(tmp_path / "a.mat", {"c": cells})
    for key, band in (("c{1,2}", 1), ("c{2,1}", 2), ("c{1,1}", 0)):
        source = open_source(tmp_path / "a.mat", key=key)
        np.testing.assert_array_equal(read(source), CUBE[band : band + 1])


def test_structs_and_cells_inside_cells_of_matlab_7_3(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["#refs#/a/x"] = CUBE[2]
        inner = file.create_dataset("#refs#/b", (1, 1), dtype=h5py.ref_dtype)
        inner.attrs["MATLAB_class"] = np.bytes_("cell")
        inner[0, 0] = file["#refs#/a/x"].ref
        cell = file.create_dataset("c", (2, 1), dtype=h5py.ref_dtype)
        cell.attrs["MATLAB_class"] = np.bytes_("cell")
        cell[0, 0], cell[1, 0] = file["#refs#/a"].ref, inner.ref
    for key in ("c{1}.x", "c{2}{1}"):
        np.testing.assert_array_equal(read(open_source(tmp_path / "a.mat", key=key)), CUBE[2:3])


def test_a_struct_with_one_cube_needs_no_longer_path(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"hsi": {"Data": CUBE, "n": 3}, "x": CUBE[0]})
    np.testing.assert_array_equal(read(open_source(tmp_path / "a.mat", key="hsi")), CUBE)


def test_wavelengths_beside_a_variable_tell_the_axis(tmp_path):
    arrays = {"cube": np.ones((9, 9, 12)), "wavelengths": np.linspace(0.4, 0.95, 12)}
    scipy.io.savemat(tmp_path / "a.mat", arrays)
    source = open_source(tmp_path / "a.mat", key="cube")
    assert source.bands == 12
    assert source.info.wavelengths is not None
    assert source.info.wavelengths[0] == 400


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


def test_an_archive_is_known_by_what_it_holds(tmp_path):
    np.savez(tmp_path / "a.npz", cube=CUBE)
    (tmp_path / "a.npz").rename(tmp_path / "a.dat")
    np.testing.assert_array_equal(read(open_source(tmp_path / "a.dat", key="cube.npy")), CUBE)


def test_an_archive_that_claims_more_than_it_holds(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    with pytest.raises(FileError, match=r"claims 1000000×1000000 values"):
        open_source(tmp_path / "a.npz")


def test_a_damaged_array_of_an_archive_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", b"damage")
    with pytest.raises(FileError, match=r"a\.npz: its array x\.npy cannot be read"):
        open_source(tmp_path / "a.npz")


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


@pytest.fixture
def save_netcdf(tmp_path):
    """A function that writes an array `v` on named axes with coordinates, as NetCDF-4 does."""

    def save(array, axes, attributes=None, units="", **coordinates):
        with h5py.File(tmp_path / "grid.nc", "w") as file:
            cube = file.create_dataset("v", data=array)
            for name, values in coordinates.items():
                file[name] = values
                file[name].make_scale(name)
                file[name].attrs["units"] = units
                cube.dims[axes.index(name)].attach_scale(file[name])
            for name, value in (attributes or {}).items():
                cube.attrs[name] = value
        return tmp_path / "grid.nc"

    return save


LON, LAT = 20 + 0.5 * np.arange(40.0), 10 - 0.25 * np.arange(30.0)
DEGREES = Affine(0.5, 0, 19.75, 0, -0.25, 10.125)


@pytest.mark.parametrize(
    ("array", "axes", "lat", "lon"),
    [
        (CUBE, ("band", "lat", "lon"), LAT, LON),
        (CUBE[:, ::-1], ("band", "lat", "lon"), LAT[::-1], LON),  # from south to north
        (CUBE[:, ::-1, ::-1], ("band", "lat", "lon"), LAT[::-1], LON[::-1]),
        (CUBE.transpose(2, 1, 0), ("lon", "lat", "band"), LAT, LON),  # columns before rows
        (CUBE[None], ("time", "band", "lat", "lon"), LAT, LON),
    ],
)
def test_coordinates_tell_axes_and_place(save_netcdf, array, axes, lat, lon):
    path = save_netcdf(array, axes, units="degrees_east", lat=lat, lon=lon)
    source = open_source(path, key="v")
    assert source.grid.transform == DEGREES
    assert source.grid.crs == CRS.from_epsg(4326)
    np.testing.assert_array_equal(read(source), CUBE)
    window = Window(3, 5, 7, 11)
    np.testing.assert_array_equal(source.read(window)[0], CUBE[:, 3:10, 5:16])


def test_two_dimensions_have_a_place(save_netcdf):
    path = save_netcdf(CUBE[0], ("lat", "lon"), units="degrees_east", lat=LAT, lon=LON)
    assert open_source(path, key="v").grid.transform == DEGREES


@pytest.mark.parametrize("kind", ["NC", "NC4"])
def test_what_gdal_writes_as_netcdf_keeps_its_place(tmp_path, write_geotiff, kind):
    place = {"crs": CRS.from_epsg(32617), "transform": Affine(10, 0, 5e5, 0, -10, 4e6)}
    written = write_geotiff("a.tif", CUBE[:1].astype(np.float32), **place)
    rasterio.shutil.copy(written, tmp_path / "a.nc", driver="netCDF", FORMAT=kind)
    source = open_source(tmp_path / "a.nc")
    assert source.grid.transform == place["transform"]
    assert source.grid.crs == CRS.from_epsg(32617)
    np.testing.assert_array_equal(read(source), CUBE[:1])


def test_irregular_coordinates_are_said(save_netcdf):
    path = save_netcdf(CUBE[0], ("lat", "lon"), lat=LAT**3, lon=LON)
    source = open_source(path, key="v")
    assert not source.grid.georeferenced
    assert any("no regular grid" in note for note in source.notes)


@pytest.mark.parametrize("scale", [0.0, np.nan, np.inf])
def test_a_factor_of_no_use_is_ignored_and_said(save_netcdf, scale):
    source = open_source(save_netcdf(CUBE[0], ("a", "b"), {"scale_factor": scale}))
    np.testing.assert_array_equal(read(source), CUBE[:1])
    assert any("scale_factor" in note for note in source.notes)


def test_neon_s_attributes_are_holes_and_a_factor(save_netcdf):
    attributes = {"Data_Ignore_Value": 5.0, "Scale_Factor": 100.0}
    source = open_source(save_netcdf(CUBE[0], ("a", "b"), attributes))
    values = source.read_nan(source.grid.window)
    assert np.isnan(values[0, 0, 5])
    np.testing.assert_allclose(values[0, 1], CUBE[0, 1] / 100)


def test_prisma_s_wavelengths_stand_in_the_file_and_bands_without_are_left_out(prisma):
    with h5py.File(prisma, "a") as file:
        file.attrs["List_Cw_Vnir"] = np.array([0, 970, 900, 800, 700, 600, 500, 0], np.float32)
        file.attrs["List_Cw_Swir"] = np.linspace(2500, 1000, 5, dtype=np.float32)
    source = open_source(prisma, key=["VNIR_Cube", "SWIR_Cube"])
    assert source.info.wavelengths == (970, 900, 800, 700, 600, 500, 2500, 2125, 1750, 1375, 1000)
    np.testing.assert_array_equal(read(source), np.concatenate([CUBE[1:7], CUBE[:5] + 1]))
    assert any("2 of 8 bands left out" in note for note in source.notes)
    assert open_source(prisma, key="VNIR_Cube", bands=[1]).bands == 1


def test_other_files_are_not_read(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = CUBE[0]
    layout = h5py.VirtualLayout((30, 40), np.uint16)
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "a", (30, 40))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("virtual", layout)
        outside = [(str(tmp_path / "other.h5"), 0, 1200)]
        file.create_dataset("outside", (30, 40), np.uint8, external=outside)
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "a")
        file["own"] = CUBE[1]
    for key in ("virtual", "outside"):
        with pytest.raises(FileError, match="in another file"):
            open_source(tmp_path / "a.h5", key=key)
    with pytest.raises(FileError, match="no key 'link'"):
        open_source(tmp_path / "a.h5", key="link")
    np.testing.assert_array_equal(read(open_source(tmp_path / "a.h5", key="own")), CUBE[1:2])


def test_chunks_that_no_cache_holds_are_read_in_slabs(tmp_path, monkeypatch):
    cube = np.random.default_rng(0).integers(0, 9999, (8, 96, 96)).astype(np.int16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("c", data=cube, chunks=(1, 96, 96), compression="gzip")
    monkeypatch.setattr("bandweave.raster.formats.hdf5.file.CHUNKS_KEPT", 2**16)
    monkeypatch.setattr("bandweave.raster.formats.slabs.SLAB", 8 * 96 * 2 * 40)  # 40 rows
    source, few = open_source(tmp_path / "a.h5"), open_source(tmp_path / "a.h5", bands=[7, 2])
    for row, col in ((0, 0), (0, 64), (20, 5), (32, 0), (80, 0), (2, 90), (50, 0)):
        window = Window(row, col, 16, 6)
        expected = cube[:, row : row + 16, col : col + 6].astype(np.float32)
        np.testing.assert_array_equal(source.read(window)[0], expected)
        np.testing.assert_array_equal(few.read(window)[0], expected[[6, 1]])
    cuts = []
    sliced = source._slice
    monkeypatch.setattr(source, "_slice", lambda *a: cuts.append(a[1]) or sliced(*a))
    for window in (Window(60, 30, 16, 16), Window(60, 50, 16, 16), Window(75, 3, 16, 16)):
        source.read(window)
    assert cuts == [Window(60, 30, 16, 16), Window(60, 0, 36, 96)]  # the second is one of a row


def test_drafts_take_no_place_for_a_layer(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["reflectance"] = CUBE
        file["location/lat"], file["location/Longitude_VNIR"] = CUBE[0], CUBE[1]
        file["location/glt_x"] = np.ones((30, 40), np.int32)
        file["location/elev"] = CUBE[2].astype(np.float32)
    text = draft_scene([tmp_path / "a.h5"], tmp_path)
    assert 'key: "reflectance"' in text
    assert 'key: "location/elev"' in text
    assert not any(name in text for name in ("lat", "Longitude", "glt_x"))


def test_info_tells_the_place_of_the_only_array(save_netcdf, capsys):
    path = save_netcdf(CUBE, ("band", "lat", "lon"), units="degrees_east", lat=LAT, lon=LON)
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "8×30×40 uint16" in out
    assert "EPSG:4326" in out
    assert "0.5 × 0.25" in out


def test_names_of_arrays_cannot_steer_a_terminal(tmp_path, capsys):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a\x1b[31m"], file["b\nc"] = CUBE[0], CUBE[1]
    assert main(["info", str(tmp_path / "a.h5")]) == 0
    assert "b\\nc" in capsys.readouterr().out
    with pytest.raises(FileError, match=r"a\\x1b\[31m 30×40 uint16, b\\nc"):
        open_source(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("shape", "bands"), [((1, 1, 1, 1), 1), ((1, 1), 1), ((1, 5, 6, 3), 3), ((1, 1, 4, 5), 1)]
)
def test_axes_of_size_1_count_for_nothing(tmp_path, shape, bands):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    assert open_source(tmp_path / "a.npy").bands == bands


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
        recognise(path, RasterReader).list_arrays(str(path))
        source = open_source(path, axis=0)
        source.read(source.grid.window)
    except FileError as error:
        told = str(error)
    assert f"a{kind}" in told
    assert "\n" not in told
