"""Every error a user can meet. The command line prints the message alone and exits with 2."""


class BandweaveError(Exception):
    """Base of all. A message says what was wrong, with the numbers, and what to do."""


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
