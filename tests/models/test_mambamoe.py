"""MambaMoE's own: its losses by hand, its ablations, its sizes, and training in two processes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bandweave.errors import ConfigError, GridMismatch, RunError
from bandweave.models import LAND_COVER, mambamoe
from bandweave.models.mambamoe import MambaMoE, MambaMoEConfig
from bandweave.nn.experts import DIRECTIONS
from bandweave.nn.losses.supervision import cross_entropy
from bandweave.nn.output import HIDDEN, IGNORED
from bandweave.nn.window_statistics import collect_statistics, freeze_statistics
from bandweave.schema import from_dict, to_dict
from bandweave.training.history import read_history

BANDS = {"hsi": 6, "lidar": 1}
CLASSES = ["grass", "tree", "roof"]
SIZE = 9, 13


def build(seed=0, bands=BANDS, ratios=None, output_ratio=1, **options):
    torch.manual_seed(seed)
    config = MambaMoEConfig(**{"width": 8, "state": 4, "mlp_ratio": 2.0, **options})
    return MambaMoE(bands, CLASSES, config, ratios, output_ratio)


def scene(size=SIZE, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, c, *size, generator=generator) for name, c in BANDS.items()}


def labels(size=SIZE, batch=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(HIDDEN, len(CLASSES), (batch, *size), generator=generator)


def head_outputs(model):
    """What the heads answer, coarsest first; filled by the next forward pass."""
    kept = []
    for head in model.heads:
        head.register_forward_hook(lambda _, __, out: kept.append(out))
    return kept


def test_the_papers_size():
    preset = LAND_COVER["mambamoe"]
    assert preset.config == MambaMoEConfig()
    model = preset.model({"hsi": 144, "lidar": 1}, ["c"] * 15, preset.config)
    assert sum(p.numel() for p in model.parameters()) == 669_325  # the paper says about 0.69 M
    per_block = [sum(p.numel() for p in m.parameters()) for m in model.mixtures]
    assert len(set(per_block)) == 1


def test_scales_are_halved_and_a_half_pixel_is_cut_off():
    model, kept = build(), []
    for mixture in model.mixtures:
        mixture.register_forward_hook(lambda _, __, out: kept.append(tuple(out[0].shape[1:3])))
    heads = head_outputs(model)
    model(scene(), labels())
    assert kept == [(5, 7), (3, 4), (2, 2)]
    assert [tuple(h.shape[2:]) for h in heads] == [(2, 2), (3, 4), (9, 13)]


def test_a_scale_takes_the_features_before_it_and_not_their_mixture():
    model = build().eval()
    with torch.no_grad():
        features = [model.stem(scene()).permute(0, 3, 1, 2)]
        for shrink in model.encoder:
            features.append(shrink(features[-1]))
        given = []
        for mixture in model.mixtures:
            mixture.register_forward_pre_hook(lambda _, taken: given.append(taken[0]))
        model(scene())
    for found, expected in zip(given, features[1:], strict=True):
        torch.testing.assert_close(found, expected.permute(0, 2, 3, 1))


def test_the_decoder_by_hand():
    model, mixed, decoded = build().eval(), [], []
    for mixture in model.mixtures:
        mixture.register_forward_hook(lambda _, __, out: mixed.append(out[0].permute(0, 3, 1, 2)))
    for fusion in model.decoder:
        fusion.register_forward_hook(lambda _, __, out: decoded.append(out))
    out = model(scene())
    x = model.decoder[2].unit(mixed[2])
    torch.testing.assert_close(decoded[0], x)
    for s, size in ((1, (3, 4)), (0, (5, 7))):
        x = torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
        x = x[..., : size[0], : size[1]] + model.decoder[s].skip(mixed[s])
        x = model.decoder[s].unit(x)
    x = torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")[..., :9, :13]
    torch.testing.assert_close(out.logits, model.heads[-1](x))


def test_the_last_mean_of_an_odd_side_is_of_what_there_is():
    shrink = build().encoder[1].eval()
    x = torch.randn(1, 8, 3, 5)
    found, features = shrink(x), shrink.norm(shrink.conv(x)).relu()
    torch.testing.assert_close(found[:, :, 1, 2], features[:, :, 2:, 4:].mean((2, 3)))
    torch.testing.assert_close(found[:, :, 1, 0], features[:, :, 2:, :2].mean((2, 3)))


def test_loss_by_hand_where_all_labels_are_kept():
    model, target = build(corrective="none"), labels()
    heads = head_outputs(model)
    out = model(scene(), target)
    each = [cross_entropy(model._to_labels(h, SIZE), target) for h in heads]
    torch.testing.assert_close(out.parts["supervised"], each[-1])
    torch.testing.assert_close(out.parts["corrective"], sum(each))
    torch.testing.assert_close(out.loss, sum(each) + each[-1])
    torch.testing.assert_close(model._to_labels(heads[-1], SIZE), out.logits)


def test_every_head_learns_the_labels_of_which_it_is_unsure(monkeypatch):
    model, target, calls = build(), labels(), []
    kept = mambamoe.unsure_labels

    def watched(u, given):
        own = kept(u, given)
        calls.append((u, own))
        return own

    monkeypatch.setattr(mambamoe, "unsure_labels", watched)
    heads = head_outputs(model)
    out = model(scene(), target)
    assert len(calls) == 3
    expected = 0
    for head, (u, own) in zip(heads, calls, strict=True):
        p = head.softmax(1)
        entropy = -(p * p.log()).sum(1, keepdim=True) / torch.tensor(3.0).log()
        torch.testing.assert_close(u, model._to_labels(entropy, SIZE)[:, 0])
        assert not u.requires_grad
        assert 0 < (own >= 0).sum() < (target >= 0).sum()
        assert ((own == target) | (own == IGNORED)).all()
        expected = expected + cross_entropy(model._to_labels(head, SIZE), own)
    torch.testing.assert_close(out.parts["corrective"], expected)
    assert len({tuple(own.flatten().tolist()) for _, own in calls}) == 3  # each draws for itself


def test_classes_are_balanced_in_the_loss():
    target = torch.zeros(1, *SIZE, dtype=torch.long)
    target[0, 0, 0], target[0, 1] = 1, IGNORED  # class 2 has no label
    layers = scene(batch=1)
    for balance, share in ((0.0, 1 / 104), (0.5, 1 / (1 + 103**0.5)), (1.0, 0.5)):
        model = build(corrective="none", class_balance=balance)
        out = model(layers, target)
        each = torch.nn.functional.cross_entropy(out.logits, target.clamp(min=0), reduction="none")
        of = [each[target == c].mean().item() for c in (0, 1)]
        expected = (1 - share) * of[0] + share * of[1]
        assert out.parts["supervised"].item() == pytest.approx(expected, rel=1e-5)


def test_in_evaluation_all_labels_count_and_nothing_is_drawn():
    model = build().eval()
    losses = {model(scene(), labels()).loss.item() for _ in range(3)}
    assert len(losses) == 1
    assert model.train()(scene(), labels()).loss.item() not in losses


def test_every_value_of_corrective_is_another_loss():
    losses = set()
    for value in ("entropy", "as_published", "none"):
        model = build(corrective=value)
        torch.manual_seed(1)
        losses.add(model(scene(), labels()).loss.item())
    assert len(losses) == 3


@pytest.mark.parametrize(
    ("options", "less"),
    [
        ({"experts": "spatial"}, "spectral"),
        ({"experts": "spectral"}, "spatial"),
        ({"heads": "finest"}, "heads.1"),
    ],
)
def test_an_ablation_takes_parameters_away(options, less):
    whole, part = build(), build(**options)
    names = [name for name, _ in whole.named_parameters()]
    kept = [name for name, _ in part.named_parameters()]
    assert any(less in name for name in names)
    assert not any(less in name for name in kept)
    assert sum(p.numel() for p in part.parameters()) < sum(p.numel() for p in whole.parameters())
    out = part(scene(), labels())
    out.loss.backward()
    assert out.logits.shape == (2, 3, *SIZE)
    assert ("expert_rows" in out.parts) == (less != "spatial")


def test_dense_experts_all_run():
    model = build(active=4)
    out = model(scene(), labels())
    out.loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert all(out.parts[f"expert_{name}"] == 0.25 for name in DIRECTIONS)
    torch.manual_seed(0)
    sparse = build()
    assert not torch.equal(sparse.eval()(scene()).logits, model.eval()(scene()).logits)


def test_shares_of_experts_are_logged_and_sum_to_one():
    parts = build()(scene(), labels()).parts
    shares = [parts[f"expert_{name}"] for name in DIRECTIONS]
    assert sum(shares).item() == pytest.approx(1)
    sixths = [float(s) * 12 for s in shares]  # of 3 scales × 2 images × 2 choices
    assert sixths == pytest.approx([round(s) for s in sixths], abs=1e-5)


def test_load_balance_is_part_of_the_loss_and_evens_out():
    without, model = build(), build(load_balance=0.5)
    torch.manual_seed(1)
    plain = without(scene(), labels())
    torch.manual_seed(1)
    out = model(scene(), labels())
    torch.testing.assert_close(out.loss, plain.loss + 0.5 * out.parts["imbalance"])
    assert "imbalance" not in plain.parts
    routers = [p for m in model.mixtures for p in m.spatial.router.parameters()]
    optimizer = torch.optim.Adam(routers, lr=0.1)
    model.config = replace(model.config, load_balance=100.0)
    found = []
    for step in range(12):
        optimizer.zero_grad()
        out = model(scene((4, 4), seed=step), labels((4, 4)))
        out.loss.backward()
        optimizer.step()
        found.append(out.parts["imbalance"].item())
    assert sum(found[-4:]) < sum(found[:4])


def test_batches_and_images_of_any_number():
    model = build().eval()
    with torch.no_grad():
        assert model(scene(batch=5)).logits.shape == (5, 3, *SIZE)


def test_windows_that_begin_where_its_pixels_do_agree_inside_when_frozen():
    model = build(experts="spectral").eval()  # the spatial scans remember all
    whole = {"hsi": torch.randn(1, 6, 9, 96), "lidar": torch.randn(1, 1, 9, 96)}
    assert model.window_step == 8
    with torch.no_grad(), collect_statistics(model) as statistics:
        model(whole)
    window = {name: x[..., 16:] for name, x in whole.items()}
    with torch.no_grad(), freeze_statistics(model, statistics):
        expected, found = model(whole).logits[..., 16:], model(window).logits
    inside = (..., slice(56, None))
    torch.testing.assert_close(found[inside], expected[inside], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(model(window).logits[inside], expected[inside], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("detail", "step"), [(1, 8), (2, 4), (4, 2), (3, 8), (16, 1)])
def test_the_step_of_windows_follows_from_the_detail(detail, step):
    assert build(detail=detail, output_ratio=detail).window_step == step


def test_more_pixels_take_more_memory_as_it_counts():
    plain = build().bytes_per_pixel
    assert build(detail=2).bytes_per_pixel > 2 * plain
    assert build(output_ratio=4).bytes_per_pixel > plain
    assert build(bands={"hsi": 300}).bytes_per_pixel > plain


@pytest.mark.parametrize("detail", [1, 2, 4])
@pytest.mark.parametrize("output_ratio", [1, 2, 4])
def test_a_constant_map_is_constant_on_the_labels_grid(detail, output_ratio):
    model = build(detail=detail, output_ratio=output_ratio)
    size = 5 * detail, 7 * detail
    for s in range(3):
        coarse = [-(-side // 2**s) for side in size]
        found = model._to_labels(torch.full((1, 2, *coarse), 3.0), size)
        assert found.shape == (1, 2, 5 * output_ratio, 7 * output_ratio)
        torch.testing.assert_close(found, torch.full_like(found, 3.0))


def published(size=SIZE, **options):
    return build(as_published=True, scene_size=size, **options)


def test_as_published_learns_and_the_whole_loss_is_the_coarsest_heads():
    model, target = published(corrective="none"), labels()
    heads = head_outputs(model)
    out = model(scene(), target)
    each = [cross_entropy(model._to_labels(h, SIZE), target) for h in heads]
    assert [tuple(h.shape[2:]) for h in heads] == [(1, 1), (2, 3), (9, 13)]
    torch.testing.assert_close(out.parts["supervised"], each[0])
    torch.testing.assert_close(out.loss, sum(each) + each[0])
    out.loss.backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None]
    assert all(".spatial.experts." in name for name in idle)


def test_as_published_takes_a_turned_scene_and_none_of_another_size():
    model = published().eval()
    turned = {name: x.transpose(2, 3) for name, x in scene().items()}
    assert model(turned).logits.shape == (2, 3, 13, 9)
    message = r"pixels of 9×13 px \(scene_size\) and was given 9×14 px; give it whole scenes"
    with pytest.raises(GridMismatch, match=message):
        model(scene((9, 14)))
    spatial = build(as_published=True, experts="spatial").eval()
    assert spatial(scene((9, 14))).logits.shape == (2, 3, 9, 14)
    with pytest.raises(GridMismatch, match="7×14 px leave nothing after 3 means"):
        spatial(scene((7, 14)))


def test_as_published_draws_by_its_own_uncertainty(monkeypatch):
    model, formulas = published(), []
    kept = mambamoe.uncertainty
    monkeypatch.setattr(mambamoe, "uncertainty", lambda x, f: formulas.append(f) or kept(x, f))
    model(scene(), labels())
    assert formulas == ["as_published"] * 3


@pytest.mark.parametrize("detail", [1, 2])
def test_as_published_has_parameters_for_every_pixel(detail):
    model = published(detail=detail, output_ratio=detail)
    sides = [(9 * detail // 2**s, 13 * detail // 2**s) for s in (1, 2, 3)]
    found = [len(m.spectral.norm.weight) for m in model.mixtures]
    assert found == [height * width for height, width in sides]


def test_weights_of_the_former_structure_are_refused_by_their_version():
    former = {"scales.0.mixture.norm.weight": torch.ones(8)}
    with pytest.raises(
        RunError, match=r"run/model.safetensors was written by bandweave 0\.1\.0 of"
    ):
        build().upgrade(former, origin="run/model.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 4}, "width is 4; it must be a multiple of 4, 8 or more"),
        ({"width": 10}, "width is 10"),
        ({"ranks": (1, 2)}, "ranks is"),
        ({"ranks": (1, 2, 3, 0)}, "ranks is"),
        ({"active": 5}, "active is 5; it must be 1 to 4"),
        ({"experts": "none"}, "experts is 'none'; it is one of both, spatial, spectral"),
        ({"corrective": "some"}, "corrective is 'some'"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"class_balance": 1.5}, "class_balance is 1.5"),
        ({"mlp_ratio": float("inf")}, "mlp_ratio is inf"),
        ({"load_balance": -1.0}, "load_balance is -1.0"),
        ({"load_balance": 1.0, "experts": "spectral"}, "no expert is chosen"),
        ({"load_balance": 1.0, "active": 4}, "no expert is chosen"),
        ({"detail": 0}, "detail is 0"),
        ({"head_ratio": 1.25}, "head_ratio is 1.25, which makes 10 channels of width 8"),
        ({"head_ratio": 0.5}, "head_ratio is 0.5"),
        ({"as_published": True}, r"add `scene_size: \[rows, columns\]`"),
        ({"scene_size": (9, 13)}, "only with `as_published: true`"),
        ({"as_published": True, "scene_size": (9, 7)}, "8 px or more"),
        ({"as_published": True, "scene_size": (9,)}, "must be rows and columns"),
    ],
)
def test_impossible_values_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        MambaMoEConfig(**{"width": 8, **options})


def test_the_config_is_stored_and_read():
    config = MambaMoEConfig(ranks=(1, 2, 3, 4), corrective="as_published")
    assert from_dict(MambaMoEConfig, to_dict(config)) == config


def test_two_processes_train_as_one_though_experts_go_unused(run_ranks, tmp_path):
    run_ranks(Path(__file__).with_name("mambamoe_processes.py"), tmp_path)
    first, second = (
        torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    rows = read_history(tmp_path / "history.csv")
    used = [{name: row[f"expert_{name}"] for name in DIRECTIONS} for row in rows]
    assert len(rows) == 4
    assert all(sum(each.values()) == pytest.approx(1, abs=1e-5) for each in used)
    assert any(0 in each.values() for each in used)  # or no expert went unused
