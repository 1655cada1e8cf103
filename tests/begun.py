"""What a test begins in a process of its own: a command, or a script.

Run by the fixtures `begin` and `run_ranks`, which set ARGUMENTS, what would follow `bandweave` or
`python`; OUTPUTS, the files of standard output and standard error; and VARIABLES, of the
environment.
"""

# ruff: noqa: F821

import os
import runpy
import sys
import traceback


def run(words: list[str]) -> int:
    """Run a script or the command; returns the exit status."""
    if words[0].endswith(".py"):
        sys.path.insert(0, os.path.dirname(words[0]))
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
        return 0
    from bandweave.cli.main import main

    sys.argv = ["bandweave", *words]  # as from a shell: at its end signals are unheeded
    return main()


if __name__ == "__main__":
    status = 1
    try:
        try:
            os.setsid()
            os.environ |= VARIABLES
            for stream, file in enumerate(OUTPUTS, 1):
                os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
            status = run(ARGUMENTS)
        except KeyboardInterrupt:  # before `main` had begun
            status = 130
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
