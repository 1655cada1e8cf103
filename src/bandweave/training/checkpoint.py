"""Weights on disk: `last.ckpt` to continue from, `model.safetensors` to use. Nothing is unpickled.

A checkpoint is a dict of tensors, numbers, texts, lists and dicts, written by torch.save and read
with weights_only=True. A model file is safetensors with JSON under "bandweave" in its header.
Both hold a CRC-32 of every tensor and of everything beside the tensors, so that a bit that flipped
on a disk is found. Files of versions that wrote no checksums are read without them.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import warnings
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bandweave.errors import ConfigError, FileError, RunError
from bandweave.local_files import check_input_file
from bandweave.training.atomic import whole

log = logging.getLogger(__name__)

FORMAT = 2  # of last.ckpt: 1 had no checksums; a newer one is refused
KEY = "bandweave"  # of the metadata in the header of model.safetensors
SUMS = "bandweave checksums"  # of the checksums there
FORMER_NAMES = {"enter": "in_proj", "leave": "out_proj", "leaves": "out_projs"}  # of modules
MISSTATED = (  # what metadata raise that are not as they were written, wherever they are used
    *(KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError, RuntimeError),
    *(AssertionError, ConfigError),
)
AGAIN = "copy it again from where it was made"
KINDS = "land cover", "sharpening"  # of runs


# last.ckpt ----------------------------------------------------------------------------------------


def save_checkpoint(path: Path | str, state: Mapping[str, Any]) -> None:
    """Write a checkpoint in one file, whole or not at all.

    Raises OutputError where it cannot be written (full disk); the one before stays.
    """
    content = {"format": FORMAT, **state, "checksums": _checksums(state)}
    with whole(path) as beside, open(beside, "wb") as file:
        torch.save(content, file)


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint, its tensors on the CPU, without the checksums.

    Raises RunError for a file that is missing, truncated, of another format, that holds anything
    but tensors and plain values, or whose checksums differ.
    """
    path = Path(path)
    _first_bytes(path, "there is no such checkpoint")
    advice = f"; {AGAIN}, or train into another folder"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickles that it refuses
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names neither its errors nor pickle's
        reason = "it holds more than tensors" if "nsupported" in str(error) else "truncated?"
        size = path.stat().st_size
        raise RunError(
            f"{path}: {size} bytes that are no readable checkpoint ({reason}){advice}"
        ) from error
    form = state.get("format") if isinstance(state, dict) else type(state).__name__
    number = form if type(form) is int else None
    if number == 1:
        log.debug("%s: of format 1, which has no checksums to compare", path)
        return state
    if number != FORMAT:
        raise RunError(f"{path}: a checkpoint of {_other_format(form, FORMAT)}{advice}")
    stored = state.pop("checksums", None)
    content = {key: value for key, value in state.items() if key != "format"}
    _compare(path, _checksums(content), stored)
    return state


def _other_format(found: object, newest: int) -> str:
    if type(found) is int and found > newest:
        return f"format {found}, written by a newer bandweave; this one reads up to {newest}"
    if isinstance(found, torch.Tensor):
        found = "Tensor"
    return f"format {found!s:.100}, expected {newest if newest == 1 else f'1 to {newest}'}"


# Checksums ----------------------------------------------------------------------------------------


def _checksums(content: Mapping[str, Any]) -> dict[str, int]:
    """The CRC-32 of every leaf of nested mappings and lists, by its dotted place."""
    return {place: _checksum(leaf) for place, leaf in _leaves(content, "")}


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping | list | tuple) or not value:
        yield place, value
        return
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, item in pairs:
        yield from _leaves(item, f"{place}.{key}" if place else str(key))


def _checksum(leaf: Any) -> int:
    if not isinstance(leaf, torch.Tensor):
        return zlib.crc32(repr(leaf).encode("utf-8", "backslashreplace"))
    if leaf.is_meta:  # it has no values
        return 0
    start = zlib.crc32(f"{leaf.dtype} {tuple(leaf.shape)}".encode())
    flat = leaf.detach().to("cpu").contiguous().reshape(-1)
    return zlib.crc32(flat.view(torch.uint8).numpy().data, start)


def _compare(path: Path, found: Mapping[str, int], stored: object) -> None:
    """Raise RunError, with the first place, unless the checksums are those that were stored."""
    told = stored if isinstance(stored, dict) else {}
    told = {place: sum for place, sum in told.items() if type(sum) is int}
    wrong = [place for place in {**told, **found} if told.get(place) != found.get(place)]
    if wrong or not told:
        where = _some(wrong) if told else "the checksums themselves are not there"
        raise RunError(
            f"{path}: damaged: {len(wrong)} of {len(found)} entries are not what was written: "
            f"{where}; {AGAIN}, or train again"
        )


