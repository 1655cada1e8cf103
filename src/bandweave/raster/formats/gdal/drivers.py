"""The formats that GDAL may open, and checks that nothing else is opened on the way.

A file's bytes decide which driver of GDAL reads it, and some drivers read other files or the
network: a WMS description, a STAC catalogue, a virtual raster (VRT). The formats below read one
file and its sidecars. A VRT is read under its own name alone, after a look at what it refers to.
"""

from __future__ import annotations

import os
import re
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from bandweave.errors import FileError
from bandweave.local_files import check_input_file
from bandweave.raster.formats.gdal.elsewhere import DRIVERS, is_address

# Rasters in one file, by GDAL's names of their drivers.
RASTERS = (
    *("GTiff", "COG", "ENVI", "HFA", "JP2OpenJPEG", "PNG", "JPEG", "BMP", "GIF", "BIGGIF", "WEBP"),
    *("PNM", "TGA", "XPM", "SGI", "NITF", "PCIDSK", "PCRaster", "ILWIS", "KEA", "LAN", "ELAS"),
    *("ERS", "EHdr", "AAIGrid", "AIG", "GRASSASCIIGrid", "GSAG", "GSBG", "GS7BG", "SAGA", "RST"),
    *("RRASTER", "BSB", "BT", "DTED", "SRTMHGT", "USGSDEM", "HF2", "XYZ", "ZMap", "Terragen"),
    *("ISIS2", "ISIS3", "PDS", "PDS4", "VICAR", "SNODAS", "GRIB", "netCDF", "HDF5", "HDF5Image"),
    *("BAG", "ROI_PAC", "ISCE", "GFF", "MFF", "PAux", "NDF", "FAST", "LCP", "RIK", "RMF", "BLX"),
    *("SAR_CEOS", "CEOS", "AirSAR", "JAXAPALSAR", "COSAR", "SNAP_TIFF", "GTX", "NTv2", "L1B"),
    *("CALS", "FIT", "ESAT", "DIPEx", "KRO", "MAP", "GXF", "IRIS", "SIGDEM", "LOSLAS", "BYN"),
)
ARCHIVES = ("/vsizip/", "/vsitar/", "/vsigzip/")
_ADDRESS = re.compile(r"^[a-z][a-z0-9+.-]+:/{1,2}(?=[^/])", re.I)  # also `http:/…`, once normalised
OFFLINE = {"CPL_VSIL_CURL_ALLOWED_FILENAME": "none"}  # GDAL's options that allow no address
_SOURCES = {"sourcefilename", "sourcedataset"}
_KINDS_THAT_COMPUTE = (
    *("vrtrawrasterband", "vrtwarpedrasterband", "vrtderivedrasterband"),
    *("vrtwarpeddataset", "vrtpansharpeneddataset", "vrtprocesseddataset"),
)
_PARTS_THAT_COMPUTE = ("pixelfunction", "gdalwarpoptions", "pansharpening", "group", "processing")
_LACKING = {  # the first bytes of formats that this build of GDAL has no driver for
    b"\x0e\x03\x13\x01": "HDF4",
    b"ecwp": "ECW",
    b"msid": "MrSID",
}


def check_address(path: str) -> None:
    """Raise FileError for what is no file of this machine: a web address, or GDAL's way to one."""
    if path.startswith("/vsi"):
        archive = next((prefix for prefix in ARCHIVES if path.startswith(prefix)), None)
        if archive is not None and "/vsi" not in path[len(archive) - 1 :]:
            return
    elif not _ADDRESS.match(path):
        return
    raise FileError(
        f"{path} is an address that is not read here; layers of a scene file may lie at https://, "
        "s3:// or gs://. Download it and give the file"
    )


