"""The examples of the pages for builders work as they stand there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

PAGES = Path(__file__).parents[1] / "docs" / "own"


def run_page(folder: Path, page: str, module: str) -> str:
    """Run a page's two files, `module` and what uses it; returns what they print."""
    own, use = re.findall(r"^```python\n(.*?)^```", (PAGES / page).read_text(), re.M | re.S)
    (folder / module).write_text(own)
    (folder / "use.py").write_text(use)
    done = subprocess.run(
        [sys.executable, "use.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_your_own_file_format(tmp_path):
    """A file is opened by bands and as a layer, by the page's two files."""
    printed = run_page(tmp_path, "format.md", "cube_format.py").splitlines()
    assert printed[0] == "2 40×50 px at 2.5 m (650, 450)"
    assert printed[1] == "(450, 550, 650) 40×50 px at 2.5 m"


def test_your_own_model(tmp_path):
    """It is trained, mapped with and scored, by the page's two files."""
    assert "overall accuracy" in run_page(tmp_path, "model.md", "small_cnn.py")
    assert (tmp_path / "map.tif").exists()
    assert (tmp_path / "runs" / "small_cnn" / "scores.json").exists()


def test_your_own_split_and_metrics(tmp_path):
    """They are in printed and stored scores, and in the tables of a comparison."""
    page = (PAGES / "split_or_metric.md").read_text()
    texts = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    for name, text in zip(("halves.py", "more_metrics.py", "use.py"), texts, strict=True):
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "use.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
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


def test_your_own_sharpening_method(tmp_path):
    """It sharpens, and is scored beside a method that comes along."""
    page = (PAGES / "sharpening.md").read_text()
    method, use = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    (tmp_path / "gaussian.py").write_text(method)
    (tmp_path / "use.py").write_text(use)
    done = subprocess.run(
        [sys.executable, "use.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sharp.tif").exists()
    reduced = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert {"gaussian", "bicubic"} <= set(reduced)
