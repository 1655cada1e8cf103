"""A frozen CLIP, both towers, with prompts that every layer replaces by its own.

Source: CF-IPT (CVPR 2026), V-TPI; prompts per layer as in MaPLe (Khattak et al. 2023). The text is
a sentence a class: a template and the class's name. The prompts stand after its start token; in a
soft template they stand for the template's words, whose embeddings are what those of the first
layer may start from. In the image they follow the patches.

    images   (B, 3, S, S)     → embeddings (B, E)
    texts    K sentences      → embeddings (B, K, E)
    prompts  (B, L, n, M)     of a tower of L layers and width M; n prompts

A layer's prompts are seen by its tokens and then dropped, so a layer computes keys and values of
them and nothing else, and the last layer only what becomes the embedding. A text token sees those
before it alone: nothing follows the end token here, and what all sentences begin with (the start,
the prompts, the template's words) is computed once for all classes. All of this is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bandweave.errors import ConfigError, WeightsError
from bandweave.nn.clip.text import (
    TextArchitecture,
    build_text_tower,
    end_index,
    load_text_tower,
    load_text_weights,
)
from bandweave.nn.clip.tokenizer import load_tokenizer
from bandweave.nn.clip.weights import (
    VisionArchitecture,
    build_tower,
    load_tower,
    load_vision_weights,
)
from bandweave.nn.pretrained.provenance import FrozenClip


@dataclass
class PromptedClipConfig:
    """Options of the CLIP that is prompted."""

    weights: str = "openai/clip-vit-base-patch16"  # hub id, folder, OpenCLIP file, or `embedded`
    download: bool = False  # fetch weights that are not on this machine
    activation: str = "auto"  # gelu or quick_gelu; auto: as the weights say
    architecture: dict[str, Any] | None = (
        None  # kept in self-contained runs: the towers' shapes, and the tokens of the texts
    )

    def __post_init__(self) -> None:
        if self.activation not in ("auto", "gelu", "quick_gelu"):
            raise ConfigError(
                f"clip.activation is {self.activation!r}; it is one of auto, gelu, quick_gelu"
            )


@dataclass(frozen=True)
class Sentences:
    """The texts of the classes.

    classes   names
    template  what stands before a name
    soft      whether prompts stand for the template's words
    """

    classes: Sequence[str]
    template: str
    soft: bool = False


class PromptedClip(FrozenClip):
    """CLIP's two towers, whose tensors never train, and the classes' sentences as tokens.

    sentences     the texts
    prompts       n; 0: one for each token of the template
    in_text       whether the text has prompts; without, its template is never soft

    vision, text  the towers' architectures
    scale         what cosines are multiplied by
    count         n

    Raises WeightsError for weights that are not there or not a whole CLIP, and ConfigError for
    sentences that are too long together with the prompts.
    """

    ids: Tensor
    ends: Tensor

    def __init__(
        self,
        sentences: Sentences,
        prompts: int,
        config: PromptedClipConfig,
        in_text: bool = True,
    ) -> None:
        super().__init__()
        soft = sentences.soft and in_text
        before = "" if soft else f"{sentences.template} "
        texts = [f"{before}{name}" for name in sentences.classes]
        self.vision_tower: Any
        self.text_tower: Any
        if config.architecture is None:
            vision = load_vision_weights(config.weights, config.download, config.activation)
            text = load_text_weights(config.weights, config.download, config.activation)
            self.vision, self.text = vision.architecture, text.architecture
            self.source, self.sha256 = vision.source, {**vision.sha256, **text.sha256}
            self.scale = text.logit_scale
            self.vision_tower, self.text_tower = load_tower(vision), load_text_tower(text)
            tokenizer = load_tokenizer(config.weights, text.architecture, config.download)
            tokens = tokenizer(texts).tolist()
            self.template = tokenizer([sentences.template]).tolist()[0][1:-1]
        else:
            self.vision = VisionArchitecture(**config.architecture["vision"])
            self.text = TextArchitecture(**config.architecture["text"])
            self.scale, tokens = config.architecture["scale"], config.architecture["tokens"]
            self.template = config.architecture.get("template", [])
            self.vision_tower = build_tower(self.vision)
            self.text_tower = build_text_tower(self.text)
        if not self.vision.projection_dim:
            raise WeightsError(
                f"{config.weights!r} has no projection to the image embedding: give a whole CLIP"
            )
        self.count = prompts or len(self.template)
        if not self.count:
            raise ConfigError("prompts is 0, and the template has no tokens; give a number of them")
        self.prompts, self.soft = self.count if in_text else 0, soft
        ids, ends = _pad_sentences(tokens, self.text.eos_token_id)
        self._check_length(texts, ends)
        self.register_buffer("ids", ids, persistent=False)
        self.register_buffer("ends", ends, persistent=False)
        self.shared = _count_shared(ids, ends)
        self.requires_grad_(False)

    @property
    def frozen(self) -> list[str]:
        """Names of the towers."""
        return ["vision_tower", "text_tower"]

    def describe_architecture(self) -> dict[str, Any]:
        """Shapes, scale and tokens, from which `architecture` builds it again without files."""
        tokens = [
            ids[: end + 1] for ids, end in zip(self.ids.tolist(), self.ends.tolist(), strict=True)
        ]
        return {
            "vision": asdict(self.vision),
            "text": asdict(self.text),
            "scale": self.scale,
            "tokens": tokens,
            "template": self.template,
        }

    def template_words(self) -> Tensor:
        """Embeddings (n or fewer, M) of a soft template's first n tokens; (0, M) of a fixed one."""
        ids = torch.tensor(self.template[: self.count] if self.soft else [], dtype=torch.int64)
        embedding = self.text_tower.text_model.embeddings.token_embedding
        return embedding(ids.to(embedding.weight.device)).detach()

    def embed_images(self, images: Tensor, prompts: Tensor | None) -> Tensor:
        """Unit embeddings (B, E) of images under prompts (B or 1, L, n, M), or none."""
        tower = self.vision_tower.vision_model
        x = tower.pre_layrnorm(tower.embeddings(images))  # (B, 1 + G·G, M)
        last = len(tower.encoder.layers) - 1
        for i, layer in enumerate(tower.encoder.layers):
            context = x
            if prompts is not None:
                own = prompts[:, i].to(x.dtype).expand(len(x), -1, -1)
                context = torch.cat([x, own], dim=1)
            context = layer.layer_norm1(context)
            if i == last:
                x = x[:, :1]  # the class token, which becomes the embedding
            x = x + _attend(layer.self_attn, context[:, : x.shape[1]], context)
            x = x + layer.mlp(layer.layer_norm2(x))
        return _project_unit(self.vision_tower.visual_projection, tower.post_layernorm(x[:, 0]))

    def embed_texts(self, prompts: Tensor | None) -> Tensor:
        """Unit embeddings (B, K, E) of the sentences under prompts (B, L, n, M); B = 1 for none."""
        tower = self.text_tower.text_model
        words = tower.embeddings.token_embedding(self.ids)  # (K, T, M)
        places = tower.embeddings.position_embedding.weight
        count = 0 if prompts is None else self.prompts
        later = places[1 + count : count + words.shape[1]]
        words = torch.cat([words[:, :1] + places[:1], words[:, 1:] + later], dim=1)
        batch = 1 if prompts is None else prompts.shape[0]
        head = words[:1, : self.shared].expand(batch, -1, -1)  # (B, H, M): what all begin with
        tail = words[:, self.shared :].expand(batch, -1, -1, -1)  # (B, K, T - H, M)
        ends = self.ends - self.shared
        last = len(tower.encoder.layers) - 1
        for i, layer in enumerate(tower.encoder.layers):
            context = head
            if prompts is not None:
                own = prompts[:, i].to(head.dtype)
                own = own + places[1 : 1 + count] if i == 0 else own
                context = torch.cat([head[:, :1], own, head[:, 1:]], dim=1)
            seen = layer.layer_norm1(context)
            tail = _run_text_layer(layer, seen, tail, ends if i == last else None)
            if i < last:
                head = _run_head_layer(layer, seen, head, count)
        embedded = tower.final_layer_norm(tail[:, :, 0])  # (B, K, M)
        return _project_unit(self.text_tower.text_projection, embedded)

    def _check_length(self, texts: Sequence[str], ends: Tensor) -> None:
        room = self.text.max_position_embeddings - self.prompts
        longest = int(ends.argmax())
        if int(ends[longest]) + 1 > room:
            raise ConfigError(
                f"{texts[longest]!r} takes {int(ends[longest]) + 1} tokens and there are "
                f"{self.prompts} prompts; the text tower takes {room + self.prompts} together: "
                f"give the class a shorter name, or use fewer prompts"
            )


