"""A bar on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from bandweave.training import progress
from bandweave.training.progress import Progress, set_up_logging, track


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_plain_lines_first_last_and_every_ten_seconds(capsys, clock):
    with Progress("training", 100, start=40) as bar:
        for step in range(60):
            clock.now += 1
            bar.advance({"loss": 1 / (step + 1), "accuracy": 0.5})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training 41/100  loss 1.000  accuracy 0.500"
    assert lines[1] == "training 51/100  loss 0.091  accuracy 0.500  0:49 left"
    assert lines[-1] == "training 100/100  loss 0.017  accuracy 0.500  1:00 in all"
    assert len(lines) == 7


def test_quiet_and_other_ranks_say_nothing(capsys, monkeypatch):
    assert list(track([1, 2, 3], "mapping", quiet=True)) == [1, 2, 3]
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.delenv("RANK", raising=False)
    assert list(track([1, 2, 3], "mapping")) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


def test_track_counts_iterators(capsys):
    assert list(track(iter("ab"), "mapping", total=2)) == ["a", "b"]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0].startswith("mapping 1/2")
    assert err.splitlines()[-1].startswith("mapping 2/2")


def test_bar_on_a_terminal(monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    monkeypatch.setattr(progress, "console", lambda: console)
    with Progress("training", 3) as bar:
        for _ in range(3):
            bar.advance({"loss": 0.25})
    assert "training" in screen.getvalue()
    assert "3/3" in screen.getvalue()
    assert "loss 0.250" in screen.getvalue()


def test_logging_levels(capsys, monkeypatch):
    logger = logging.getLogger("bandweave.test")
    try:
        for quiet, verbose, expected in [
            (False, False, ["info: note", "warning: careful"]),
            (True, False, ["warning: careful"]),
            (False, True, ["debug: detail", "info: note", "warning: careful"]),
        ]:
            set_up_logging(quiet=quiet, verbose=verbose)
            logger.debug("detail")
            logger.info("note")
            logger.warning("careful")
            if not verbose:
                logger.warning("%s", "careful")  # a line is said once
            assert capsys.readouterr().err.splitlines() == expected
        monkeypatch.setenv("LOCAL_RANK", "1")
        monkeypatch.delenv("RANK", raising=False)
        set_up_logging()
        logger.warning("careful")
        assert capsys.readouterr().err == ""
    finally:
        package = logging.getLogger("bandweave")
        package.handlers = [h for h in package.handlers if h.get_name() != "bandweave"]
        package.setLevel(logging.NOTSET)
