"""A model's features of test pixels, before it names their class, as a picture in two dimensions.

Features are what goes into the model's last linear layer, blended over windows as its logits are;
of a model that has no such layer (it compares with texts) the logits, and of a classical method
what it looks at, standardised. The picture is by t-SNE (van der Maaten and Hinton 2008), from the
first principal components, of the same pixels for all models of a split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from bandweave.data.scene import Part, Scene
from bandweave.data.splits.splitting import TEST, Split
from bandweave.landcover.predict.feeding import predictor_of
from bandweave.landcover.run import ClassicalRun, NetRun, Run
from bandweave.models.contract import LandCoverModel
from bandweave.nn.output import Output
from bandweave.raster.grid import Window

PIXELS = 2000  # test pixels at most
LEAST = 10  # fewer make no picture
PERPLEXITY = 30.0
COMPONENTS = 30  # of the features, that t-SNE is given


@dataclass(frozen=True, eq=False)
class Features:
    """Features of test pixels: values (P, D), class indices (P,), and what the values are."""

    values: np.ndarray
    classes: np.ndarray
    what: str


def compute_features(run: Run, scene: Scene, split: Split) -> Features:
    """Features of a run on the test pixels that are pictured."""
    if isinstance(run, ClassicalRun):
        values, classes = _collect(scene, split, run.fitted.inputs.strips)
        table = values.astype(np.float64)
        scatter = table.std(axis=0)
        table = (table - table.mean(axis=0)) / np.where(scatter > 0, scatter, 1)
        return Features(table, classes, "its inputs, standardised")
    assert isinstance(run, NetRun)
    head = _find_last_layer(run, scene)
    net, what = run.net(scene.reference), "logits"
    if head is not None:
        net = replace(net, model=_BeforeTheHead(run.model, head), classes=_inputs(head))
        what = "penultimate features"
    predictor = predictor_of(net)

    def strips(part: Part) -> Iterator[tuple[Window, np.ndarray]]:
        for strip in predictor.strips(part):
            yield strip.window, np.moveaxis(strip.logits, 0, -1)

    return Features(*_collect(scene, split, strips), what)


def _collect(
    scene: Scene, split: Split, strips: Callable[[Part], Iterable[tuple[Window, np.ndarray]]]
) -> tuple[np.ndarray, np.ndarray]:
    """Values (P, D) and class indices (P,) of the pictured pixels, of strips (h, w, D)."""
    values, classes = [], []
    for part, chosen in zip(scene.parts, choose_pixels(split), strict=True):
        if not chosen.any() or part.labels is None:
            continue
        for window, found in strips(part):
            place = window.slices()
            values.append(found[chosen[place]])
            classes.append(part.labels.values[place][chosen[place]])
    return np.concatenate(values), np.concatenate(classes)


def choose_pixels(split: Split) -> list[np.ndarray]:
    """Test pixels that are pictured (H, W) bool of each part: at most PIXELS, drawn at random."""
    tested = [np.flatnonzero(roles == TEST) for roles in split.roles]
    total = sum(each.size for each in tested)
    drawn = np.sort(np.random.default_rng(0).permutation(total)[:PIXELS])
    masks, first = [], 0
    for roles, pixels in zip(split.roles, tested, strict=True):
        mask = np.zeros(roles.size, bool)
        mask[pixels[drawn[(drawn >= first) & (drawn < first + pixels.size)] - first]] = True
        masks.append(mask.reshape(roles.shape))
        first += pixels.size
    return masks


def describe_picture(features: Features) -> dict[str, Any]:
    """x, y and class of each pixel, for features.json; empty lists where there are too few."""
    values = features.values.astype(np.float64)
    number = len(values)
    if number < LEAST or not np.ptp(values, axis=0).any():
        return {"what": features.what, "x": [], "y": [], "classes": []}
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    components = min(COMPONENTS, *values.shape)
    reduced = PCA(components, svd_solver="full").fit_transform(values)
    perplexity = min(PERPLEXITY, (number - 1) / 3)
    placed = TSNE(perplexity=perplexity, init="random", random_state=0).fit_transform(reduced)
    x, y = np.round(placed.astype(np.float64), 2).T
    return {
        "what": features.what,
        "x": x.tolist(),
        "y": y.tolist(),
        "classes": features.classes.tolist(),
    }


def _find_last_layer(run: NetRun, scene: Scene) -> nn.Module | None:
    """The linear layer or 1×1 convolution that is called last, if its outputs are the classes."""
    called: list[nn.Module] = []
    kinds = (nn.Linear, nn.Conv2d)
    hooks = [
        module.register_forward_hook(lambda module, *_: called.append(module))
        for module in run.model.modules()
        if isinstance(module, kinds)
    ]
    try:
        next(run.predictor(scene.reference).strips(scene.parts[0]))
    finally:
        for hook in hooks:
            hook.remove()
    if not called:
        return None
    head: Any = called[-1]
    answers = head.out_features if isinstance(head, nn.Linear) else head.out_channels
    return head if answers % len(run.classes) == 0 else None


def _inputs(head: Any) -> int:
    return head.in_features if isinstance(head, nn.Linear) else head.in_channels


class _BeforeTheHead(LandCoverModel):
    """A model that answers with what its last layer is given, at the size of its logits."""

    def __init__(self, inner: LandCoverModel, head: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.fed, self.output_ratio = inner.fed, inner.output_ratio
        self._channels_last = isinstance(head, nn.Linear)
        self._given: Tensor | None = None
        self._hook = head.register_forward_pre_hook(self._keep)

    def _keep(self, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._given = given[0]

    @property
    def window_step(self) -> int:
        """The step of the inner model."""
        return self.inner.window_step

    @property
    def bytes_per_pixel(self) -> int:
        """The bytes of the inner model."""
        return self.inner.bytes_per_pixel

    def reach(self, window: int) -> int:
        """The reach of the inner model."""
        return self.inner.reach(window)

    def forward(self, layers: dict[str, Tensor], labels: Tensor | None = None) -> Output:
        """Layers to features (B, D, H, W)."""
        size = self.inner(layers).logits.shape[-2:]
        assert self._given is not None
        given = self._given.movedim(-1, 1) if self._channels_last else self._given
        if given.ndim == 2:  # one vector for a patch
            given = given[..., None, None]
        return Output(given if given.shape[-2:] == size else F.interpolate(given, size))
