"""A run that is ready to map a scene, by the options of a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bandweave.data.match import match_layers, with_bands
from bandweave.data.scene import Scene
from bandweave.landcover.areas.within import Extent, find_extents
from bandweave.landcover.predict.net import Predictor
from bandweave.landcover.run import Run
from bandweave.raster.grid import Window

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class MapWork:
    """What maps, and what is mapped.

    scene    with the bands that the run takes
    extents  where each part is mapped, and None for one that is not; without any, all is mapped
    """

    run: Run
    scene: Scene
    predictor: Predictor
    extents: Sequence[Extent | None]

    def window(self, part: int) -> Window | None:
        """The rectangle of a part, by its number, that is mapped, on the map's pixels."""
        if not self.extents:
            return self.scene.parts[part].grid.finer(self.run.output_ratio).window
        extent = self.extents[part]
        return None if extent is None else extent.window


def prepare_work(
    run: Run,
    scene: Scene,
    *,
    within: str | None,
    match_bands: bool,
    overlap: int | None,
    batch: int | None,
    device: str | torch.device | None,
    precision: str,
    tta: bool,
) -> MapWork:
    """Find what is mapped, and make what maps it; the options are those of `map_scene`."""
    extents = [] if within is None else find_extents(scene, within, run.output_ratio)
    run.use_device(device)
    predictor = run.predictor(
        scene.reference, precision=precision, overlap=overlap, tta=tta, batch=batch
    )
    scene = with_bands(scene, match_layers(run.layers, scene, match_bands))
    return MapWork(run, scene, predictor, extents)
