"""Parameters and multiply-adds of our models for the papers' bands and classes; no data needed.

Models are made of shapes alone (torch's meta device), so that the size of CLIP costs nothing and
its weights need not be there.

    multiply-adds   of one crop, forward, without CLIP and the guidance that is made of it: of
                    products and convolutions, as torch counts them; and of the scans' states, 9
                    operations (4.5 multiply-adds) each, as Mamba's authors count
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bandweave.landcover.config import LandCoverConfig
from bandweave.models import LAND_COVER
from bandweave.models.m3amba import M3amba
from bandweave.nn.clip import prompted as prompted_clip
from bandweave.nn.clip.text import TextArchitecture
from bandweave.nn.clip.weights import VisionArchitecture
from bandweave.training.sections import merged
from papers.pages import DASH, markdown
from papers.printed import Cost, Paper

SCAN = 4.5  # multiply-adds a state, channel and step
TEMPLATE = [320, 1125, 539, 320]  # a photo of a
SENTENCE = [49406, 320, 1, 2, 49407]  # tokens of a class; what they are changes no count


@dataclass
class Counted:
    """Parameters that train and do not; multiply-adds of products and scans, where asked."""

    trained: int
    frozen: int
    products: float | None = None
    scans: float | None = None


def count(paper: Paper, cost: Cost) -> Counted:
    """Of our model with the bands and classes of a line of the paper's."""
    model = shapes_of(paper, cost)
    sizes = {True: 0, False: 0}
    for parameter in model.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    counted = Counted(sizes[True], sizes[False])
    if cost.crop:
        layers = {
            name: torch.empty(1, bands, cost.crop, cost.crop, device="meta")
            for name, bands in cost.bands.items()
        }
        if isinstance(model, M3amba):
            model.add_module("guidance", NoGuidance(model.config.width))
        with counted_scans() as scans, FlopCounterMode(display=False) as flops, torch.no_grad():
            model.eval()(layers)
        counted.scans = SCAN * scans.states
        counted.products = flops.get_total_flops() / 2 + scans.products
    return counted


def shapes_of(paper: Paper, cost: Cost) -> nn.Module:
    """The model, without numbers in it."""
    options = merged(paper.base, cost.options)
    if paper.model == "m3amba" and options["clip"]["mode"] != "none":
        options = merged(options, {"clip": {"architecture": {}}})  # ViT-B/16's
    if paper.model == "cf_ipt":
        shape = {"vision": asdict(VisionArchitecture()), "text": asdict(TextArchitecture()),
                 "scale": 100.0, "tokens": [SENTENCE] * cost.classes,
                 "template": TEMPLATE}  # fmt: skip
        options = merged(options, {"clip": {"architecture": shape}})
    config = LandCoverConfig.read({"model": {"name": paper.model, **options}}).model
    make, classes = LAND_COVER[paper.model].model, ["grass"] * cost.classes
    if paper.model == "cf_ipt":  # it looks at its sentences while it is made
        with towers_of_shapes():
            return make(cost.bands, classes, config)
    with torch.device("meta"):
        return make(cost.bands, classes, config)


@dataclass
class Scans:
    """States that were computed, and multiply-adds of the products that give step sizes."""

    states: int = 0
    products: int = 0


class NoGuidance(nn.Module):
    """In the place of CLIP and what leads to it and from it, which are not counted."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, layers: dict[str, Tensor]) -> Tensor:
        first = next(iter(layers.values()))
        return first.new_empty(first.shape[0], *first.shape[2:], self.width)


@contextmanager
def towers_of_shapes() -> Iterator[None]:
    """Within the block, CLIP's towers are made without numbers."""
    kept = {name: getattr(prompted_clip, name) for name in ("build_tower", "build_text_tower")}

    def of_shapes(build: Callable[..., Any]) -> Callable[..., Any]:
        def built(architecture: Any) -> Any:
            with torch.device("meta"):
                return build(architecture)

        return built

    def no_words(clip: prompted_clip.PromptedClip) -> torch.Tensor:
        return torch.empty(0, clip.text.hidden_size)

    words = prompted_clip.PromptedClip.template_words
    for name, build in kept.items():
        setattr(prompted_clip, name, of_shapes(build))
    prompted_clip.PromptedClip.template_words = no_words  # type: ignore[method-assign]
    try:
        yield
    finally:
        for name, build in kept.items():
            setattr(prompted_clip, name, build)
        prompted_clip.PromptedClip.template_words = words  # type: ignore[method-assign]


@contextmanager
def counted_scans() -> Iterator[Scans]:
    """Within the block, scans of bandweave's blocks compute nothing and are counted."""
    found = Scans()
    callers = [
        module
        for name, module in sys.modules.items()
        if name.startswith("bandweave.nn.") and hasattr(module, "selective_scan")
    ]
    kept = [module.selective_scan for module in callers]

    def counting(
        u: Tensor, delta: Tensor, A: Tensor, *others: Any, delta_weight: Tensor | None = None,
        delta2_weight: Tensor | None = None, **options: Any,
    ) -> Tensor:  # fmt: skip
        steps = u.shape[0] * u.shape[1]
        weights = [w for w in (delta_weight, delta2_weight) if w is not None]
        found.states += steps * A.numel()
        found.products += steps * sum(weight.numel() for weight in weights)
        return torch.empty_like(u)

    for module in callers:
        module.selective_scan = counting  # type: ignore[attr-defined]
    try:
        yield found
    finally:
        for module, own in zip(callers, kept, strict=True):
            module.selective_scan = own  # type: ignore[attr-defined]


def complexity_table(papers: list[Paper]) -> str:
    """What papers say of their models' size, and ours of the same bands and classes."""
    heads = [
        *("model", "bands", "classes", "parameters (M), the paper", "ours, trained"),
        *("ours, frozen", "GMAC, the paper", "ours, products", "ours, scans", "what is printed"),
    ]
    rows = []
    for paper in papers:
        for cost in paper.complexity:
            ours = count(paper, cost)
            rows.append(
                [
                    cost.name,
                    " + ".join(f"{bands} {name}" for name, bands in cost.bands.items()),
                    str(cost.classes),
                    DASH if cost.parameters is None else f"{cost.parameters / 1e6:.2f}",
                    f"{ours.trained / 1e6:.2f}",
                    f"{ours.frozen / 1e6:.2f}",
                    DASH if cost.giga_macs is None else f"{cost.giga_macs:g}",
                    DASH if ours.products is None else f"{ours.products / 1e9:.1f}",
                    DASH if ours.scans is None else f"{ours.scans / 1e9:.1f}",
                    cost.text,
                ]
            )
    words = (
        "Ours are the models of the papers' sizes, counted and not run; GMAC of a forward pass of "
        "one crop, without CLIP."
    )
    return "\n".join(["### Parameters and multiply-adds", "", words, "", *markdown(heads, rows)])
