"""Every error a user can meet. The command line prints the message alone and exits with 2."""

from __future__ import annotations

LONGEST = 2000  # letters of a message; names in files can be of any length


class BandweaveError(Exception):
    """Base of all. A message says what was wrong, with the numbers, and what to do.

    Control characters, which names in files may hold, are escaped in it, and no message is endless.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message), LONGEST))


def printable(text: str, longest: int | None = None) -> str:
    """The text with control characters escaped, but for line ends and tabs, and cut if too long.

    >>> printable("a\\x1b[31mb"), printable("abcdefgh", 5)
    ('a\\\\x1b[31mb', 'abcd…')
    """
    if not text.isprintable():
        text = "".join(
            letter if letter.isprintable() or letter in "\n\t" else _escape(letter)
            for letter in text
        )
    return text if longest is None or len(text) <= longest else f"{text[: longest - 1]}…"


def _escape(letter: str) -> str:
    """Blanks of another width and joiners of letters stay; what steers a terminal does not."""
    if letter in "\u00a0\u2007\u202f\u3000\u200c\u200d":
        return letter
    return letter.encode("unicode_escape").decode("ascii")


class ConfigError(BandweaveError):
    """An option or a YAML key that does not exist, has the wrong type or an impossible value."""


class FileError(BandweaveError):
    """A file that is missing, unreadable, corrupt or of another kind than its name says."""


class GridMismatch(BandweaveError):
    """Layers whose size, place or CRS differ, and nobody asked to resolve it."""


class LabelError(BandweaveError):
    """Labels that are missing, unnamed, or too few for what was asked."""


class SplitError(BandweaveError):
    """A split that cannot be drawn, overlaps, or does not exist for the scene."""


class SceneMismatch(BandweaveError):
    """A scene whose layers, bands, wavelengths or units are not those a run was trained on."""


class RunError(BandweaveError):
    """A run folder that is missing, incomplete, truncated or of another configuration."""


class WeightsError(BandweaveError):
    """Pre-trained weights that are not there, or not in a format that can be read safely."""


class OutputError(BandweaveError):
    """An output that could not be written whole: full disk, existing file, no permission."""


class ScanError(BandweaveError, ValueError):
    """Arguments of a selective scan that do not fit together."""
