"""CLIP's vision weights, from the formats in which they are published.

Two formats are read: transformers' (a hub id, or a folder with config.json and
model.safetensors or pytorch_model.bin; a whole CLIPModel or its vision part) and OpenCLIP's
(a .pt or .safetensors file with `visual.*` names, or a folder that holds one; RemoteCLIP and
GeoRSCLIP are published so). Both end as transformers' CLIPVisionModelWithProjection. Files are
read as plain tensors: what would need unpickling is refused. Nothing is downloaded unless asked.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import pickle
import zipfile
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bandweave.errors import WeightsError

if TYPE_CHECKING:
    from transformers import CLIPVisionModelWithProjection

logger = logging.getLogger(__name__)

TENSOR_FILES = ("model.safetensors", "pytorch_model.bin")  # transformers' names
OPENCLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
OPENCLIP_CONFIG = "open_clip_config.json"
CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class VisionArchitecture:
    """The shape of a CLIP vision tower, in transformers' names; defaults are ViT-B/16's."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    image_size: int = 224  # px, square
    patch_size: int = 16  # px, square
    projection_dim: int = 512  # of the image embedding; 0: the weights have no projection
    hidden_act: str = "quick_gelu"  # OpenAI's; models trained by OpenCLIP use gelu
    layer_norm_eps: float = 1e-5


@dataclass(frozen=True)
class VisionWeights:
    """A vision tower's shape and tensors, and where they came from.

    `tensors` bear the names of transformers' CLIPVisionModelWithProjection, in float32;
    `sha256` maps each file that was read to its digest.
    """

    architecture: VisionArchitecture
    tensors: dict[str, Tensor]
    source: str
    sha256: dict[str, str]


def build_tower(architecture: VisionArchitecture) -> CLIPVisionModelWithProjection:
    """A vision tower of that shape with random weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    values = {field.name: getattr(architecture, field.name) for field in fields(architecture)}
    values["projection_dim"] = architecture.projection_dim or architecture.hidden_size
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**values))


def load_tower(weights: VisionWeights) -> CLIPVisionModelWithProjection:
    """A vision tower that holds these weights.

    Raises WeightsError where the tensors are not those of the architecture.
    """
    with torch.device("meta"):  # no time for random weights that are replaced at once
        tower: Any = build_tower(weights.architecture)
    optional = set() if weights.architecture.projection_dim else {"visual_projection.weight"}
    expected = {name: tuple(value.shape) for name, value in tower.state_dict().items()}
    missing = sorted(expected.keys() - weights.tensors.keys() - optional)
    unexpected = sorted(weights.tensors.keys() - expected.keys())
    differing = [
        f"{name} is {tuple(value.shape)}, expected {expected[name]}"
        for name, value in sorted(weights.tensors.items())
        if name in expected and tuple(value.shape) != expected[name]
    ]
    if missing or unexpected or differing:
        found = (
            [f"{len(missing)} tensors are missing ({', '.join(missing[:3])})"] if missing else []
        )
        if unexpected:
            found.append(f"{len(unexpected)} are unknown ({', '.join(unexpected[:3])})")
        raise WeightsError(
            f"the weights {weights.source!r} are not those of a plain CLIP vision transformer: "
            f"{'; '.join(found + differing[:3])}"
        )
    tower.load_state_dict(weights.tensors, strict=False, assign=True)
    if not weights.architecture.projection_dim:
        tower.visual_projection = torch.nn.Identity()
    embeddings = tower.vision_model.embeddings
    positions = torch.arange(embeddings.num_positions).expand((1, -1))
    embeddings.register_buffer("position_ids", positions, persistent=False)
    return tower


def load_vision_weights(
    weights: str, download: bool = False, activation: str = "auto"
) -> VisionWeights:
    """Read the vision tower of a CLIP model.

    Parameters
    ----------
    weights
        A hub id, a folder in transformers' or OpenCLIP's format, or an OpenCLIP file.
    download
        Whether a hub id that is not on this machine may be fetched.
    activation
        `gelu` or `quick_gelu`; `auto` takes what the configuration beside the weights says. A
        bare OpenCLIP file says nothing: `auto` then takes quick_gelu for the sizes that OpenAI
        published (RemoteCLIP and GeoRSCLIP continue those) and gelu for others, and logs it.

    Raises
    ------
    WeightsError
        Weights that are not there, of another kind, damaged, or not readable as plain tensors.
    """
    path = Path(weights).expanduser()
    if path.is_dir():
        found = _from_folder(path, weights, activation)
    elif path.is_file():
        found = _from_openclip(path, weights, activation)
    elif path.suffix in CHECKPOINT_SUFFIXES or weights.startswith((".", "/", "~")):
        raise WeightsError(f"no CLIP weights at {weights!r}: there is no such file or folder")
    else:
        found = _from_transformers(*_hub_files(weights, download), weights)
    if activation != "auto":
        shape = replace(found.architecture, hidden_act=activation)
        found = replace(found, architecture=shape)
    return found


def _hub_files(repository: str, download: bool) -> tuple[Path, Path]:
    """The paths of config.json and of the tensors in the hub's local cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import EntryNotFoundError

    cause: Exception | None = None
    try:
        config = hf_hub_download(repository, "config.json", local_files_only=not download)
    except (OSError, ValueError, EntryNotFoundError) as error:
        cause = error
    else:
        for name in TENSOR_FILES:
            try:
                tensors = hf_hub_download(repository, name, local_files_only=not download)
            except (OSError, EntryNotFoundError) as error:
                cause = error
            else:
                return Path(config), Path(tensors)
    if download:
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise WeightsError(
            f"the CLIP weights {repository!r} could not be downloaded: {reason}; check the name "
            f"and the network, or copy the model's folder here and give it as `--clip.weights PATH`"
        ) from cause
    raise WeightsError(
        f"the CLIP weights {repository!r} are not on this machine (no such file or folder, and "
        f"nothing under {HF_HUB_CACHE}): fetch them once with `--clip.download true`, give a "
        f"folder or an OpenCLIP file with `--clip.weights PATH`, or do without them: "
        f"`--clip.mode none`"
    ) from cause


