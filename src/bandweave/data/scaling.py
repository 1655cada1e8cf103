"""Scaling of layers to zero mean and unit variance by band, with an optional PCA.

    x      values of a pixel (C,)
    mean   (C,), std (C,): over the pixels named in `source`, in float64, streamed
    P      (C', C) principal axes of the standardised bands, each divided by the standard deviation
           along it, so that every component has unit variance as bands without a PCA have
    scaled = (x − mean) / std, or P·(x − mean) / std

A hole is 0 after scaling, which is the mean. A band without variance is divided by 1.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bandweave.data.no_value import is_known
from bandweave.data.scene import Layer, Scene
from bandweave.data.splits.hidden import blind_derived_layers
from bandweave.data.splits.masks import regrid
from bandweave.data.splits.splitting import TRAIN, Split
from bandweave.errors import ConfigError, FileError, RunError, SceneMismatch
from bandweave.raster.grid import Window
from bandweave.raster.source import read_nan

log = logging.getLogger(__name__)

WINDOW = 256  # px of the scene's grid that are read at once


@dataclass(frozen=True, eq=False)
class LayerScaling:
    """Scaling of one layer: mean (C,), std (C,), and principal axes (C', C) or None; float64."""

    mean: np.ndarray
    std: np.ndarray
    components: np.ndarray | None = None
    explained: float | None = None  # share of the standardised variance that the components keep

    @property
    def bands(self) -> int:
        """Bands after scaling."""
        return len(self.mean) if self.components is None else len(self.components)

    def apply(self, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Scale values (C, h, w) to float32 (C', h, w); 0 where invalid (h, w) or not finite."""
        mean = self.mean.astype(np.float32)[:, None, None]
        inverse = (1 / self.std).astype(np.float32)[:, None, None]
        scaled = values.astype(np.float32)
        scaled -= mean
        scaled *= inverse
        if not np.isfinite(scaled.sum()):
            scaled[~np.isfinite(scaled)] = 0
        if self.components is not None:
            flat = scaled.reshape(len(scaled), -1)
            scaled = (self.components.astype(np.float32) @ flat).reshape(-1, *valid.shape)
        if not valid.all():
            scaled *= valid
        return scaled


@dataclass(frozen=True, eq=False)
class Scaling:
    """Scaling of every layer of a scene, as a model was trained with it.

    layers  by name
    source  the pixels whose statistics these are
    """

    layers: dict[str, LayerScaling]
    source: str = ""

    def bands(self, name: str) -> int:
        """Bands of a layer after scaling: what a model is fed."""
        return self._layer(name).bands

    def apply(self, name: str, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Scaled float32 (C', h, w) of a layer's values (C, h, w); 0 where not valid (h, w).

        Raises SceneMismatch for a layer or a number of bands that the scaling does not know.
        """
        layer = self._layer(name)
        if len(values) != len(layer.mean):
            raise SceneMismatch(
                f"layer {name!r} has {len(values)} bands, the scaling was made for "
                f"{len(layer.mean)}; use the layer the model was trained on"
            )
        return layer.apply(values, valid)

    def read(self, name: str, layer: Layer, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Read a window of the scene's grid, scaled (C', h·ratio, w·ratio), and its valid pixels.

        A band that has no data in a valid pixel is at its mean there.
        """
        values = read_nan(layer.source, window.finer(layer.ratio))
        valid = ~np.isnan(values).all(axis=0)
        return self.apply(name, values, valid), valid

    def zero(self, name: str) -> np.ndarray:
        """The scaled values of a pixel of value 0 in all bands, (C',) float32."""
        layer = self._layer(name)
        raw = np.zeros((len(layer.mean), 1, 1), np.float32)
        return layer.apply(raw, np.ones((1, 1), bool))[:, 0, 0]

    def to_dict(self) -> dict[str, Any]:
        """Convert to numbers and lists, for JSON; `from_dict` gives the same to the last bit."""
        return {
            "source": self.source,
            "layers": {
                name: {
                    "mean": layer.mean.tolist(),
                    "std": layer.std.tolist(),
                    "components": None if layer.components is None else layer.components.tolist(),
                    "explained": layer.explained,
                }
                for name, layer in self.layers.items()
            },
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Scaling:
        """Read what `to_dict` gives; RunError for anything else."""
        try:
            layers = {
                name: LayerScaling(
                    np.asarray(entry["mean"], np.float64),
                    np.asarray(entry["std"], np.float64),
                    None
                    if entry["components"] is None
                    else np.asarray(entry["components"], np.float64),
                    entry["explained"],
                )
                for name, entry in stored["layers"].items()
            }
            for name, layer in layers.items():
                shapes = layer.mean.shape, layer.std.shape, layer.bands
                if layer.mean.ndim != 1 or layer.mean.shape != layer.std.shape or not layer.bands:
                    raise ValueError(f"layer {name!r} has shapes {shapes}")
                if layer.components is not None and layer.components.shape[1:] != layer.mean.shape:
                    raise ValueError(f"components of {name!r}: {layer.components.shape}")
            return cls(layers, str(stored["source"]))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise RunError(
                f"the stored scaling cannot be read ({error!r}); the run is incomplete or of "
                "another version: train it again"
            ) from error

    def _layer(self, name: str) -> LayerScaling:
        if name not in self.layers:
            raise SceneMismatch(
                f"the scaling knows no layer {name!r}, only {', '.join(self.layers)}; use a scene "
                "with the layers the model was trained on"
            )
        return self.layers[name]


@dataclass
class _Moments:
    """Count, mean and scatter, merged chunk by chunk (Chan, Golub and LeVeque 1983)."""

    count: np.ndarray  # (C,) finite values; (1,) pixels with all bands, for a whole scatter
    mean: np.ndarray  # (C,)
    scatter: np.ndarray  # (C,) sums of squared deviations, or (C, C) sums of products
    extent: np.ndarray = field(init=False)  # (2, C) smallest and largest value

    def __post_init__(self) -> None:
        self.extent = np.array([[np.inf], [-np.inf]]).repeat(self.mean.size, axis=1)

    def add(self, values: np.ndarray) -> None:
        """Add float64 values (C, pixels) with NaN where a band has none."""
        whole = self.scatter.ndim == 2
        finite = np.isfinite(values)
        if whole:
            values = values[:, finite.all(axis=0)]
            finite = np.ones_like(values, bool)
        if not values.size:
            return
        number = finite[:1].sum(axis=1) if whole else finite.sum(axis=1)
        filled = np.where(finite, values, 0)
        mean = filled.sum(axis=1) / np.maximum(number, 1)
        centred = np.where(finite, values - mean[:, None], 0)
        scatter = centred @ centred.T if whole else (centred**2).sum(axis=1)
        total = self.count + number
        shift = np.where(number > 0, mean - self.mean, 0)
        weight = self.count * number / np.maximum(total, 1)
        self.scatter = self.scatter + scatter
        self.scatter += np.outer(shift, shift) * weight if whole else shift**2 * weight
        self.mean = self.mean + shift * number / np.maximum(total, 1)
        self.count = total
        lowest = np.where(finite, values, np.inf).min(axis=1)
        highest = np.where(finite, values, -np.inf).max(axis=1)
        self.extent = np.stack(
            [np.minimum(self.extent[0], lowest), np.maximum(self.extent[1], highest)]
        )


def fit(
    scene: Scene,
    split: Split | None = None,
    pca: dict[str, int] | None = None,
    layers: Iterable[str] | None = None,
) -> Scaling:
    """Fit the scaling to a scene's pixels, read once, window by window.

    split  an inductive one: from its training pixels (cells that touch one); otherwise, and without
           a split, from all valid pixels of the images
    pca    components to keep, by layer; statistics of such a layer are those of pixels with data in
           all its bands
    layers the layers to scale, and so to train on; None for all

    Raises ConfigError for a layer that the scene lacks or a PCA that does not fit the layers, and
    FileError for a layer without data.
    """
    pca = pca or {}
    names = list(scene.layers if layers is None else layers)
    if not names or set(names) - set(scene.layers):
        raise ConfigError(f"layers {names} are not among the scene's: {', '.join(scene.layers)}")
    for name, number in pca.items():
        if name not in names:
            raise ConfigError(f"pca: there is no layer {name!r}, only {', '.join(names)}")
        if not 1 <= number <= scene.layers[name].bands:
            raise ConfigError(
                f"pca: layer {name!r} has {scene.layers[name].bands} bands, so components must be "
                f"1 to {scene.layers[name].bands}, not {number}"
            )
    inductive = split is not None and split.config.context == "inductive"
    if split is not None:
        scene = blind_derived_layers(scene, split)
    source = "training pixels" if inductive else "all valid pixels"
    fitted = {}
    for name in names:
        bands, whole = scene.layers[name].bands, name in pca
        moments = _Moments(
            np.zeros(1 if whole else bands, np.int64),
            np.zeros(bands),
            np.zeros((bands, bands) if whole else bands),
        )
        for values in _read_pixels(scene, name, split if inductive else None):
            moments.add(values)
        if not moments.count.any():
            raise FileError(
                f"layer {name!r} of scene {scene.name!r} has no data in any of the {source}; check "
                "its nodata value and where it lies"
            )
        if odd := [value for value in moments.extent.ravel() if is_known(float(value))]:
            log.warning(
                "layer '%s' has values of %g, which most often mean no data, and its statistics "
                "hold them: `bandweave scenes check` says what to declare",
                name,
                odd[0],
            )
        fitted[name] = _compute_scaling(moments, pca.get(name))
    return Scaling(fitted, source)


def _read_pixels(scene: Scene, name: str, split: Split | None) -> Iterator[np.ndarray]:
    """Read values (C, pixels) float64 by window; those of training pixels with a split."""
    for number, part in enumerate(scene.parts):
        layer = part.layers[name]
        for window in part.grid.window.divide(WINDOW):  # none overlaps another: a pixel counts once
            chosen = None
            if split is not None:
                train = split.roles[number][window.finer(split.ratio).slices()] == TRAIN
                if not train.any():
                    continue
                chosen = regrid(train, split.ratio, layer.ratio)
            values = read_nan(layer.source, window.finer(layer.ratio))
            flat = values.reshape(len(values), -1) if chosen is None else values[:, chosen]
            yield flat.astype(np.float64)


def _compute_scaling(moments: _Moments, components: int | None) -> LayerScaling:
    count = np.maximum(moments.count, 1)
    variance = moments.scatter if components is None else np.diagonal(moments.scatter)
    flat = moments.extent[0] >= moments.extent[1]  # rounding must not make variance of a constant
    std = np.where(flat, 1, np.sqrt(np.maximum(variance / count, 0)))
    std = np.where(std > 0, std, 1)
    if components is None:
        return LayerScaling(moments.mean, std)
    correlation = moments.scatter / count / np.outer(std, std)
    eigenvalues, axes = np.linalg.eigh(correlation)
    order = np.argsort(eigenvalues)[::-1][:components]
    kept, axes = np.maximum(eigenvalues[order], 0), axes[:, order].T
    heaviest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    axes *= np.where(heaviest < 0, -1, 1)[:, None]  # an axis has no sign of its own
    real = kept > 1e-10 * max(eigenvalues.max(), 1e-300)
    axes = np.where(real[:, None], axes / np.sqrt(np.where(real, kept, 1))[:, None], 0)
    explained = float(kept.sum() / max(np.maximum(eigenvalues, 0).sum(), 1e-300))
    return LayerScaling(moments.mean, std, axes, explained)
