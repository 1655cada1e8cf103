"""Routed experts: only the chosen run, each in its own direction, against slow forms."""

import pytest
import torch
from torch.nn.functional import silu, softplus

from bandweave.errors import ConfigError
from bandweave.nn.experts import (
    DIRECTIONS,
    DirectionExpert,
    RoutedExperts,
    Routing,
    direction_order,
)
from bandweave.nn.window_statistics import collect_statistics, freeze_statistics

WIDTH, HEIGHT, BREADTH = 8, 3, 5


def experts(active=2, seed=0):
    torch.manual_seed(seed)
    module = RoutedExperts(WIDTH, active=active, state=4).double()
    torch.nn.init.normal_(module.router.weight)
    return module


def tokens(batch=6, seed=1, size=(HEIGHT, BREADTH)):
    """Images whose means differ, so that they are routed differently."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch, *size, WIDTH, generator=generator, dtype=torch.float64)
    return noise + torch.randn(batch, 1, 1, WIDTH, generator=generator, dtype=torch.float64)


def test_every_direction_visits_the_pixels_in_its_order():
    table = {d: direction_order(2, 3, d).table.tolist() for d in DIRECTIONS}
    assert table == {
        "rows": [[0, 1, 2, 3, 4, 5]],
        "columns": [[0, 3, 1, 4, 2, 5]],
        "rows_back": [[5, 4, 3, 2, 1, 0]],
        "columns_back": [[5, 2, 4, 1, 3, 0]],
    }


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_an_expert_against_a_loop_over_a_turned_image(direction):
    torch.manual_seed(0)
    expert = DirectionExpert(WIDTH, 4, direction, state=3).double()
    x, stream = tokens(2), expert.stream
    u, gate = expert.in_proj(x)  # (B, T, E)

    def turned(values):  # (B, T, C), to the order of the scan
        image = values.unflatten(1, (HEIGHT, BREADTH))
        image = image.transpose(1, 2) if "columns" in direction else image
        return image.flatten(1, 2).flip(1) if "back" in direction else image.flatten(1, 2)

    seen = turned(u)
    steps, B, C = (seen @ stream.project[0].T).split([1, 3, 3], dim=-1)
    delta = softplus(steps @ stream.step_weight[0] + stream.step_bias[0])
    h, outputs = torch.zeros(2, 4, 3, dtype=torch.float64), []
    for t in range(seen.shape[1]):
        a = torch.exp(delta[:, t, :, None] * stream.A[0])
        h = a * h + (delta[:, t] * seen[:, t])[..., None] * B[:, t, None]
        outputs.append((h * C[:, t, None]).sum(-1) + stream.D[0] * seen[:, t])
    y = torch.stack(outputs, 1)
    y = y.flip(1) if "back" in direction else y
    if "columns" in direction:
        y = y.unflatten(1, (BREADTH, HEIGHT)).transpose(1, 2).flatten(1, 2)
    expected = expert.out_proj(y, gate).unflatten(1, (HEIGHT, BREADTH))
    torch.testing.assert_close(expert(x), expected)
    u_gate = x @ expert.in_proj.project.weight.T
    torch.testing.assert_close(gate, silu(u_gate[..., 4:]).flatten(1, 2))


@pytest.mark.parametrize("active", [1, 2, 3, 4])
def test_the_sum_is_that_of_all_experts_masked(active):
    module, x = experts(active), tokens()
    out, routing = module(x)
    p = module.router(x.mean((1, 2))).softmax(-1)
    kept = p >= p.sort(1, descending=True).values[:, active - 1 : active]
    weights = (p * kept).T[..., None, None, None]  # (E, B, 1, 1, 1)
    expected = x + sum(w * expert(x) for w, expert in zip(weights, module.experts, strict=True))
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(routing.probabilities, p)
    assert len(routing.chosen.unique()) > 1  # or this test would see too little


@pytest.mark.parametrize("train", [True, False])
def test_as_published_answers_are_added_in_the_order_of_the_scan(train):
    torch.manual_seed(0)
    module = RoutedExperts(WIDTH, state=4, as_published=True).double().train(train)
    torch.nn.init.normal_(module.router.weight)
    x = tokens()
    out, routing = module(x)
    expected = x.clone()
    for image, chosen in enumerate(routing.chosen.tolist()):
        for place, number in enumerate(chosen):
            expert = module.experts[number]
            table = direction_order(HEIGHT, BREADTH, DIRECTIONS[number if train else place]).table
            path = x[image].flatten(0, 1)[table[0]].view(1, HEIGHT, BREADTH, WIDTH)
            along = expert.scan(path, "rows")[0]
            expected[image] += routing.probabilities[image, number] * along
    torch.testing.assert_close(out, expected)
    assert module.router.bias is None


def test_only_the_chosen_experts_run_and_only_on_their_images():
    module, x = experts(), tokens()
    ran = {}
    for number, expert in enumerate(module.experts):
        expert.register_forward_hook(
            lambda _, given, __, number=number: ran.__setitem__(number, len(given[0]))
        )
    _, routing = module(x)
    assert ran == {n: int(c) for n, c in enumerate(routing.chosen.flatten().bincount()) if c}
    assert sum(ran.values()) == 2 * len(x)
    ran.clear()
    _, routing = module(x[:1])
    assert ran == dict.fromkeys(routing.chosen[0].tolist(), 1)
    assert len(ran) == 2


def test_gradients_reach_the_chosen_experts_and_the_router_alone():
    module = experts()
    out, routing = module(tokens(1))
    out.square().sum().backward()
    assert module.router.weight.grad.any()
    for number, expert in enumerate(module.experts):
        grads = [p.grad for p in expert.parameters()]
        if number in routing.chosen:
            assert all(g is not None and g.any() for g in grads)
        else:
            assert all(g is None for g in grads)


def test_an_image_is_routed_whatever_its_companions():
    module, x = experts(), tokens()
    together, routing = module(x)
    for i in range(len(x)):
        alone, own = module(x[i : i + 1])
        torch.testing.assert_close(alone[0], together[i])
        assert torch.equal(own.chosen[0], routing.chosen[i])


def test_frozen_statistics_decide_for_all_windows_alike():
    module, x = experts(), tokens()
    with collect_statistics(module) as statistics:
        module(x)
    _, whole = module(x.reshape(1, 1, -1, WIDTH))
    with freeze_statistics(module, statistics):
        _, routing = module(x)
    assert (routing.chosen == whole.chosen).all()
    torch.testing.assert_close(routing.probabilities, whole.probabilities.expand(6, -1))
    assert len(module(x)[1].chosen.unique(dim=0)) > 1


def test_shares_and_imbalance():
    even = Routing(torch.full((2, 4), 0.25), torch.tensor([[0, 1], [2, 3]]))
    assert even.shares.tolist() == [0.25] * 4
    assert even.imbalance == 1
    p = torch.tensor([[0.7, 0.1, 0.1, 0.1]], requires_grad=True)
    uneven = Routing(p, torch.tensor([[0, 1]]))
    assert uneven.shares.tolist() == [0.5, 0.5, 0, 0]
    assert uneven.imbalance.item() == pytest.approx(4 * (0.5 * 0.7 + 0.5 * 0.1))
    uneven.imbalance.backward()
    assert p.grad[0, 0] > p.grad[0, 2]  # less of what is used much


def test_impossible_experts_are_refused():
    with pytest.raises(ConfigError, match="4 directions"):
        RoutedExperts(WIDTH, ranks=(1, 2, 3))
    with pytest.raises(ConfigError, match="5 of them"):
        RoutedExperts(WIDTH, active=5)
