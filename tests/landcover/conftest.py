"""A small town and its split, for those who do not make another, and few looks on the way."""

import pytest

import bandweave as bw
from bandweave.landcover import length


@pytest.fixture(scope="package")
def scene():
    return bw.simulated_scene(seed=1, height=64, width=80, bands=8)


@pytest.fixture(scope="package")
def split(scene):
    return bw.split(scene, "blocks", size=16, guard=2, drop=True)


@pytest.fixture
def few_looks(monkeypatch):
    monkeypatch.setattr(length, "LOOKS", 2)
