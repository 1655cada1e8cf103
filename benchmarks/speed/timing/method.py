"""A scan ready to run, as it is timed and compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from timing.inputs import ORDERS

Leaves = dict[str, list[Tensor]]  # the tensors of a name lie in one list, if there is one an order


@dataclass
class Method:
    """A scan ready to run, and how to read its results.

    leaves    what gradients are taken of
    scan      leaves -> y
    natural   name and what stands for it (y, a leaf or its gradient) -> natural layout
    dy        the gradient of y, in its layout
    """

    leaves: Leaves
    scan: Callable[[Leaves], Tensor]
    natural: Callable[[str, list[Tensor]], Tensor]
    dy: Tensor | None = None

    def forward(self) -> Tensor:
        with torch.no_grad():
            return self.scan(self.leaves)

    def forward_backward(self) -> tuple[Tensor, list[Tensor]]:
        """y, and the gradient of every leaf."""
        flat = [leaf.requires_grad_() for leaves in self.leaves.values() for leaf in leaves]
        y = self.scan(self.leaves)
        gradients = torch.autograd.grad(y, flat, self.dy)
        for leaf in flat:
            leaf.requires_grad_(False)
        return y, list(gradients)

    def results(self, y: Tensor, gradients: list[Tensor]) -> dict[str, Tensor]:
        """y and the gradients of the inputs, in natural layout, by name."""
        rest = iter(gradients)
        grouped = {name: [next(rest) for _ in leaves] for name, leaves in self.leaves.items()}
        found = {name: self.natural(name, group) for name, group in grouped.items()}
        return {"y": self.natural("y", [y.detach()]), **found}


def in_order(values: Tensor, table: Tensor) -> Tensor:
    """(B, K, T, ·), each of the K in the order of its row of the table (or of the inverse)."""
    return values[:, torch.arange(ORDERS, device=values.device)[:, None], table]
