"""Sharpening methods on real pairs.

landsat7               pairs 25 to 30 of 30, ratio 2, 6 bands, registered; a model is trained on 1
                       to 24
landsat7-unregistered  the same as they are: PAN lies a pixel off, which a model would learn
wv2                    WorldView-2, 8 bands, ratio 4
quickbird-toulouse     4 bands, without georeference, MS already resampled by 4
landsat8-chip          6 bands in files of their own, half a PAN pixel off
landsat7-zero-shot     those pairs without PAN, the trained model in its three ways, beside bicubic
landsat7-zero-shot-seen  the same on six of the pairs that the model was trained on

    BANDWEAVE_DATA=folder python benchmarks/sharpening.py [--only landsat7] [--run RUN …]

Every finished method is a line of benchmarks/results/sharpening.jsonl for each pair and protocol
and is not repeated; the tables are printed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from rows import read_rows

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "sharpening.jsonl"
TRAIN, TEST = range(1, 25), range(25, 31)  # of the 30 pairs of Landsat 7
SEEN = TRAIN[::4]


@dataclass(frozen=True)
class Table:
    """Pairs that are scored alike."""

    folder: str
    sensor: str
    pairs: dict[str, tuple[str, list[str]]]
    register: bool = True
    ratio: int | None = None
    zero_shot: bool = False


LANDSAT7, LANDSAT7_SEEN = (
    {f"{n}": (f"{n}_pan.mat", [f"{n}_ms.mat"]) for n in numbers} for numbers in (TEST, SEEN)
)
CHIP = "LC08_L1TP_195025_20130707_20170503_01_T1_B{}.TIF"
TABLES = {
    "landsat7": Table("landsat7", "landsat-7", LANDSAT7),
    "landsat7-unregistered": Table("landsat7", "landsat-7", LANDSAT7, register=False),
    "wv2": Table("wv2", "worldview-2", {"wv2": ("imgWV2.mat:I_PAN", ["imgWV2.mat:I_MS"])}),
    "quickbird-toulouse": Table(
        "quickbird-toulouse",
        "quickbird",
        {"toulouse": ("QB_Toulouse_Ortho_PAN.tif", ["QB_Toulouse_Ortho_XS.tif"])},
        ratio=4,
    ),
    "landsat8-chip": Table(
        "landsat8-chip",
        "landsat-8",
        {"chip": (CHIP.format(8), [CHIP.format(n) for n in range(2, 8)])},
    ),
    "landsat7-zero-shot": Table("landsat7", "landsat-7", LANDSAT7, zero_shot=True),
    "landsat7-zero-shot-seen": Table("landsat7", "landsat-7", LANDSAT7_SEEN, zero_shot=True),
}


# Scores ------------------------------------------------------------------------------------------


def score(
    name: str, scene: str, method: str, run: str | None, way: Any = None
) -> list[dict[str, Any]]:
    """The rows of a method on a pair, one a protocol; `way`: a run's without PAN."""
    from bandweave.pansharp.pair.pair import open_pair
    from bandweave.pansharp.run import SharpenRun
    from bandweave.pansharp.scores.names import plain
    from bandweave.pansharp.scoring import PROTOCOLS, score_sharpeners, trained

    table = TABLES[name]
    folder = Path(os.environ["BANDWEAVE_DATA"]) / table.folder
    pan, ms = table.pairs[scene]
    pair = open_pair(folder / pan, [folder / file for file in ms], ratio=table.ratio)
    runs = {method: trained(SharpenRun.open(run), zero_shot=way)} if run else {}
    scores = score_sharpeners(
        {scene: pair},
        [] if run else [method],
        runs=runs,
        sensor=table.sensor,
        register=table.register,
        protocols=("reduced",) if table.zero_shot else PROTOCOLS,
        samples=0,
        quiet=True,
    )
    (facts,) = scores.scenes
    return [
        {
            "table": name,
            "scene": scene,
            "method": method,
            "protocol": row.protocol,
            **plain(row.scores),
            "seconds": round(row.seconds, 2),
            "peak": facts.peak,
            "registered": facts.registered,
            "shift": [round(facts.shift_rows, 3), round(facts.shift_cols, 3)],
        }
        for row in scores.rows
    ]