def choose_drivers(path: str) -> list[str]:
    """Choose the drivers of GDAL that may open a raster, by its file or address.

    Raises FileError for an address of another kind than `elsewhere` knows, for a file that is no
    regular file, for a VRT under another name or one that refers to what lies outside its folder,
    and for a format that this build lacks.
    """
    if is_address(path):
        return list(DRIVERS)
    check_address(path)
    if path.startswith(ARCHIVES):
        return list(RASTERS)
    try:
        file = check_input_file(path)
    except FileError as error:
        raise FileError(f"{path} cannot be opened as a raster: {error}") from None
    try:
        with file.open("rb") as opened:
            head = opened.read(512)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from None
    for magic, name in _LACKING.items():
        if head.startswith(magic):
            raise FileError(
                f"{path} is {name}, and this build of GDAL reads no {name}; convert it to GeoTIFF "
                "with a GDAL that does (gdal_translate)"
            )
    if _is_xml(head) or file.suffix.lower() == ".vrt":
        if file.suffix.lower() != ".vrt" and b"VRTDataset" in head:
            raise FileError(f"{path} is a virtual raster (VRT) under another name; call it .vrt")
        if file.suffix.lower() == ".vrt":
            check_vrt(file)
            return ["VRT"]
    return list(RASTERS)


def check_vrt(path: Path, within: Path | None = None, depth: int = 0) -> None:
    """Raise FileError unless a VRT draws on files beside it or below, by GDAL's own arithmetic.

    GDAL reads the names of elements in any case and without namespaces, and takes an attribute for
    an element; so does this.

    within   the folder that all files must lie in; the VRT's own if None
    """
    folder = (within or path.parent).resolve()
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path} is no readable VRT: {error}") from None
    if _strip_namespace(root.tag) != "vrtdataset" or depth > 8:
        raise FileError(f"{path} is no VRT of rasters: its root is <{root.tag}>")
    for element in root.iter():
        tag = _strip_namespace(element.tag)
        values = {_strip_namespace(name): value for name, value in element.attrib.items()}
        kind = values.get("subclass", "")
        if kind.lower() in _KINDS_THAT_COMPUTE or tag.startswith(_PARTS_THAT_COMPUTE):
            raise FileError(
                f"{path}: a VRT with {kind or tag} is not opened; write it to a GeoTIFF "
                "first (gdal_translate)"
            )
        for text in (element.text or "", *values.values()):
            if "/vsi" in text.lower():
                raise FileError(f"{path} refers to an address: {text.strip()[:200]}")
        if tag in _SOURCES:
            _check_vrt_source(path, element.text or "", values, folder, depth)
        elif _SOURCES & set(values) or values.get("key", "").upper() == "OVERVIEW_FILE":
            raise FileError(f"{path}: the <{tag}> of this VRT names a file out of place")


def _check_vrt_source(
    path: Path, text: str, values: dict[str, str], folder: Path, depth: int
) -> None:
    text = text.strip()
    try:
        check_address(text)
    except FileError as error:
        raise FileError(f"{path} refers to an address: {error}") from None
    relative = values.get("relativetovrt", "0") == "1"
    source = Path(os.path.join(path.parent, text) if relative else os.path.abspath(text))
    if not source.resolve().is_relative_to(folder):
        raise FileError(
            f"{path} refers to {text}, outside its own folder; put the VRT above its files, or "
            "write it to a GeoTIFF first (gdal_translate)"
        )
    check_input_file(source)
    if source.suffix.lower() == ".vrt":
        check_vrt(source, folder, depth + 1)
        return
    drivers = choose_drivers(os.fspath(source))
    try:  # GDAL itself would try all its drivers
        with rasterio.Env(**OFFLINE), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            DatasetReader(os.fspath(source), driver=drivers).close()
    except (RasterioError, CPLE_BaseError, OSError, ValueError) as error:
        raise FileError(
            f"{path} refers to {text}, which is no raster that is opened: "
            f"{' '.join(str(error).split())}"
        ) from None


def _strip_namespace(name: str) -> str:
    """The name of an element or attribute without namespace, in small letters."""
    return name.rpartition("}")[2].rpartition(":")[2].lower()


def _is_xml(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n").startswith(b"<")