def _from_folder(folder: Path, source: str, activation: str) -> VisionWeights:
    for name in TENSOR_FILES:
        if (folder / "config.json").is_file() and (folder / name).is_file():
            return _from_transformers(folder / "config.json", folder / name, source)
    for name in OPENCLIP_FILES:
        if (folder / name).is_file():
            return _from_openclip(folder / name, source, activation)
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    checkpoints = [name for name in files if name.endswith(CHECKPOINT_SUFFIXES)]
    if len(checkpoints) == 1:
        return _from_openclip(folder / checkpoints[0], source, activation)
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


def _from_transformers(config: Path, tensor_file: Path, source: str) -> VisionWeights:
    described = _read_json(config)
    kind = described.get("model_type", "clip")
    if kind not in ("clip", "clip_vision_model"):
        raise WeightsError(f"{source!r} is a {kind!r} model; a CLIP model is needed")
    described = described.get("vision_config") or described
    names = [field.name for field in fields(VisionArchitecture)]
    shape = VisionArchitecture(
        **{
            "patch_size": 32,  # transformers' default, left out of a config that has it
            **{name: described[name] for name in names if name in described},
        }
    )
    state = _read_tensors(tensor_file)
    bare = "embeddings.patch_embedding.weight" in state  # a CLIPVisionModel saved on its own
    tensors = {
        (f"vision_model.{name}" if bare else name): value.float()
        for name, value in state.items()
        if (bare or name.startswith(("vision_model.", "visual_projection.")))
        and not name.endswith("position_ids")  # a constant, kept in older files
    }
    projection = tensors.get("visual_projection.weight")
    shape = replace(shape, projection_dim=0 if projection is None else projection.shape[0])
    return VisionWeights(shape, tensors, source, {tensor_file.name: _sha256(tensor_file)})


def _from_openclip(path: Path, source: str, activation: str) -> VisionWeights:
    state = _read_tensors(path)
    if any(name.startswith("vision_model.") for name in state):
        raise WeightsError(
            f"{source!r} is in transformers' format: give its folder, config.json included"
        )
    if "visual.class_embedding" not in state or "visual.conv1.weight" not in state:
        raise WeightsError(
            f"{source!r} holds no CLIP vision transformer in OpenCLIP's format: there is no "
            f"tensor `visual.class_embedding` among its {len(state)} (ResNet, ConvNeXt and timm "
            f"towers are not supported)"
        )
    visual = {
        name.removeprefix("visual."): value.float()
        for name, value in state.items()
        if name.startswith("visual.")
    }
    beside = path.with_name(OPENCLIP_CONFIG)
    described = _read_json(beside).get("model_cfg", {}) if beside.is_file() else None
    shape = _openclip_architecture(visual, described, source, activation)
    return VisionWeights(shape, _openclip_names(visual), source, {path.name: _sha256(path)})


