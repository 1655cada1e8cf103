"""A small module and its batches, and a command that trains it: to be killed, or in two processes.

python toy.py one OUT STEPS PAUSE   trains, with a pause in seconds before every batch
python toy.py two OUT               trains in two processes, without and with an interruption
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bandweave.nn.output import Output
from bandweave.training.config import Launch, TrainConfig
from bandweave.training.loop import TrainTask, fit


class Toy(nn.Module):
    """Pixelwise classifier with dropout, a norm with buffers, and a parameter without decay."""

    def __init__(self, bands: int = 4, classes: int = 3, dropout: float = 0.3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(bands, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(dropout)
        self.scale = nn.Parameter(torch.ones(8, 1, 1))
        self.scale.no_weight_decay = True
        self.head = nn.Conv2d(8, classes, 1)

    def forward(self, layers: dict[str, Tensor], labels: Tensor | None = None) -> Output:
        features = self.drop(self.norm(self.stem(layers["hsi"]))) * self.scale
        logits = self.head(torch.relu(features))
        if labels is None:
            return Output(logits)
        loss = nn.functional.cross_entropy(logits, labels, ignore_index=-1)
        correct = (logits.argmax(1) == labels)[labels >= 0].float().mean()
        return Output(logits, loss, {"accuracy": correct, "doubled": 2 * loss})


class Branching(Toy):
    """One of its two heads takes part in a step, drawn at random; the other has no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(8, 3, 1)
        self.never = nn.Linear(2, 2)

    def forward(self, layers: dict[str, Tensor], labels: Tensor | None = None) -> Output:
        if torch.rand(()) < 0.5:
            self.head, self.other = self.other, self.head
            try:
                return super().forward(layers, labels)
            finally:
                self.head, self.other = self.other, self.head
        return super().forward(layers, labels)


def toy(kind: type[Toy] = Toy, **options: float) -> Toy:
    torch.manual_seed(0)
    return kind(**options)  # type: ignore[arg-type]


def batch_at(index: int, rank: int, world: int, size: int = 4) -> dict:
    rng = np.random.default_rng((index, rank, world))
    layer = rng.normal(size=(size, 4, 6, 5)).astype(np.float32)
    labels = layer[:, :3].argmax(1)
    labels[:, 0] = -1
    return {"layers": {"hsi": layer}, "labels": labels}


def config(steps: int = 12, **options) -> TrainConfig:
    return TrainConfig(**{"steps": steps, "lr": 1e-2, "precision": "fp32", **options})


def one(out: Path, steps: int, pause: float) -> None:
    """Train a module, or go on with it, and save its weights."""
    torch.set_num_threads(1)

    def slow(index: int, rank: int, world: int) -> dict:
        time.sleep(pause)
        return batch_at(index, rank, world)

    options = config(steps, ema=0.9, checkpoint_every=3, validate_every=4)
    module = toy()
    fit(TrainTask(module, slow, options, score), out, Launch(resume=True, quiet=True))
    torch.save(module.state_dict(), out / "weights.pt")


def score(module: nn.Module) -> float:
    assert not module.training
    batch = batch_at(10_000, 0, 1)
    logits = module({"hsi": torch.tensor(batch["layers"]["hsi"])}).logits
    labels = torch.tensor(batch["labels"])
    return -float(nn.functional.cross_entropy(logits, labels, ignore_index=-1))


def two(out: Path) -> None:
    """Train plain and branching modules in two processes; every rank saves its weights."""
    torch.set_num_threads(1)
    for kind in (Toy, Branching):
        folder = out / kind.__name__
        module = toy(kind)
        options = config(6, accumulate=2, ema=0.9, validate_every=3, checkpoint_every=2)
        asked = []

        def recorded(index: int, rank: int, world: int, asked: list = asked) -> dict:
            asked.append((index, rank, world))
            return batch_at(index, rank, world)

        launch = Launch(accelerator="cpu", devices=2, quiet=True)
        more = {"validate": score, "unused_parameters": kind is Branching}
        fit(TrainTask(module, recorded, options, **more), folder, launch)
        rank = torch.distributed.get_rank()
        torch.save(module.state_dict(), folder / f"rank{rank}.pt")
        (folder / f"rank{rank}.json").write_text(json.dumps(asked))

        class KilledError(Exception):
            pass

        def interrupted(index: int, rank: int, world: int) -> dict:
            if index == 9:
                raise KilledError
            return batch_at(index, rank, world)

        again = toy(kind)
        try:
            fit(TrainTask(again, interrupted, options, **more), folder / "again", launch)
        except KilledError:
            torch.distributed.barrier()
        again = toy(kind)
        task = TrainTask(again, batch_at, options, **more)
        fit(task, folder / "again", replace(launch, resume=True))
        torch.save(again.state_dict(), folder / "again" / f"rank{rank}.pt")


if __name__ == "__main__":
    if sys.argv[1] == "one":
        one(Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    else:
        two(Path(sys.argv[2]))
