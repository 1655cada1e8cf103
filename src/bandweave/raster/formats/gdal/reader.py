"""Rasters that GDAL reads, and ENVI headers, which lead to one."""

from __future__ import annotations

import os
from pathlib import Path

from bandweave.raster.facts import Facts, describe_bands, describe_place, describe_size
from bandweave.raster.formats.gdal import envi
from bandweave.raster.formats.gdal.categories import Categories, read_categories
from bandweave.raster.formats.gdal.source import GdalSource, open_dataset
from bandweave.raster.reader import RasterReader, Request


class GdalReader(RasterReader):
    """GeoTIFF and whatever else GDAL reads of one file and its sidecars."""

    noun = "raster"

    def open(self, path: str, request: Request) -> GdalSource:
        return GdalSource(path, key=request.key, chosen=request.bands, nodata=request.nodata)

    def read_categories(self, path: str) -> Categories:
        return read_categories(Path(path))

    def describe(self, path: str) -> Facts:
        with open_dataset(path) as dataset:
            if not dataset.count:
                inner = dataset.subdatasets
                return [("driver", dataset.driver), *(("subdataset", each) for each in inner)]
            facts = [
                ("driver", dataset.driver),
                ("type", ", ".join(dict.fromkeys(dataset.dtypes))),
                ("nodata", "none" if dataset.nodata is None else f"{dataset.nodata:g}"),
                ("blocks", "×".join(map(str, dataset.block_shapes[0]))),
            ]
            if dataset.compression:
                facts.append(("compression", dataset.compression.name))
            if overviews := dataset.overviews(1):
                facts.append(("overviews", ", ".join(f"1/{factor}" for factor in overviews)))
        source = GdalSource(path)
        facts = [describe_size(source), *facts]
        return [*facts, *describe_place(source.grid), *describe_bands(source.info)]


class EnviReader(GdalReader):
    """ENVI headers; a data file that is named itself finds its header."""

    noun, endings = "ENVI header", (".hdr",)

    def open(self, path: str, request: Request) -> GdalSource:
        return super().open(os.fspath(envi.find_data(Path(path))), request)

    def describe(self, path: str) -> Facts:
        return super().describe(os.fspath(envi.find_data(Path(path))))
