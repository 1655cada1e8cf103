"""A command that trains a small MambaMoE in two processes: python mambamoe_processes.py OUT"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from bandweave.models.mambamoe import MambaMoE, MambaMoEConfig
from bandweave.training.config import Launch, TrainConfig
from bandweave.training.loop import TrainTask, fit


def batch_at(index: int, rank: int, world: int) -> dict:
    rng = np.random.default_rng((index, rank, world))
    layer = rng.normal(size=(1, 4, 6, 7)).astype(np.float32)
    return {"layers": {"hsi": layer}, "labels": layer[:, :3].argmax(1)}


def main(out: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = MambaMoEConfig(width=8, active=1, state=4, load_balance=0.1)
    model = MambaMoE({"hsi": 4}, ["a", "b", "c"], config)
    options = TrainConfig(steps=4, lr=1e-2, precision="fp32")
    task = TrainTask(model, batch_at, options, unused_parameters=model.unused_parameters)
    fit(task, out, Launch(accelerator="cpu", devices=2, quiet=True))
    torch.save(model.state_dict(), out / f"rank{torch.distributed.get_rank()}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