def _pad_sentences(tokens: list[list[int]], end: int) -> tuple[Tensor, Tensor]:
    """Ids (K, T), cut after the longest sentence's end token, and where each ends (K,)."""
    longest = max(len(each) for each in tokens)
    ids = torch.tensor([[*each, *[end] * (longest - len(each))] for each in tokens])
    ends = end_index(ids, end)
    return ids[:, : int(ends.max()) + 1].contiguous(), ends


def _count_shared(ids: Tensor, ends: Tensor) -> int:
    """The number of tokens that all sentences begin with: one at least, up to any one's last."""
    same = (ids == ids[:1]).all(0).int().cumprod(0)
    return max(1, min(int(same.sum()), int(ends.min())))


def _run_text_layer(layer: Any, seen: Tensor, tail: Tensor, ends: Tensor | None) -> Tensor:
    """A text layer on tokens (B, K, T, M) that also see `seen` (B, S, M), normalised.

    Where `ends` (K,) is given, only the token that stands there: (B, K, 1, M).
    """
    attention = layer.self_attn
    own = layer.layer_norm1(tail)
    queries, mask = own, _make_causal_mask(tail.shape[2], tail)  # (T, T)
    if ends is not None:
        rows = torch.arange(len(ends), device=ends.device)
        queries, tail, mask = own[:, rows, ends], tail[:, rows, ends], mask[ends]
        queries, tail, mask = queries[:, :, None], tail[:, :, None], mask[:, None, None]
    q = _project_heads(attention, attention.q_proj, queries) * attention.scale  # (B, K, h, T, d)
    k, v = (
        _project_heads(attention, project, own) for project in (attention.k_proj, attention.v_proj)
    )
    before_k, before_v = (  # (B, h, S, d)
        _project_heads(attention, project, seen) for project in (attention.k_proj, attention.v_proj)
    )
    classes, tokens = q.shape[1], q.shape[3]
    asked = q.transpose(1, 2).flatten(2, 3)  # (B, h, K·T, d): all classes ask the same keys
    before = (asked @ before_k.transpose(-1, -2)).unflatten(2, (classes, tokens)).transpose(1, 2)
    within = q @ k.transpose(-1, -2) + mask  # (B, K, h, T, T)
    weights = torch.cat([before, within.to(before.dtype)], dim=-1).softmax(-1).to(v.dtype)
    before, within = weights.split([before.shape[-1], within.shape[-1]], dim=-1)
    mixed = before.transpose(1, 2).flatten(2, 3) @ before_v  # (B, h, K·T, d)
    mixed = mixed.unflatten(2, (classes, tokens)).transpose(1, 2) + within @ v
    tail = tail + attention.out_proj(_join_heads(mixed))
    return tail + layer.mlp(layer.layer_norm2(tail))


