"""The command finds its subcommands quickly, and says in one line what went wrong."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from bandweave.cli.failures import explain
from bandweave.cli.main import COMMANDS
from bandweave.errors import FileError

HEAVY = {"torch", "numba", "rasterio", "matplotlib", "sklearn", "scipy", "transformers"}
TRAINING = "train", "tune", "sharpen-train", "compare", "sharpen-compare", "audit"  # of models
LIGHT = [(), ("scenes",), *((name,) for name in COMMANDS if name not in (*TRAINING, "scenes"))]
LIGHT += [("scenes", action) for action in ("list", "get", "check", "make")]


def test_help_that_needs_no_model_loads_nothing_heavy():
    """All in one fresh process, since what one command loads is there for the next."""
    code = (
        "import sys, time; from bandweave.cli.main import main\n"
        f"began = time.process_time(); status = [main([*c, '--help']) for c in {LIGHT!r}]\n"
        f"print(status, {HEAVY!r} & set(sys.modules), time.process_time() - began, sep='|')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, loaded, seconds = ended.stdout.splitlines()[-1].split("|")
    assert status == str([0] * len(LIGHT))
    assert loaded == "set()"
    assert float(seconds) < 1, "all of them together"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_tells_what_it_does(call, command):
    result = call(command, "--help")
    assert result.status == 0
    assert result.err == ""
    assert f"bandweave {command}" in result.out
    assert command in call("--help").out


def test_without_a_command_the_help_is_shown(call):
    assert call().status == 2
    assert call().out == call("--help").out


def test_version(call):
    assert call("--version").out == "bandweave 0.1.0\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("trian",), "there is no command 'trian'; did you mean 'train'?"),
        (("scenes", "lst"), "scenes lst: no such action; did you mean 'list'?"),
        (
            ("map", "r", "s", "o", "--ovrelap", "3"),
            "--ovrelap: no such option; did you mean --overl",
        ),
        (("map", "r", "s", "o", "--xyz"), "--xyz: no such option; --help lists what there is"),
        (("map", "r"), "the following arguments are required: S, OUT; `bandweave map --help`"),
        (("map", "r", "s", "o", "--batch", "x"), "argument --batch: invalid int value: 'x'"),
        (("map", "r", "s", "o", "--overviews", "mean"), "invalid choice: 'mean'"),
        (("map", "r", "s", "o", "--overlap"), "argument --overlap: expected one argument"),
        (("score", "r"), "the following arguments are required: scene"),
        (("score", "r", "s", "--tat"), "--tat: no such option; did you mean --tta?"),
        (("info", "a", "b"), "unrecognized arguments: b"),
        (("demo", "--steps", "0"), "--seed 0, --steps 0: at least 0 and 1"),
    ],
)
def test_wrong_words_are_named(refused, words, told):
    assert told in refused(*words)


def failing(monkeypatch, error: BaseException) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("bandweave.cli.info.describe_installation", fail)


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (FileError("a\n  b"), 2, "error: a b"),
        (MemoryError(), 2, "error: not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: x"), 2, "not enough memory"),
        (OSError(errno.ENOSPC, "No space left", "m.tif"), 2, "error: the disk is full (m.tif)"),
        (PermissionError(errno.EACCES, "x", "m.tif"), 2, "error: m.tif: permission denied"),
        (
            ValueError("odd"),
            1,
            "error: this was not foreseen: ValueError: odd (--debug shows where)",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_any_failure_is_one_line(call, monkeypatch, error, status, told):
    failing(monkeypatch, error)
    result = call("info")
    assert result.status == status
    assert result.out == ""
    assert result.err.startswith("bandweave: ")
    assert result.err.count("\n") == 1
    assert told in result.err


def test_debug_shows_where(call, monkeypatch):
    failing(monkeypatch, ValueError("odd"))
    with pytest.raises(ValueError, match="odd"):
        call("info", "--debug")


def test_a_further_process_says_which_it_is(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert explain(FileError("gone")) == ("bandweave (process 3): error: gone", 2)


def test_a_reader_that_has_seen_enough_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "-m", "bandweave.cli.main", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    process.wait()


def test_warnings_of_libraries_are_lines_of_the_log(call, monkeypatch):
    import warnings

    def warn() -> list[tuple[str, str]]:
        warnings.warn("of\n old", UserWarning, stacklevel=1)
        return [("a", "b")]

    monkeypatch.setattr("bandweave.cli.info.describe_installation", warn)
    assert call("info").err == "warning: of old\n"
