"""Polygons in a GeoPackage, written batch by batch: memory does not grow with their number."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import shapely
from rasterio.crs import CRS

from bandweave.errors import ConfigError
from bandweave.raster.writing.outputs import OutputSet, cannot_write

BATCH = 20_000  # features that are written at once


def check_geopackage(target: str | os.PathLike[str]) -> None:
    """Raise ConfigError for a file of another name than a GeoPackage has."""
    if Path(target).suffix.lower() != ".gpkg":
        raise ConfigError(f"{target}: polygons are written as a GeoPackage; name it {target}.gpkg")


class GeoPackageWriter:
    """Layers of polygons in one file, which appears with the other outputs of a set.

    target   the file to be
    kind     'Polygon', 'MultiPolygon' or 'Unknown', for any

    Raises OutputError where the file cannot be written.
    """

    def __init__(self, target: Path, outputs: OutputSet, kind: str = "Polygon") -> None:
        self.target, self.kind = target, kind
        self.path = outputs.path(target)
        self._crs: dict[str, CRS | None] = {}

    def write(
        self,
        layer: str,
        crs: CRS | None,
        shapes: Sequence[shapely.Geometry] | np.ndarray,
        fields: Mapping[str, np.ndarray],
        missing: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Add features to a layer, which is made with the first of them.

        fields   the values of each attribute, the same attributes each time
        missing  for some of them, where they have no value
        """
        import pyogrio.errors
        import pyogrio.raw

        missing = missing or {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a layer without a CRS
                pyogrio.raw.write(
                    self.path,
                    shapely.to_wkb(np.asarray(shapes, dtype=object)),
                    list(fields.values()),
                    list(fields),
                    [missing.get(name) for name in fields],
                    layer=layer,
                    driver="GPKG",
                    geometry_type=self.kind,
                    promote_to_multi=self.kind == "MultiPolygon",
                    crs=None if crs is None else crs.to_wkt(),
                    append=layer in self._crs,
                    layer_options=_free_names(fields),
                )
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, OSError) as error:
            raise cannot_write(self.target, error) from error
        except (pyogrio.errors.FieldError, pyogrio.errors.FeatureError) as error:
            raise cannot_write(self.target, error) from error
        self._crs[layer] = crs

    def name_layer(self, name: str, crs: CRS | None) -> str:
        """Name the layer of features in a CRS: `name`, with a number where that has another one."""
        number, tried = 1, name
        while tried in self._crs and self._crs[tried] != crs:
            number += 1
            tried = f"{name}_{number}"
        return tried


def _free_names(fields: Iterable[str]) -> dict[str, str]:
    """Names for the number and geometry of features, where an attribute has GeoPackage's own."""
    taken = {name.lower() for name in fields}
    options = {"FID": "fid", "GEOMETRY_NAME": "geom"}
    return {key: f"{name}_0" for key, name in options.items() if name in taken}
