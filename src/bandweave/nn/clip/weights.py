"""CLIP's vision weights, from the formats in which they are published.

Two formats are read: transformers' (a hub id, or a folder with config.json and
model.safetensors or pytorch_model.bin; a whole CLIPModel or its vision part) and OpenCLIP's
(a .pt or .safetensors file with `visual.*` names, or a folder that holds one; RemoteCLIP and
GeoRSCLIP are published so). Both end as transformers' CLIPVisionModelWithProjection. The text
tower is read by `text`, of the same files.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bandweave.errors import WeightsError
from bandweave.nn.clip.files import ClipFiles, find_clip, read_tensors
from bandweave.nn.pretrained.published_files import read_json, sha256

if TYPE_CHECKING:
    from transformers import CLIPVisionModelWithProjection

logger = logging.getLogger(__name__)

OPENCLIP_CONFIG = "open_clip_config.json"


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
    tower = empty_tower(build_tower, weights.architecture, weights.tensors, weights.source)
    optional = set() if weights.architecture.projection_dim else {"visual_projection.weight"}
    fill(tower, weights.tensors, weights.source, "vision", optional)
    if not weights.architecture.projection_dim:
        tower.visual_projection = torch.nn.Identity()
    embeddings = tower.vision_model.embeddings
    positions = torch.arange(embeddings.num_positions).expand((1, -1))
    embeddings.register_buffer("position_ids", positions, persistent=False)
    return tower


def empty_tower(
    build: Callable[[Any], Any], architecture: Any, tensors: Iterable[str], source: str
) -> Any:
    """A tower of that shape on the meta device: no time for random weights, replaced at once.

    tensors  names of those that will fill it

    Raises WeightsError where their layers are not the architecture's, or it makes no tower.
    """
    _check_layers(architecture.num_hidden_layers, tensors, source)
    try:
        with torch.device("meta"):
            return build(architecture)
    except Exception as error:  # transformers and torch refuse numbers in ways of their own
        raise WeightsError(
            f"the weights {source!r} have a configuration that makes no CLIP: "
            f"{str(error).strip():.300}"
        ) from error


def _check_layers(stated: int, tensors: Iterable[str], source: str) -> None:
    """Compare the layers that a configuration states with those of the tensors' names.

    A tower of a damaged number of layers would take hours to build. Raises WeightsError.
    """
    there = {found[1] for name in tensors if (found := re.search(r"\.layers\.(\d+)\.", name))}
    if stated != len(there):
        raise WeightsError(
            f"the configuration of the weights {source!r} states {stated} layers, and there are "
            f"tensors of {len(there)}"
        )


def fill(
    tower: nn.Module,
    tensors: dict[str, Tensor],
    source: str,
    kind: str,
    optional: AbstractSet[str] = frozenset(),
) -> None:
    """Put these tensors, and no others, in a `kind` tower built on the meta device.

    Raises WeightsError where one is missing that is not `optional`, unknown, or of another shape.
    """
    expected = {name: tuple(value.shape) for name, value in tower.state_dict().items()}
    missing = sorted(expected.keys() - tensors.keys() - optional)
    unexpected = sorted(tensors.keys() - expected.keys())
    differing = [
        f"{name} is {tuple(value.shape)}, expected {expected[name]}"
        for name, value in sorted(tensors.items())
        if name in expected and tuple(value.shape) != expected[name]
    ]
    if missing or unexpected or differing:
        found = (
            [f"{len(missing)} tensors are missing ({', '.join(missing[:3])})"] if missing else []
        )
        if unexpected:
            found.append(f"{len(unexpected)} are unknown ({', '.join(unexpected[:3])})")
        raise WeightsError(
            f"the weights {source!r} are not those of a plain CLIP {kind} transformer: "
            f"{'; '.join(found + differing[:3])}"
        )
    tower.load_state_dict(tensors, strict=False, assign=True)


def load_vision_weights(
    weights: str, download: bool = False, activation: str = "auto"
) -> VisionWeights:
    """Read the vision tower of a CLIP model.

    weights     a hub id, a folder in transformers' or OpenCLIP's format, an OpenCLIP file, or
                `embedded`
    download    fetch a hub id that is not on this machine
    activation  `gelu` or `quick_gelu`; `auto` takes what the configuration beside the weights
                says. A bare OpenCLIP file says nothing: `auto` then takes quick_gelu for the sizes
                that OpenAI published (RemoteCLIP and GeoRSCLIP continue those) and gelu for
                others, and logs it

    Raises WeightsError for weights that are not there, of another kind, damaged, or not readable as
    plain tensors.
    """
    files = find_clip(weights, download)
    found = (
        _load_from_transformers(files) if files.config else _load_from_openclip(files, activation)
    )
    if activation != "auto":
        shape = replace(found.architecture, hidden_act=activation)
        found = replace(found, architecture=shape)
    return found


def _load_from_transformers(files: ClipFiles) -> VisionWeights:
    described = describe(files, "vision")
    names = [field.name for field in fields(VisionArchitecture)]
    shape = VisionArchitecture(
        **{
            "patch_size": 32,  # transformers' default, left out of a config that has it
            **{name: described[name] for name in names if name in described},
        }
    )
    state = read_tensors(files.tensors)
    bare = "embeddings.patch_embedding.weight" in state  # a CLIPVisionModel saved on its own
    tensors = {
        (f"vision_model.{name}" if bare else name): value.float()
        for name, value in state.items()
        if (bare or name.startswith(("vision_model.", "visual_projection.")))
        and not name.endswith("position_ids")  # a constant, kept in older files
    }
    projection = tensors.get("visual_projection.weight")
    shape = replace(shape, projection_dim=0 if projection is None else projection.shape[0])
    return VisionWeights(shape, tensors, files.source, sha256(files.tensors))


def _load_from_openclip(files: ClipFiles, activation: str) -> VisionWeights:
    state = read_openclip(files)
    shape = openclip_vision(state, files, activation)
    visual = {
        name.removeprefix("visual."): value.float()
        for name, value in state.items()
        if name.startswith("visual.")
    }
    tensors = openclip_names(visual, "vision_model", _OPENCLIP_STEM)
    if "proj" in tensors:  # (width, embedding), used as x @ proj
        tensors["visual_projection.weight"] = tensors.pop("proj").T.contiguous()
    return VisionWeights(shape, tensors, files.source, sha256(files.tensors))


def describe(files: ClipFiles, part: str) -> dict[str, Any]:
    """The `vision` or `text` part of transformers' config.json."""
    assert files.config is not None
    described = read_json(files.config)
    kind = described.get("model_type", "clip")
    if kind not in ("clip", f"clip_{part}_model"):
        raise WeightsError(f"{files.source!r} is a {kind!r} model; a CLIP model is needed")
    own = described.get(f"{part}_config") or described
    if not isinstance(own, dict):
        raise WeightsError(f"{files.source!r}: its {part}_config is no JSON object")
    return own


