"""Score sharpeners on pairs: at reduced resolution by Wald's protocol, and at full resolution.

At reduced resolution PAN and MS are degraded by the sensor's MTF, sharpened, and compared with the
observed MS; at full resolution the pair is sharpened as it is and judged without a reference. Every
method gets the same pairs, registered or not, the same windows and the same pixels. What is scored
is in float, as the method made it, before rounding to the file's type.

Definitions are those of reduced_metrics.py and full_metrics.py; scenes are gone through by window.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bandweave.errors import ConfigError, FileError
from bandweave.pansharp.block_quality import BLOCK
from bandweave.pansharp.classical import CLASSICAL
from bandweave.pansharp.pair import Pair
from bandweave.pansharp.score_samples import Sample, take_sample
from bandweave.pansharp.score_scenes import SceneFacts, peak_of, prepared
from bandweave.pansharp.score_stages import PROTOCOLS, STAGES, WINDOW, Maker
from bandweave.pansharp.score_tables import ScoreRow, csv_text, tables
from bandweave.pansharp.sensors import sensor_of
from bandweave.pansharp.sharpening import Classical, ZeroShot
from bandweave.run.progress import Progress
from bandweave.schema import nearest

if TYPE_CHECKING:
    from bandweave.pansharp.run import SharpenRun

BLOCKS = (
    f"Q, Q2ⁿ, D_λ and D_s: blocks of {BLOCK} px of the PAN scored, side by side, none across the "
    "border; SSIM: windows inside the image."
)
SAMPLES = 3  # scenes of which pictures are kept


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
        return csv_text(self.rows, {facts.name: facts.columns() for facts in self.scenes})

    def __str__(self) -> str:
        lines = [facts.line() for facts in self.scenes]
        lines.append(f"{BLOCKS} Values in float, before rounding.")
        return "\n\n".join([*tables(self.rows), "\n".join(lines)])


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
        methods: of `CLASSICAL`; empty is all of them where there is no run.
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
    peaks = {name: peak_of(name, pair, known[name], peak) for name, pair in pairs.items()}
    result = SharpeningScores()
    steps = len(pairs) * len(makers) * len(protocols)
    with Progress("scoring, methods", steps, quiet=quiet) as bar:
        for number, (name, pair) in enumerate(pairs.items()):
            pair, facts = prepared(name, pair, known[name], peaks[name], register)
            result.scenes.append(facts)
            for protocol in protocols:
                stage = STAGES[protocol](pair, known[name], facts.peak, window)
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
    names = list(methods) if methods or runs else list(CLASSICAL)
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
