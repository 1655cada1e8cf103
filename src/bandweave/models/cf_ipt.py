"""CF-IPT: the class of a pixel from the patch around it, by prompts in a frozen CLIP.

Source: "CF-IPT: Cross-Modal Fusion Interactive Prompt Tuning of Vision-Language Pre-Trained Model
for Multisource Remote Sensing Data Classification" (CVPR 2026). What the paper leaves open is
chosen here, and said where it is.

    X_H    (B, C, H, W)   spectral source: the first layer
    X_L    (B, D, H, W)   spatial source: the other layers beside each other; of one layer, itself
    F_f, P_sp, P_sa       fused patch, spectral and spatial matrix    MFPG (nn/mfpg.py)
    image  (B, 3, S, S)   F_f as CLIP's vision tower takes it         IAE (nn/mfpg.py)
    P_V    (L, n, M)      prompts of the vision tower, P_T of the text's
    at layer i: P_TV = P_T + f(P_V; P_sp, P_sa) joins the text, P_VT = P_V + g(P_T; …) the image

Logits are τ·cos(image, text) for the sentences "A multisource fusion patch of [class]", τ as CLIP
has it. The template is soft: P_T stands for its words, and the first layer's starts from their
embeddings. The loss is L_CRC + λ·L_TRD.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from bandweave.errors import ConfigError
from bandweave.models.contract import LandCoverModel
from bandweave.nn.blocks import Stem
from bandweave.nn.clip.prompted import PromptedClip, PromptedClipConfig, Sentences
from bandweave.nn.layer_grid import LayerGrid
from bandweave.nn.losses.supervision import accuracy, cross_entropy
from bandweave.nn.mfpg import (
    AMFF,
    BilinearUpsampling,
    CrossAttention,
    LearnedUpsampling,
    Matrices,
    resize_spatial,
)
from bandweave.nn.output import Output
from bandweave.nn.prompts import HEADS, PromptTransfer
from bandweave.schema import check_choices, check_ranges

logger = logging.getLogger(__name__)

TEMPLATE = "A multisource fusion patch of"
NAMELESS = re.compile(r"(c|class|label|category|type)?[\s_-]*\d*", re.IGNORECASE)
FINER = 16  # channels that a layer finer than the grid becomes
MOMENTUM = 0.1  # of the running means of the matrices, as of a batch norm


@dataclass
class CFIPTConfig:
    """The paper's model, where it says; each of its ablations is a value here."""

    patch: int = 7  # px: the side that strides and matrices are made for; others are brought to it
    template: Literal["soft", "fixed"] = "soft"  # 'fixed': its words stay, after prompts that all
    # start at random
    prompts: int = 0  # n, of each layer of each tower; 0: one for each token of the template
    width: int = 192  # E, channels of the transfer between prompts; ours
    state: int = 16  # N of its scan; ours
    fusion: Literal["guided", "concat"] = "guided"  # 'concat' is variant 2
    matrices: Literal["own", "ones"] = "own"  # what guides the prompts; 'ones' is variant 1
    upsampling: Literal["learned", "bilinear"] = "learned"  # 'bilinear' is variant 3
    exchange: Literal["mamba", "transformer", "none", "vision", "text"] = "mamba"  # of prompts:
    # 'vision' and 'text' are variants 4a and 4b, prompts in one tower alone; 'none' is 4c,
    # 'transformer' 4d
    text: Literal["sample", "batch"] = "sample"  # 'batch': the text's prompts come from the
    # matrices' mean over the batch, so that it is encoded once; in use, from their running mean
    diversity: float = 0.02  # λ of L_TRD
    dropout: float = 0.0  # of the fused patch; the paper uses none
    clip: PromptedClipConfig = field(default_factory=PromptedClipConfig)

    former: ClassVar[dict[str, Any]] = {"template": "fixed"}  # of runs from before the option

    def __post_init__(self) -> None:
        check_choices(self)
        check_ranges(self, {"patch": 1, "prompts": 0, "width": 4, "state": 1})
        if self.exchange == "transformer" and self.width % HEADS:
            raise ConfigError(
                f"width is {self.width}; with `exchange: transformer` it must be a multiple of "
                f"{HEADS}"
            )
        if not 0 <= self.diversity < float("inf"):
            raise ConfigError(f"diversity is {self.diversity}; it must be 0 or more, and finite")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; it must be from 0 to below 1")
        for name, value, other in (("matrices", "ones", "own"), ("text", "batch", "sample")):
            if getattr(self, name) == value and not self.exchanges:
                raise ConfigError(
                    f"{name} is {value!r}, but with `exchange: {self.exchange}` no matrix guides "
                    f"any prompt; set {name} to {other!r}"
                )
        if self.text == "batch" and self.matrices == "ones":
            raise ConfigError(
                "text is 'batch', but with `matrices: ones` the text is the same for all samples "
                "and is encoded once anyway; set text to 'sample'"
            )

    @property
    def exchanges(self) -> bool:
        """True where each tower's prompts are made with the other's."""
        return self.exchange in ("mamba", "transformer")


