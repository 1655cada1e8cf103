"""Score sharpeners on pairs: at reduced resolution by Wald's protocol, and at full resolution.

At reduced resolution PAN and MS are degraded by the sensor's MTF, sharpened, and compared with the
observed MS; at full resolution the pair is sharpened as it is and judged without a reference. Every
method gets the same pairs, registered or not, the same windows and the same pixels. What is scored
is in float, as the method made it, before rounding to the file's type.

Definitions are those of scores/reduced.py and scores/full.py; pairs are gone through by window.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from bandweave.errors import ConfigError, FileError
from bandweave.local_files import split_key
from bandweave.output_files import check_output
from bandweave.pansharp.classical.methods import CLASSICAL, find_method
from bandweave.pansharp.options import PairOptions
from bandweave.pansharp.pair.files import Files, pair_files
from bandweave.pansharp.pair.open import open_pair
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.scores.block_quality import BLOCK
from bandweave.pansharp.scores.pairs import PairFacts, find_peak, prepare_pair
from bandweave.pansharp.scores.protocols import PROTOCOLS, WINDOW
from bandweave.pansharp.scores.samples import Sample, take_sample
from bandweave.pansharp.scores.tables import ScoreRow, format_scores, format_tables
from bandweave.pansharp.sensors import find_sensor
from bandweave.pansharp.sharpener import MakeSharpener
from bandweave.pansharp.sharpening import open_run
from bandweave.raster.open import PathLike
from bandweave.training.progress import Progress

if TYPE_CHECKING:
    from bandweave.models.contract import ZeroShot
    from bandweave.pansharp.run import SharpenRun

BLOCKS = (
    f"Q, Q2ⁿ, D_λ and D_s: blocks of {BLOCK} px of the PAN scored, side by side, none across the "
    "border; SSIM: windows inside the image."
)
Hqnr = Literal["ours", "toolbox"]
SAMPLES = 3  # pairs of which pictures are kept


@dataclass
class SharpeningScores:
    """Scores of methods on pairs.

    rows     one a method, pair and protocol, in the order they were measured
    pairs    their facts, in order
    samples  arrays for pictures, of the first pairs
    written  files that were asked for
    """

    rows: list[ScoreRow] = field(default_factory=list)
    pairs: list[PairFacts] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)

    def csv(self) -> str:
        """The scores as CSV: a line for each method, pair and protocol, with what it depends on."""
        return format_scores(self.rows, {facts.name: facts.columns() for facts in self.pairs})

    def __str__(self) -> str:
        lines = [facts.line() for facts in self.pairs]
        lines.append(f"{BLOCKS} Values in float, before rounding.")
        return "\n\n".join([*format_tables(self.rows), "\n".join(lines)])


@dataclass(frozen=True)
class ScoreOptions(PairOptions):
    """How files are opened, as `PairOptions` says, and sharpeners scored on them.

    sensor     one of `SENSORS`, of all pairs; by default that of the runs, where there are any
    register   correct the misregistration that is measured, for every method alike
    peak       largest value the data can take; by default the sensor's bits, or those of uint8
    protocols  'reduced', 'full' or both
    hqnr       'toolbox' adds D_λᴷ, D_s and HQNR as the toolbox of Vivone et al. (2021) takes them
    window     PAN pixels scored at a time; what is scored does not depend on it
    device     of runs: 'cpu', 'cuda', …; by default a GPU where there is one
    samples    pairs of which pictures are kept for the report
    quiet      no progress
    """

    sensor: str = "generic"
    register: bool = False
    peak: float | None = None
    protocols: Sequence[str] = tuple(PROTOCOLS)
    hqnr: Hqnr = "ours"
    window: int = WINDOW
    device: str | None = None
    samples: int = SAMPLES
    quiet: bool = False


def score_sharpeners(
    pairs: Mapping[str, Pair | Files] | Sequence[Files] | PathLike,
    methods: Sequence[str] = (),
    *,
    run: PathLike | Sequence[PathLike] = (),
    runs: Mapping[str, MakeSharpener] | None = None,
    out: PathLike | None = None,
    overwrite: bool = False,
    options: ScoreOptions | None = None,
    **given: Any,
) -> SharpeningScores:
    """Score methods on pairs.

    pairs      (PAN file, MS file or one file a band) of each, by the names that the table gives
               them or named after their PAN files; or a YAML file that lists them. Open pairs too
    methods    of `CLASSICAL`; empty is all of them where there is no run
    run        folders of runs that `train_sharpener` trained, in the table by their names
    runs       other trained sharpeners by name; see `trained`
    out        folder for scores.csv, report.html and picture strips; by default none is written
    overwrite  files that stand in `out` may be replaced
    options    of `ScoreOptions`; single ones may be given by name: `register=True`

    Raises ConfigError for what cannot be asked, GridMismatch for a pair too small to be scored,
    FileError for one without a valid pixel, RunError for a run that cannot be used, SceneMismatch
    for a pair of other bands or another ratio than a run's, OutputError where `out` cannot be
    written.
    """
    from bandweave.pansharp.report.page import check_folder, write_scores

    if out is not None:
        check_folder(out)
        check_output(Path(out) / "scores.csv", overwrite=overwrite)
    asked = ScoreOptions.choose(options, given)
    folders = [run] if isinstance(run, str | os.PathLike) else list(run)
    opened = _open_runs(folders, asked.sensor)
    sensor = _sensor_of_runs(opened, asked.sensor)
    pairs = _open_pairs(pairs, asked)
    for each in opened.values():
        for pair in pairs.values():
            each.check(pair)
            each.warn_of(pair, asked.register)
    runs = {**{name: trained(each, asked.device) for name, each in opened.items()}, **(runs or {})}
    makers = _makers(methods, runs)
    unknown = [name for name in asked.protocols if name not in PROTOCOLS]
    if unknown or not asked.protocols:
        raise ConfigError(
            f"no protocol {unknown or asked.protocols}; there are {', '.join(PROTOCOLS)}"
        )
    if asked.hqnr not in get_args(Hqnr):
        raise ConfigError(f"hqnr is {asked.hqnr!r}; it is one of {', '.join(get_args(Hqnr))}")
    if not pairs:
        raise ConfigError("no pair to score; give a PAN and an MS file")
    known = {name: find_sensor(sensor, pair.names, pair.ratio) for name, pair in pairs.items()}
    peaks = {name: find_peak(name, pair, known[name], asked.peak) for name, pair in pairs.items()}
    result = SharpeningScores()
    steps = len(pairs) * len(makers) * len(asked.protocols)
    with Progress("scoring, methods", steps, quiet=asked.quiet) as bar:
        for number, (name, pair) in enumerate(pairs.items()):
            pair, facts = prepare_pair(name, pair, known[name], peaks[name], asked.register)
            result.pairs.append(facts)
            for protocol in asked.protocols:
                scored = PROTOCOLS[protocol](
                    pair, known[name], facts.peak, asked.window, asked.hqnr == "toolbox"
                )
                sample = take_sample(scored.pair, facts) if number < asked.samples else None
                for method, make in makers.items():
                    began = time.monotonic()
                    sharpener = scored.fit(make)
                    scores, counted = scored.score(sharpener)
                    if not counted["pixels"]:
                        raise FileError(
                            f"{name}: PAN and MS have no valid pixel in common to be scored"
                        )
                    facts.counted[protocol] = counted
                    seconds = time.monotonic() - began
                    result.rows.append(ScoreRow(method, name, protocol, scores, seconds))
                    if sample is not None:
                        sample.images[method] = scored.sharpen(sharpener, sample.place)
                    bar.advance()
                if sample is not None:
                    result.samples.append(sample)
    if out is not None:
        result.written = write_scores(result, out, list(runs), overwrite=overwrite)
    return result


def _open_runs(folders: Sequence[PathLike], sensor: str) -> dict[str, SharpenRun]:
    """Runs by the names of their folders, checked as `sharpen` checks them."""
    opened: dict[str, SharpenRun] = {}
    for folder in folders:
        name = Path(folder).resolve().name
        if name in opened:
            raise ConfigError(f"two runs are called {name!r}; rename the folder of one")
        opened[name] = open_run(folder, sensor=sensor)
    return opened


def _sensor_of_runs(runs: Mapping[str, SharpenRun], sensor: str) -> str:
    """The sensor of all that is scored: the runs', where it was not named."""
    found = {run.config.sensor: name for name, run in runs.items()}
    if len(found) > 1:
        of_each = ", ".join(f"{name} for {own}" for own, name in found.items())
        raise ConfigError(
            f"the runs were trained for different sensors ({of_each}); score them apart"
        )
    return next(iter(found), sensor)


