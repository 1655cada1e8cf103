"""Compare sharpening methods on test pairs, into a folder of runs and tables."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bandweave.cluster.sharing import Sharing, share_threads
from bandweave.comparison.comparing import Comparison, make_comparison
from bandweave.comparison.kept import read_kept
from bandweave.comparison.plan import CellOptions, check_reference
from bandweave.errors import ConfigError, FileError
from bandweave.pansharp.comparison.cell import open_test_pair
from bandweave.pansharp.comparison.leaks import check_apart, describe_shared_ground
from bandweave.pansharp.comparison.plan import Options, Plan
from bandweave.pansharp.comparison.task import SharpeningTask
from bandweave.pansharp.config import PairFiles
from bandweave.pansharp.pair.files import Files, pair_files, pairs_to_train
from bandweave.pansharp.pair.open import open_pair
from bandweave.pansharp.pair.pair import Pair
from bandweave.pansharp.pair.survey import survey_pair
from bandweave.pansharp.scores.pairs import find_peak
from bandweave.pansharp.scores.protocols import PROTOCOLS, WINDOW
from bandweave.pansharp.sensors import find_sensor
from bandweave.pansharp.training import common_sensor
from bandweave.raster.open import PathLike
from bandweave.schema import from_dict, to_dict

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SharpenerComparison(Comparison):
    """A comparison of sharpening that was made."""

    @property
    def scores(self) -> dict[tuple[str, int | None, str, str], dict[str, float]]:
        """Scores by model, seed (None of a classical method), test pair and protocol."""
        return {
            (each.cell.model, each.cell.seed, pair, protocol): found
            for each in self.results
            for (protocol,), pairs in each.values.items()
            for pair, found in pairs.items()
        }


def compare_sharpeners(
    models: Sequence[str] | Mapping[str, Mapping[str, Any] | None],
    pairs: Sequence[Files | PairFiles] | PathLike = (),
    test: Mapping[str, Files | PairFiles] | Sequence[Files | PairFiles] | PathLike = (),
    seeds: int | Sequence[int] = 10,
    out: str | os.PathLike[str] = "comparison",
    *,
    validation: Sequence[Files | PairFiles] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    sensor: str = "generic",
    register: bool = False,
    ratio: int | None = None,
    crs: str | None = None,
    nodata: float | None = None,
    peak: float | None = None,
    processes: int = 1,
    threads: int | None = None,
    dask: str | None = None,
    pictures: bool = True,
    against: str = "",
    rows: PathLike | None = None,
    command: str = "",
    quiet: bool = False,
) -> SharpenerComparison:
    """Train every model by every seed, score it and classical methods, and write the tables.

    models         names of presets and of classical methods; or options of each by the name that
                   the table gives it, `{"plain": {"model": "mmmamba_small", "less_blur": 0}}`
    pairs          (PAN file, MS file or one file a band) of each pair to train on, or a YAML file
                   that lists them, and those to validate on
    test           pairs that all methods are scored on, by name or named after their PAN files, or
                   a YAML file that lists them
    seeds          how many, from 0; or which. Each trains every model; classical methods have none
    out            the folder, which may hold the same comparison, unfinished or of fewer models or
                   seeds
    validation     pairs that choose the weights, as in `train_sharpener`
    options        of every trained model, in sections: `{"train": {"steps": 100}}`
    sensor, register, ratio, crs, nodata  of all pairs, as in `train_sharpener`
    peak           largest value the data can take, as in `score_sharpeners`
    processes      cells at a time on this machine; 1 makes them in this process
    threads        of each cell; by default the cores are shared out
    dask           address of the scheduler of a Dask cluster that makes the cells instead
    pictures       whether what the first seed makes of the first test pairs is kept and shown
    against        a model of the table, or 'classical' for the best classical method: the tables
                   say what each other model gains over it, with a 95 % interval
    rows           a file of results; what it holds is not made again, and new results are added to
                   it
    command        what the run folders name as the command that made them
    quiet          no progress

    A cell that fails does not stop the others: `SharpenerComparison.failed`. What was finished
    before is not repeated, and what was begun is continued.

    Raises ConfigError for what does not exist and for a file that is both trained and tested on,
    FileError, GridMismatch and SceneMismatch for files that cannot be compared on, RunError where
    `out` holds another comparison, OutputError where it cannot be written or another process writes
    to it.
    """
    given = {"sensor": sensor, "register": register, "ratio": ratio, "crs": crs}
    asked = from_dict(Options, {**given, "nodata": nodata, "peak": peak}, "options")
    learnt, held = pairs_to_train(pairs, validation)
    if isinstance(test, str | os.PathLike):
        test = pair_files(test)
    plan = Plan.make(models, learnt, held, test, seeds, asked, options)
    sharing = Sharing(processes, dask)
    threads = share_threads(sharing, threads)
    check_apart(plan)
    kept = None if rows is None else Path(rows)
    trained_on, opened = _open_pairs(plan) if _needs_pairs(plan, kept) else ([], {})
    notes = describe_shared_ground(trained_on, opened)
    for note in notes:
        log.warning("%s", note)
    made_by = CellOptions(
        command, plan.seeds[0] if pictures else None, threads=threads, quiet=quiet
    )
    with _log_less():
        task = SharpeningTask(plan, opened, notes, check_reference(against, plan.models))
        made = make_comparison(task, Path(out), made_by, sharing, kept, quiet)
    return SharpenerComparison(made.folder, made.results, made.table)


def _needs_pairs(plan: Plan, rows: Path | None) -> bool:
    """True where a cell is still to be made, so that all files are needed."""
    return rows is None or len(read_kept(rows, plan.cells())) < len([*plan.cells()])


@contextmanager
def _log_less() -> Iterator[None]:
    """Facts of pairs, which every cell would repeat, are not logged; warnings are."""
    logger = logging.getLogger("bandweave.pansharp")
    level = logger.level
    if logger.getEffectiveLevel() >= logging.INFO:  # not where all was asked for
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _open_pairs(plan: Plan) -> tuple[list[Pair], dict[str, Pair]]:
    """Pairs to learn from, where anything does, and test pairs: what can be refused of them is."""
    asked = asdict(plan.options)
    test = {name: open_test_pair(to_dict(files), asked) for name, files in plan.test.items()}
    for name, pair in test.items():
        known = find_sensor(plan.options.sensor, pair.names, pair.ratio)
        peak = find_peak(name, pair, known, plan.options.peak)
        for protocol in PROTOCOLS.values():
            protocol(pair, known, peak, WINDOW)
        try:
            survey_pair(pair, choosable=False)
        except FileError as error:
            raise FileError(f"{name}: {error}") from None
    learnt = []
    for files in (*plan.pairs, *plan.validation):
        given = {name: asked[name] for name in ("ratio", "crs", "nodata")}
        learnt.append(open_pair(files.pan, list(files.ms), **given))
    if plan.trained:
        config = plan.config(plan.trained[0])
        config.validation = [*plan.validation, *plan.test.values()]
        common_sensor(config, [*learnt, *test.values()])
    elif len({pair.ratio for pair in test.values()}) > 1:
        ratios = ", ".join(f"{name} {pair.ratio}" for name, pair in test.items())
        raise ConfigError(f"the test pairs have different ratios ({ratios}); compare them apart")
    return learnt, test
