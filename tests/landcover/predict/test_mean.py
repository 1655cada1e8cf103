"""The mean of several predictors, strip by strip, against that of whole arrays."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from bandweave.landcover.predict.mean import MeanPredictor, Voice
from bandweave.landcover.predict.net import Strip
from bandweave.raster.grid import PIXELS, Grid, Window


class Cut:
    """Whole arrays, given in strips of the heights that it is told, swath by swath."""

    def __init__(self, logits, valid, heights, columns):
        self.logits, self.valid, self.heights, self.columns = logits, valid, heights, columns

    def swath(self, part):
        return self.columns

    def strips(self, part, only=None, swath=None):
        height, width = self.valid.shape
        for left in range(0, width, swath or self.columns):
            row = turn = 0
            while row < height:
                rows = min(self.heights[turn % len(self.heights)], height - row)
                place = Window(row, left, rows, min(swath or self.columns, width - left))
                at = place.slices()
                yield Strip(place, self.logits[:, *at], self.valid[at])
                row, turn = row + rows, turn + 1


@st.composite
def cases(draw):
    """Some arrays of logits, each with its weight, temperature, order and heights of strips."""
    height, width, classes = (draw(st.integers(1, top)) for top in (12, 9, 4))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    valid = rng.random((height, width)) < 0.8
    voices = []
    for _ in range(draw(st.integers(1, 4))):
        logits = rng.normal(0, 5, (classes, height, width)).astype(np.float32)
        if draw(st.booleans()):  # a method that gives the class alone
            given_class = logits.argmax(axis=0)
            logits = np.where(given_class == np.arange(classes)[:, None, None], 0, -np.inf)
        logits = np.where(valid, logits, 0).astype(np.float32)
        heights = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
        cut = Cut(logits, valid, heights, draw(st.integers(1, 12)))
        order = draw(st.permutations(range(classes)))
        voices.append((cut, draw(st.floats(0.1, 3)), draw(st.floats(0.3, 4)), order))
    total = sum(weight for _, weight, _, _ in voices)
    return [Voice(cut, weight / total, heat, order) for cut, weight, heat, order in voices]


@given(cases())
def test_strips_give_the_mean_of_whole_arrays(voices):
    valid, classes = voices[0].predictor.valid, len(voices[0].order)
    expected = sum(
        voice.weight * softmax(voice.predictor.logits[voice.order] / voice.temperature, axis=0)
        for voice in voices
    )
    part = SimpleNamespace(grid=Grid(*valid.shape, PIXELS))
    found, count = np.full((classes, *valid.shape), np.nan), np.zeros(valid.shape, int)
    mean = MeanPredictor(voices)
    with np.errstate(all="raise", under="ignore"):
        for strip in mean.strips(part):
            assert strip.logits.dtype == np.float32
            assert strip.window.width <= mean.swath(part)
            at = strip.window.slices()
            np.testing.assert_array_equal(strip.valid, valid[at])
            found[:, *at], count[at] = strip.logits, count[at] + 1
    assert (count == 1).all()
    assert (found[:, ~valid] == 0).all()
    assert not np.isnan(found).any()
    np.testing.assert_allclose(np.exp(found[:, valid]), expected[:, valid], atol=1e-6)


def test_what_only_some_answer_for_is_not_valid():
    logits, valid = np.zeros((2, 3, 4), np.float32), np.ones((3, 4), bool)
    fewer = valid.copy()
    fewer[1, 2] = False
    voices = [Voice(Cut(logits, each, [2], 4), 0.5, 1.0, [0, 1]) for each in (valid, fewer)]
    (first, second) = MeanPredictor(voices).strips(None)
    np.testing.assert_array_equal(np.concatenate([first.valid, second.valid]), fewer)


def test_streams_that_do_not_go_down_the_same_swaths_are_seen():
    logits = np.zeros((2, 3, 4), np.float32)
    short = [
        Cut(array, np.ones(array.shape[1:], bool), [2], 4) for array in (logits, logits[:, :2])
    ]
    mean = MeanPredictor([Voice(each, 0.5, 1.0, [0, 1]) for each in short])
    with pytest.raises(AssertionError, match="shorter"):
        list(mean.strips(None))