def _open_pairs(
    pairs: Mapping[str, Pair | Files] | Sequence[Files] | PathLike, options: PairOptions
) -> dict[str, Pair]:
    """All pairs by name, open."""
    if isinstance(pairs, str | os.PathLike):
        pairs = pair_files(pairs)
    if not isinstance(pairs, Mapping):
        named: dict[str, Files] = {}
        for pan, ms in pairs:
            name = Path(os.fspath(split_key(pan)[0])).stem
            if name in named:
                raise ConfigError(f"two PAN files are called {name!r}; name the pairs: {{name: …}}")
            named[name] = pan, ms
        pairs = named
    return {
        name: each if isinstance(each, Pair) else open_pair(*each, options)
        for name, each in pairs.items()
    }


def _makers(methods: Sequence[str], runs: Mapping[str, MakeSharpener]) -> dict[str, MakeSharpener]:
    names = list(methods) if methods or runs else list(CLASSICAL)
    makers: dict[str, MakeSharpener] = {name: find_method(name) for name in names}
    for name, make in runs.items():
        if name in makers:
            raise ConfigError(f"two methods are called {name!r}; rename the run's folder")
        makers[name] = make
    return makers


def trained(
    run: SharpenRun, device: str | None = None, zero_shot: ZeroShot | None = None
) -> MakeSharpener:
    """A run among the methods that are scored.

    device     'cpu', 'cuda', …; None for a GPU where there is one
    zero_shot  None: with PAN; else the way in which the model does without, at reduced resolution,
               where the MS pixels nest in those that are scored
    """
    from bandweave.pansharp.trained import Trained

    return lambda pair, sensor: Trained(run, pair, zero_shot=zero_shot, device=device)