def _run_head_layer(layer: Any, seen: Tensor, head: Tensor, prompts: int) -> Tensor:
    """A text layer on the shared tokens (B, H, M); `seen` has the prompts after the first."""
    queries = torch.cat([seen[:, :1], seen[:, 1 + prompts :]], dim=1)
    mask = _make_causal_mask(seen.shape[1], seen)
    mask = torch.cat([mask[:1], mask[1 + prompts :]])  # (H, S)
    head = head + _attend(layer.self_attn, queries, seen, mask)
    return head + layer.mlp(layer.layer_norm2(head))


def _attend(attention: Any, queries: Tensor, seen: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention of tokens (B, Q, M) to tokens (B, S, M), both normalised, under a mask (Q, S)."""
    q = _project_heads(attention, attention.q_proj, queries)
    k, v = (
        _project_heads(attention, project, seen) for project in (attention.k_proj, attention.v_proj)
    )
    mask = None if mask is None else mask.to(q.dtype)
    mixed = F.scaled_dot_product_attention(q, k, v, mask, scale=attention.scale)
    return attention.out_proj(_join_heads(mixed))


def _project_heads(attention: Any, project: Any, tokens: Tensor) -> Tensor:
    """Projections (…, h, T, d) of tokens (…, T, M)."""
    return project(tokens).unflatten(-1, (-1, attention.head_dim)).transpose(-2, -3)


def _join_heads(heads: Tensor) -> Tensor:
    """Join the heads of tokens: (…, h, T, d) to (…, T, h·d)."""
    return heads.transpose(-2, -3).flatten(-2)


def _make_causal_mask(tokens: int, like: Tensor) -> Tensor:
    """(T, T): minus infinity where a token would see a later one, else 0."""
    return torch.full((tokens, tokens), -torch.inf, device=like.device, dtype=like.dtype).triu(1)


def _project_unit(projection: Any, x: Tensor) -> Tensor:
    """Projections of length one; in float32 at least, as cosines are multiplied by a hundred."""
    with torch.autocast(x.device.type, enabled=False):
        projected = projection(x.to(projection.weight.dtype))
    return F.normalize(projected if projected.dtype == torch.float64 else projected.float(), dim=-1)