def read_openclip(files: ClipFiles) -> dict[str, Tensor]:
    """The tensors of an OpenCLIP file, which is one of a vision transformer."""
    state = read_tensors(files.tensors)
    if any(name.startswith("vision_model.") for name in state):
        raise WeightsError(
            f"{files.source!r} is in transformers' format: give its folder, config.json included"
        )
    if "visual.class_embedding" not in state or "visual.conv1.weight" not in state:
        raise WeightsError(
            f"{files.source!r} holds no CLIP vision transformer in OpenCLIP's format: there is no "
            f"tensor `visual.class_embedding` among its {len(state)} (ResNet, ConvNeXt and timm "
            f"towers are not supported)"
        )
    return state


def openclip_config(files: ClipFiles) -> dict[str, Any] | None:
    """`model_cfg` of the open_clip_config.json beside the weights; None where there is none."""
    beside = files.tensors.with_name(OPENCLIP_CONFIG)
    return read_json(beside).get("model_cfg", {}) if beside.is_file() else None


def openclip_vision(
    state: dict[str, Tensor], files: ClipFiles, activation: str = "auto"
) -> VisionArchitecture:
    """The shape of an OpenCLIP tower: from its tensors, and open_clip_config.json beside it.

    Two facts are in no tensor. The width of a head is 64 except in OpenCLIP's H, g and bigG. The
    activation is OpenAI's quick_gelu in what OpenAI trained or others continued from there.
    """
    described, source = openclip_config(files), files.source
    vision = (described or {}).get("vision_cfg", {})
    if vision.get("pool_type", "tok") != "tok" or vision.get("global_average_pool"):
        raise WeightsError(f"{source!r} pools its patches; only class-token towers are supported")
    width, _, _, patch = state["visual.conv1.weight"].shape
    positions = state["visual.positional_embedding"].shape[0] - 1
    projection = state.get("visual.proj")
    hidden = state.get("visual.transformer.resblocks.0.mlp.c_fc.weight")
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
        num_hidden_layers=openclip_layers(state, "visual."),
        num_attention_heads=width // head_width,
        image_size=patch * math.isqrt(positions),
        patch_size=patch,
        projection_dim=0 if projection is None else projection.shape[1],
        hidden_act="quick_gelu" if quick else "gelu",
    )


def openclip_layers(state: dict[str, Tensor], prefix: str) -> int:
    """The number of layers of the transformer `prefix`."""
    stem = f"{prefix}transformer.resblocks."
    return sum(name.startswith(stem) and name.endswith(".ln_1.weight") for name in state)


_OPENCLIP_STEM = {
    "class_embedding": "embeddings.class_embedding",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_pre.weight": "pre_layrnorm.weight",  # transformers' own spelling
    "ln_pre.bias": "pre_layrnorm.bias",
    "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
}
_OPENCLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def openclip_names(tower: dict[str, Tensor], model: str, stem: dict[str, str]) -> dict[str, Tensor]:
    """A tower's tensors under transformers' names, `model` in front; unknown ones keep theirs."""
    tensors: dict[str, Tensor] = {}
    for name, value in tower.items():
        if name.startswith("transformer.resblocks."):
            index, _, rest = name.removeprefix("transformer.resblocks.").partition(".")
            layer = f"{model}.encoder.layers.{index}"
            part, _, leaf = rest.rpartition(".")
            if rest.startswith("attn.in_proj_"):  # queries, keys and values in one tensor
                leaf = rest.removeprefix("attn.in_proj_")
                for key, third in zip("qkv", value.chunk(3), strict=True):
                    tensors[f"{layer}.self_attn.{key}_proj.{leaf}"] = third.clone()
            else:
                tensors[f"{layer}.{_OPENCLIP_LAYER.get(part, part)}.{leaf}"] = value
        else:
            tensors[f"{model}.{stem[name]}" if name in stem else name] = value
    return tensors
