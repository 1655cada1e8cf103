"""Which part may import which (.importlinter), and what `import bandweave` must not load."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "bandweave"
CONTRACTS = PACKAGE.parents[1] / ".importlinter"
HEAVY = ("torch", "numba", "rasterio", "matplotlib", "sklearn", "scipy", "transformers", "numpy")

# One line that breaks each rule: where it is put, the line, the name of the contract.
BROKEN = [
    ("scan/order.py", "from bandweave.nn import blocks", "Arrows point one way"),
    ("nn/blocks.py", "from bandweave.models import m3amba", "Arrows point one way"),
    ("raster/grid.py", "from bandweave.data import scene", "Arrows point one way"),
    ("models/m3amba.py", "from bandweave.landcover import run", "Arrows point one way"),
    ("landcover/run.py", "import bandweave.cli", "Arrows point one way"),
    ("yaml_files.py", "from bandweave.training import atomic", "Arrows point one way"),
    ("schema.py", "from bandweave import yaml_files", "Arrows point one way"),
    ("errors.py", "from bandweave.raster import grid", "Arrows point one way"),
    ("nn/blocks.py", "from bandweave.raster import grid", "A model knows its blocks"),
    ("models/m3amba.py", "def f():\n    import rasterio", "A model knows its blocks"),
    ("raster/grid.py", "def f():\n    import torch", "Files and scenes need no torch"),
    ("data/scene.py", "from bandweave.scan import order", "Files and scenes need no torch"),
    ("training/loop.py", "from bandweave.nn import output", "Training knows a module"),
    ("training/config.py", "from bandweave.data import match", "Training knows a module"),
    ("scan/order.py", "import scipy", "The scan knows tensors only"),
    ("cluster/lock.py", "from bandweave.landcover import run", "Sharing work out knows no task"),
    ("comparison/cells.py", "from bandweave.pansharp import run", "A comparison knows no task"),
]


def lint(*, source: Path | None = None) -> tuple[int, str]:
    """Check the contracts on the package, or on the copy in `source`: exit status and output."""
    ended = subprocess.run(
        [
            *(sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"),
            *("--config", CONTRACTS, "--no-cache"),
        ],
        env=os.environ | ({"PYTHONPATH": str(source)} if source else {}),
        capture_output=True,
        text=True,
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_imports_point_one_way():
    status, output = lint()
    assert status == 0, output


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict[str, str]:
    """What each contract says of a copy of the package in which every rule is broken once."""
    folder = tmp_path_factory.mktemp("broken")
    copy = shutil.copytree(
        PACKAGE, folder / "bandweave", ignore=shutil.ignore_patterns("__pycache__")
    )
    for file, line, _ in BROKEN:
        with (copy / file).open("a", encoding="utf-8") as source:
            source.write(f"\n\n{line}\n")
    status, output = lint(source=folder)
    assert status == 1, output
    _, _, details = output.partition("Broken contracts")
    titles = re.findall(r"^(\w.*)\n-+$", details, re.M)
    texts = re.split(r"^\w.*\n-+$", details, flags=re.M)[1:]
    return dict(zip(titles, texts, strict=True))


@pytest.mark.parametrize(("file", "line", "contract"), BROKEN)
def test_a_wrong_import_is_seen(seen, file, line, contract):
    importer = "bandweave." + file.removesuffix(".py").replace("/", ".")
    package, _, name = line.split(":")[-1].strip().removeprefix("from ").partition(" import ")
    imported = f"{package}.{name}" if name else package.removeprefix("import ")
    told = next(text for title, text in seen.items() if title.startswith(contract))
    assert re.search(rf"{importer} -> {imported}\b", told), told


@pytest.fixture(scope="module")
def loaded() -> list[set[str]]:
    """The modules that a process holds after each of its imports."""
    imports = (
        "bandweave",
        "bandweave.pansharp.scoring, bandweave.pansharp.sharpening",
        "bandweave.landcover.mapping, bandweave.landcover.scoring, "
        "bandweave.landcover.run, bandweave.pansharp.run",
        "bandweave.nn.clip.guidance as guidance; guidance.ClipConfig()",
    )
    code = "import sys\n" + "\n".join(f"import {names}; print(*sys.modules)" for names in imports)
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [set(line.split()) for line in told.splitlines()]


def test_nothing_heavy_is_loaded_before_it_is_needed(loaded):
    """By `import bandweave`, by classical sharpening and its scores, by a run that is used."""
    package, classical, runs, _ = loaded
    assert "bandweave" in package
    assert not set(HEAVY) & package
    assert not {"torch", "numba", "matplotlib"} & classical
    assert "torch" in runs
    assert not {"lightning_fabric", "torch._dynamo", "matplotlib", "transformers"} & runs


def test_transformers_is_imported_only_for_a_tower(loaded):
    assert "bandweave.nn.clip.guidance" in loaded[3]
    assert "transformers" not in loaded[3]


def test_every_public_name_is_there():
    """All of __all__ can be had, and is what the lazy table says it is."""
    import bandweave

    for name in bandweave.__all__:
        assert getattr(bandweave, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = bandweave.trian
