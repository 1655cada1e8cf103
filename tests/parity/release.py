"""Numbers that released networks gave on random weights, and ours on the same weights beside them.

A folder `parity` under BANDWEAVE_DATA holds safetensors files, one a network and configuration:

    w.NAME                     parameters and buffers, under the release's names
    in.NAME                    inputs
    out.NAME, mid.NAME         outputs and activations between, in float64, in evaluation
    cot.NAME                   a tensor of each output; the scalar is Σ (output · cot)
    out_train.NAME or train.out.NAME      outputs in training
    grad.in.NAME, grad.w.NAME             gradients of that scalar, in training
    grad.in.NAME, grad.NAME, train.grad.… the other form: in evaluation, and in training
    after.NAME or train.buf.NAME          running statistics after the pass in training

A `Release` says how one network is built here and how its weights are named there. The release's
weights are leaves, and ours are computed of them, so gradients come out under the release's names.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

Tensors = dict[str, Tensor]


def load_releases(path: Path) -> list[Release]:
    """The releases of a file: RELEASE or RELEASES; pytest puts no folder of tests on the path."""
    spec = importlib.util.spec_from_file_location(f"parity_of_{path.stem}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, "RELEASES", None) or [module.RELEASE]


def find_files(pattern: str) -> list[Path]:
    """The files of that pattern, however many there are; none without BANDWEAVE_DATA."""
    folder = os.environ.get("BANDWEAVE_DATA")
    return sorted(Path(folder, "parity").glob(f"{pattern}.safetensors")) if folder else []


class Numbers:
    """The tensors of a file by their prefix, floating ones as `dtype`.

    meta    the configuration, where the file has one
    note    what it says of itself
    unused  the release's parameters that have no influence
    """

    def __init__(self, path: Path, dtype: torch.dtype = torch.float64) -> None:
        with safe_open(path, "pt") as file:
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = file.metadata() or {}
        for name in self.tensors:
            if name.endswith("num_batches_tracked"):  # files cannot always hold a bare number
                self.tensors[name] = self.tensors[name].reshape(())
        self.dtype = dtype
        self.meta: dict[str, Any] = json.loads(about.get("meta", "{}"))
        self.note: str = about.get("note", "")
        self.unused: set[str] = set(json.loads(about.get("unused", "[]")))

    def under(self, *prefixes: str) -> Tensors:
        """The tensors under the first of the prefixes that any has, without the prefix."""
        for prefix in prefixes:
            found = {
                name[len(prefix) :]: self._cast(value)
                for name, value in self.tensors.items()
                if name.startswith(prefix)
            }
            if found:
                return found
        return {}

    def _cast(self, value: Tensor) -> Tensor:
        return value.to(self.dtype) if value.is_floating_point() else value

    @property
    def weights(self) -> Tensors:
        """Parameters and buffers, under the release's names."""
        return self.under("w.")

    @property
    def inputs(self) -> Tensors:
        """Inputs by name."""
        return self.under("in.")

    def gradients(self, train: bool) -> Tensors:
        """Gradients of one mode: `in.NAME` of inputs, else the release's name of a parameter."""
        both = any(name.startswith("train.grad.") for name in self.tensors)
        if both:
            return self.under("train.grad." if train else "grad.")
        found = self.under("grad.") if train == self._has_train_outputs() else {}
        return {name.removeprefix("w."): value for name, value in found.items()}

    def _has_train_outputs(self) -> bool:
        return bool(self.under("out_train.", "train.out."))


@dataclass(frozen=True)
class Release:
    """How a released network is built here.

    name       its files are NAME-*.safetensors
    build      ours, of a file's configuration and shapes
    translate  weights under our names of weights under theirs; differentiable
    run        outputs by the file's names, of our network and the file's inputs
    middle     names of activations: our module's path, ended by #N for its N-th call; or that and
               its output lies in the file
    idle       weights of the release that have no influence, where a file does not list them
    free       parameters whose gradient is rounding alone: a bias before a BatchNorm in training
    double, single     largest deviations of outputs and of gradients in float64, and in float32
    """

    name: str
    build: Callable[[Numbers], nn.Module]
    translate: Callable[[Tensors, Numbers], Tensors]
    run: Callable[[Any, Tensors], Tensors]
    middle: Mapping[str, str | tuple[str, Callable[[Any], Tensor]]] = field(default_factory=dict)
    idle: Callable[[str], bool] = lambda name: False
    free: Callable[[str], bool] = lambda name: False
    double: tuple[float, float] = (1e-10, 1e-9)
    single: tuple[float, float] = (5e-5, 5e-4)