# model.safetensors --------------------------------------------------------------------------------


def save_model(
    path: Path | str, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write tensors and JSON-able metadata in one safetensors file, whole or not at all."""
    text = json.dumps(metadata, allow_nan=False)
    copies = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
    sums = json.dumps(_checksums({**copies, KEY: text}))
    with whole(path) as beside:
        save_file(copies, beside, metadata={KEY: text, SUMS: sums})
        beside.chmod(0o666 & ~_umask())  # safetensors lets nobody else read it


def _umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


def load_model(path: Path | str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read `(tensors, metadata)` of a file that `save_model` wrote; tensors on the CPU.

    Raises RunError for a file that is missing, truncated, a pickle, without metadata, or whose
    checksums differ.
    """
    path = Path(path)
    _refuse_pickle(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"{path}: {_damage(path)}; {AGAIN}, or train again") from error
    if KEY not in header:
        raise RunError(
            f"{path}: its header has no {KEY!r} entry, so what it was trained on is unknown; "
            f"take a model.safetensors that bandweave wrote"
        )
    _compare_model(path, tensors, header)
    try:
        metadata = json.loads(header[KEY], parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: the {KEY!r} entry of its header is not JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise RunError(
            f"{path}: the {KEY!r} entry of its header is no mapping; {AGAIN}, or train again"
        )
    return tensors, metadata


def _compare_model(
    path: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, str]
) -> None:
    if set(header) <= {KEY, "format"}:
        log.debug("%s: it has no checksums to compare", path)
        return
    try:
        stored = json.loads(header.get(SUMS, "null"))
    except (ValueError, RecursionError):
        stored = None
    _compare(path, _checksums({**tensors, KEY: header[KEY]}), stored)


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no number")


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
            f"{path}: metadata of {_other_format(stored.get('format'), form)}; take the version of "
            f"bandweave that wrote it, or train again"
        )
    return {name_now(name): tensor for name, tensor in tensors.items()}, stored


def name_now(name: str) -> str:
    """The name that a tensor of an earlier version has by now.

    >>> name_now("scan.enter.project.weight")
    'scan.in_proj.project.weight'
    """
    return ".".join(FORMER_NAMES.get(part, part) for part in name.split("."))


def _first_bytes(path: Path, missing: str) -> bytes:
    """Nine bytes of a regular file; RunError that is no word on damage where it cannot be read.

    A pipe is not opened: it could be waited on for ever.
    """
    if not path.exists():
        raise RunError(f"{path}: {missing}")
    try:
        check_input_file(path)
        with open(path, "rb") as file:
            return file.read(9)
    except FileError as error:
        raise RunError(str(error)) from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None


def _refuse_pickle(path: Path) -> None:
    start = _first_bytes(path, "there are no weights; was the run trained to its end?")
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
            needed = 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            return f"{size} bytes that are not safetensors"
    if not header:
        return f"truncated or not safetensors: {size} bytes, the header is not whole"
    return f"truncated or damaged: {size} bytes, its header tells of {needed}"


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
    check_fit(module, tensors, frozen, origin)
    module.load_state_dict(dict(tensors), strict=False)


def check_fit(
    module: torch.nn.Module,
    tensors: Mapping[str, torch.Tensor],
    frozen: Collection[str] = (),
    origin: Path | str = "the weights",
) -> None:
    """Raise what `restore` would, and change nothing."""
    own = module.state_dict()
    if not isinstance(tensors, Mapping):
        raise RunError(f"{origin} is damaged: its weights are no mapping; {AGAIN}")
    no_tensors = [str(n) for n, t in tensors.items() if not _has_values(t)]
    if no_tensors:
        raise RunError(
            f"{origin} is damaged: {len(no_tensors)} of its weights are no tensors: "
            f"{_some(no_tensors)}; {AGAIN}"
        )
    missing = sorted(set(own) - set(tensors) - set(frozen))
    extra = sorted(map(str, set(tensors) - set(own)))
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


def _has_values(tensor: object) -> bool:
    """Whether it is a dense tensor with values, such as weights are."""
    return (
        isinstance(tensor, torch.Tensor)
        and not tensor.is_meta
        and not tensor.is_quantized
        and tensor.layout == torch.strided
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
