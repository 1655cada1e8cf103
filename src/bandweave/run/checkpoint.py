"""Weights on disk: `last.ckpt` to continue from, `model.safetensors` to use. Nothing is unpickled.

A checkpoint is a dict of tensors, numbers, texts, lists and dicts, written by torch.save and read
with weights_only=True. A model file is safetensors with JSON under "bandweave" in its header.
"""

from __future__ import annotations

import json
import os
import struct
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bandweave.errors import RunError
from bandweave.run.atomic import whole

FORMAT = 1  # of last.ckpt; a file of another one is refused
KEY = "bandweave"  # of the metadata in the header of model.safetensors
KINDS = "land cover", "sharpening"  # of runs


# last.ckpt ----------------------------------------------------------------------------------------


def save_checkpoint(path: Path | str, state: Mapping[str, Any]) -> None:
    """Write a checkpoint in one file, whole or not at all.

    Raises OutputError where it cannot be written (full disk); the one before stays.
    """
    with whole(path) as beside, open(beside, "wb") as file:
        torch.save({"format": FORMAT, **state}, file)


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint, its tensors on the CPU.

    Raises RunError for a file that is missing, truncated, of another format, or that holds
    anything but tensors and plain values.
    """
    path = Path(path)
    advice = "; remove it to begin anew, or copy it again from where it was made"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickles that it refuses
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RunError(f"{path}: there is no such checkpoint") from None
    except Exception as error:  # torch names neither its errors nor pickle's
        reason = "it holds more than tensors" if "nsupported" in str(error) else "truncated?"
        size = path.stat().st_size if path.exists() else 0
        raise RunError(
            f"{path}: {size} bytes that are no readable checkpoint ({reason}){advice}"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise RunError(f"{path}: a checkpoint of format {found}, expected {FORMAT}{advice}")
    return state


# model.safetensors --------------------------------------------------------------------------------


def save_model(
    path: Path | str, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write tensors and JSON-able metadata in one safetensors file, whole or not at all."""
    text = json.dumps(metadata, allow_nan=False)
    copies = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
    with whole(path) as beside:
        save_file(copies, beside, metadata={KEY: text})
        beside.chmod(0o666 & ~_umask())  # safetensors lets nobody else read it


def _umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


def load_model(path: Path | str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read `(tensors, metadata)` of a file that `save_model` wrote; tensors on the CPU.

    Raises RunError for a file that is missing, truncated, a pickle, or without metadata.
    """
    path = Path(path)
    _refuse_pickle(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"{path}: {_damage(path)}; train again or copy it again") from error
    if KEY not in header:
        raise RunError(
            f"{path}: its header has no {KEY!r} entry, so what it was trained on is unknown; "
            f"take a model.safetensors that bandweave wrote"
        )
    try:
        metadata = json.loads(header[KEY])
    except ValueError as error:
        raise RunError(f"{path}: the {KEY!r} entry of its header is not JSON: {error}") from None
    return tensors, metadata


def load_trained(
    path: Path | str, kind: str, form: int
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `load_model` does, of a run of one kind.

    kind   'land cover' or 'sharpening': the metadata's "kind", where they have none the first
    form   the metadata's "format"

    Raises RunError for a run of another kind or format too.
    """
    tensors, stored = load_model(path)
    found = stored.get("kind", KINDS[0])
    if found != kind:
        raise RunError(
            f"{Path(path).parent} is a run for {found}, and what is asked for here takes one for "
            f"{kind}"
        )
    if stored.get("format") != form:
        raise RunError(
            f"{path}: metadata of format {stored.get('format')}, expected {form}; "
            f"it was written by another version of bandweave, train again"
        )
    return tensors, stored


def _refuse_pickle(path: Path) -> None:
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except FileNotFoundError:
        raise RunError(f"{path}: there are no weights; was the run trained to its end?") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    # safetensors: the header's length (8 bytes), then JSON; zip (torch.save) and pickle otherwise
    if start[8:9] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
        raise RunError(
            f"{path}: a pickle, not safetensors; it is not opened, since a pickle can run any "
            f"code. Take the model.safetensors that bandweave wrote"
        )


def _damage(path: Path) -> str:
    """How a safetensors file is damaged, with the numbers where its header tells them."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        try:
            header = json.loads(file.read(length)) if 0 < length <= size - 8 else {}
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key[:2] != "__"]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return f"{size} bytes that are not safetensors"
    if not header:
        return f"truncated or not safetensors: {size} bytes, the header is not whole"
    return f"truncated or damaged: {size} bytes, its header tells of {8 + length + max(ends)}"


# Modules ------------------------------------------------------------------------------------------


def weights(module: torch.nn.Module, frozen: Collection[str] = ()) -> dict[str, torch.Tensor]:
    """The module's tensors by name, but for the `frozen` ones, which come from elsewhere."""
    tensors = module.state_dict()
    unknown = sorted(set(frozen) - set(tensors))
    if unknown:
        raise RunError(f"frozen tensors that the module does not have: {_some(unknown)}")
    return {name: tensor for name, tensor in tensors.items() if name not in frozen}


def restore(
    module: torch.nn.Module,
    tensors: Mapping[str, torch.Tensor],
    frozen: Collection[str] = (),
    origin: Path | str = "the weights",
) -> None:
    """Copy `tensors` into the module, strictly; only `frozen` names may be absent.

    Raises RunError that names what is missing, left over or of another shape.
    """
    own = module.state_dict()
    missing = sorted(set(own) - set(tensors) - set(frozen))
    extra = sorted(set(tensors) - set(own))
    shapes = [
        f"{name} {tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    complaints = [f"{len(missing)} tensors are missing: {_some(missing)}"] if missing else []
    complaints += [f"{len(extra)} are not the model's: {_some(extra)}"] if extra else []
    complaints += [f"{len(shapes)} have another shape: {_some(shapes)}"] if shapes else []
    if complaints:
        raise RunError(
            f"{origin} does not fit the model: {'; '.join(complaints)}. "
            f"The configuration beside it is probably not the one that it was trained with"
        )
    module.load_state_dict(dict(tensors), strict=False)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
