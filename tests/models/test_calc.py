"""CALC: its size, its adversarial step in one backward pass, the weights of its heads."""

import pytest
import torch

from bandweave.errors import ConfigError
from bandweave.models.calc import CALC, CALCConfig, weigh_heads
from bandweave.nn.losses.adversary import scale_gradient

BANDS = {"hsi": 5, "lidar": 1}


def build(seed=0, **options):
    torch.manual_seed(seed)
    return CALC(BANDS, ["a", "b", "c"], CALCConfig(patch=8, width=4, **options))


def patches(batch=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    layers = {n: torch.rand(batch, c, 8, 8, generator=generator) for n, c in BANDS.items()}
    return layers, torch.arange(batch).view(-1, 1, 1) % 3


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_of_the_release():
    with torch.device("meta"):
        model = CALC({"hsi": 144, "lidar": 1}, [str(i) for i in range(15)], CALCConfig())
    # the release has biases before batch norms, which cancel them, and three scalars without use
    in_encoder, in_heads, in_decoder, in_judge = 32 + 32 + 64 + 128, 32 + 48 + 96, 96, 416
    assert count(model.encoder) + in_encoder == 134_690
    assert count(model.heads) + in_heads == 15_104 - 3
    assert count(model.decoder) + in_decoder == 134_353
    first, second = model.discriminators
    assert count(first) + in_judge == 330_481
    assert count(second) + in_judge == 289_297


def expected_gradients(model, layers, labels, share):
    """Those of the losses of either side, one backward pass each."""
    sources = model.scaling(model.enter(layers))
    levels = model.encoder(*sources)
    scores = [head(level) for head, level in zip(model.heads, levels, strict=True)]
    each = [score.softmax(1) for score in scores]
    loss = torch.nn.functional.cross_entropy(scores[-1], labels[:, 0, 0])
    loss = loss + sum((each[-1] - other).square().mean() for other in each[:2])
    judge, fake = model.discriminators, model.decoder(levels[-1], model.patch)
    for i in range(2):
        loss = loss + 0.01 * (1 - judge[i](fake[i]).mean()) / 2
    makers = [p for n, p in model.named_parameters() if not n.startswith("discriminators")]
    judges = list(judge.parameters())
    told = sum(1 - judge[i](sources[i]).mean() for i in range(2))
    told = told + share * sum(judge[i](fake[i].detach()).mean() for i in range(2))
    return [
        *torch.autograd.grad(loss, makers, retain_graph=True),
        *torch.autograd.grad(told, judges),
    ]


@pytest.mark.parametrize(("as_published", "share"), [(False, 1.0), (True, 0.995)])
def test_one_backward_pass_serves_both_sides(as_published, share):
    layers, labels = patches()
    model = build().double()
    layers = {name: layer.double() for name, layer in layers.items()}
    model.config.as_published = as_published
    expected = expected_gradients(model, layers, labels, share)
    model(layers, labels).loss.backward()
    named = list(model.named_parameters())
    makers = [p for n, p in named if not n.startswith("discriminators")]
    found = [p.grad for p in (*makers, *model.discriminators.parameters())]
    for one, other, (name, _) in zip(found, expected, named, strict=True):
        if as_published and not name.startswith(("decoder", "discriminators")):
            continue  # the cross-entropy of a second softmax
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_gradient_is_scaled_and_numbers_are_not():
    x = torch.randn(3, requires_grad=True)
    y = scale_gradient(x, -0.25)
    assert torch.equal(x, y)
    y.square().sum().backward()
    torch.testing.assert_close(x.grad, -0.5 * x.detach())


def test_heads_are_weighed_by_what_they_get_right():
    right = torch.tensor([[8, 0, 0], [2, 0, 5], [0, 0, 5]])
    expected = torch.tensor([[0.8, 1 / 3, 0], [0.2, 1 / 3, 0.5], [0, 1 / 3, 0.5]])
    torch.testing.assert_close(weigh_heads(right), expected)
    assert not weigh_heads(right, as_published=True)[:, 1].any()


def test_it_concludes_with_the_training_pixels_that_each_head_gets_right():
    model = build().train()
    layers, labels = patches()
    with torch.no_grad():
        model.heads[0].classify.bias[:] = torch.tensor([9.0, 0, 0])  # says class 0 of everything
        model.heads[1].classify.bias[:] = torch.tensor([0, 9.0, 0])
        model.heads[2].classify.bias[:] = torch.tensor([9.0, 0, 0])
    half = {name: layer[:3] for name, layer in layers.items()}
    rest = {name: layer[3:] for name, layer in layers.items()}
    model.conclude(iter([(half, labels[:3]), (rest, labels[3:])]))
    expected = torch.tensor([[0.5, 0, 1 / 3], [0, 1, 1 / 3], [0.5, 0, 1 / 3]])
    torch.testing.assert_close(model.head_weights, expected)
    assert model.training
    answer = model.eval()(layers).logits.softmax(1)
    assert answer.argmax(1).unique().tolist() in ([0], [1], [0, 1])


def test_the_range_of_bands_is_that_of_the_first_samples():
    model = build()
    layers = {name: 10 * layer - 3 for name, layer in patches()[0].items()}
    layers["lidar"][:] = 7
    model.prepare(lambda: layers, ())
    first, second = model.scaling(model.enter(layers))
    torch.testing.assert_close(first.amin((0, 2, 3)), torch.zeros(5))
    torch.testing.assert_close(first.amax((0, 2, 3)), torch.ones(5))
    assert not second.any()


def test_without_an_adversary_there_is_no_decoder():
    model = build(adversarial=0.0)
    assert model.decoder is None
    assert "discriminators" not in model(*patches()).parts


@pytest.mark.parametrize("options", [{"patch": 7}, {"width": 5}, {"width": 0}, {"adversarial": 1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        CALCConfig(**options)
