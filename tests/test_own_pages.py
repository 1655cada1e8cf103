"""The examples of the pages for builders work as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGES = Path(__file__).parents[1] / "docs" / "own"


def test_your_own_model(tmp_path):
    """It is trained, mapped with and scored, by the page's two files."""
    model, use = re.findall(r"^```python\n(.*?)^```", (PAGES / "model.md").read_text(), re.M | re.S)
    (tmp_path / "small_cnn.py").write_text(model)
    (tmp_path / "use.py").write_text(use)
    done = subprocess.run(
        [sys.executable, "use.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "overall accuracy" in done.stdout
    assert (tmp_path / "map.tif").exists()
    assert (tmp_path / "runs" / "small_cnn" / "scores.json").exists()
