"""What a file of pixels, arrays, polygons or rows holds."""

from __future__ import annotations

import os

from bandweave.data.scenefile.argument import is_scene_file
from bandweave.errors import ConfigError, FileError
from bandweave.raster.facts import Facts
from bandweave.raster.formats.gdal.drivers import check_address
from bandweave.raster.formats.gdal.elsewhere import is_address
from bandweave.raster.reader import RasterReader, Reader
from bandweave.raster.readers import recognise


def file_facts(name: str) -> Facts:
    """Facts on a file, a name and a text each. Raises FileError for one that is unreadable."""
    if is_address(name):
        return [("address", name), *recognise(name, RasterReader).describe(name)]
    check_address(name)
    if not name.startswith("/vsi") and not os.path.lexists(name):
        raise FileError(f"{name}: no such file or folder")
    if is_scene_file(name):
        raise ConfigError(f"{name} is YAML; `bandweave scenes check {name}` looks a scene over")
    return [("file", name), *recognise(name, Reader).describe(name)]
