"""Changes to training crops that leave their labels true: orientation, light, noise, lost bands.

All work on scaled values, where 0 is a band's mean and a hole. A spectral layer is one of three or
more bands; on the others (height, single SAR channels) a gain acts about the mean, because a height
of zero is no darkness.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from bandweave.errors import ConfigError

SPECTRAL = 3  # bands from which on a layer is taken for a spectrum
FARTHEST_ZERO = (
    3.0  # standard deviations: a gain about a zero farther away would be no small change
)


@dataclass(frozen=True)
class AugmentConfig:
    """Strengths; 0 or False leaves a change out. "std" is the layer's own, after scaling.

    flips             mirror half of the crops
    rotations         turn crops by a multiple of 90°
    illumination      std of the log of a gain of a whole spectral layer, about zero radiance
    band_gain         std of a gain of each band
    offset            std of an offset of a whole layer, in std
    tilt              std of a smooth slope and bend along the bands of a spectral layer, in std
    noise             std of noise of each pixel and band, in std
    band_dropout      probability that a band of a spectral layer is lost
    modality_dropout  probability that one of the layers is lost, where there are several
    """

    flips: bool = True
    rotations: bool = True
    illumination: float = 0.1
    band_gain: float = 0.02
    offset: float = 0.05
    tilt: float = 0.05
    noise: float = 0.02
    band_dropout: float = 0.02
    modality_dropout: float = 0.05

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if not 0 <= value < (1 if option.name.endswith("dropout") else np.inf):
                raise ConfigError(
                    f"{option.name} is {value}; it must be at least 0"
                    + (" and below 1" if option.name.endswith("dropout") else "")
                )


UNCHANGED = AugmentConfig(
    flips=False,
    rotations=False,
    illumination=0,
    band_gain=0,
    offset=0,
    tilt=0,
    noise=0,
    band_dropout=0,
    modality_dropout=0,
)


def draw_orientation(flips: bool, rotations: bool, rng: np.random.Generator) -> tuple[bool, int]:
    """Draw whether to mirror, and how many quarter turns; the draws are the same in any case."""
    mirrored, turns = rng.integers(2), rng.integers(4)
    return bool(flips and mirrored), int(turns) if rotations else 0


def orient(array: np.ndarray, mirrored: bool, turns: int) -> np.ndarray:
    """Turn an array (..., h, w), as a view: mirrored left to right, then turned by quarters."""
    return np.rot90(array[..., ::-1] if mirrored else array, turns, axes=(-2, -1))


def jitter(
    values: np.ndarray,
    valid: np.ndarray,
    zero: np.ndarray,
    ordered: bool,
    config: AugmentConfig,
    rng: np.random.Generator,
) -> None:
    """Change scaled values (C, h, w) float32 in place; where not valid (h, w) they stay 0.

    zero     (C,): where a pixel without radiance lies
    ordered  the bands follow the wavelength (and are no principal components), so they can tilt
    """
    bands = len(values)
    spectral = bands >= SPECTRAL
    light, slope, bend, offset = rng.standard_normal(4)
    gain = 1 + config.band_gain * rng.standard_normal(bands)
    shift = np.full(bands, config.offset * offset)
    lost = np.zeros(bands, bool)
    if spectral:
        gain *= np.exp(config.illumination * light)
        shift += (1 - gain) * np.clip(zero, -FARTHEST_ZERO, FARTHEST_ZERO)
        lost = rng.random(bands) < config.band_dropout
        if ordered:
            along = np.linspace(-1, 1, bands)
            shift += config.tilt * (slope * along + bend * (1.5 * along**2 - 0.5))
    values *= gain.astype(np.float32)[:, None, None]
    values += shift.astype(np.float32)[:, None, None]
    if config.noise:
        values += np.float32(config.noise) * rng.standard_normal(values.shape, np.float32)
    values[lost] = 0
    if not valid.all():
        values *= valid


def draw_lost_layer(
    names: list[str], config: AugmentConfig, rng: np.random.Generator
) -> str | None:
    """Draw the layer that a crop has to do without, mostly None; never the only one."""
    if len(names) > 1 and rng.random() < config.modality_dropout:
        return names[rng.integers(len(names))]
    return None
