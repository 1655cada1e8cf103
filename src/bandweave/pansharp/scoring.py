"""Score sharpeners on pairs: at reduced resolution by Wald's protocol, and at full resolution.

At reduced resolution PAN and MS are degraded by the sensor's MTF, sharpened, and compared with the
observed MS; at full resolution the pair is sharpened as it is and judged without a reference. Every
method gets the same pairs, registered or not, the same windows and the same pixels. What is scored
is in float, as the method made it, before rounding to the file's type.

Definitions are those of reduced_metrics.py and full_metrics.py; scenes are gone through by window.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bandweave.errors import ConfigError, FileError, GridMismatch
from bandweave.pansharp.block_quality import BLOCK, block_windows
from bandweave.pansharp.classical import CLASSICAL
from bandweave.pansharp.full_metrics import FullScorer, degraded, low_pass_reach
from bandweave.pansharp.pair import Pair
from bandweave.pansharp.reduced_metrics import ReducedScorer
from bandweave.pansharp.reduced_scene import ReducedScene
from bandweave.pansharp.registration import measure_shift, registered
from bandweave.pansharp.score_samples import Sample, take_sample
from bandweave.pansharp.score_tables import ScoreRow, csv_text, tables
from bandweave.pansharp.sensors import Sensor, sensor_of
from bandweave.pansharp.sharpening import (
    Classical,
    Sharpener,
    ZeroShot,
    partition,
    valid_pixels,
)
from bandweave.pansharp.threads import in_turn
from bandweave.raster.grid import Window
from bandweave.run.progress import Progress
from bandweave.schema import nearest

if TYPE_CHECKING:
    from bandweave.pansharp.run import SharpenRun

log = logging.getLogger(__name__)

REDUCED_RESOLUTION, FULL_RESOLUTION = "reduced", "full"
PROTOCOLS = (REDUCED_RESOLUTION, FULL_RESOLUTION)
BLOCKS = (
    f"Q, Q2ⁿ, D_λ and D_s: blocks of {BLOCK} px of the PAN scored, side by side, none across the "
    "border; SSIM: windows inside the image."
)
WINDOW = 1024  # PAN pixels scored at a time
SAMPLES = 3  # scenes of which pictures are kept

Maker = Callable[["Pair | ReducedScene", Sensor], Sharpener]


@dataclass(frozen=True)
class SceneFacts:
    """What the scores of a scene depend on.

    shift     measured, in words; None where it was not asked for
    counted   valid pixels, windows and blocks, by protocol
    """

    name: str
    size: tuple[int, int]
    ratio: int
    bands: tuple[str, ...]
    sensor: Sensor
    peak: float
    registered: bool
    shift: str
    shift_rows: float
    shift_cols: float
    notes: tuple[str, ...]
    counted: dict[str, dict[str, int]] = field(default_factory=dict)

    def lines(self) -> list[tuple[str, str]]:
        """The protocol as terms and what they are."""
        gains = dict.fromkeys(self.sensor.mtf)
        return [
            ("PAN", f"{self.size[0]}×{self.size[1]} px, {self.ratio} to an MS pixel"),
            ("Bands", f"{len(self.bands)}: {', '.join(self.bands)}"),
            ("Sensor", f"{self.sensor.name} ({', '.join(self.sensor.bands)})"),
            (
                "MTF at Nyquist",
                f"{', '.join(f'{gain:g}' for gain in gains)}, PAN {self.sensor.mtf_pan:g} "
                f"({self.sensor.source})",
            ),
            ("Peak", f"{self.peak:g}"),
            ("Registered" if self.registered else "Not registered", self.shift),
        ]

    def line(self) -> str:
        """The protocol in a line."""
        gains = "/".join(f"{gain:g}" for gain in dict.fromkeys(self.sensor.mtf))
        return (
            f"{self.name}: PAN {self.size[0]}×{self.size[1]} px, ratio {self.ratio}, "
            f"{len(self.bands)} bands; sensor {self.sensor.name} (MTF at Nyquist {gains}, "
            f"PAN {self.sensor.mtf_pan:g}); peak {self.peak:g}; "
            f"{'registered' if self.registered else 'not registered'}: {self.shift}"
        )


@dataclass
class SharpeningScores:
    """Scores of methods on scenes.

    rows     one a method, scene and protocol, in the order they were measured
    scenes   their facts, in order
    samples  arrays for pictures, of the first scenes
    """

    rows: list[ScoreRow] = field(default_factory=list)
    scenes: list[SceneFacts] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def csv(self) -> str:
        """One line a method, scene and protocol, with what it depends on."""
        return csv_text(self.rows, {facts.name: _csv_facts(facts) for facts in self.scenes})

    def __str__(self) -> str:
        lines = [facts.line() for facts in self.scenes]
        lines.append(f"{BLOCKS} Values in float, before rounding.")
        return "\n\n".join([*tables(self.rows), "\n".join(lines)])


def _csv_facts(facts: SceneFacts) -> dict[str, Any]:
    return {
        "sensor": facts.sensor.name,
        "ratio": facts.ratio,
        "peak": facts.peak,
        "registered": facts.registered,
        "shift_rows": facts.shift_rows,
        "shift_cols": facts.shift_cols,
    }


def score_sharpeners(
    pairs: Mapping[str, Pair],
    methods: Sequence[str] = (),
    *,
    runs: Mapping[str, Maker] | None = None,
    sensor: str = "generic",
    register: bool = False,
    peak: float | None = None,
    protocols: Sequence[str] = PROTOCOLS,
    window: int = WINDOW,
    samples: int = SAMPLES,
    quiet: bool = False,
) -> SharpeningScores:
    """Score methods on pairs.

    Args:
        pairs: by the names that the table gives them.
        methods: of `CLASSICAL`; empty is all of them.
        runs: trained sharpeners by name; see `trained`.
        sensor: one of `SENSORS`, of all pairs.
        register: correct the misregistration that is measured, for every method alike.
        peak: largest value the data can take; by default the sensor's bits, or those of uint8.
        protocols: 'reduced', 'full' or both.
        window: PAN pixels scored at a time; what is scored does not depend on it.
        samples: scenes of which pictures are kept for the report.
        quiet: no progress.

    Raises ConfigError for what cannot be asked, GridMismatch for a pair too small to be scored,
    FileError for one without a valid pixel.
    """
    makers = _makers(methods, runs or {})
    unknown = [name for name in protocols if name not in PROTOCOLS]
    if unknown or not protocols:
        raise ConfigError(f"no protocol {unknown or protocols}; there are {', '.join(PROTOCOLS)}")
    if not pairs:
        raise ConfigError("no pair to score; give a PAN and an MS file")
    known = {name: sensor_of(sensor, pair.names) for name, pair in pairs.items()}
    peaks = {name: _peak(name, pair, known[name], peak) for name, pair in pairs.items()}
    result = SharpeningScores()
    steps = len(pairs) * len(makers) * len(protocols)
    with Progress("scoring, methods", steps, quiet=quiet) as bar:
        for number, (name, pair) in enumerate(pairs.items()):
            pair, facts = _prepared(name, pair, known[name], peaks[name], register)
            result.scenes.append(facts)
            for protocol in protocols:
                stage = _STAGES[protocol](pair, known[name], facts.peak, window)
                sample = take_sample(stage.scene, stage.shape, facts) if number < samples else None
                for method, make in makers.items():
                    began = time.monotonic()
                    sharpener = stage.fitted(make)
                    scores, counted = stage.score(sharpener)
                    if not counted["pixels"]:
                        raise FileError(
                            f"{name}: PAN and MS have no valid pixel in common to be scored"
                        )
                    facts.counted[protocol] = counted
                    seconds = time.monotonic() - began
                    result.rows.append(ScoreRow(method, name, protocol, scores, seconds))
                    if sample is not None:
                        sample.images[method] = stage.sharp(sharpener, sample.place)
                    bar.advance()
                if sample is not None:
                    result.samples.append(sample)
    return result


def _makers(methods: Sequence[str], runs: Mapping[str, Maker]) -> dict[str, Maker]:
    names = list(methods) or list(CLASSICAL)
    makers: dict[str, Maker] = {}
    for name in names:
        if name not in CLASSICAL:
            raise ConfigError(f"no method {name!r}{nearest(name, CLASSICAL)}")
        makers[name] = _classical(name)
    for name, make in runs.items():
        if name in makers:
            raise ConfigError(f"two methods are called {name!r}; rename the run's folder")
        makers[name] = make
    return makers


def _classical(name: str) -> Maker:
    return lambda pair, sensor: Classical(name, sensor, pair)  # type: ignore[arg-type]


def trained(run: SharpenRun, device: str | None = None, zero_shot: ZeroShot | None = None) -> Maker:
    """A run among the methods that are scored.

    device     'cpu', 'cuda', …; None for a GPU where there is one
    zero_shot  None: with PAN; else the way in which the model does without, at reduced resolution,
               where the MS pixels nest in those that are scored
    """
    from bandweave.pansharp.trained import Trained

    return lambda pair, sensor: Trained(
        run,
        pair,  # type: ignore[arg-type]
        zero_shot=zero_shot,
        device=device,
    )


def _peak(name: str, pair: Pair, sensor: Sensor, given: float | None) -> float:
    """What is declared: by the user, by the sensor's bits, or by eight bits."""
    if given is not None:
        if not (np.isfinite(given) and given > 0):
            raise ConfigError(f"peak {given:g}: it is the largest value the data can take")
        return float(given)
    whole = pair.ms_dtype.kind in "iu"
    if whole and sensor.bits is not None:
        return float(min(2**sensor.bits - 1, np.iinfo(pair.ms_dtype).max))
    if pair.ms_dtype == np.uint8:
        return 255.0
    raise ConfigError(
        f"{name}: nothing tells the largest value that {pair.ms_dtype} of the sensor "
        f"{sensor.name!r} can take, on which PSNR and SSIM depend; state `peak` (2047 for 11 bits, "
        "1 for reflectances)"
    )


