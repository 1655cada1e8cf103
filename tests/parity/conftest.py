"""`parity_release` is one file, imported by every file of this folder."""

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location(
    "parity_release", Path(__file__).with_name("release.py")
)
sys.modules["parity_release"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["parity_release"])
