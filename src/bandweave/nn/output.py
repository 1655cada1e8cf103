"""The result of a model's forward pass."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

IGNORED = -1  # a label: this pixel has no class
HIDDEN = -2  # a label: this pixel is not there (padding, no data) or must not be learnt from


class Output(NamedTuple):
    """Logits (B, K, H, W) on the labels' grid; the loss and its parts where labels were given."""

    logits: Tensor
    loss: Tensor | None = None
    parts: dict[str, Tensor] = {}  # noqa: RUF012 - never written to


class Sharpened(NamedTuple):
    """An image (B, C, H, W) on PAN's grid; the loss and its parts where a target was given."""

    image: Tensor
    loss: Tensor | None = None
    parts: dict[str, Tensor] = {}  # noqa: RUF012 - never written to
