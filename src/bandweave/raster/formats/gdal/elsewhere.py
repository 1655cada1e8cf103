"""Rasters at an address: what GDAL is told, so that it reads little and does not wait for long.

An address is read because a user named it, and GDAL may open that address alone. It asks for ranges
of bytes: of a cloud-optimised GeoTIFF it reads the header and the blocks of a window.

An address is first opened without patience, so that one that does not answer is told of within
seconds; then again with patience, from what GDAL remembers of it, for a map that takes hours.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from bandweave.errors import FileError

ADDRESS = re.compile(r"^(https?|s3|gs)://[^/\s]+/\S")
DRIVERS = ("GTiff", "JP2OpenJPEG")  # that read ranges of one file, without sidecars
CONNECT, SILENCE = 4, 6  # seconds that a first opening waits for a connection, and for a byte
_ROOTS = {"s3": "/vsis3/", "gs": "/vsigs/"}
_READING = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no list of what lies beside it, no sidecar
    "GDAL_INGESTED_BYTES_AT_OPEN": 32768,  # the header of most files, at once
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": True,
    "VSI_CACHE": True,
    "VSI_CACHE_SIZE": 4 * 2**20,  # bytes, of each open file
    "GDAL_HTTP_CONNECTTIMEOUT": CONNECT,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1,  # bytes a second
}
_IMPATIENT = {"GDAL_HTTP_LOW_SPEED_TIME": SILENCE, "GDAL_HTTP_MAX_RETRY": 0}
_PATIENT = {
    "GDAL_HTTP_LOW_SPEED_TIME": 30,
    "GDAL_HTTP_MAX_RETRY": 5,  # after 1, 2, 4, 8 and 16 seconds
    "GDAL_HTTP_RETRY_DELAY": 1,
}
_ANSWER = re.compile(r"response code:? (\d{3})")
_KEYS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_NO_SIGN_REQUEST=YES",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or GS_NO_SIGN_REQUEST=YES",
}


def is_address(path: str) -> bool:
    """Tell whether a path is an address that can be read: https, http, s3 or gs.

    >>> is_address("s3://bucket/scene/B04.tif"), is_address("B04.tif"), is_address("ftp://a/b.tif")
    (True, False, False)
    """
    return ADDRESS.match(path) is not None


def name_for_gdal(address: str) -> str:
    """The name by which GDAL opens an address.

    >>> name_for_gdal("gs://bucket/a.tif"), name_for_gdal("https://host/a.tif")
    ('/vsigs/bucket/a.tif', '/vsicurl/https://host/a.tif')
    """
    scheme, _, rest = address.partition("://")
    return f"{_ROOTS[scheme]}{rest}" if scheme in _ROOTS else f"/vsicurl/{address}"


def options_for(address: str, *, patient: bool = True) -> dict[str, object]:
    """GDAL's options to open or read an address, and no other."""
    allowed = {"CPL_VSIL_CURL_ALLOWED_FILENAME": name_for_gdal(address)}
    return allowed | _READING | (_PATIENT if patient else _IMPATIENT)


def explain_failure(address: str, error: object) -> FileError:
    """The error to raise for an address that cannot be read, by what GDAL says of it."""
    text = " ".join(str(error).split())
    parts = urlsplit(address)
    scheme, host = parts.scheme, parts.netloc
    answer = _ANSWER.search(text)
    advice = "check the address and the network, or download the file and name that"
    if answer:
        code = int(answer[1])
        why = f"the server answers {code}"
        if code == 404:
            why, advice = f"there is no such file ({code})", "check the address"
        elif code in (401, 403):
            keys = f"; GDAL takes {_KEYS[scheme]} of the environment" if scheme in _KEYS else ""
            why = f"the server refuses access ({code})"
            advice = f"check the address and the right to read it{keys}"
    elif "resolve host" in text:
        why = f"no host {host} is known here"
    elif "onnect" in text and "time" not in text.lower():
        why = f"nothing answers at {host}"
    elif "timed out" in text.lower() or "too slow" in text or "timeout" in text.lower():
        why = f"{host} does not answer"
    elif "configuration options not defined" in text or "InvalidCredentials" in text:
        why, advice = "it needs credentials", f"set {_KEYS.get(scheme, 'them')} for a public bucket"
    elif "not recognized" in text or "supported file format" in text:
        why = "what is there is no GeoTIFF or JPEG 2000"
        advice = "check the address (a page to log in, perhaps), or download the file and name that"
    elif "does not exist" in text:
        why = "there is no such file"
    else:
        why = text[:300]
    return FileError(f"{address} cannot be read: {why}; {advice}")
