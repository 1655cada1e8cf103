"""The tables of the M³amba, CF-IPT and MambaMoE papers, with bandweave's models beside them.

    python benchmarks/papers/paper_tables.py --folder DATA      # every benchmark that is there
    python benchmarks/papers/paper_tables.py --folder DATA --papers m3amba --tables I II --seeds 10
    python benchmarks/papers/paper_tables.py --scenes simulated:0 --size tiny --seeds 1 --steps 50
    python benchmarks/papers/paper_tables.py --print            # nothing is run

DATA holds a folder for each benchmark, by its name: houston2013/, augsburg/, muufl/,
pavia_university/, whu_hi_hanchuan/ (`bandweave scenes get` says where from). Scenes that no paper
has (a scene file, `simulated:0`) stand in the same tables with dashes for the paper's figures.
Every figure has its protocol: of the printed ones, what is known of it (published/ beside
this file); of ours, the split: the one that the paper names, and blocks of ground with a guard.

Each finished run is a folder under OUT and is not repeated; a run that was killed is continued. The
tables go to OUT/tables.md and to the screen. Exit status 1 says that some runs failed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from bandweave.cluster.sharing import Sharing, share_threads
from bandweave.errors import BandweaveError, ConfigError
from bandweave.landcover.baselines.methods import METHODS
from bandweave.schema import nearest
from bandweave.training.atomic import write_text
from bandweave.training.progress import set_up_logging
from papers.complexity import complexity_table
from papers.entries import AnyTable, Measured, Settings, measure
from papers.pages import Writer, preamble
from papers.printed import PAPERS, ClassTable, Paper, read_paper
from papers.scenes import Scenes, find_scenes

COMPLEXITY = "complexity"
MODELS = ("own", "m3amba", "mambamoe", "cf_ipt")


def choose(papers: Sequence[Paper], names: Sequence[str]) -> dict[str, list[AnyTable]]:
    """Tables by paper; all of them where none is named.

    Raises ConfigError for a name that none has.
    """
    found: dict[str, list[AnyTable]] = {}
    known: dict[str, None] = {COMPLEXITY: None}
    for paper in papers:
        both: list[AnyTable] = [*paper.tables, *paper.class_tables]
        own = {short(table): table for table in both}
        known |= dict.fromkeys(own)
        found[paper.model] = [t for name, t in own.items() if not names or name in names]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"there is no table {name!r}{nearest(name, known)}; tables are {', '.join(known)}"
            )
    return found


def short(table: AnyTable) -> str:
    """The name of a table in a command: I, II, …, main, ablations."""
    if table.name.startswith("Table "):
        return table.name.removeprefix("Table ")
    return table.name.split()[0].lower()


def write(
    settings: Settings,
    papers: Sequence[Paper],
    chosen: dict[str, list[AnyTable]],
    scenes: Scenes,
    measured: dict[str, Measured],
    complexity: bool,
) -> str:
    """All of the page."""
    pieces = [preamble(settings, papers, scenes)]
    for paper in papers:
        tables = chosen[paper.model]
        if not tables:
            continue
        writer = Writer(settings, paper, scenes, measured[paper.model])
        pieces.append(f"## {paper.paper}")
        for table in tables:
            if not isinstance(table, ClassTable):
                pieces.append(writer.score_table(table))
            else:
                pieces.append(writer.class_table(table))
        first = next((table for table in tables if isinstance(table, ClassTable)), None)
        if first is not None:
            pieces += [writer.class_table(first, scene) for scene in scenes.others]
        pieces.append(writer.legend(tables))
    if complexity:
        pieces.append(complexity_table(list(papers)))
    return "\n\n".join(pieces) + "\n"


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--folder", type=Path, default=os.environ.get("BANDWEAVE_DATA"),
        help="of the benchmarks' folders (BANDWEAVE_DATA)")  # fmt: skip
    add("--papers", nargs="+", choices=PAPERS, default=list(PAPERS))
    add("--tables", nargs="+", default=[], help="I II VI VII VIII IX X main ablations complexity")
    add("--scenes", nargs="+", default=[], help="benchmarks, scene files, simulated:SEED")
    add("--models", nargs="+", choices=[*MODELS, *METHODS], default=["own", "random_forest"],
        help="own: the paper's; the others stand beside it in tables of methods")  # fmt: skip
    add("--size", choices=("tiny", "small", "paper"), default="small", help="presets of ours")
    add("--clip", help="weights of CLIP; the embedded ones, of the size paper the papers' own")
    add("--download", action="store_true", help="CLIP's weights may be fetched")
    add("--seeds", type=int, default=5)
    add("--steps", type=int, help="of training; as the presets have it by default")
    add("--protocols", nargs="+", choices=("published", "blocks"),
        default=["published", "blocks"])  # fmt: skip
    add("--block", type=int, default=64, help="px of the labels: side of a block")
    add("--guard", type=int, default=8, help="px of the labels around test pixels in blocks")
    add("--processes", type=int, default=1, help="runs at a time")
    add("--threads", type=int, help="of each run")
    add("--out", type=Path, default=Path("runs/paper_tables"))
    add("--print", action="store_true", help="run nothing: what is printed and what is finished")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    options = parser().parse_args(argv)
    set_up_logging(quiet=True)
    try:
        if options.seeds < 1 or (options.steps is not None and options.steps < 1):
            raise ConfigError(f"seeds {options.seeds}, steps {options.steps}: at least 1")
        papers = [read_paper(name) for name in options.papers]
        chosen = choose(papers, options.tables)
        settings = Settings(
            out=options.out,
            size=options.size,
            models=tuple(options.models),
            seeds=tuple(range(options.seeds)),
            steps=options.steps,
            clip=options.clip,
            download=options.download,
            protocols=tuple(options.protocols),
            block=options.block,
            guard=options.guard,
            processes=options.processes,
            threads=share_threads(Sharing(options.processes), options.threads),
            command=shlex.join(["python", "benchmarks/papers/paper_tables.py", *argv]),
        )
        scenes = find_scenes(papers, options.folder, options.scenes)
        measured = {
            paper.model: measure(
                settings, paper, chosen[paper.model], scenes, run=not options.print
            )
            for paper in papers
        }
        complexity = not options.tables or COMPLEXITY in options.tables
        text = write(settings, papers, chosen, scenes, measured, complexity)
        write_text(options.out / "tables.md", text)
    except BandweaveError as error:
        print(f"paper_tables.py: {error}", file=sys.stderr)
        return 2
    print(text)
    return int(any(each.failed for each in measured.values()))


if __name__ == "__main__":
    raise SystemExit(main())
