"""Files of published models: fetched from the hub where asked, read and told apart by digest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from bandweave.errors import WeightsError


def fetch_file(repository: str, name: str, download: bool) -> Path:
    """Where a file of a hub repository lies in the hub's local cache, fetched if it may be.

    Raises OSError, ValueError or huggingface_hub's EntryNotFoundError where there is none.
    """
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repository, name, local_files_only=not download))


def explain_failure(cause: Exception | None) -> str:
    """What an exception says, in one line."""
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]


def read_json(path: Path) -> dict[str, Any]:
    """A file's JSON object."""
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a readable JSON file: {error}") from error
    if not isinstance(described, dict):
        raise WeightsError(f"{path} describes no model: it holds no JSON object")
    return described


def sha256(path: Path) -> dict[str, str]:
    """The file's name → its digest."""
    with path.open("rb") as file:
        return {path.name: hashlib.file_digest(file, "sha256").hexdigest()}