def score_all(only: str | None, runs: list[str]) -> None:
    """What is not finished yet, a line for each pair and protocol as it is."""
    done = {(row["table"], row["scene"], row["method"]) for row in read_rows(RESULTS)}
    RESULTS.parent.mkdir(exist_ok=True)
    for name, table in TABLES.items():
        if only not in (None, name):
            continue
        for scene in table.pairs:
            for method, (run, way) in methods(table, runs).items():
                if (name, scene, method) not in done:
                    rows = score(name, scene, method, run, way)
                    with open(RESULTS, "a") as file:
                        file.writelines(json.dumps(row) + "\n" for row in rows)
            print(f"{name} {scene}: done", file=sys.stderr, flush=True)


def methods(table: Table, runs: list[str]) -> dict[str, tuple[str | None, str | None]]:
    """A method's run, and its way without PAN, by the name it has in a table."""
    from bandweave.models.contract import ZeroShot
    from bandweave.pansharp.classical.methods import CLASSICAL

    named = {Path(run).resolve().name: run for run in runs}
    if table.zero_shot:
        ways = {f"{n}, {way}": (run, way) for n, run in named.items() for way in get_args(ZeroShot)}
        return {"bicubic": (None, None), **ways}
    classical = dict.fromkeys(CLASSICAL, (None, None))
    return {**classical, **{name: (run, None) for name, run in named.items()}}


def tables(rows: list[dict[str, Any]]) -> str:
    """Means over the pairs of each table, the best of a column in bold."""
    from bandweave.pansharp.scores.names import SCORES
    from bandweave.pansharp.scores.tables import NAMES, shown

    lines = []
    for name in TABLES:
        own = [row for row in rows if row["table"] == name]
        protocols = [p for p in NAMES if any(row["protocol"] == p for row in own)]
        names = [key for protocol in protocols for key in NAMES[protocol]]
        means: dict[str, dict[str, float]] = {}
        for method in dict.fromkeys(row["method"] for row in own):
            means[method] = {}
            for key in names:
                values = [
                    float(row[key])
                    for row in own
                    if row["method"] == method and row.get(key) is not None
                ]
                means[method][key] = statistics.fmean(values) if values else float("nan")
        if not means:
            continue
        count = len({row["scene"] for row in own})
        heads = [f"{SCORES[key].symbol} {SCORES[key].unit}".rstrip() for key in names]
        lines += [f"{name}, {count} pair{'s' * (count > 1)}", ""]
        lines += [f"| method | {' | '.join(heads)} |", f"|---|{'---|' * len(names)}"]
        for method, values in means.items():
            cells = []
            for key in names:
                column = [other[key] for other in means.values()]
                best = max(column) if SCORES[key].higher else min(column)
                text = shown(key, values[key])
                cells.append(f"**{text}**" if values[key] == best else text)
            lines.append(f"| {method} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(TABLES), help="one of the tables")
    parser.add_argument("--run", nargs="+", default=[], help="runs to score too; with --only")
    parser.add_argument("--fresh", action="store_true", help="score anew what is finished")
    options = parser.parse_args()
    if options.run and not options.only:
        parser.error("a run was trained on the bands of one table: name that by --only")
    if options.fresh and RESULTS.exists():
        kept = [row for row in read_rows(RESULTS) if options.only not in (None, row["table"])]
        RESULTS.write_text("".join(json.dumps(row) + "\n" for row in kept))
    if "BANDWEAVE_DATA" not in os.environ:
        parser.error("BANDWEAVE_DATA names no folder of data")
    score_all(options.only, options.run)
    print(tables(read_rows(RESULTS)))


if __name__ == "__main__":
    main()
