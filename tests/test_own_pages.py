"""The examples of the pages for builders work as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[1] / "docs" / "own"


@pytest.fixture
def run_page(begin, monkeypatch, tmp_path):
    """run_page("model.md", "small_cnn.py", …): what a page's last file prints; the others' names.

    In a process of its own, since what it adds to the package stays.
    """

    def run(page: str, *names: str) -> list[str]:
        texts = re.findall(r"^```python\n(.*?)^```", (PAGES / page).read_text(), re.M | re.S)
        for name, text in zip((*names, "use.py"), texts, strict=True):
            (tmp_path / name).write_text(text)

        monkeypatch.chdir(tmp_path)
        assert begin(tmp_path / "use.py").wait(300) == 0, (tmp_path / "begun.err").read_text()
        return (tmp_path / "begun.out").read_text().splitlines()

    return run


def test_your_own_file_format(run_page):
    """A file is opened by bands and as a layer, by the page's two files."""
    printed = run_page("format.md", "cube_format.py")
    assert printed[0] == "2 40×50 px at 2.5 m (650, 450)"
    assert printed[1] == "(450, 550, 650) 40×50 px at 2.5 m"


def test_your_own_model(run_page, tmp_path):
    """It is trained, mapped with and scored, by the page's two files."""
    assert "overall accuracy" in "\n".join(run_page("model.md", "small_cnn.py"))
    assert (tmp_path / "map.tif").exists()
    assert (tmp_path / "runs" / "small_cnn" / "scores.json").exists()


def test_your_own_split_and_metrics(run_page, tmp_path):
    """They are in printed and stored scores, and in the tables of a comparison."""
    printed = run_page("split_or_metric.md", "halves.py", "more_metrics.py")
    assert "   mean IoU " in printed[0]
    assert printed[2].split()[5] == "omission"
    assert "split: halves" in printed
    stored = json.loads((tmp_path / "runs" / "halves" / "scores.json").read_text())["pixels"]
    assert printed[-2].split()[0] == repr(stored["mean_iou"])
    grass = stored["per_class"]["grass"]
    assert grass["omission"] == 1 - grass["accuracy"]
    table = (tmp_path / "comparison" / "table.md").read_text()
    assert "## simulated-0, halves" in table
    assert "mIoU" in next(line for line in table.splitlines() if line.startswith("| model |"))
    heads = (tmp_path / "comparison" / "results.csv").read_text().splitlines()[0].split(",")
    assert {"mean_iou", "omission"} <= set(heads)


def test_your_own_sharpening_method(run_page, tmp_path):
    """It sharpens, and is scored beside a method that comes along."""
    printed = run_page("sharpening.md", "gaussian.py")
    assert (tmp_path / "sharp.tif").exists()
    reduced = {line.split()[0]: line for line in printed if line.strip()}
    assert {"gaussian", "bicubic"} <= set(reduced)
