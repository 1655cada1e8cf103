"""What an inductive split hides from layers, or from those that look at a neighbourhood alone."""

from __future__ import annotations

from dataclasses import replace

from bandweave.data.scene import Scene
from bandweave.data.splits.masks import regrid
from bandweave.data.splits.splitting import Split
from bandweave.raster.deriving.source import hide


def blind_derived_layers(scene: Scene, split: Split) -> Scene:
    """Compute derived layers as if the pixels that an inductive split hides were holes.

    So no value beside a hidden pixel tells of it. Layers of files, and what depends on no
    neighbour, stay as they are; so does all in a transductive split.
    """
    return _blind(scene, split, [name for name, layer in scene.layers.items() if layer.reach])


def blind_layers(scene: Scene, split: Split) -> Scene:
    """Make the pixels that an inductive split hides holes of every layer; else nothing."""
    return _blind(scene, split, list(scene.layers))


def _blind(scene: Scene, split: Split, names: list[str]) -> Scene:
    if split.config.context != "inductive" or not names:
        return scene
    parts = []
    for number, part in enumerate(scene.parts):
        hidden, layers = split.hidden(number), dict(part.layers)
        for name in names:
            layer = layers[name]
            mask = regrid(hidden, split.ratio, layer.ratio)
            layers[name] = replace(layer, source=hide(layer.source, mask))
        parts.append(replace(part, layers=layers))
    return replace(scene, parts=tuple(parts))