class Bound(nn.Module):
    """Our network and how it is run, so that weights can be given to both at once."""

    def __init__(self, net: nn.Module, run: Callable[[Any, Tensors], Tensors]) -> None:
        super().__init__()
        self.net, self.run = net, run

    def forward(self, inputs: Tensors) -> Tensors:
        return self.run(self.net, inputs)


@dataclass
class Pass:
    """What one pass gave: outputs, activations, gradients under the release's names, buffers."""

    outputs: Tensors
    middle: Tensors
    gradients: dict[str, Tensor | None]
    buffers: Tensors
    theirs: Tensors  # the release's weights, as leaves
    ours: Tensors  # those of them that ours are


def run_release(release: Release, numbers: Numbers, train: bool) -> Pass:
    """One pass of our network with the release's weights, and the gradients that the file has."""
    net = Bound(release.build(numbers).to(numbers.dtype).train(train), release.run)
    wanted = numbers.gradients(train)
    inputs, theirs = numbers.inputs, numbers.weights
    for name in wanted:
        leaf = inputs[name[3:]] if name.startswith("in.") else theirs[name]
        leaf.requires_grad_()
    ours = {name: value.clone() for name, value in release.translate(theirs, numbers).items()}
    middle: Tensors = {}
    hooks = []
    for name, where in release.middle.items():
        if f"mid.{name}" not in numbers.tensors:
            continue
        at, lay = (where, lambda output: output) if isinstance(where, str) else where
        path, _, call = at.partition("#")
        hook = keep_call(middle, name, lay, int(call or 0))
        hooks.append(net.net.get_submodule(path).register_forward_hook(hook))
    named = {f"net.{name}": value for name, value in ours.items()}
    outputs = torch.func.functional_call(net, named, (inputs,), strict=True)
    for hook in hooks:
        hook.remove()
    gradients: dict[str, Tensor | None] = {}
    if wanted:
        cot = numbers.under("cot.")
        scalar = torch.stack([(outputs[name] * cot[name]).sum() for name in cot]).sum()
        scalar.backward()
        for name in wanted:
            leaf = inputs[name[3:]] if name.startswith("in.") else theirs[name]
            gradients[name] = leaf.grad
    return Pass(outputs, middle, gradients, ours, theirs, ours)


def rename(theirs: Tensors, prefixes: Mapping[str, str]) -> Tensors:
    """Tensors under our names: all that are under a prefix of the release's, by our prefix."""
    return {
        ours + name[len(prefix) :]: value
        for ours, prefix in prefixes.items()
        for name, value in theirs.items()
        if name == prefix or name.startswith(f"{prefix}.")
    }


def keep_call(
    middle: Tensors, name: str, lay: Callable[[Any], Tensor], number: int
) -> Callable[[nn.Module, Any, Any], None]:
    """A hook that keeps a module's output of the call of that number, from 0, under that name."""
    calls = itertools.count()

    def keep(_module: nn.Module, _given: Any, output: Any) -> None:
        if next(calls) == number:
            middle[name] = lay(output)

    return keep


def deviation(found: Tensor | None, stored: Tensor) -> float:
    """max|found - stored| / max|stored|; of what is stored as zeros, whether it is zero."""
    largest = float(stored.abs().max())
    if found is None or largest == 0:
        return 0.0 if largest == 0 and (found is None or not found.any()) else float("inf")
    assert found.shape == stored.shape, f"{tuple(found.shape)} for {tuple(stored.shape)}"
    return float((found.detach() - stored).abs().max()) / largest


def too_far(found: Mapping[str, Tensor | None], stored: Tensors, limit: float) -> dict[str, float]:
    """Names in both whose deviation is above the limit, with it."""
    each = {name: deviation(found[name], stored[name]) for name in stored if name in found}
    return {name: value for name, value in each.items() if not value <= limit}
