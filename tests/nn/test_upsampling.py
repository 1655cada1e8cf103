"""Up-sampling against SciPy-free arithmetic, pixel by pixel, and its invariants."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bandweave.nn.upsampling import upsample

RATIOS, SIZES = st.integers(1, 5), st.integers(1, 6)
CORNERS = st.tuples(st.floats(-3, 1), st.floats(-3, 1))


def keys(x):
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


@given(SIZES, SIZES, RATIOS, CORNERS)
def test_bicubic_by_loops(height, width, ratio, corner):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 1, height, width, generator=generator, dtype=torch.float64)
    size = height * ratio, width * ratio
    found = upsample(x, ratio, size, corner)[0, 0]
    j = size[1] // 2
    at_j = (j + 0.5 - corner[1]) / ratio - 0.5
    for i in range(size[0]):
        at_i = (i + 0.5 - corner[0]) / ratio - 0.5
        total = 0.0
        for a in range(math.floor(at_i) - 1, math.floor(at_i) + 3):
            for b in range(math.floor(at_j) - 1, math.floor(at_j) + 3):
                value = x[0, 0, min(max(a, 0), height - 1), min(max(b, 0), width - 1)]
                total += keys(at_i - a) * keys(at_j - b) * float(value)
        assert float(found[i, j]) == pytest.approx(total, abs=1e-9)


@given(RATIOS, CORNERS, st.sampled_from(["bicubic", "nearest"]))
def test_a_constant_stays(ratio, corner, kernel):
    found = upsample(torch.full((2, 3, 4, 5), 0.7), ratio, (4 * ratio, 7), corner, kernel)
    assert found.shape == (2, 3, 4 * ratio, 7)
    torch.testing.assert_close(found, torch.full_like(found, 0.7))


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_a_ramp_stays_where_it_lies(ratio):
    size = 8 * ratio
    centres = ratio * (torch.arange(8, dtype=torch.float64) + 0.5) - 0.5
    x = (10 * centres[:, None] + centres)[None, None]
    found = upsample(x, ratio, (size, size), (-0.5, 1.25))[0, 0]
    at = torch.arange(size, dtype=torch.float64)
    inside = slice(2 * ratio + 1, -2 * ratio - 1)
    expected = 10 * (at[:, None] + 0.5) + at - 1.25
    torch.testing.assert_close(found[inside, inside], expected[inside, inside])


def test_nearest_repeats():
    x = torch.rand(2, 3, 4, 5)
    expected = x.repeat_interleave(3, 2).repeat_interleave(3, 3)
    torch.testing.assert_close(upsample(x, 3, (12, 15), kernel="nearest"), expected)


def test_autocast_does_not_round_it():
    x = torch.rand(1, 2, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        inside = upsample(x, 2, (8, 8))
    assert torch.equal(inside, upsample(x, 2, (8, 8)))
