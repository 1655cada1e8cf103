"""Where MS lies on PAN, and one clear line where that cannot be told."""

from __future__ import annotations

import re

import pytest
from rasterio.crs import CRS
from rasterio.transform import Affine

from bandweave.errors import ConfigError, GridMismatch
from bandweave.pansharp.pair.nesting import Nesting
from bandweave.pansharp.pair.placement import place_grids
from bandweave.raster.grid import PIXELS, Grid

UTM = CRS.from_epsg(32632)
LEFT, TOP = 483_277.5, 5_628_517.5


def grid(size: int, pixel: float, right: float = 0, down: float = 0, crs: CRS | None = UTM) -> Grid:
    """A square grid whose corner lies metres right of and below the common one."""
    return Grid(size, size, Affine(pixel, 0, LEFT + right, 0, -pixel, TOP - down), crs)


@pytest.mark.parametrize("ratio", [2, 3, 4, 5])
def test_transforms_tell_ratio_and_place(ratio):
    found = place_grids(grid(100, 0.5), grid(40, 0.5 * ratio, right=0.25, down=-1.125))
    assert found == (Nesting(ratio, -2.25, 0.5), False, ())


def test_landsat_8_is_half_a_pixel_off():
    found = place_grids(grid(82, 15), grid(41, 30, right=7.5, down=-7.5))
    assert found.nesting == Nesting(2, -0.5, 0.5)


def test_both_may_be_turned_alike():
    turn = Affine.rotation(30)
    pan = Grid(80, 80, Affine.translation(LEFT, TOP) @ turn @ Affine.scale(1, -1), UTM)
    ms = Grid(20, 20, pan.transform @ Affine.translation(2, 1) @ Affine.scale(4), UTM)
    assert place_grids(pan, ms).nesting == Nesting(4, 1, 2)


def test_a_drift_too_small_to_see_is_shared_by_both_sides():
    found = place_grids(grid(4000, 1), grid(1000, 4.00004))
    assert found.nesting.ratio == 4
    assert found.nesting.col == pytest.approx(0.02)


def test_sizes_tell_where_there_are_no_transforms():
    pan, ms = Grid(12, 20, PIXELS), Grid(3, 5, PIXELS)
    assert place_grids(pan, ms) == (Nesting(4), False, ())
    odd = place_grids(Grid(13, 22, PIXELS), ms, ratio=4)
    assert odd.nesting == Nesting(4)
    assert "upper left corners" in odd.notes[0]


def test_ms_on_the_pan_grid_needs_its_ratio():
    for pan, ms in ((grid(80, 2), grid(80, 2, right=1)), (Grid(9, 9, PIXELS), Grid(9, 9, PIXELS))):
        with pytest.raises(GridMismatch, match=r"already has PAN's pixel size.*state `ratio`"):
            place_grids(pan, ms)
    found = place_grids(grid(80, 2), grid(70, 2, right=1), ratio=4)
    assert found.resampled
    assert found.nesting == Nesting(4, 0, 0.5)
    assert "resampled from 4 times coarser" in found.notes[0]


def test_one_georeferenced_alone_needs_the_ratio():
    pan, ms = grid(80, 2), Grid(20, 20, PIXELS)
    with pytest.raises(GridMismatch, match=r"PAN is georeferenced and MS is not.*sizes say 4"):
        place_grids(pan, ms)
    found = place_grids(pan, ms, ratio=4)
    assert found.nesting == Nesting(4)
    assert found.notes == (
        "MS has no transform: its upper left corner was taken to be the other's",
    )


TURNED = Grid(20, 20, Affine.translation(LEFT, TOP) @ Affine.rotation(5) @ Affine.scale(4, -4), UTM)
SOUTH_UP = Grid(20, 20, Affine(4, 0, LEFT, 0, 4, TOP - 80), UTM)
OBLONG = Grid(20, 40, Affine(4, 0, LEFT, 0, -8, TOP), UTM)


@pytest.mark.parametrize(
    ("pan", "ms", "ratio", "message"),
    [
        (grid(20, 4), grid(80, 1), None, "PAN is coarser than MS: PAN is 20×20 px at 4 m, MS 80×80 "
         "px at 1 m; are the two files swapped?"),
        (Grid(20, 20, PIXELS), Grid(80, 80, PIXELS), None, "PAN is coarser than MS: PAN is 20×20"),
        (grid(100, 10), grid(40, 25), None, "an MS pixel is 2.5 PAN pixels wide (PAN is 100×100 px "
         "at 10 m, MS 40×40 px at 25 m); warp the MS to 2 PAN pixels first: gdalwarp -tr 20 20"),
        (grid(80, 1), OBLONG, None, "an MS pixel is 8 PAN pixels high and 4 wide"),
        (Grid(81, 80, PIXELS), Grid(20, 20, PIXELS), None, "state `ratio=4`"),
        (Grid(50, 50, PIXELS), Grid(20, 20, PIXELS), None, "2.5 PAN pixels wide (PAN is 50×50 px, "
         "MS 20×20 px); give files of one extent"),
        (Grid(50, 50, PIXELS), Grid(20, 20, PIXELS), 4, "`ratio` says 4 and the sizes do not"),
        (grid(80, 1), grid(20, 4), 2, "`ratio` says 2 and the files' transforms 4"),
        (grid(80, 1), grid(20, 4, right=500), None, "do not overlap: PAN covers x 483277.5 to "
         "483357.5, y 5628437.5 to 5628517.5, MS x 483777.5"),
        (grid(80, 1), grid(20, 4, crs=CRS.from_epsg(32633)), None, "PAN is in EPSG:32632 and MS in "
         "EPSG:32633; warp the MS to PAN's CRS first: gdalwarp -t_srs EPSG:32632"),
        (grid(80, 1), grid(20, 4, crs=None), None, "MS has no CRS and the other file is in "
         "EPSG:32632; if that holds for both, say `crs=EPSG:32632`"),
        (grid(80, 1, crs=None), grid(20, 4), None, "PAN has no CRS"),
        (grid(80, 1), TURNED, None, "MS is turned by 5° against PAN"),
        (grid(80, 1), SOUTH_UP, None, "one of the two is mirrored"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_in_one_line(pan, ms, ratio, message):
    with pytest.raises(GridMismatch, match=re.escape(message)) as caught:
        place_grids(pan, ms, ratio)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ratio", [1, 0, -4, 2.5])
def test_impossible_ratios(ratio):
    with pytest.raises(ConfigError, match="a whole number from 2"):
        place_grids(grid(80, 1), grid(20, 4), ratio)