def _openclip_architecture(
    visual: dict[str, Tensor], described: dict[str, Any] | None, source: str, activation: str
) -> VisionArchitecture:
    """The shape of an OpenCLIP tower: from its tensors, and open_clip_config.json beside it.

    Two facts are in no tensor. The width of a head is 64 except in OpenCLIP's H, g and bigG. The
    activation is OpenAI's quick_gelu in what OpenAI trained or others continued from there.
    """
    vision = (described or {}).get("vision_cfg", {})
    if vision.get("pool_type", "tok") != "tok" or vision.get("global_average_pool"):
        raise WeightsError(f"{source!r} pools its patches; only class-token towers are supported")
    width, _, _, patch = visual["conv1.weight"].shape
    positions = visual["positional_embedding"].shape[0] - 1
    projection = visual.get("proj")
    hidden = visual.get("transformer.resblocks.0.mlp.c_fc.weight")
    head_width = vision.get("head_width") or {1280: 80, 1408: 88, 1664: 104}.get(width, 64)
    if width % head_width:
        raise WeightsError(
            f"the width of {source!r} is {width}, not a multiple of {head_width}, the usual width "
            f"of a head: put an {OPENCLIP_CONFIG} with `vision_cfg: head_width` beside it"
        )
    if described is not None:
        quick = bool(described.get("quick_gelu", False))
    else:
        quick = (width, patch) in ((768, 32), (768, 16), (1024, 14))
        if activation == "auto":
            logger.warning(
                "%s does not say its activation; taking %s (set it with `--clip.activation`)",
                source,
                "quick_gelu, as in the models that continue OpenAI's" if quick else "gelu",
            )
    return VisionArchitecture(
        hidden_size=width,
        intermediate_size=4 * width if hidden is None else hidden.shape[0],
        num_hidden_layers=sum(name.endswith(".ln_1.weight") for name in visual),
        num_attention_heads=width // head_width,
        image_size=patch * math.isqrt(positions),
        patch_size=patch,
        projection_dim=0 if projection is None else projection.shape[1],
        hidden_act="quick_gelu" if quick else "gelu",
    )


_OPENCLIP_STEM = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "ln_pre.weight": "vision_model.pre_layrnorm.weight",  # transformers' own spelling
    "ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "ln_post.weight": "vision_model.post_layernorm.weight",
    "ln_post.bias": "vision_model.post_layernorm.bias",
}
_OPENCLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def _openclip_names(visual: dict[str, Tensor]) -> dict[str, Tensor]:
    """OpenCLIP's tensors under transformers' names; unknown ones keep theirs."""
    tensors: dict[str, Tensor] = {}
    for name, value in visual.items():
        if name == "proj":  # (width, embedding), used as x @ proj
            tensors["visual_projection.weight"] = value.T.contiguous()
        elif name.startswith("transformer.resblocks."):
            index, _, rest = name.removeprefix("transformer.resblocks.").partition(".")
            layer = f"vision_model.encoder.layers.{index}"
            part, _, leaf = rest.rpartition(".")
            if rest.startswith("attn.in_proj_"):  # queries, keys and values in one tensor
                leaf = rest.removeprefix("attn.in_proj_")
                for key, third in zip("qkv", value.chunk(3), strict=True):
                    tensors[f"{layer}.self_attn.{key}_proj.{leaf}"] = third.clone()
            else:
                tensors[f"{layer}.{_OPENCLIP_LAYER.get(part, part)}.{leaf}"] = value
        else:
            tensors[_OPENCLIP_STEM.get(name, name)] = value
    return tensors


def _read_tensors(path: Path) -> dict[str, Tensor]:
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
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
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
    except (zipfile.BadZipFile, OSError):
        return False


def _read_json(path: Path) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a readable JSON file: {error}") from error
    if not isinstance(described, dict):
        raise WeightsError(f"{path} describes no model: it holds no JSON object")
    return described


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
