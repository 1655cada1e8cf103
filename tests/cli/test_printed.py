"""Names that files bring along do not steer the terminal, wherever a command says them."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
import rasterio

from bandweave.cli.failures import explain
from bandweave.cli.main import main
from bandweave.training.progress import Progress, set_up_logging

EVIL = "roof\x1b[31m\x07\x9b2J\u202e"
SHOWN = r"roof\x1b[31m\x07\x9b2J\u202e"


def test_a_band_name_on_stdout(call, tmp_path):
    path = tmp_path / f"{EVIL}.tif"
    profile = {"driver": "GTiff", "height": 2, "width": 2, "count": 1, "dtype": "uint8"}
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as file:
        file.write(np.ones((1, 2, 2), np.uint8))
    shutil.move(tmp_path / "a.tif", path)
    told = call("info", path)
    assert "\x1b" not in told.out + told.err
    assert "\u202e" not in told.out + told.err
    assert SHOWN in told.out + told.err


def test_log_lines_and_progress(capfd):
    set_up_logging()
    logging.getLogger("bandweave.test").warning("part %s", EVIL)
    logging.getLogger("bandweave.test").warning("x" * 100_000)
    with Progress(f"mapping {EVIL}", 1) as bar:
        bar.advance()
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == f"warning: part {SHOWN}"
    assert len(lines[1]) < 2100
    assert lines[2].startswith(f"mapping {SHOWN} 1/1")


@pytest.mark.parametrize("kind", [RuntimeError, PermissionError])
def test_what_was_not_foreseen(kind):
    error = kind(13, "no", EVIL + "x" * 100_000) if kind is PermissionError else kind(EVIL * 10_000)
    line, _ = explain(error)
    assert SHOWN in line
    assert line.isprintable()
    assert len(line) < 2100


def test_letters_of_all_languages_stay(capfd):
    set_up_logging()
    names = "Gräser 草地 เขียว می\u200cخواهم 🌲"
    logging.getLogger("bandweave.test").warning(names)
    assert capfd.readouterr().err == f"warning: {names}\n"


def test_stdout_is_as_it_was_after_a_command(capfd):
    import sys

    before = sys.stdout
    assert main(["scenes", "list"]) == 0
    assert sys.stdout is before
    assert "\n" in capfd.readouterr().out
