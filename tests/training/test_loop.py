"""The loop repeats itself bit for bit, and each option does what it says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from toy import Branching, Toy, batch_at, config, score, toy

from bandweave.errors import ConfigError, OutputError, RunError
from bandweave.nn.output import Output
from bandweave.training.checkpoint import load_checkpoint
from bandweave.training.config import Launch
from bandweave.training.history import read_history
from bandweave.training.loop import TrainTask, fit


def trained(out, module=None, batches=batch_at, options=None, resume=False, **more):
    module = module if module is not None else toy()
    launch = Launch(resume=resume, quiet=True, accelerator="cpu")
    return module, fit(TrainTask(module, batches, options or config(), **more), out, launch)


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_same_seed_same_weights(tmp_path):
    first, rows = trained(tmp_path / "a")
    torch.rand(3)  # what happened before must not matter
    second, _ = trained(tmp_path / "b")
    other, _ = trained(tmp_path / "c", options=config(seed=1))
    assert same(first, second)
    assert not same(first, other)  # dropout differs
    assert rows[-1]["step"] == 12
    assert not first.training


def test_it_learns(tmp_path):
    _, rows = trained(tmp_path, toy(dropout=0.0), options=config(150))
    assert rows[-1]["loss"] < 0.4 * rows[0]["loss"]
    assert rows[-1]["accuracy"] > 0.8


def test_history_holds_every_part(tmp_path):
    _, rows = trained(tmp_path, options=config(4, validate_every=2), validate=score)
    read = read_history(tmp_path / "history.csv")
    assert [row["step"] for row in read] == [1, 2, 3, 4]
    assert set(read[1]) == {
        "step", "loss", "accuracy", "doubled", "gradient_norm", "lr", "validation", "seconds",
    }  # fmt: skip
    assert ["validation" in row for row in read] == [False, True, False, True]
    for row, kept in zip(rows, read, strict=True):
        assert kept == pytest.approx(row, rel=1e-6)
        assert row["doubled"] == pytest.approx(2 * row["loss"], rel=1e-6)


def test_batches_are_asked_for_in_order(tmp_path):
    asked = []

    def recorded(index, rank, world):
        asked.append((index, rank, world))
        return batch_at(index, rank, world)

    trained(tmp_path, batches=recorded, options=config(3, accumulate=2))
    assert asked == [(i, 0, 1) for i in range(6)]


class Mean(nn.Module):
    """Linear least squares: the gradient of a batch is the mean of its halves' gradients."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 3))

    def forward(self, x):
        return Output(x, (nn.functional.linear(x, self.weight) - x[:, :2]).square().mean(), {})


