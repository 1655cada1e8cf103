"""The interleaved order by its properties, and the scan against a loop over lists of pixels."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import layer_norm, pad, silu, softplus

from bandweave.errors import ScanError
from bandweave.nn.scans.interleaved import InterleavedScan, Walk, interleaved_order

SIZES, WINDOWS, STREAMS = st.integers(1, 9), st.integers(1, 5), st.integers(1, 3)
MODES = ("interleaved", "sequential", "global")


def walk(height, width, window, streams, mode, k):
    """The k-th sequence, as loops: which (stream, row, column) is visited when."""
    if mode == "global":
        window = 1
    rows = [list(range(i, min(i + window, height))) for i in range(0, height, window)]
    columns = [list(range(j, min(j + window, width))) for j in range(0, width, window)]
    if k < 2:
        windows = [[(i, j) for i in a for j in b] for a in rows for b in columns]
    else:
        windows = [[(i, j) for j in b for i in a] for b in columns for a in rows]
    if k % 2:
        windows = [pixels[::-1] for pixels in windows[::-1]]
    if mode == "sequential":
        return [(s, i, j) for s in range(streams) for pixels in windows for i, j in pixels]
    return [(s, i, j) for pixels in windows for s in range(streams) for i, j in pixels]


@given(SIZES, SIZES, WINDOWS, STREAMS, st.sampled_from(MODES), st.integers(1, 4))
def test_every_sequence_is_the_walk_that_loops_take(height, width, window, streams, mode, count):
    order = interleaved_order(height, width, window, streams, mode, count)
    expected = [
        [(s * height + i) * width + j for s, i, j in walk(height, width, window, streams, mode, k)]
        for k in range(count)
    ]
    assert order.table.tolist() == expected


@given(SIZES, SIZES, WINDOWS, STREAMS, st.sampled_from(MODES))
def test_permutations_and_their_inverse(height, width, window, streams, mode):
    order = interleaved_order(height, width, window, streams, mode)
    natural = torch.arange(streams * height * width).expand(4, -1)
    assert torch.equal(order.table.sort(1).values, natural)
    assert torch.equal(order.table.gather(1, order.inverse), natural)
    assert torch.equal(order.inverse.gather(1, order.table), natural)


@given(SIZES, SIZES, WINDOWS)
def test_windows_are_visited_whole_ms_before_pan(height, width, window):
    order = interleaved_order(height, width, window)
    pixels = height * width
    for table in order.table.tolist():
        seen = []
        for token in table:
            stream, pixel = divmod(token, pixels)
            place = pixel // width // window, pixel % width // window, stream
            if not seen or seen[-1] != place:
                seen.append(place)
        assert len(seen) == len(set(seen))  # none is left and entered again
        assert [place[2] for place in seen] == [0, 1] * (len(seen) // 2)
        assert all(a[:2] == b[:2] for a, b in zip(seen[::2], seen[1::2], strict=True))


@given(SIZES, SIZES, WINDOWS, STREAMS)
def test_backwards_is_the_same_walk_of_each_stream_reversed(height, width, window, streams):
    order = interleaved_order(height, width, window, streams)
    for s in range(streams):
        first, first_back, second, second_back = (
            [t for t in table if t // (height * width) == s] for table in order.table.tolist()
        )
        assert first_back == first[::-1]
        assert second_back == second[::-1]


def test_one_shape_has_one_table():
    assert interleaved_order(5, 7) is interleaved_order(5, 7)


@pytest.mark.parametrize("wrong", [{"window": 0}, {"streams": 0}, {"directions": 5}])
def test_impossible_orders_are_refused(wrong):
    with pytest.raises(ScanError, match=f"{next(iter(wrong))} = {next(iter(wrong.values()))}"):
        interleaved_order(4, 4, **wrong)
    with pytest.raises(ScanError, match="height = -1"):
        interleaved_order(-1, 4)


def test_it_is_made_anew_in_a_traced_function():
    def double(x):
        table, _ = interleaved_order(x.shape[1], x.shape[2]).on(x.device)
        return 2 * table

    x = torch.zeros(1, 5, 6)
    traced = torch.export.export(_Module(double), (x,), strict=False).module()
    assert torch.equal(traced(x), 2 * interleaved_order(5, 6).table)


class _Module(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


# The scan


WIDTH, STATE, RANK = 6, 3, 2


def slow(block, streams, mode, directions):
    """MI-SSM by lists of pixels: no table, one token after the other."""
    height, width = streams[0].shape[1:3]
    E = block.project.weight.shape[0] // 2
    u, gates = [], []
    for s, x in enumerate(streams):
        into, gate = (x @ block.project.weight.T).split(E, dim=-1)
        around, kernel = pad(into, (0, 0, 1, 1, 1, 1)), block.convs[s].weight[:, 0]
        u.append(
            silu(
                block.convs[s].bias
                + sum(
                    kernel[:, i, j] * around[:, i : i + height, j : j + width]
                    for i, j in product(range(3), range(3))
                )
            )
        )
        gates.append(silu(gate))
    total = [torch.zeros_like(x) for x in u]
    p = block.shared
    for k in range(directions):
        h = u[0].new_zeros(u[0].shape[0], E, STATE)
        for s, i, j in walk(height, width, 4, len(streams), mode, k):
            token = u[s][:, i, j]
            step, B, C = (token @ p.project[k].T).split([RANK, STATE, STATE], dim=-1)
            step = softplus(step @ p.step_weight[k] + p.step_bias[k])
            h = torch.exp(-step[..., None] * p.A_log[k].exp()) * h
            h = h + (step * token)[..., None] * B[:, None]
            total[s][:, i, j] += (h * C[:, None]).sum(-1) + p.D[k] * token
    out = []
    for s, leave in enumerate(block.out_projs[: len(streams)]):
        y = layer_norm(total[s], (E,), leave.norm.weight, leave.norm.bias)
        out.append((y * gates[s]) @ leave.project.weight.T)
    return out


@pytest.mark.parametrize(
    ("streams", "leaving", "mode", "directions"),
    [(2, 2, mode, 4) for mode in MODES] + [(2, 2, "interleaved", 1), (2, 1, "interleaved", 4)]
    + [(1, 1, "interleaved", 4)],
)  # fmt: skip
def test_the_scan_is_what_a_loop_over_pixels_makes(streams, leaving, mode, directions):
    torch.manual_seed(0)
    block = InterleavedScan(
        WIDTH, 2, leaving, state=STATE, rank=RANK, walk=Walk(mode=mode, directions=directions)
    ).double()
    for parameter in block.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    x = [torch.randn(2, 5, 6, WIDTH, dtype=torch.float64) for _ in range(streams)]
    with torch.no_grad():
        found, expected = block(x), slow(block, x, mode, directions)
    assert len(found) == min(streams, leaving)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_both_streams_hear_each_other():
    torch.manual_seed(0)
    block = InterleavedScan(WIDTH).double()
    x = [torch.randn(1, 8, 8, WIDTH, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    ms, pan = block(x)
    (to_pan,) = torch.autograd.grad(ms[0, 5, 5].sum(), x[1], retain_graph=True)
    (to_ms,) = torch.autograd.grad(pan[0, 5, 5].sum(), x[0])
    assert (to_pan != 0).any()
    assert (to_ms != 0).any()


def test_the_papers_sizes():
    block = InterleavedScan(32)
    assert block.convs[0].out_channels == 85
    assert block.shared.A_log.shape == (4, 85, 8)
    assert block.shared.step_weight.shape == (4, 2, 85)
    assert math.isclose(sum(p.numel() for p in block.parameters()), 23_120)
