"""Two processes train as one; seeds are unlike; the main process knows itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bandweave.errors import RunError
from bandweave.training.history import read_history
from bandweave.training.processes import is_main, repeatable, reseed, together


@pytest.fixture(scope="module")
def two(run_ranks, tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    run_ranks(Path(__file__).with_name("toy.py"), "two", out)
    return out


def load(file: Path) -> dict[str, torch.Tensor]:
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("kind", ["Toy", "Branching"])
def test_both_ranks_end_with_the_same_weights(two, kind):
    first, second = load(two / kind / "rank0.pt"), load(two / kind / "rank1.pt")
    assert all(torch.equal(first[name], second[name]) for name in first)
    again, other = load(two / kind / "again" / "rank0.pt"), load(two / kind / "again" / "rank1.pt")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(torch.equal(first[name], other[name]) for name in first)
    assert [row["step"] for row in read_history(two / kind / "history.csv")] == [1, 2, 3, 4, 5, 6]


def test_each_rank_gets_its_own_batches(two):
    asked = [json.loads((two / "Toy" / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert asked[0] == [[index, 0, 2] for index in range(12)]
    assert asked[1] == [[index, 1, 2] for index in range(12)]


@pytest.mark.parametrize(
    ("variables", "main"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"RANK": "3", "LOCAL_RANK": "0"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, False),
    ],
)
def test_who_is_main(monkeypatch, variables, main):
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_main() is main


def test_seeds_of_neighbouring_steps_are_unlike():
    draws = {}
    for numbers in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (10, 0), (1, 0)]:
        reseed(*numbers)
        draws[numbers] = torch.rand(4).tolist()
        reseed(*numbers)
        assert torch.rand(4).tolist() == draws[numbers]
    assert len({tuple(draw) for draw in draws.values()}) == len(draws)


def test_a_lost_peer_is_said_in_one_line():
    with pytest.raises(RunError, match="another process of this run ended"), together():
        raise RuntimeError("[third_party/gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shape"), together():
        raise RuntimeError("shape mismatch")


def test_repeatable_leaves_torch_as_it_was():
    before = torch.are_deterministic_algorithms_enabled()
    with repeatable(torch.device("cpu")):
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.are_deterministic_algorithms_enabled() is before
