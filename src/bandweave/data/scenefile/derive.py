"""Layers that a scene file derives from others: indices, Gaussian means, profiles, slope."""

from __future__ import annotations

from bandweave.data.scene import Layer
from bandweave.data.scenefile.schema import DerivedFile, SceneFile
from bandweave.errors import ConfigError
from bandweave.raster.deriving.gaussian import GaussianSource
from bandweave.raster.deriving.indices import INDICES, IndexSource, find_index_bands
from bandweave.raster.deriving.profiles import ProfileSource
from bandweave.raster.deriving.slope import SlopeSource
from bandweave.raster.deriving.source import BandSubset
from bandweave.raster.grid import Grid
from bandweave.raster.source import WindowSource
from bandweave.yaml_files import inline_yaml

MOST_BANDS = 4  # of a layer whose profiles are made without a choice of bands


def derive_layers(
    file: SceneFile, grid: Grid, layers: dict[str, Layer], notes: list[str]
) -> dict[str, Layer]:
    """Make the derived layers of a part, each from the layers of files or from another of them.

    Raises ConfigError where the layer that one is derived from lacks what it needs.
    """
    made = dict(layers)

    def make(name: str) -> None:
        entry = (file.derived or {})[name]
        if entry.of not in made:
            make(entry.of)
        layer = made[entry.of]
        source = _derive(name, entry, layer, grid.finer(layer.ratio), notes)
        made[name] = Layer(source, layer.ratio, describe_derivation(entry))

    for name in file.derived or {}:
        if name not in made:
            make(name)
    return {name: made[name] for name in file.derived or {}}


def describe_derivation(entry: DerivedFile) -> str:
    """Write what a layer is as the scene file has it, without what may differ between scenes.

    >>> describe_derivation(DerivedFile(of="lidar", gaussian=(1.0, 2.5)))
    '{gaussian: [1, 2.5], of: lidar}'
    """
    facts = {
        "index": entry.index,
        "gaussian": entry.gaussian and [int(s) if s == int(s) else s for s in entry.gaussian],
        "profile": entry.profile and [*entry.profile],
        "slope": entry.slope or None,
        "of": entry.of,
        "bands": [*entry.bands] if entry.bands and entry.index not in INDICES else None,
    }
    return inline_yaml({key: value for key, value in facts.items() if value is not None})


def _derive(
    name: str, entry: DerivedFile, layer: Layer, grid: Grid, notes: list[str]
) -> WindowSource:
    key, source = f"derived.{name}", layer.source
    if entry.bands and max(entry.bands) > source.bands:
        raise ConfigError(
            f"{key}.bands: {max(entry.bands)}; layer '{entry.of}' has {source.bands} "
            f"band{'s' if source.bands > 1 else ''}, counted from 1"
        )
    bands = [band - 1 for band in entry.bands or ()]
    if entry.index is not None:
        try:
            first, second = bands or find_index_bands(entry.index, source.info)
        except ConfigError as error:
            raise ConfigError(
                f"{key}.index: layer '{entry.of}' {error}; or name the two bands of "
                f"{entry.index}, (a − b) / (a + b), as `bands: [a, b]`"
            ) from None
        notes.append(
            f"layer '{name}': {entry.index} of bands {first + 1} and {second + 1} of '{entry.of}'"
        )
        return IndexSource(source, first, second)
    if entry.profile and not bands and source.bands > MOST_BANDS:
        values = source.bands * (2 * len(entry.profile) + 1)
        raise ConfigError(
            f"{key}.profile: layer '{entry.of}' has {source.bands} bands, whose profiles are "
            f"{values} values a pixel; choose a few with `bands:`"
        )
    chosen = BandSubset(source, bands) if bands else source
    if entry.gaussian:
        return GaussianSource(chosen, entry.gaussian)
    if entry.profile:
        return ProfileSource(chosen, entry.profile)
    if entry.pixel is None and not grid.georeferenced:
        raise ConfigError(
            f"{key}.slope: no file says how large a pixel is; state its side as `pixel:`, in the "
            f"unit of the heights of '{entry.of}'"
        )
    if entry.pixel is None and grid.crs is None:
        width, height = grid.pixel_size
        notes.append(
            f"layer '{name}': pixels of {width:g}×{height:g} without a CRS, taken to be in the "
            f"unit of the heights"
        )
    return SlopeSource(chosen, grid, entry.pixel)
