"""Uncertainty by hand; labels are kept with its probability, and all where none would be."""

import math

import pytest
import torch

from bandweave.nn.losses.corrective import uncertainty, unsure_labels
from bandweave.nn.output import HIDDEN, IGNORED


def logits_of(*probabilities):
    return torch.tensor(probabilities).log().T[None, :, None, :]  # (1, K, 1, pixels)


def test_entropy_over_its_largest():
    u = uncertainty(logits_of([0.25, 0.25, 0.25, 0.25], [1 - 3e-9, 1e-9, 1e-9, 1e-9]))
    assert u[0, 0].tolist() == pytest.approx([1, 0], abs=1e-6)
    p = [0.5, 0.3, 0.2]
    expected = -sum(x * math.log(x) for x in p) / math.log(3)
    assert uncertainty(logits_of(p)).item() == pytest.approx(expected)
    assert uncertainty(torch.randn(1, 1, 2, 2)).eq(0).all()  # of one class


def test_as_published_it_is_not_monotone_in_confidence():
    classes = [[m] + [(1 - m) / 9] * 9 for m in (0.11, 1 / math.e, 0.9)]
    u = uncertainty(logits_of(*classes), "as_published")[0, 0].tolist()
    assert u == pytest.approx([-m * math.log(m + 1e-6) for m in (0.11, 1 / math.e, 0.9)], abs=1e-6)
    assert u[0] < u[1] > u[2]
    ours = uncertainty(logits_of(*classes))[0, 0].tolist()
    assert ours[0] > ours[1] > ours[2]


def test_labels_are_kept_with_the_probability_of_the_scaled_uncertainty():
    torch.manual_seed(0)
    u = torch.tensor([2.0, 2.5, 3.0, 4.0]).expand(1, 5000, 4)
    labels = torch.zeros(1, 5000, 4, dtype=torch.long)
    kept = (unsure_labels(u, labels) == 0).float().mean((0, 1))
    assert kept[0] == 0
    assert kept[3] == 1
    assert kept[1:3].tolist() == pytest.approx([0.25, 0.5], abs=0.03)


def test_an_image_that_would_keep_none_keeps_all():
    labels = torch.tensor([[[0, 1, IGNORED, HIDDEN]], [[1, 1, 1, HIDDEN]]])
    u = torch.tensor([[[0.5, 0.5, 0.5, 9.0]], [[0.0, 0.0, 1.0, 9.0]]])
    found = unsure_labels(u, labels)
    assert found[0].tolist() == labels[0].tolist()
    assert found[1].tolist() == [[IGNORED, IGNORED, 1, HIDDEN]]


def test_hidden_pixels_do_not_scale_it():
    torch.manual_seed(0)
    u = torch.full((1, 40, 40), 0.5)
    u[0, 0, 0], u[0, 0, 1], u[0, 0, 2] = 0.0, 1.0, 100.0
    labels = torch.zeros(1, 40, 40, dtype=torch.long)
    labels[0, 0, 2] = HIDDEN
    assert (unsure_labels(u, labels) == 0).float().mean() == pytest.approx(0.5, abs=0.06)


def test_it_follows_from_torchs_seed():
    u, labels = torch.rand(1, 9, 9), torch.zeros(1, 9, 9, dtype=torch.long)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(unsure_labels(u, labels))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_nothing_seen_at_all():
    labels = torch.full((1, 3, 3), HIDDEN)
    assert torch.equal(unsure_labels(torch.rand(1, 3, 3), labels), labels)