def test_accumulation_equals_a_bigger_batch(tmp_path):
    data = np.random.default_rng(0).normal(size=(8, 8, 3)).astype(np.float32)

    def small(index, rank, world):
        return {"x": data[index // 2][4 * (index % 2) :][:4]}

    def big(index, rank, world):
        return {"x": data[index]}

    options = config(8, accumulate=2)
    first, rows = trained(tmp_path / "a", Mean(), small, options)
    second, others = trained(tmp_path / "b", Mean(), big, config(8))
    torch.testing.assert_close(first.weight, second.weight)
    assert first.weight.abs().max() > 1e-3
    assert rows[3]["loss"] == pytest.approx(others[3]["loss"], rel=1e-5)


def test_clipping_bounds_the_step(tmp_path):
    class Steep(Mean):
        def forward(self, x):
            return Output(x, 1e6 * self.weight.sum(), {})

    def batch(index, rank, world):
        return {"x": np.zeros((1, 3), np.float32)}

    gradients = []
    module = Steep()
    step = torch.optim.AdamW.step

    def watched(self, *args, **kwargs):
        gradients.append(float(module.weight.grad.norm()))
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", watched)
        _, rows = trained(tmp_path, module, batch, config(2, clip=0.5))
        trained(tmp_path, module, batch, config(1, clip=0.0))
    assert gradients == pytest.approx([0.5, 0.5, 6**0.5 * 1e6], rel=1e-4)
    assert rows[0]["gradient_norm"] == pytest.approx(6**0.5 * 1e6, rel=1e-4)


def test_averaged_weights_are_validated_and_left(tmp_path):
    plain, _ = trained(tmp_path / "a", options=config(6))
    seen = []
    averaged, _ = trained(
        tmp_path / "b",
        options=config(6, ema=0.9, validate_every=6),
        validate=lambda module: float(seen.append(module.head.weight.detach().clone()) or 1.0),
    )
    state = load_checkpoint(tmp_path / "b" / "last.ckpt")
    assert torch.equal(
        state["weights"]["head.weight"], plain.head.weight
    )  # training went on as ever
    assert not torch.equal(averaged.head.weight, plain.head.weight)
    assert torch.equal(seen[0], averaged.head.weight)
    last, _ = trained(tmp_path / "c", options=config(6, ema=0.9))
    assert torch.equal(last.head.weight, averaged.head.weight)


def test_the_best_weights_are_kept_and_it_stops_early(tmp_path):
    scores = iter([0.1, 0.5, 0.4, 0.5, 0.3, 0.9])
    heads = []

    def validate(module):
        heads.append(module.head.weight.detach().clone())
        return next(scores)

    options = config(60, validate_every=2, patience=3)
    module, rows = trained(tmp_path, options=options, validate=validate)
    assert [row["step"] for row in rows if "validation" in row] == [2, 4, 6, 8, 10]
    assert rows[-1]["step"] == 10
    assert torch.equal(module.head.weight, heads[1])  # 0.5 the first time: a tie is no improvement

    def never(*_):
        raise AssertionError("an early stop is final")

    again, rows = trained(tmp_path, batches=never, options=options, validate=validate, resume=True)
    assert same(again, module)
    assert rows[-1]["step"] == 10


def test_without_patience_it_never_stops(tmp_path):
    scores = iter([3.0, 2.0, 1.0, 0.0, 0.0, 0.0])
    options = config(12, validate_every=2)
    _, rows = trained(tmp_path, options=options, validate=lambda _: next(scores))
    assert rows[-1]["step"] == 12


def test_validation_needs_something_to_validate_on(tmp_path):
    with pytest.raises(ConfigError, match="validate_every=5, but there is nothing to validate on"):
        trained(tmp_path, options=config(validate_every=5))
    with pytest.raises(RunError, match="step 2: the validation score is nan"):
        trained(tmp_path, options=config(validate_every=2), validate=lambda _: float("nan"))


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("at", [0, 1, 4, 5, 11])
def test_an_interrupted_run_continues_to_the_same_weights(tmp_path, at):
    options = config(12, ema=0.9, validate_every=4, checkpoint_every=2)
    whole, rows = trained(tmp_path / "a", options=options, validate=score)

    def broken(index, rank, world):
        if index == at:
            raise Interrupted
        return batch_at(index, rank, world)

    with pytest.raises(Interrupted):
        trained(tmp_path / "b", batches=broken, options=options, validate=score)
    again, continued = trained(tmp_path / "b", options=options, validate=score, resume=True)
    assert same(whole, again)
    for first, second in zip(rows, continued, strict=True):
        seconds = {"seconds": first["seconds"]}
        assert {**second, **seconds} == pytest.approx(first, rel=1e-6)
    table = read_history(tmp_path / "b" / "history.csv")
    assert [row["step"] for row in table] == list(range(1, 13))


def test_another_configuration_is_refused_with_its_keys(tmp_path):
    options = config(4)
    trained(tmp_path, options=options, identity={"split": {"hash": "abc"}})
    other = dataclasses.replace(options, lr=0.5, checkpoint_every=1)
    with pytest.raises(
        RunError, match=r"train\.lr: 0\.01 then, 0\.5 now; split\.hash: abc then, d"
    ):
        trained(tmp_path, options=other, identity={"split": {"hash": "d"}}, resume=True)
    harmless = dataclasses.replace(options, checkpoint_every=1)
    trained(tmp_path, options=harmless, identity={"split": {"hash": "abc"}}, resume=True)


def test_a_new_run_does_not_continue_an_old_one(tmp_path):
    trained(tmp_path, options=config(4))

    def broken(index, rank, world):
        raise Interrupted

    with pytest.raises(Interrupted):
        trained(tmp_path, batches=broken, options=config(4))
    assert not (tmp_path / "last.ckpt").exists()
    assert not (tmp_path / "history.csv").exists()


def test_frozen_tensors_are_not_saved_and_do_not_change(tmp_path):
    def fresh():
        module = toy()
        module.stem.requires_grad_(False)
        return module

    frozen = {"stem.weight", "stem.bias"}
    before = fresh().stem.weight.clone()
    module, _ = trained(tmp_path, fresh(), options=config(5, checkpoint_every=2), frozen=frozen)
    assert torch.equal(module.stem.weight, before)
    assert frozen.isdisjoint(load_checkpoint(tmp_path / "last.ckpt")["weights"])
    again, _ = trained(tmp_path, fresh(), options=config(5), frozen=frozen, resume=True)
    assert same(module, again)
    with pytest.raises(RunError, match="frozen tensors that the module does not have: stem"):
        trained(tmp_path / "b", fresh(), frozen={"stem"})


def test_a_gradient_that_is_not_finite_names_the_step(tmp_path):
    def poisoned(index, rank, world):
        batch = batch_at(index, rank, world)
        if index == 7:
            batch["layers"]["hsi"][0, 0, 1, 1] = np.inf
        return batch

    with pytest.raises(RunError, match=r"step 8: the loss is nan"):
        trained(tmp_path, batches=poisoned, options=config(checkpoint_every=2))
    state = load_checkpoint(tmp_path / "last.ckpt")
    assert state["counters"]["step"] == 6
    assert all(torch.isfinite(t).all() for t in state["weights"].values())


def test_nothing_to_train(tmp_path):
    with pytest.raises(RunError, match="nothing to train"):
        trained(tmp_path, toy().requires_grad_(False))


def test_a_step_may_leave_parameters_unused(tmp_path):
    first, _ = trained(tmp_path / "a", toy(Branching), unused_parameters=True)
    second, _ = trained(tmp_path / "b", toy(Branching), unused_parameters=True)
    assert same(first, second)
    assert torch.equal(first.never.weight, toy(Branching).never.weight)


def test_bf16_trains_in_reduced_precision(tmp_path):
    dtypes = set()

    class Watched(Toy):
        def forward(self, layers, labels=None):
            dtypes.add(self.stem(layers["hsi"]).dtype)
            return super().forward(layers, labels)

    module, rows = trained(tmp_path, Watched(), options=config(60, precision="bf16"))
    assert dtypes == {torch.bfloat16}
    assert module.stem.weight.dtype == torch.float32
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_devices_that_are_not_there(tmp_path):
    task = TrainTask(toy(), batch_at, config())
    with pytest.raises(ConfigError, match=r"fp16.*needs a GPU"):
        trained(tmp_path, options=config(precision="fp16"))
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="'cuda' is not on this machine; there is: cpu"):
            fit(task, tmp_path, Launch(accelerator="cuda"))
    with pytest.raises(ConfigError, match="devices=0, nodes=1: there must be at least one"):
        fit(task, tmp_path, Launch(accelerator="cpu", devices=0))


def test_a_full_disk_leaves_the_checkpoint_that_was_there(tmp_path, no_space):
    trained(tmp_path, options=config(4, checkpoint_every=2))
    before = (tmp_path / "last.ckpt").read_bytes()
    module = toy()
    with (
        no_space(len(before) // 2),
        pytest.raises(OutputError, match=r"last\.ckpt could not be written: File too large"),
    ):
        trained(tmp_path / "b", module, options=config(4))
    assert not (tmp_path / "b" / "last.ckpt").exists()

    def broken(index, rank, world):
        if index == 4:
            raise Interrupted
        return batch_at(index, rank, world)

    with pytest.raises(Interrupted):
        trained(tmp_path / "c", batches=broken, options=config(12, checkpoint_every=2))
    before = (tmp_path / "c" / "last.ckpt").read_bytes()
    with no_space(len(before) // 2), pytest.raises(OutputError, match="stays as it was"):
        trained(tmp_path / "c", options=config(12, checkpoint_every=2), resume=True)
    assert (tmp_path / "c" / "last.ckpt").read_bytes() == before
    assert [p.name for p in (tmp_path / "c").glob(".*")] == []
    whole, _ = trained(tmp_path / "d", options=config(12, checkpoint_every=2))
    again, _ = trained(tmp_path / "c", options=config(12, checkpoint_every=2), resume=True)
    assert same(whole, again)


def test_tensorboard_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"pip install bandweave\[tensorboard\]"):
        trained(tmp_path, options=config(tensorboard=True))


def test_compiled_module_is_called(tmp_path, monkeypatch):
    calls = []

    def compiled(module, **_):  # Fabric compiles once more, after it has wrapped the module
        calls.append(module)
        return real(module, backend="eager")

    real = torch.compile
    monkeypatch.setattr(torch, "compile", compiled)
    module, _ = trained(tmp_path / "a", options=config(4, compile=True))
    plain, _ = trained(tmp_path / "b", options=config(4))
    assert calls[0] is module
    assert set(load_checkpoint(tmp_path / "a" / "last.ckpt")["weights"]) == set(plain.state_dict())
    torch.testing.assert_close(module.head.weight, plain.head.weight)


class Concluding(Toy):
    """A toy that counts what it is told of training."""

    def __init__(self, *options):
        super().__init__(*options)
        self.register_buffer("concluded", torch.zeros(()))
        self.told = []

    def conclude(self):
        assert not self.training
        self.concluded += 1


def test_it_tells_how_far_it_is_and_concludes_before_it_judges_and_at_the_end(tmp_path):
    seen = []

    def judge(module):
        seen.append(int(module.concluded))
        return float(len(seen) == 1)  # the first is the best

    torch.manual_seed(0)
    module = Concluding()
    hooks = {"begin_step": module.told.append, "conclude": module.conclude, "validate": judge}
    trained(tmp_path, module, options=config(4, validate_every=2), **hooks)
    assert module.told == [0, 0.25, 0.5, 0.75]
    assert seen == [1, 2]
    assert module.concluded == 2  # the best one's, and once more


def test_a_continued_run_is_told_how_far_it_is(tmp_path):
    told = []
    trained(tmp_path, options=config(4, checkpoint_every=2), begin_step=told.append)
    module = toy()
    again, options = [], config(4, checkpoint_every=2)

    def fail(done):
        if done == 0.5:
            raise Interrupted

    with pytest.raises(Interrupted):
        trained(tmp_path / "b", toy(), options=options, begin_step=fail)
    trained(tmp_path / "b", module, options=options, resume=True, begin_step=again.append)
    assert again == told[2:]
