"""CLIP's vision tower, frozen, with adapters, or fine-tuned, and its options.

Source: M³amba, section III-A, eq. 6 and Table VII. The paper says that an adapter stands "after
each attention block"; here it follows the attention within a layer, before its result joins the
residual stream.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bandweave.errors import ConfigError, WeightsError
from bandweave.nn.clip.adapters import Adapter
from bandweave.nn.clip.weights import (
    VisionArchitecture,
    build_tower,
    load_tower,
    load_vision_weights,
)
from bandweave.nn.pretrained.provenance import FrozenClip
from bandweave.schema import check_choices


@dataclass
class ClipConfig:
    """Options of the CLIP guidance; the defaults are the paper's, or said to be ours."""

    mode: Literal["none", "frozen", "adapters", "finetune"] = (
        "adapters"  # Table VII: Infer, Ours, Fine-tune; none is scheme A of Table I
    )
    weights: str = "openai/clip-vit-base-patch16"  # hub id, folder, OpenCLIP file, or `embedded`
    download: bool = False  # fetch weights that are not on this machine
    guidance: Literal["tokens", "pooled"] = "tokens"  # pooled: the release's form
    fuse: Literal["concat", "sum"] = "concat"  # of the modalities; sum: the release's form
    input: Literal["learned", "pca"] = "learned"  # bands → three channels; pca: fixed
    bottleneck: int = 64  # channels of an adapter; ours
    drop_last_layer: bool = True  # tokens only; pooled uses the whole encoder, as the release
    normalise: bool = True  # squash to colours in 0..1, then CLIP's mean and std; release: False
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of a frozen tower; auto: bf16 in hardware
    activation: Literal["auto", "gelu", "quick_gelu"] = "auto"  # auto: as the weights say
    cache: int = 256  # MiB of kept features; only frozen with pca, and not in training; 0: none
    architecture: dict[str, Any] | None = (
        None  # kept in self-contained runs: the tower's shape, whose weights come with the run
    )

    def __post_init__(self) -> None:
        check_choices(self, "clip.")
        if self.bottleneck < 1:
            raise ConfigError(f"clip.bottleneck is {self.bottleneck}; it is 1 or more")
        if self.cache < 0:
            raise ConfigError(f"clip.cache is {self.cache} MiB; it is 0 or more")


class ClipEncoder(FrozenClip):
    """A CLIP vision tower shared by modalities, each with its own adapters.

    names   the modalities
    config  `frozen` and `adapters` keep the tower's tensors out of training (gradients still pass
            through to what stands before them); `finetune` trains them

    Raises WeightsError for weights that are not there or not a CLIP vision transformer.
    """

    tower: Any  # transformers' CLIPVisionModelWithProjection, without what is not used

    def __init__(self, names: Iterable[str], config: ClipConfig) -> None:
        super().__init__()
        if config.mode == "none":
            raise ConfigError("clip.mode is 'none': there is no encoder to build")
        self.config = config
        if config.architecture is None:
            weights = load_vision_weights(config.weights, config.download, config.activation)
            self.architecture = weights.architecture
            self.source, self.sha256 = weights.source, weights.sha256
            self.tower = load_tower(weights)
        else:
            self.architecture = VisionArchitecture(**config.architecture)
            self.tower = build_tower(self.architecture)
        self._drop_unused()
        self.tower.requires_grad_(config.mode == "finetune")
        self.adapters = nn.ModuleDict()
        if config.mode == "adapters":
            width, depth = self.architecture.hidden_size, len(self._layers)
            for name in names:
                self.adapters[name] = nn.ModuleList(
                    Adapter(width, config.bottleneck) for _ in range(depth)
                )

    def _drop_unused(self) -> None:
        vision = self.tower.vision_model
        depth = self.architecture.num_hidden_layers
        if self.config.guidance == "pooled":
            if not self.architecture.projection_dim:
                raise WeightsError(
                    f"{self.config.weights!r} has no projection to the image embedding, which "
                    f"`--clip.guidance pooled` needs; use the whole CLIP model or `tokens`"
                )
            return
        self.tower.visual_projection = nn.Identity()
        vision.post_layernorm = nn.Identity()
        if self.config.drop_last_layer:
            if depth < 2:
                raise WeightsError(
                    f"{self.config.weights!r} has {depth} layer: none is left without its last; "
                    f"use `--clip.drop_last_layer false`"
                )
            vision.encoder.layers = vision.encoder.layers[:-1]

    @property
    def frozen(self) -> list[str]:
        """The tower, unless it is fine-tuned."""
        return [] if self.config.mode == "finetune" else ["tower"]

    def describe_architecture(self) -> dict[str, Any]:
        """The tower's shape."""
        return asdict(self.architecture)

    @property
    def _layers(self) -> nn.ModuleList:
        return self.tower.vision_model.encoder.layers

    @property
    def width(self) -> int:
        """Channels of what `forward` returns."""
        pooled = self.config.guidance == "pooled"
        return self.architecture.projection_dim if pooled else self.architecture.hidden_size

    def bfloat16_on(self, device: torch.device) -> bool:
        """True where a frozen tower computes in bfloat16 on the device."""
        if self.config.mode == "finetune" or self.config.precision == "fp32":
            return False
        return self.config.precision == "bf16" or has_bfloat16(device)

    def forward(self, images: Tensor, name: str) -> Tensor:
        """Patch tokens (B, G, G, width), or the image embedding (B, width); float32.

        images (B, 3, S, S) of modality `name`, as the tower takes them. A tower that is
        fine-tuned computes in the training's precision.
        """
        if self.config.mode == "finetune":
            return self._encode(images, name).float()
        device = images.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16_on(device)):
            return self._encode(images.float(), name).float()

    def _encode(self, images: Tensor, name: str) -> Tensor:
        vision: Any = self.tower.vision_model
        adapters: Any = self.adapters[name] if self.config.mode == "adapters" else None
        x = vision.pre_layrnorm(vision.embeddings(images))  # (B, 1 + G·G, M)
        layer: Any
        for i, layer in enumerate(self._layers):
            attended = layer.self_attn(layer.layer_norm1(x))[0]
            if adapters is not None:
                attended = adapters[i](attended)
            x = x + attended
            x = x + layer.mlp(layer.layer_norm2(x))
        if self.config.guidance == "pooled":
            return self.tower.visual_projection(vision.post_layernorm(x[:, 0]))
        side = self.architecture.image_size // self.architecture.patch_size
        return x[:, 1:].unflatten(1, (side, side))  # (B, G, G, M)


def has_bfloat16(device: torch.device) -> bool:
    """True where the device multiplies bfloat16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":  # torch offers no public question for this
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
    return False
