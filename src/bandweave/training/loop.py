"""The training loop, on one screen: batch, loss, backward, clip, step, log, save."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from bandweave.errors import ConfigError, RunError
from bandweave.training.config import Launch, TrainConfig
from bandweave.training.feed import BatchAt, batches
from bandweave.training.history import Board, History, Row
from bandweave.training.optimizer import WeightAverage, learning_rate, make_optimizer
from bandweave.training.processes import repeatable, reseed, start, together
from bandweave.training.progress import Progress
from bandweave.training.state import TrainState, identity_of

if TYPE_CHECKING:  # it takes as long to import as torch, and a run is opened without it
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)

SHOWN = "loss", "accuracy", "psnr"  # beside the progress


@dataclass(frozen=True, eq=False)
class TrainTask:
    """What is trained, on what and how, and what must agree where training continues.

    module     called as module(**batch); returns an Output with `loss` (a mean over the batch) and
               `parts` (scalars by name, the same names on every rank and step)
    batch_at   (index, rank, world) -> nested dict of NumPy arrays, a pure function; step s takes
               the indices s·accumulate, …; called from one other thread, one batch ahead
    validate   module (in eval mode, without gradients, on its device) -> score, higher is better;
               called on rank 0 only
    begin_step  called before each step with the share of the steps that is done
    conclude    called on rank 0 before each validation and at the end, with the weights that are
                judged or left, in eval mode on their device
    unused_parameters  a step may leave some without a gradient
    frozen     names of tensors that never change and are not saved
    identity   what else must agree for a resume (model, split, scaling), JSON-able
    title      what is shown beside the progress
    """

    module: nn.Module
    batch_at: BatchAt
    config: TrainConfig
    validate: Callable[[nn.Module], float] | None = None
    begin_step: Callable[[float], None] = lambda done: None
    conclude: Callable[[], None] = lambda: None
    unused_parameters: bool = False
    frozen: Collection[str] = ()
    identity: Mapping[str, Any] = field(default_factory=dict)
    title: str = "training"


def fit(task: TrainTask, out: Path | str, launch: Launch | None = None) -> list[Row]:
    """Train the task's module and leave in it the weights to use: best, averaged or last.

    out     folder of last.ckpt and history.csv; several machines must share it
    launch  with `resume` it continues from out/last.ckpt if there is one: the weights become those
            of a run that was never interrupted, exactly so on a CPU

    Returns the rows of history.csv. Raises ConfigError, RunError (another configuration,
    a gradient that is not finite) and OutputError (full disk).
    """
    launch = launch or Launch()
    module, config, validate, resume = task.module, task.config, task.validate, launch.resume
    if config.validate_every and validate is None:
        raise ConfigError(
            f"validate_every={config.validate_every}, but there is nothing to validate on; "
            f"draw a validation part with the split, or set validate_every to 0"
        )
    out = Path(out)
    fabric = start(
        config.precision, launch.accelerator, launch.devices, launch.nodes, task.unused_parameters
    )
    rank, world, main = fabric.global_rank, fabric.world_size, fabric.is_global_zero
    fp16, share = config.precision == "fp16", config.accumulate

    adamw = make_optimizer(module, config, fused=not fp16 and fabric.device.type != "mps")
    called: Any = torch.compile(module) if config.compile else module
    model, optimizer = fabric.setup(called, adamw)
    average = WeightAverage(module, config.ema)
    plugin = fabric.strategy.precision
    same = identity_of(config, world, task.identity)
    state = TrainState(module, adamw, average, plugin, task.frozen, same)
    if resume and (out / "last.ckpt").exists():
        state.load(out / "last.ckpt")
    fabric.barrier()  # all have read before rank 0 writes
    if main and not resume:
        (out / "last.ckpt").unlink(missing_ok=True)

    counters = state.counters
    first = config.steps if counters.stopped else counters.step
    history = History(out / "history.csv", counters.step, write=main)
    board = Board(out / "tensorboard", config.tensorboard and main, counters.step)
    feed = batches(task.batch_at, first * share, config.steps * share, rank, world, fabric.device)
    bar = Progress(task.title, config.steps, counters.step, launch.quiet or not main)
    log.info("training on %s in %s, %d process(es)", fabric.device, plugin.precision, world)
    began = time.monotonic() - counters.seconds

    module.train()
    with together(), repeatable(fabric.device), closing(feed), closing(board), bar:
        for step in range(first, config.steps):
            reseed(config.seed, step, rank)
            rate = learning_rate(step, config)
            for group in adamw.param_groups:
                group["lr"] = rate
            task.begin_step(step / config.steps)

            numbers: list[dict[str, Tensor]] = []
            for part in range(share):
                with fabric.no_backward_sync(model, enabled=part + 1 < share):
                    output = model(**next(feed))
                    fabric.backward(output.loss / share)
                numbers.append({"loss": output.loss, **output.parts})
            norm = _clipped(fabric, model, optimizer, config.clip)
            row = {"step": step + 1, **_means(fabric, numbers), "gradient_norm": norm, "lr": rate}
            state.check(row, fp16)
            optimizer.step()
            optimizer.zero_grad()
            average.update(step)

            counters.step = step + 1
            counters.seconds = time.monotonic() - began
            last = counters.step == config.steps
            if validate and config.validate_every and (last or _due(step, config.validate_every)):
                row["validation"] = _score(fabric, state, task, validate)
            row["seconds"] = round(counters.seconds, 3)
            history.append(row)
            board.add(row)
            bar.advance({key: row[key] for key in SHOWN if key in row})
            if last or counters.stopped or _due(step, config.checkpoint_every):
                history.flush()
                if main:
                    state.save(out / "last.ckpt")
            if counters.stopped:
                break
    fabric.barrier()  # rank 0 has written
    state.finish()
    if main:
        module.eval()
        task.conclude()
    if world > 1:
        for buffer in module.buffers():  # running statistics are each rank's own
            torch.distributed.broadcast(buffer, 0)
    return history.rows


def _due(step: int, every: int) -> bool:
    return (step + 1) % every == 0


def _clipped(fabric: Fabric, model: Any, optimizer: Any, clip: float) -> float:
    """The norm of the gradient before it is clipped; may be infinite or NaN."""
    norm = fabric.clip_gradients(
        model, optimizer, max_norm=clip or math.inf, error_if_nonfinite=False
    )
    return float(cast(Tensor, norm))


def _means(fabric: Fabric, numbers: list[dict[str, Tensor]]) -> Row:
    """Loss and parts, averaged over the batches of a step and over all ranks; one exchange."""
    names = [name for name, value in numbers[0].items() if value.numel() == 1]
    table = [
        torch.stack([batch[name].detach().float().reshape(()) for name in names])
        for batch in numbers
    ]
    means = cast(Tensor, fabric.all_reduce(torch.stack(table).mean(0), reduce_op="mean"))
    return dict(zip(names, means.tolist(), strict=True))


def _score(
    fabric: Fabric, state: TrainState, task: TrainTask, validate: Callable[[nn.Module], float]
) -> float:
    """The score of the averaged or present weights, the same on every rank; keeps the best."""
    with state.average.swapped_in():
        score = math.nan
        if fabric.is_global_zero:
            state.module.eval()
            task.conclude()
            with torch.no_grad():
                score = float(validate(state.module))
            state.module.train()
        score = fabric.broadcast(score)
        if not math.isfinite(score):
            raise RunError(f"step {state.counters.step}: the validation score is {score}")
        state.judge(score, task.config.patience)
    return score