def _prepared(
    name: str, pair: Pair, sensor: Sensor, peak: float, register: bool
) -> tuple[Pair, SceneFacts]:
    """The pair as all methods get it, and its facts."""
    shift = measure_shift(pair)
    if register:
        pair = registered(pair, shift)
    corrected = register and shift.measured
    facts = SceneFacts(
        name=name,
        size=(pair.grid.height, pair.grid.width),
        ratio=pair.ratio,
        bands=pair.names,
        sensor=sensor,
        peak=peak,
        registered=corrected,
        shift=str(shift),
        shift_rows=shift.row,
        shift_cols=shift.col,
        notes=(*pair.notes, *sensor.notes),
    )
    log.info("%s", facts.line())
    return pair, facts


# The two protocols -------------------------------------------------------------------------------


class _Windows(NamedTuple):
    """What a window adds to a score: see the scorers' add."""

    window: Window
    arrays: tuple[np.ndarray, ...]


class ReducedStage:
    """A pair at reduced resolution, and how a sharpener is scored on it."""

    def __init__(self, pair: Pair, sensor: Sensor, peak: float, window: int) -> None:
        self.pair, self.sensor, self.peak = pair, sensor, peak
        try:
            self.scene = ReducedScene(pair, sensor)
        except ValueError as error:
            raise GridMismatch(str(error)) from None
        self.shape = self.scene.shape
        self.window = max(window // pair.ratio, BLOCK)

    def fitted(self, make: Maker) -> Sharpener:
        """A sharpener that has looked at the scene."""
        return _fit(make(self.scene, self.sensor), self.scene, self.shape, self.window)

    def score(self, sharpener: Sharpener) -> tuple[dict[str, float], dict[str, int]]:
        """The scores, and what was counted."""
        scorer = ReducedScorer(self.shape, self.scene.bands, self.scene.ratio, self.peak)

        def make(window: Window) -> _Windows:
            around = scorer.around(window)
            truth, valid = self.scene.truth(around)
            return _Windows(window, (truth, self.sharp(sharpener, around), valid))

        for window, (truth, image, valid) in in_turn(make, block_windows(self.shape, self.window)):
            scorer.add(truth, image, valid, window)
        return scorer.result(), scorer.counted

    def sharp(self, sharpener: Sharpener, window: Window) -> np.ndarray:
        """(C, h, w) of a window."""
        return _sharp(sharpener, self.scene, window)


class FullStage:
    """A pair as it is, and how a sharpener is scored on it."""

    def __init__(self, pair: Pair, sensor: Sensor, peak: float, window: int) -> None:
        self.pair = self.scene = pair
        self.sensor = sensor
        self.shape = pair.grid.height, pair.grid.width
        self.window = window
        self._reach = low_pass_reach(pair.ratio, sensor.mtf, sensor.mtf_pan)

    def fitted(self, make: Maker) -> Sharpener:
        """A sharpener that has looked at the scene."""
        return _fit(make(self.pair, self.sensor), self.pair, self.shape, self.window)

    def score(self, sharpener: Sharpener) -> tuple[dict[str, float], dict[str, int]]:
        """The scores, and what was counted."""
        pair, r = self.pair, self.pair.ratio
        scorer = FullScorer(self.shape, pair.ms_shape, pair.bands, r)
        pixels = 0

        def make(coarse: Window) -> _Windows:
            inner = coarse.finer(r)
            outer = Window(
                inner.row - self._reach,
                inner.col - self._reach,
                inner.height + 2 * self._reach,
                inner.width + 2 * self._reach,
            ).clip(*self.shape)
            assert outer is not None
            seen = pair.read(outer, sharpener.margin)
            core = seen.core
            image, pan = sharpener.apply(seen)[:, *core], seen.pan[core]
            valid = valid_pixels(seen)[core]
            nesting = pair.nesting.cropped((outer.row, outer.col), (coarse.row, coarse.col))
            low = degraded(
                image, pan, nesting, coarse[2:], self.sensor.mtf, self.sensor.mtf_pan, valid
            )
            exact = pair.read(inner)
            cut = inner.slices((outer.row, outer.col))
            high = image[:, *cut], pan[cut], valid[cut]
            return _Windows(coarse, (*high, exact.ms, *low[:2], low[2] & exact.ms_valid))

        coarse_windows = block_windows(
            pair.ms_shape, max(self.window // r, scorer.blocks[1]), scorer.blocks[1]
        )
        for coarse, arrays in in_turn(make, coarse_windows):
            image, pan, valid, ms, image_low, pan_low, seen = arrays
            scorer.add(image, pan, valid, coarse.finer(r))
            scorer.add_low(ms, image_low, pan_low, seen, coarse)
            pixels += int(valid.sum())
        return scorer.result(), {"pixels": pixels, **scorer.counted}

    def sharp(self, sharpener: Sharpener, window: Window) -> np.ndarray:
        """(C, h, w) of a window."""
        return _sharp(sharpener, self.pair, window)


_STAGES: dict[str, Any] = {REDUCED_RESOLUTION: ReducedStage, FULL_RESOLUTION: FullStage}


def _fit(
    sharpener: Sharpener, scene: Pair | ReducedScene, shape: tuple[int, int], window: int
) -> Sharpener:
    def windows() -> Iterator[Any]:
        yield from in_turn(lambda at: scene.read(at, sharpener.margin), partition(*shape, window))

    sharpener.fit(windows())
    return sharpener


def _sharp(sharpener: Sharpener, scene: Pair | ReducedScene, window: Window) -> np.ndarray:
    seen = scene.read(window, sharpener.margin)
    return sharpener.apply(seen)[:, *seen.core]
