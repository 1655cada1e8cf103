import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine

from bandweave.errors import GridMismatch
from bandweave.raster.alignment import Different, Finer, Same, fit, relation, same_crs
from bandweave.raster.grid import PIXELS, Grid

UTM = CRS.from_epsg(32617)


def grid(height, width, pixel=1.0, left=0.0, top=0.0, crs=UTM):
    return Grid(height, width, Affine(pixel, 0, left + 5e5, 0, -pixel, top + 4e6), crs)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 10), st.floats(0.1, 60))
def test_a_finer_grid_is_recognised(height, width, ratio, pixel):
    reference = grid(height, width, pixel)
    found = relation(reference.finer(ratio), reference)
    assert found == (Same() if ratio == 1 else Finer(ratio))
    if ratio > 1:
        assert isinstance(relation(reference, reference.finer(ratio)), Different)


@given(st.floats(-1, 1), st.integers(1, 6))
def test_tolerance_is_a_thousandth_of_the_finer_pixel(shift, ratio):
    finer = grid(10 * ratio, 10 * ratio, 2.0 / ratio, left=shift * 2.0 / ratio)
    found = relation(finer, grid(10, 10, 2.0))
    if abs(shift) < 0.0009:
        assert found == (Same() if ratio == 1 else Finer(ratio))
    elif abs(shift) > 0.0011:
        assert isinstance(found, Different)


def test_rounded_pixel_sizes_add_up():
    reference = grid(10, 5000, 30)
    assert relation(grid(10, 5000, 30 * (1 + 1e-8)), reference) == Same()
    assert isinstance(relation(grid(10, 5000, 30 * (1 + 1e-6)), reference), Different)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (grid(10, 20, crs=CRS.from_epsg(32618)), "another CRS"),
        (grid(5, 10), "coarser"),
        (grid(10, 21), "another size"),
        (grid(20, 30), "another size"),
        (grid(10, 20, left=0.5), "a corner is 0.5 of its pixels off"),
        (grid(10, 20, 2.0), "a corner is"),
    ],
)
def test_different(other, reason):
    found = relation(other, grid(10, 20))
    assert isinstance(found, Different)
    assert reason in found.reason


def test_without_a_transform_shapes_decide():
    bare = Grid(20, 40, PIXELS)
    assert relation(bare, grid(10, 20)) == Finer(2)
    assert relation(bare, grid(20, 40, 7.0)) == Same()
    assert isinstance(relation(Grid(21, 40, PIXELS), grid(10, 20)), Different)


def test_without_a_crs_the_transform_decides():
    assert relation(grid(10, 20, crs=None), grid(10, 20)) == Same()
    assert isinstance(relation(grid(10, 20, left=3, crs=None), grid(10, 20)), Different)


def test_the_same_crs_in_other_words():
    other = CRS.from_wkt(UTM.to_wkt().replace("WGS 84 / UTM zone 17N", "my zone"))
    assert same_crs(UTM, other)
    assert not same_crs(UTM, CRS.from_epsg(32618))


def test_messages_say_sizes_and_what_to_do():
    reference = grid(349, 1905, 2.5)
    with pytest.raises(
        GridMismatch,
        match=r"layer 'lidar' is 174×952 px at 5 m, the reference grid 'hsi' is 349×1905 px at "
        r"2\.5 m.*add `warp: bilinear` to the layer to warp it, or choose it as `grid:`",
    ):
        fit("lidar", grid(174, 952, 5.0), "hsi", reference)
    with pytest.raises(GridMismatch, match="add `ratio: 4` to keep it finer"):
        fit("rgb", reference.finer(4), "hsi", reference)
    with pytest.raises(GridMismatch, match="4 times finer, not 2"):
        fit("rgb", reference.finer(4), "hsi", reference, ratio=2)
    with pytest.raises(GridMismatch, match="leave out `ratio: 2`"):
        fit("rgb", reference, "hsi", reference, ratio=2)
    with pytest.raises(GridMismatch, match=r"3×3 px,.*no transform, so it cannot be warped"):
        fit("rgb", Grid(3, 3, PIXELS), "hsi", reference)
    assert fit("rgb", reference.finer(4), "hsi", reference, ratio=4) == 4
    assert fit("rgb", reference, "hsi", reference) == 1
