"""CLIP's text tower: its weights, from the formats in which they are published, and its parts.

Source: transformers' and OpenCLIP's files, as in `weights`, of which this is the other half:

    weights = load_text_weights("embedded")          # or a hub id, a folder, an OpenCLIP file
    tokens = load_tokenizer("embedded", weights.architecture)   # tokenizer
    text = load_text_tower(weights)                  # with these weights, or
    text = build_text_tower(architecture)            # random ones, to be filled by a state dict
    vision = load_tower(load_vision_weights("embedded"))        # weights
    scale = weights.logit_scale                      # what cosines are multiplied by (100 or so)

Both towers are transformers' modules. Their layers can be run one by one, between which a model
may change, add or replace tokens:

    ids = tokens(["grass", "bare soil"])             # (B, T) int64, ended and padded by `end`
    x = text.text_model.embeddings(ids)              # (B, T, M), positions added; they are
                                                     # .token_embedding and .position_embedding
    mask = causal_mask(T, x)                         # a token sees itself and those before it
    for layer in text.text_model.encoder.layers:
        x = run_layer(layer, x, mask)                # (B, T, M)
    x = text.text_model.final_layer_norm(x)
    e = text.text_projection(x[rows, end_index(ids, architecture.eos_token_id)])     # (B, P)

    x = vision.vision_model.embeddings(images)       # (B, 1 + G·G, M), the class token first
    x = vision.vision_model.pre_layrnorm(x)          # transformers' spelling
    for layer in vision.vision_model.encoder.layers:
        x = run_layer(layer, x)
    e = vision.visual_projection(vision.vision_model.post_layernorm(x[:, 0]))        # (B, P)

    B texts or images, T tokens, M the tower's width, P the embedding, G×G patches

As attention is causal, what follows the end token changes nothing: texts may be cut there.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bandweave.errors import WeightsError
from bandweave.nn.clip.files import ClipFiles, find_clip, read_tensors
from bandweave.nn.clip.weights import (
    describe,
    empty_tower,
    fill,
    openclip_config,
    openclip_layers,
    openclip_names,
    openclip_vision,
    read_openclip,
)
from bandweave.nn.pretrained.published_files import sha256

if TYPE_CHECKING:
    from transformers import CLIPTextModelWithProjection

LEGACY_END = 2  # what older configurations say where the end is the last token of the vocabulary


@dataclass(frozen=True)
class TextArchitecture:
    """The shape of a CLIP text tower, in transformers' names; defaults are ViT-B/16's."""

    hidden_size: int = 512
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    vocab_size: int = 49408
    max_position_embeddings: int = 77  # tokens of the longest text
    projection_dim: int = 512  # of the text embedding
    hidden_act: str = "quick_gelu"  # OpenAI's; models trained by OpenCLIP use gelu
    layer_norm_eps: float = 1e-5
    eos_token_id: int = 49407  # ends a text; the embedding is taken there


@dataclass(frozen=True)
class TextWeights:
    """A text tower's shape and tensors, and where they came from.

    `tensors` bear the names of transformers' CLIPTextModelWithProjection, in float32;
    `logit_scale` multiplies the cosines of image and text (the exponential of what is stored);
    `sha256` maps each file that was read to its digest.
    """

    architecture: TextArchitecture
    tensors: dict[str, Tensor]
    logit_scale: float
    source: str
    sha256: dict[str, str]


def build_text_tower(architecture: TextArchitecture) -> CLIPTextModelWithProjection:
    """A text tower of that shape with random weights."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    values = {field.name: getattr(architecture, field.name) for field in fields(architecture)}
    values["bos_token_id"] = max(architecture.eos_token_id - 1, 0)
    values["pad_token_id"] = architecture.eos_token_id
    return CLIPTextModelWithProjection(CLIPTextConfig(**values))


def load_text_tower(weights: TextWeights) -> CLIPTextModelWithProjection:
    """A text tower that holds these weights.

    Raises WeightsError where the tensors are not those of the architecture.
    """
    tower = empty_tower(build_text_tower, weights.architecture, weights.tensors, weights.source)
    fill(tower, weights.tensors, weights.source, "text")
    positions = torch.arange(weights.architecture.max_position_embeddings).expand((1, -1))
    tower.text_model.embeddings.register_buffer("position_ids", positions, persistent=False)
    return tower


def load_text_weights(
    weights: str, download: bool = False, activation: str = "auto"
) -> TextWeights:
    """Read the text tower of a CLIP model; arguments and errors as for `load_vision_weights`.

    Raises WeightsError also where there is an image encoder without its text.
    """
    files = find_clip(weights, download)
    found = (
        _load_from_transformers(files) if files.config else _load_from_openclip(files, activation)
    )
    if activation != "auto":
        shape = replace(found.architecture, hidden_act=activation)
        found = replace(found, architecture=shape)
    return found


