"""How a model is fed, by what its `fed` says: the samples it learns from, and a part through it.

    crops    windows of one size around training pixels; maps are blended of overlapping windows
    pixels   patches around training pixels; every pixel is mapped from the patch around it
    scene    whole parts, or crops where their size is given; parts are mapped whole where they fit
    itself   with nothing: a method that is trained elsewhere and makes the strips of a part itself

A module that does not say is fed with crops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from torch import nn

from bandweave.data.samples.crops import CropSampler, SampleConfig
from bandweave.data.samples.parts import PartSampler
from bandweave.data.samples.pixels import PixelSampler
from bandweave.data.scaling import Scaling
from bandweave.data.scene import Part, Scene
from bandweave.data.splits.splitting import Split
from bandweave.errors import ConfigError
from bandweave.landcover.predict.pixels import stream_pixels
from bandweave.landcover.predict.whole_scene import stream_scene
from bandweave.landcover.predict.windows import Strip
from bandweave.landcover.predict.windows import stream_logits as stream_windows


class Sampler(Protocol):
    """Batches as a pure function of their number: {"layers": {name: array}, "labels": array}."""

    def batch(self, step: int, rank: int = 0, world: int = 1) -> dict[str, Any]:
        """The batch of a step and process."""
        ...


def scene_sampler(
    scene: Scene, split: Split, scaling: Scaling, config: SampleConfig, seed: int
) -> Sampler:
    """Whole parts where `crop` is 0, else crops."""
    kind = CropSampler if config.crop else PartSampler
    return kind(scene, split, scaling, config, seed)


SAMPLERS: dict[str, Callable[[Scene, Split, Scaling, SampleConfig, int], Sampler]] = {
    "crops": CropSampler,
    "pixels": PixelSampler,
    "scene": scene_sampler,
}


def stream_itself(
    module: Any, part: Part, layers: Any, scaling: Scaling, **options: Any
) -> Iterator[Strip]:
    """What the module says of a part."""
    yield from module.strips(part, **options)


STREAMS: dict[str, Callable[..., Iterator[Strip]]] = {
    "crops": stream_windows,
    "pixels": stream_pixels,
    "scene": stream_scene,
    "itself": stream_itself,
}


def make_sampler(
    module: nn.Module,
    scene: Scene,
    split: Split,
    scaling: Scaling,
    config: SampleConfig,
    seed: int = 0,
) -> Sampler:
    """The sampler that feeds the module while it learns."""
    return _fed(module, SAMPLERS)(scene, split, scaling, config, seed)


def stream_logits(
    module: nn.Module, part: Part, *args: Any, only: np.ndarray | None = None, **options: Any
) -> Iterator[Strip]:
    """Map a part as the module is fed; arguments and strips are those of predict.stream_logits.

    only  (H·ratio, W·ratio) bool: pixels whose logits are wanted; a module that is fed with pixels
          answers for no others, which are not valid then; the rest answer for all
    """
    stream = _fed(module, STREAMS)
    if only is not None and stream is stream_pixels:
        options["only"] = only
    return stream(module, part, *args, **options)


def _fed(module: nn.Module, ways: dict[str, Any]) -> Any:
    fed = getattr(module, "fed", "crops")
    if fed not in ways:
        raise ConfigError(f"a model cannot be fed with {fed!r}; there are {', '.join(ways)}")
    return ways[fed]


def seen_at_once(window: int, scene: Scene) -> int:
    """Side in px of the grid of what goes into a model: the window's, or for 0 the largest part's.

    What a model's `reach` is asked with.
    """
    return window or max(max(part.grid.height, part.grid.width) for part in scene.parts)
