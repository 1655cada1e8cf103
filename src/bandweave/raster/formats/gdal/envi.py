"""ENVI headers: finding them and their data, and reading what GDAL does not."""

from __future__ import annotations

import codecs
import re
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from bandweave.errors import FileError

EXTENSIONS = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin", ".rfl", ".ref", ".cub")
_DTYPES = {
    **{1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 6: "c8", 9: "c16", 12: "u2", 13: "u4"},
    **{14: "i8", 15: "u8"},
}
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_header(path: Path) -> bool:
    """Tell whether a file begins as an ENVI header does, a byte-order mark aside."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return _decode(head).lstrip().startswith("ENVI")


def read_header(path: Path) -> dict[str, str]:
    """The header's values by their lower-case keys, as written, without braces.

    Raises FileError for what is no ENVI header.
    """
    try:
        text = _decode(path.read_bytes())
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from None
    if not text.lstrip().startswith("ENVI"):
        raise FileError(f"{path} is no ENVI header: its first line is not 'ENVI'")
    pairs = re.findall(r"^[ \t]*([^=\n{}]+?)[ \t]*=[ \t]*(\{[^}]*\}?|[^\n]*)", text, re.M)
    return {key.strip().lower(): value.strip().strip("{}").strip() for key, value in pairs}


def find_data(header: Path) -> Path:
    """Find the data of an ENVI header: of its name with a usual ending, or the one file that fits.

    Raises FileError where there is none, or several.
    """
    facts = read_header(header)
    stem = header.with_suffix("")
    for extension in EXTENSIONS:
        for candidate in (Path(f"{stem}{extension}"), Path(f"{stem}{extension.upper()}")):
            if candidate.is_file():
                return candidate
    expected = compute_size(facts, header)
    beside = sorted(
        file
        for file in header.parent.iterdir()
        if file != header
        and file.is_file()
        and f"{file.name}.".lower().startswith(f"{stem.name}.".lower())
    )
    fitting = [file for file in beside if file.stat().st_size == expected]
    if len(fitting) == 1:
        return fitting[0]
    others = ", ".join(f"{file.name} of {file.stat().st_size}" for file in beside) or "none"
    raise FileError(
        f"{header} has no data file beside it: {stem.name} with an ending such as "
        f"{', '.join(EXTENSIONS[1:5])}, of {expected} bytes (files of that name: {others})"
    )


def find_header(data: Path) -> Path | None:
    """Find the header of a data file x.a.img: x.a.hdr, x.a.img.hdr or x.hdr; None without one."""
    stem = data.name.split(".")[0]
    for name in (*_list_names(data), data.with_suffix(".HDR"), data.with_name(f"{stem}.hdr")):
        if name != data and name.is_file() and is_header(name):
            return name
    return None


def _list_names(data: Path) -> tuple[Path, ...]:
    """List the names under which GDAL looks for the header of a data file."""
    return data.with_suffix(".hdr"), Path(f"{data}.hdr")


def compute_size(facts: dict[str, str], header: Path) -> int:
    """Compute the bytes of the data file that a header describes."""
    try:
        samples, lines, bands = (int(facts[key]) for key in ("samples", "lines", "bands"))
        width = np.dtype(_DTYPES[int(facts["data type"])]).itemsize
        offset = int(facts.get("header offset") or 0)
    except (KeyError, ValueError) as error:
        raise FileError(
            f"{header} lacks a whole number for samples, lines, bands or data type ({error})"
        ) from None
    if min(samples, lines, bands) < 1 or offset < 0:
        raise FileError(
            f"{header} states samples = {samples}, lines = {lines}, bands = {bands}, header offset "
            f"= {offset}; none of the first three may be less than 1, nor the last less than 0"
        )
    return samples * lines * bands * width + offset


def check_size(data: Path, header: Path, facts: dict[str, str]) -> None:
    """Raise FileError where the data file is shorter or longer than its header says.

    GDAL reads zeros beyond the end of a short file; a long one has another shape or type.
    """
    if facts.get("file compression", "0") not in ("", "0"):
        return
    expected, found = compute_size(facts, header), data.stat().st_size
    if found == expected:
        return
    shape = f"{facts['bands']} bands of {facts['lines']}×{facts['samples']}"
    if found < expected:
        raise FileError(
            f"{data} is truncated: its header asks for {expected} bytes ({shape}), it has {found}"
        )
    raise FileError(
        f"{data} is longer than its header {header.name} says: {expected} bytes ({shape}), it has "
        f"{found}; correct samples, lines, bands, data type or header offset"
    )


def prepare_for_gdal(data: Path, header: Path, when: int) -> Path:
    """Give GDAL a file that it can open: the data, or a link beside a header rewritten in UTF-8.

    A byte-order mark hides a header from GDAL, and text in another encoding stops rasterio.

    when   the header's stamp: a changed header is written anew
    """
    raw = header.read_bytes()
    try:
        raw.decode("utf-8")
        clean = not raw.startswith(_BOMS) and header in _list_names(data)
    except UnicodeDecodeError:
        clean = False
    return data if clean else _rewrite(data.resolve(), header.resolve(), when)


@cache
def _rewrite(data: Path, header: Path, when: int) -> Path:
    folder = tempfile.TemporaryDirectory(prefix="bandweave-envi-")
    _folders.append(folder)  # kept until the process ends
    link = Path(folder.name) / data.name
    link.symlink_to(data)
    Path(f"{link}.hdr").write_text(_decode(header.read_bytes()), encoding="utf-8")
    return link


_folders: list[tempfile.TemporaryDirectory[str]] = []


def parse_numbers(text: str) -> list[float] | None:
    """Parse the numbers of a list in a header; None where one is none."""
    try:
        return [float(piece) for piece in text.replace("\n", " ").split(",") if piece.strip()]
    except ValueError:
        return None


def _decode(raw: bytes) -> str:
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", errors="replace").replace("\r", "")
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace").replace("\r\n", "\n")
