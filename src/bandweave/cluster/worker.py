"""A process that makes cells for another: a line of JSON in for each, a line of JSON out.

It ends as soon as the process that gives the work does, however that ended: its input is then at
its end, which a thread notices while a cell is in the making. Ctrl-C, which reaches all processes
of a terminal, is left to that process.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from importlib import import_module
from pathlib import Path

from bandweave.cluster.memory import keep_freed_memory


def main() -> None:
    """Make the cells that stdin asks for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not stand between the answers
    asked: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()

    from bandweave.training.progress import set_up_logging

    set_up_logging(quiet=True)
    while True:
        work = json.loads(asked.get())
        kind = import_module(work["module"])
        cell, options = kind.Cell(**work["cell"]), kind.CellOptions(**work["options"])
        answer = kind.run_cell(Path(work["root"]), cell, options)
        print(json.dumps(answer), file=answers, flush=True)


def _listen(asked: queue.Queue[str]) -> None:
    for line in sys.stdin:
        asked.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
