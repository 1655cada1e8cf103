"""UACL: its size, when unlabelled pixels join, what they are believed and how they are drawn."""

import pytest
import torch

from bandweave.errors import ConfigError
from bandweave.models.uacl import UACL, UACLConfig
from bandweave.nn.losses.pseudo_labels import (
    contrast_reliable,
    contrast_unreliable,
    find_reliable,
    weigh_ranks,
)
from bandweave.nn.output import HIDDEN, IGNORED

BANDS = {"hsi": 5, "lidar": 1}


def build(seed=0, **options):
    torch.manual_seed(seed)
    return UACL(BANDS, ["a", "b", "c"], UACLConfig(patch=8, width=4, **options))


def patches(batch=8, labelled=4):
    generator = torch.Generator().manual_seed(0)
    layers = {n: torch.rand(batch, c, 8, 8, generator=generator) for n, c in BANDS.items()}
    labels = torch.arange(batch).view(-1, 1, 1) % 3
    labels[labelled:] = IGNORED
    return layers, labels


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_of_the_release():
    with torch.device("meta"):
        model = UACL({"hsi": 144, "lidar": 1}, [str(i) for i in range(15)], UACLConfig())
    # the release has biases before batch norms, which cancel them
    in_encoder, in_gates, in_heads, in_mapper = 256, 224, 32 + 48 + 96, 96
    assert count(model.encoder) + count(model.gates) + in_encoder + in_gates == 150_210
    assert count(model.heads) + in_heads == 15_101
    assert count(model.mapper) + in_mapper == 10_528


def test_unlabelled_pixels_join_after_their_share_of_the_steps():
    model = build(pretraining=0.5, sure=1.0)
    layers, labels = patches()
    alone = {name: layer[:4] for name, layer in layers.items()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.begin_step(0.49)
    early = model(layers, labels)
    model.load_state_dict(state)
    expected = model(alone, labels[:4])
    assert torch.equal(early.loss, expected.loss)
    assert torch.equal(early.logits[:4], expected.logits)
    assert not early.logits[4:].any()
    model.begin_step(0.5)
    model.load_state_dict(state)
    late = model(layers, labels)
    assert torch.equal(late.parts["supervised"], early.parts["supervised"])
    assert late.loss > early.loss
    late.loss.backward()
    assert all(parameter.grad.any() for parameter in model.mapper.parameters())


def test_hidden_pixels_teach_nothing():
    model = build(pretraining=0.0)
    model.begin_step(0.9)
    layers, labels = patches()
    labels[4:] = HIDDEN
    out = model(layers, labels)
    assert torch.equal(out.loss, out.parts["supervised"])


def test_heads_learn_nothing_of_unlabelled_pixels():
    model = build()
    layers, _ = patches()
    found = model.judge(*model.enter(layers))
    reliable, unreliable, _ = model.contrast(found.probabilities, found.features)
    (reliable + unreliable).backward()
    assert all(parameter.grad is None for parameter in model.heads.parameters())


def test_one_patch_alone_can_be_learnt():
    model = build(pretraining=0.0)
    model.begin_step(0.9)
    layers, labels = patches(2, 1)
    loss = model(layers, labels).loss
    loss.backward()
    assert loss.isfinite()


def test_reliable_is_what_all_heads_say_or_the_deepest_is_sure_of():
    first = torch.tensor([[0.8, 0.2, 0], [0.8, 0.2, 0], [0.2, 0.8, 0], [0.2, 0.8, 0]])
    second = torch.tensor([[0.7, 0.3, 0], [0.7, 0.3, 0], [0.7, 0.3, 0], [0.7, 0.3, 0]])
    third = torch.tensor([[0.6, 0.4, 0], [0.4, 0.6, 0], [0.01, 0.99, 0], [0.4, 0.6, 0]])
    found = find_reliable((first, second, third), 0.95)
    assert found.tolist() == [True, False, True, False]
    published = find_reliable((first, second, third), 0.95, as_published=True)
    assert published.tolist() == [True, True, False, False]


def rank_slowly(p):
    """The weights of one pixel's classes, by loops."""
    classes = len(p)
    order = sorted(range(classes), key=lambda k: -p[k])
    above = sum(value >= 1 / classes for value in p)
    weights = [0.0] * classes
    for rank, k in enumerate(order):
        below = classes - above
        weights[k] = 1 - rank / above if rank < above else -(rank - above + 1) / below
    return weights


def test_losses_of_unlabelled_pixels_by_loops():
    generator = torch.Generator().manual_seed(1)
    p = torch.rand(7, 5, generator=generator, dtype=torch.float64).softmax(1)
    x = torch.rand(7, 3, generator=generator, dtype=torch.float64) * 3
    labels, m = p.argmax(1), [rank_slowly(row) for row in p.tolist()]
    together = apart = 0.0
    for i in range(7):
        for j in range(7):
            d = max(float((x[i] - x[j]).square().sum()), 1e-12) ** 0.5
            far = max(0.0, 2 - d) ** 2
            together += d**2 if labels[i] == labels[j] else far
            weight = m[i][labels[j]]
            apart += weight * d**2 if weight > 0 else -weight * far
    torch.testing.assert_close(weigh_ranks(p), torch.tensor(m, dtype=torch.float64))
    assert contrast_reliable(x, labels, 2.0).item() == pytest.approx(together / 49)
    assert contrast_unreliable(x, p, 2.0).item() == pytest.approx(apart / 49)


def test_what_is_unlikely_is_drawn_apart_but_as_published_together():
    p = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.1, 0.9]])
    x = torch.tensor([[0.0], [1.0]])
    steps = []
    for as_published in (False, True):
        features = x.clone().requires_grad_()
        contrast_unreliable(features, p, 2.0, as_published).backward()
        steps.append((features.grad[1] > 0).item())  # a step makes the distance smaller
    assert steps == [False, True]


def test_equal_probabilities_and_no_pixel_are_no_fault():
    assert weigh_ranks(torch.full((2, 3), 1 / 3)).isfinite().all()
    assert contrast_reliable(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 2.0) == 0
    assert contrast_unreliable(torch.zeros(0, 4), torch.zeros(0, 3), 2.0) == 0


@pytest.mark.parametrize(
    "options",
    [{"patch": 7}, {"width": 3}, {"contrast": -1}, {"margin": -1}, {"sure": 2}, {"pretraining": 2}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        UACLConfig(**options)
