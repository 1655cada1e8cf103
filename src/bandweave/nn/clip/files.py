"""The files of a published CLIP model: where they are, and how they are read safely.

Two formats are known: transformers' (config.json with model.safetensors or pytorch_model.bin) and
OpenCLIP's (one .pt, .bin or .safetensors file; RemoteCLIP and GeoRSCLIP are published so). Files
are read as plain tensors: what would need unpickling is refused. Nothing is downloaded unless
asked.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bandweave.errors import WeightsError
from bandweave.nn.pretrained.published_files import explain_failure, fetch_file

EMBEDDED = "embedded"  # the name of the model that comes with bandweave
EMBEDDED_FOLDER = Path(__file__).with_name("embedded")
TENSOR_FILES = ("model.safetensors", "pytorch_model.bin")  # transformers' names
OPENCLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class ClipFiles:
    """A CLIP model's files.

    source   as it was asked for
    tensors  the weights
    config   transformers' config.json; None for OpenCLIP's format
    """

    source: str
    tensors: Path
    config: Path | None = None


def find_clip(weights: str, download: bool = False) -> ClipFiles:
    """Find a CLIP model by `embedded`, a hub id, a folder, or an OpenCLIP file.

    A file of a hub repository goes by `owner/name/file.pt`. `download`: whether what is not on
    this machine may be fetched. Raises WeightsError where there is nothing, or nothing of CLIP's.
    """
    if weights == EMBEDDED:
        return _find_in_folder(EMBEDDED_FOLDER, weights)
    path = Path(weights).expanduser()
    if path.is_dir():
        return _find_in_folder(path, weights)
    if path.is_file():
        return ClipFiles(weights, path)
    on_hub = len(path.parts) == 3 or path.suffix not in CHECKPOINT_SUFFIXES
    if weights.startswith((".", "/", "~")) or not on_hub:
        raise WeightsError(f"no CLIP weights at {weights!r}: there is no such file or folder")
    return _find_on_hub(weights, download)


def _find_on_hub(weights: str, download: bool) -> ClipFiles:
    """The files of a hub repository, in the hub's local cache."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import EntryNotFoundError

    cause: Exception | None = None
    repository = "/".join(weights.split("/")[:2])
    try:
        if file := weights[len(repository) + 1 :]:
            return ClipFiles(weights, fetch_file(repository, file, download))
        config = fetch_file(repository, "config.json", download)
    except (OSError, ValueError, EntryNotFoundError) as error:
        cause = error
    else:
        for name in TENSOR_FILES:
            try:
                return ClipFiles(weights, fetch_file(repository, name, download), config)
            except (OSError, EntryNotFoundError) as error:
                cause = error
    if download:
        raise WeightsError(
            f"the CLIP weights {weights!r} could not be downloaded: {explain_failure(cause)}; "
            f"check the name and the network, or copy the model's folder here and give it as "
            f"`--clip.weights PATH`"
        ) from cause
    raise WeightsError(
        f"the CLIP weights {weights!r} are not on this machine (no such file or folder, and "
        f"nothing under {HF_HUB_CACHE}): fetch them once with `--clip.download true`, give a "
        f"folder or an OpenCLIP file with `--clip.weights PATH`, take the small model that comes "
        f"with bandweave, `--clip.weights {EMBEDDED}`, or do without: `--clip.mode none`"
    ) from cause


def _find_in_folder(folder: Path, source: str) -> ClipFiles:
    for name in TENSOR_FILES:
        if (folder / "config.json").is_file() and (folder / name).is_file():
            return ClipFiles(source, folder / name, folder / "config.json")
    for name in OPENCLIP_FILES:
        if (folder / name).is_file():
            return ClipFiles(source, folder / name)
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    checkpoints = [name for name in files if name.endswith(CHECKPOINT_SUFFIXES)]
    if len(checkpoints) == 1:
        return ClipFiles(source, folder / checkpoints[0])
    if checkpoints and "config.json" not in files:
        raise WeightsError(
            f"the folder {source!r} holds {len(checkpoints)} weight files "
            f"({', '.join(checkpoints)}): give one of them with `--clip.weights`"
        )
    raise WeightsError(
        f"the folder {source!r} holds no CLIP weights: expected config.json with "
        f"{' or '.join(TENSOR_FILES)} (transformers), or {' or '.join(OPENCLIP_FILES)} "
        f"(OpenCLIP); found {', '.join(files[:8]) or 'no file'}"
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A file's named tensors, never unpickled. A checkpoint's `state_dict` is looked into."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{path} is not a readable safetensors file: {error}") from error
    if _is_torchscript(path):
        raise WeightsError(
            f"{path} is a TorchScript archive (code and weights in one), as OpenAI publishes "
            f"them: use the same weights by their hub id, such as openai/clip-vit-base-patch16"
        )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of damaged ones the restricted unpickler raises of any kind
        raise WeightsError(
            f"{path} cannot be read as plain tensors and is refused: it holds Python objects, "
            f"which would run code when loaded, or it is damaged; where you trust it, save its "
            f"state_dict anew as safetensors and give that file"
        ) from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not loaded:
        raise WeightsError(f"{path} holds no named tensors, so no CLIP weights")
    return {
        str(name).removeprefix("module."): value  # written under DistributedDataParallel
        for name, value in loaded.items()
        if isinstance(value, Tensor)
    }


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception:  # whatever is wrong with the archive, it is told when its tensors are read
        return False
