"""history.csv can be read at any moment and continued after a checkpoint."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandweave.errors import ConfigError, FileError, OutputError
from bandweave.training.history import Board, History, read_history


def test_rows_beyond_the_checkpoint_are_cut(tmp_path):
    file = tmp_path / "history.csv"
    history = History(file)
    history.append({"step": 1, "loss": 0.5})
    history.append({"step": 2, "loss": 0.25, "validation": 1.0})  # the whole file is rewritten
    with open(file, "a") as out:
        out.write("3,0.1")  # killed within a line
    assert [row["step"] for row in read_history(file)] == [1, 2]
    again = History(file, step=1)
    assert again.rows == [{"step": 1, "loss": 0.5}]
    again.append({"step": 2, "loss": 0.125})
    assert file.read_text() == "step,loss,validation\n1,0.5,\n2,0.125,\n"


@settings(max_examples=20)
@given(
    st.lists(st.floats(-1e9, 1e9, width=32), min_size=1, max_size=20),
    st.integers(1, 20),
)
def test_a_history_that_was_cut_reads_the_same(losses, step):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "history.csv"
        history = History(file)
        for i, loss in enumerate(losses):
            history.append({"step": i + 1, "loss": loss})
        before = file.read_text().splitlines(keepends=True)
        History(file, step)
        assert file.read_text() == "".join(before[: step + 1])


def test_a_new_column_is_added(tmp_path):
    file = tmp_path / "history.csv"
    history = History(file)
    history.append({"step": 1, "loss": 0.5})
    history.append({"step": 2, "loss": 0.5, "validation": 0.75})
    history.append({"step": 3, "loss": float("inf")})
    assert file.read_text() == "step,loss,validation\n1,0.5,\n2,0.5,0.75\n3,inf,\n"
    assert read_history(file)[0] == {"step": 1, "loss": 0.5}


def test_a_lost_tail_is_said(tmp_path, caplog):
    file = tmp_path / "history.csv"
    History(file).append({"step": 1, "loss": 0.5})
    with caplog.at_level(logging.WARNING, logger="bandweave"):
        history = History(file, step=5)
    assert "has rows of 1 of the 5 steps before the checkpoint" in caplog.text
    assert history.rows == [{"step": 1, "loss": 0.5}]


def test_a_new_history_begins_empty(tmp_path):
    file = tmp_path / "new" / "history.csv"
    History(file).append({"step": 1, "loss": 0.5})
    assert History(file).rows == []
    assert not file.exists()
    History(file).flush()
    assert not file.exists()


def test_what_is_no_history(tmp_path, no_space):
    with pytest.raises(FileError, match="No such file"):
        read_history(tmp_path / "history.csv")
    (tmp_path / "history.csv").write_text("step,loss\n1,high\n")
    with pytest.raises(FileError, match="not a table of numbers"):
        read_history(tmp_path / "history.csv")
    for text in ("loss\n1\n", "step,loss\n,1\n", "step,loss\nnan,1\n", "step,loss\ninf,1\n"):
        (tmp_path / "history.csv").write_text(text)
        with pytest.raises(FileError, match="no step is named in line 2"):
            read_history(tmp_path / "history.csv")
    history = History(tmp_path / "h.csv")
    history.append({"step": 1})
    with no_space(8), pytest.raises(OutputError, match=r"h\.csv could not be written"):
        history.append({"step": 2_000_000})


def test_board_writes_what_it_is_given(tmp_path, monkeypatch):
    import sys
    import types

    written = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            written.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def close(self):
            written.append("closed")

    fake = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    board = Board(tmp_path / "tensorboard", True, 4)
    board.add({"step": 5, "loss": 0.5})
    board.close()
    assert written == [(str(tmp_path / "tensorboard"), 5), ("loss", 0.5, 5), "closed"]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    Board(tmp_path, False, 0).close()
    with pytest.raises(ConfigError, match="TensorBoard is not installed"):
        Board(tmp_path, True, 0)
