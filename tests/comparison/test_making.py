"""What is said while the cells of a comparison are made."""

import logging
from pathlib import Path

import pytest

from bandweave.comparison.making import follow_cells
from bandweave.comparison.plan import Cell


def made():
    for model, facts in (("knn", {}), ("wide", {"failed": "it broke"})):
        yield Cell(("town", "blocks"), model, 3, {}), facts


@pytest.mark.parametrize("quiet", [False, True])
def test_each_cell_is_named_with_its_model_and_seed(caplog, quiet):
    caplog.set_level(logging.INFO, logger="bandweave")
    failures = follow_cells(made(), 2, 2, quiet=quiet)
    assert ("town, blocks, knn, seed 3: done" in caplog.messages) is not quiet
    assert "town, blocks, wide, seed 3: failed: it broke" in caplog.messages
    assert failures == {str(Path("runs/town/blocks/wide/seed-3")): "it broke"}