class CFIPT(LandCoverModel):
    """CF-IPT for one to four layers with any bands.

    bands         bands of each layer; the first is the spectral source
    classes       names, in the order of label indices; the text that CLIP reads is made of them
    ratios        how many times finer than the grid each layer is (1 where not named)
    output_ratio  how many times finer than the grid the labels are

    It answers for the pixel in the middle of a patch: row and column ⌊side / 2⌋. A layer finer
    than the grid enters through a strided convolution.

    Raises ConfigError for layers, ratios or class names that it cannot take, and WeightsError for
    CLIP's weights.
    """

    fed = "pixels"

    def __init__(
        self,
        bands: dict[str, int],
        classes: list[str],
        config: CFIPTConfig,
        ratios: dict[str, int] | None = None,
        output_ratio: int = 1,
    ) -> None:
        super().__init__()
        self.config, self.output_ratio = config, output_ratio
        self.grid = LayerGrid(bands, classes, ratios, output_ratio)
        _warn_of_nameless(tuple(classes))
        names = [name.replace("_", " ") for name in classes]
        sentences = Sentences(names, TEMPLATE, soft=config.template == "soft")
        self.clip = PromptedClip(
            sentences, config.prompts, config.clip, in_text=config.exchange != "vision"
        )
        finer = {name: ratio for name, ratio in self.grid.ratios.items() if ratio > 1}
        self.stems = nn.ModuleDict(
            {name: Stem({name: bands[name]}, FINER, {name: ratio}) for name, ratio in finer.items()}
        )
        self.spectral, *others = bands
        self.spatial = others or [self.spectral]
        channels = {name: FINER if name in finer else count for name, count in bands.items()}
        C, D = channels[self.spectral], sum(channels[name] for name in self.spatial)
        side, guided = self.clip.vision.image_size, config.fusion == "guided"
        own = config.exchanges and config.matrices == "own"
        self.attention = CrossAttention(C, D, fuse=guided, compare=guided or own)
        self.fuse = AMFF(C + D) if guided else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.upsample = (
            LearnedUpsampling(C + D, side, config.patch)
            if config.upsampling == "learned"
            else BilinearUpsampling(C + D, side)
        )
        self.prompts = Prompts(C, config, self.clip)

    @property
    def bytes_per_pixel(self) -> int:
        """About what `pixels` takes in memory for a pixel of the grid."""
        return 4 * sum(self.attention.sizes)

    def reach(self, window: int) -> int:
        """Pixels of the grid by which an input can lie away and still matter: half the patch."""
        return window // 2

    def forward(self, layers: dict[str, Tensor], labels: Tensor | None = None) -> Output:
        """Patches (B, C, h·r, w·r) of each layer to logits (B, K, R, R) of the pixel in the middle.

        All R² labels in that pixel of the grid get the same logits; `labels` (B, R, R) are class
        indices, or IGNORED, or HIDDEN.
        """
        image, texts = self._embed(self.pixels(layers))
        logits = self._logits(image, texts)
        R = self.output_ratio
        answers = logits[:, :, None, None].expand(-1, -1, R, R)
        if labels is None:
            return Output(answers)
        self.grid.check_middle(labels)
        loss = cross_entropy(answers, labels)  # L_CRC
        parts = {"consistency": loss.detach()}
        if self.config.diversity:
            diversity = _diversity(texts, (labels >= 0).any(-1).any(-1))
            parts["diversity"] = diversity.detach()
            loss = loss + self.config.diversity * diversity
        return Output(answers, loss, {**parts, "accuracy": accuracy(answers, labels)})

    def pixels(self, layers: Mapping[str, Tensor]) -> Tensor:
        """The part of the answer that depends on single pixels: (B, C, h·r, w·r) to (B, h, w, F).

        A patch may be cut from a scene's pixels instead of from its layers; what of it lies
        outside of the scene must be in the layers, as zeros.
        """
        self.grid.tokens(layers, None)
        entered = {
            name: self.stems[name](layers) if name in self.stems else layers[name].movedim(1, -1)
            for name in self.grid.bands
        }
        spatial = torch.cat([entered[name] for name in self.spatial], dim=-1)
        return self.attention.pixels(entered[self.spectral], spatial)

    def classify(self, pixels: Tensor) -> Tensor:
        """Logits (B, K) of the pixels in the middle of patches (B, h, w, F) of `pixels`."""
        return self._logits(*self._embed(pixels))

    def _embed(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Unit embeddings: of the images (B, E), and of the classes' texts (B or 1, K, E)."""
        size = pixels.shape[1], pixels.shape[2]
        fused, matrices = self.attention(pixels.flatten(1, 2))
        fused = self.dropout(
            self.fuse(fused.transpose(1, 2).unflatten(2, size))
        )  # (B, C + D, h, w)
        image = self.upsample(fused)  # (B, 3, S, S)
        in_vision, in_text = self.prompts(matrices, size)
        return self.clip.embed_images(image, in_vision), self.clip.embed_texts(in_text)

    def _logits(self, image: Tensor, texts: Tensor) -> Tensor:
        return self.clip.scale * (image[:, None] * texts).sum(-1)  # (B, K)


class Prompts(nn.Module):
    """V-TPI: what is learnt in front of every layer of both towers, and their exchange.

    Of towers with different numbers of layers, each layer takes its prompts with those of the
    other tower's layer at the same share of the depth.
    """

    spectral_mean: Tensor
    spatial_mean: Tensor

    def __init__(self, bands: int, config: CFIPTConfig, clip: PromptedClip) -> None:
        super().__init__()
        self.config = config
        vision, text, count = clip.vision, clip.text, clip.count
        if config.exchange != "text":
            self.vision = _make_parameter(vision.num_hidden_layers, count, vision.hidden_size)
        if config.exchange != "vision":
            self.text = _make_parameter(text.num_hidden_layers, count, text.hidden_size)
            words = clip.template_words()
            self.text.data[0, : len(words)] = words
        pixels = config.patch**2
        if config.exchange == "mamba" or config.exchange == "transformer":
            sizes = {"prompts": count, "width": config.width, "state": config.state}
            sizes |= {"bands": bands, "pixels": pixels}
            widths = vision.hidden_size, text.hidden_size
            self.to_text = PromptTransfer(*widths, **sizes, mixing=config.exchange)
            self.to_vision = PromptTransfer(*reversed(widths), **sizes, mixing=config.exchange)
            self.of_vision = _match_depths(vision.num_hidden_layers, text.num_hidden_layers)
            self.of_text = _match_depths(text.num_hidden_layers, vision.num_hidden_layers)
        if config.text == "batch":
            self.register_buffer("spectral_mean", torch.full((bands, bands), 0.5))
            self.register_buffer("spatial_mean", torch.full((pixels, pixels), 0.5))
        self.sizes = bands, pixels

    def forward(
        self, matrices: Matrices | None, size: tuple[int, int]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Prompts of the vision tower and of the text tower, (B, L, n, M).

        They are (1, L, n, M) where they are the same for all samples, and None where there are
        none. Matrices are those of patches of `size`.
        """
        config = self.config
        if not config.exchanges:
            vision = self.vision[None] if config.exchange != "text" else None
            return vision, self.text[None] if config.exchange != "vision" else None
        if config.matrices == "ones":
            bands, pixels = self.sizes
            ones = self.text.new_ones
            guides = Matrices(ones(1, bands, bands), ones(1, pixels, pixels))
        else:
            assert matrices is not None
            guides = Matrices(
                matrices.spectral, resize_spatial(matrices.spatial, size, config.patch)
            )
        in_vision = self.vision + self.to_vision(self.text[self.of_text], guides)
        if config.text == "batch":
            guides = self._average(guides)
        return in_vision, self.text + self.to_text(self.vision[self.of_vision], guides)

    def _average(self, guides: Matrices) -> Matrices:
        """The mean over the batch while the model trains, and else the running mean."""
        if not self.training:
            return Matrices(self.spectral_mean[None], self.spatial_mean[None])
        mean = Matrices(guides.spectral.mean(0, True), guides.spatial.mean(0, True))
        with torch.no_grad():
            self.spectral_mean.lerp_(mean.spectral[0].to(self.spectral_mean.dtype), MOMENTUM)
            self.spatial_mean.lerp_(mean.spatial[0].to(self.spatial_mean.dtype), MOMENTUM)
        return mean


def _diversity(texts: Tensor, labelled: Tensor) -> Tensor:
    """L_TRD of labelled samples (B,): mean |S - 1| of the classes' cosines; 0 where none is."""
    alike = texts @ texts.transpose(1, 2)  # (B or 1, K, K)
    apart = (alike - torch.eye(alike.shape[-1], device=alike.device)).abs().mean((1, 2))
    counts = labelled.to(apart.dtype)
    return (apart * counts).sum() / counts.sum().clamp(min=1)


def _make_parameter(layers: int, prompts: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(layers, prompts, width) * 0.02)


def _match_depths(source: int, layers: int) -> list[int]:
    """For each layer of a tower, the other tower's layer (of `source`) that lies as deep."""
    return [i * source // layers for i in range(layers)]


@lru_cache(maxsize=16)  # so that the same classes are warned about once
def _warn_of_nameless(classes: tuple[str, ...]) -> None:
    nameless = [name for name in classes if NAMELESS.fullmatch(name.strip())]
    if nameless:
        logger.warning(
            "%d of %d classes have names that say nothing (%s): CLIP reads the names, so its text "
            "cannot help there; name the classes in the scene",
            len(nameless),
            len(classes),
            ", ".join(repr(name) for name in nameless[:3]),
        )
