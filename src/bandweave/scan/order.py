"""The order in which a scan visits its tokens: a table of permutations.

    table    (K, T)   table[k, i] is the token that sequence k visits at its step i
    inverse  (K, T)   inverse[k, t] is the step at which sequence k visits token t

Row by row, column by column, windows, interleaved modalities: every order is a table, and every
engine reads and writes through it, so nothing is permuted, copied or merged. A table is checked
once, when it is made; the functions below keep those they made, so one shape has one table. In a
function that `torch.compile` or `torch.export` traces, those functions are traced too; a table of
your own is to be made a ScanOrder outside of it, as the check looks at values.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor

from bandweave.errors import ScanError

Sizes = ParamSpec("Sizes")


@dataclass(frozen=True, eq=False)
class ScanOrder:
    """K sequences over T tokens, each a permutation of 0 … T-1.

    table  integers of shape (K, T), or anything `torch.as_tensor` takes

    Raises ScanError where the table is not 2-D, not of integers, or a row is not a permutation.

    >>> ScanOrder([[0, 1, 2], [2, 1, 0]])
    ScanOrder(K=2, T=3)
    >>> ScanOrder([[0, 0, 2]])
    Traceback (most recent call last):
        ...
    bandweave.errors.ScanError: row 0 of the scan order is not a permutation of 0 … 2: 1 is missing
    """

    table: Tensor
    inverse: Tensor = field(init=False, repr=False)
    _on_device: dict[torch.device, tuple[Tensor, Tensor]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._keep(_check_table(self.table))

    def _keep(self, table: Tensor) -> None:
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "inverse", table.argsort(dim=1))
        object.__setattr__(self, "_on_device", {})

    @classmethod
    def of_permutations(cls, rows: list[Tensor]) -> "ScanOrder":
        """An order of rows that are permutations by construction: no check, no trouble to trace."""
        order = object.__new__(cls)
        order._keep(torch.stack(rows))
        return order

    @property
    def sequences(self) -> int:
        """K, the number of sequences."""
        return self.table.shape[0]

    @property
    def tokens(self) -> int:
        """T, the number of tokens."""
        return self.table.shape[1]

    def on(self, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """Table and inverse on a device, copied there once."""
        device = torch.device(device)
        if torch.compiler.is_compiling():  # a traced tensor must not be kept
            return self.table.to(device), self.inverse.to(device)
        if device not in self._on_device:
            with torch.inference_mode(False):  # what is made while predicting serves training too
                self._on_device[device] = (self.table.to(device), self.inverse.to(device))
        return self._on_device[device]

    def __repr__(self) -> str:
        return f"ScanOrder(K={self.sequences}, T={self.tokens})"


def _check_table(table: object) -> Tensor:
    """A copy of the table as int64 on the CPU, after every row was found to be a permutation."""
    try:
        given = torch.as_tensor(table).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ScanError(f"a scan order is a table of integers (K, T): {error}") from None
    if given.dtype == torch.bool or given.is_floating_point() or given.is_complex():
        raise ScanError(f"a scan order is a table of integers, not of {given.dtype}")
    if given.ndim != 2 or given.shape[0] == 0:
        raise ScanError(
            f"a scan order is a table (K, T) of at least one sequence, not {tuple(given.shape)}"
        )
    copy = given.to(device="cpu", dtype=torch.int64, copy=True).contiguous()
    tokens = torch.arange(copy.shape[1], device="cpu")
    wrong = (copy.sort(dim=1).values != tokens).any(dim=1)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        missing = sorted(set(tokens.tolist()) - set(copy[row].tolist()))
        raise ScanError(
            f"row {row} of the scan order is not a permutation of 0 … {copy.shape[1] - 1}: "
            f"{missing[0]} is missing"
        )
    return copy


def keep_by_size(make: Callable[Sizes, ScanOrder]) -> Callable[Sizes, ScanOrder]:
    """Make an order once per size; anew in a traced function, where sizes may be symbols."""

    def lasting(*sizes: Sizes.args, **named: Sizes.kwargs) -> ScanOrder:
        with torch.inference_mode(False):  # what is made while predicting serves training too
            return make(*sizes, **named)

    kept: Any = lru_cache(maxsize=64)(lasting)

    @wraps(make)
    def order(*sizes: Sizes.args, **named: Sizes.kwargs) -> ScanOrder:
        if torch.compiler.is_compiling():
            return make(*sizes, **named)
        return kept(*sizes, **named)

    return order


@keep_by_size
def forward_order(length: int, sequences: int = 1) -> ScanOrder:
    """Every sequence visits the tokens as they lie.

    >>> forward_order(3).table.tolist()
    [[0, 1, 2]]
    """
    _check_sizes(length=length, sequences=sequences)
    return ScanOrder.of_permutations([_number_tokens(length)] * sequences)


@keep_by_size
def bidirectional_order(length: int) -> ScanOrder:
    """Two sequences: forward, and backward.

    >>> bidirectional_order(3).table.tolist()
    [[0, 1, 2], [2, 1, 0]]
    """
    _check_sizes(length=length)
    forward = _number_tokens(length)
    return ScanOrder.of_permutations([forward, forward.flip(0)])


@keep_by_size
def cross_order(height: int, width: int) -> ScanOrder:
    """The four sequences of SS2D (VMamba, section 4.2) over an image laid out row by row.

    Row by row, column by column, and the reverse of each.

    >>> cross_order(2, 3).table.tolist()
    [[0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5], [5, 4, 3, 2, 1, 0], [5, 2, 4, 1, 3, 0]]
    """
    _check_sizes(height=height, width=width)
    rows = _number_tokens(height * width)
    columns = rows.view(height, width).T.reshape(-1)
    return ScanOrder.of_permutations([rows, columns, rows.flip(0), columns.flip(0)])


def _number_tokens(length: int) -> Tensor:
    return torch.arange(length, device="cpu")  # whatever the default device


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < (1 if name == "sequences" else 0):
            raise ScanError(f"{name} = {size}: a scan order needs a size that is not negative")
