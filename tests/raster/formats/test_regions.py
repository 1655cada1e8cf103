"""ENVI's regions of interest as labels."""

from __future__ import annotations

import numpy as np
import pytest

from bandweave.data.scenefile.open import open_scene
from bandweave.errors import FileError
from bandweave.raster.open import open_source

HEADER = "; ENVI Output of ROIs (5.3)\n; Number of ROIs: 2\n"
PIXELS = "; ID X Y\n 1 2 1\n 2 3 1\n\n 1 5 4\n"


def test_regions_are_codes_in_their_order(tmp_path):
    path = tmp_path / "roi.txt"
    path.write_text(HEADER + "; File Dimension: 5 x 4\n" + PIXELS)
    source = open_source(path)
    assert (source.bands, source.grid.height, source.grid.width) == (1, 4, 5)
    values, valid = source.read(source.grid.window)
    assert np.argwhere(values[0] == 1).tolist() == [[0, 1], [0, 2]]
    assert np.argwhere(values[0] == 2).tolist() == [[3, 4]]
    assert valid.sum() == 3


def test_regions_of_no_stated_size_are_of_the_grid_they_label(tmp_path, write_geotiff):
    path = tmp_path / "roi.txt"
    path.write_text(HEADER + PIXELS)
    with pytest.raises(FileError, match="does not say the size"):
        open_source(path)
    layer = write_geotiff("a.tif", np.ones((2, 4, 5), np.float32))
    scene = open_scene({"layers": {"a": str(layer)}, "labels": {"path": str(path)}})
    labels = scene.parts[0].labels.values
    assert [one.code for one in scene.classes] == [1, 2]
    assert [(labels == index).sum() for index in (0, 1)] == [2, 1]
