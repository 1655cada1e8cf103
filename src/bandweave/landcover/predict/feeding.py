"""How a model is fed, by what its `fed` says: the samples it learns from, and a part through it.

crops    windows of one size around training pixels; maps are blended of overlapping windows
pixels   patches around training pixels; every pixel is mapped from the patch around it
scene    whole parts, or crops where their size is given; parts are mapped whole where they fit
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from bandweave.data.samples.crops import CropSampler, SampleConfig
from bandweave.data.samples.parts import PartSampler
from bandweave.data.samples.pixels import PixelSampler
from bandweave.data.samples.pseudo_labels import PseudoLabels
from bandweave.data.scaling import Scaling
from bandweave.data.scene import Scene
from bandweave.data.splits.splitting import Split
from bandweave.errors import ConfigError
from bandweave.landcover.predict.net import Net, Predictor
from bandweave.landcover.predict.pixels import PixelPredictor
from bandweave.landcover.predict.whole_scene import ScenePredictor
from bandweave.landcover.predict.windows import WindowPredictor
from bandweave.models.contract import LandCoverModel


class Sampler(Protocol):
    """Batches as a pure function of their number: {"layers": {name: array}, "labels": array}.

    sides  of the samples in px of the grid, which batches have in turn
    """

    sides: list[int]

    def batch(self, step: int, rank: int = 0, world: int = 1) -> dict[str, Any]:
        """The batch of a step and process."""
        ...

    def show_training_pixels(self) -> Iterator[dict[str, Any]]:
        """Batches of training samples as they are in the scene; none of crops and parts."""
        ...


def scene_sampler(
    scene: Scene,
    split: Split,
    scaling: Scaling,
    config: SampleConfig,
    seed: int,
    pseudo: PseudoLabels | None,
) -> Sampler:
    """Whole parts where `crop` is 0, else crops."""
    kind = CropSampler if config.crop else PartSampler
    return kind(scene, split, scaling, config, seed, pseudo)


@dataclass(frozen=True)
class Way:
    """One row of FEEDS: how batches are sampled for a model, and how a part is mapped with it."""

    sampler: Callable[[Scene, Split, Scaling, SampleConfig, int, PseudoLabels | None], Sampler]
    predictor: Callable[[Net], Predictor]


FEEDS: dict[str, Way] = {
    "crops": Way(CropSampler, WindowPredictor),
    "pixels": Way(PixelSampler, PixelPredictor),
    "scene": Way(scene_sampler, ScenePredictor),
}


def make_sampler(
    model: LandCoverModel,
    scene: Scene,
    split: Split,
    scaling: Scaling,
    config: SampleConfig,
    seed: int = 0,
    pseudo: PseudoLabels | None = None,
) -> Sampler:
    """The sampler that feeds a model while it learns."""
    return _way(model).sampler(scene, split, scaling, config, seed, pseudo)


def predictor_of(net: Net) -> Predictor:
    """The predictor that maps with a net, by what its model is fed with."""
    return _way(net.model).predictor(net)


def _way(model: LandCoverModel) -> Way:
    if model.fed not in FEEDS:
        raise ConfigError(f"a model cannot be fed with {model.fed!r}; there are {', '.join(FEEDS)}")
    return FEEDS[model.fed]


def seen_at_once(window: int, scene: Scene) -> int:
    """Side in px of the grid of what goes into a model: the window's, or for 0 the largest part's.

    What a model's `reach` is asked with.
    """
    return window or max(max(part.grid.height, part.grid.width) for part in scene.parts)