def causal_mask(tokens: int, like: Tensor) -> Tensor:
    """The mask that keeps `run_layer` from showing a token a later one: (1, 1, T, T)."""
    lowest = torch.finfo(like.dtype).min
    mask = torch.full((tokens, tokens), lowest, device=like.device, dtype=like.dtype)
    return mask.triu(1)[None, None]


def run_layer(layer: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """A layer of either tower on tokens (B, T, M)."""
    x = x + layer.self_attn(layer.layer_norm1(x), attention_mask=mask)[0]
    return x + layer.mlp(layer.layer_norm2(x))


def end_index(ids: Tensor, end: int) -> Tensor:
    """The place (B,) of the first token `end` of each text (B, T).

    Raises ValueError for a text without one.
    """
    ends = ids == end
    if not bool(ends.any(1).all()):
        raise ValueError(f"a text has no end token {end} among its {ids.shape[1]} tokens")
    return ends.int().argmax(1)


def embed_texts(tower: nn.Module, ids: Tensor) -> Tensor:
    """The embeddings (B, P) of texts (B, T), not normalised."""
    text: Any = tower
    x = text.text_model.embeddings(ids)
    mask = causal_mask(ids.shape[1], x)
    for layer in text.text_model.encoder.layers:
        x = run_layer(layer, x, mask)
    ends = end_index(ids, text.config.eos_token_id)
    x = x[torch.arange(len(ids), device=ids.device), ends]  # (B, M)
    return text.text_projection(text.text_model.final_layer_norm(x))


def _load_from_transformers(files: ClipFiles) -> TextWeights:
    described = describe(files, "text")
    names = [field.name for field in fields(TextArchitecture)]
    shape = TextArchitecture(**{name: described[name] for name in names if name in described})
    state = read_tensors(files.tensors)
    tensors = {
        name: value.float()
        for name, value in state.items()
        if name.startswith(("text_model.", "text_projection.")) and "position_ids" not in name
    }
    _require_text(state, "text_projection.weight", files)
    if shape.eos_token_id == LEGACY_END or shape.eos_token_id >= shape.vocab_size:
        shape = replace(shape, eos_token_id=shape.vocab_size - 1)
    shape = replace(shape, projection_dim=state["text_projection.weight"].shape[0])
    scale = float(state["logit_scale"].float().exp())
    return TextWeights(shape, tensors, scale, files.source, sha256(files.tensors))


def _load_from_openclip(files: ClipFiles, activation: str) -> TextWeights:
    state = read_openclip(files)
    vision = openclip_vision(state, files, activation)  # whose activation is the text's
    custom = "text." if "text.token_embedding.weight" in state else ""  # OpenCLIP's CustomTextCLIP
    text = {
        name.removeprefix(custom): value.float()
        for name, value in state.items()
        if (name.startswith("text.") if custom else not name.startswith("visual."))
        and name.removeprefix(custom) not in _OPENCLIP_CONSTANTS
    }
    _require_text(state, f"{custom}text_projection", files)
    vocabulary, width = text["token_embedding.weight"].shape
    config = (openclip_config(files) or {}).get("text_cfg", {})
    if config.get("pool_type", "argmax") != "argmax" or config.get("embed_cls"):
        raise WeightsError(
            f"{files.source!r} does not embed a text at its end token; only that is supported"
        )
    shape = TextArchitecture(
        hidden_size=width,
        intermediate_size=text["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        num_hidden_layers=openclip_layers(text, ""),
        num_attention_heads=config.get("heads") or max(width // 64, 1),
        vocab_size=vocabulary,
        max_position_embeddings=text["positional_embedding"].shape[0],
        projection_dim=text["text_projection"].shape[1],
        hidden_act=vision.hidden_act,
        eos_token_id=vocabulary - 1,  # OpenCLIP takes the highest id, which is the last
    )
    tensors = openclip_names(text, "text_model", _OPENCLIP_STEM)
    # (width, embedding), used as x @ text_projection
    tensors["text_projection.weight"] = tensors.pop("text_projection").T.contiguous()
    scale = float(state["logit_scale"].float().exp())
    return TextWeights(shape, tensors, scale, files.source, sha256(files.tensors))


def _require_text(state: dict[str, Tensor], projection: str, files: ClipFiles) -> None:
    missing = [name for name in (projection, "logit_scale") if name not in state]
    if missing:
        raise WeightsError(
            f"{files.source!r} is no whole CLIP: its text tower or its scale is missing "
            f"({', '.join(missing)}); what embeds class names needs them, so give the whole model "
            f"with `--clip.weights`"
        )


_OPENCLIP_CONSTANTS = {
    "logit_scale", "logit_bias", "attn_mask", "input_resolution", "context_length", "vocab_size",
}  # fmt: skip
_OPENCLIP_STEM = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
