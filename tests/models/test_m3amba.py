"""M³amba's own: its losses by hand, its ablations, its refusals, and how large it is."""

import math

import pytest
import torch

from bandweave.data import scene as data_scene
from bandweave.errors import ConfigError
from bandweave.models import LAND_COVER
from bandweave.models.m3amba import M3amba, M3ambaConfig
from bandweave.nn.clip.guidance import ClipConfig
from bandweave.nn.output import HIDDEN, IGNORED
from bandweave.nn.pretrained.provenance import frozen_names
from bandweave.schema import from_dict, to_dict

BANDS = {"hsi": 6, "lidar": 1}
CLASSES = ["grass", "tree", "roof"]
SMALL = {"width": 8, "depth": 2, "state": 4, "mlp_ratio": 2.0, "drop_path": 0.0}
TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
NO_CLIP = ClipConfig(mode="none")
TOWER |= {"num_attention_heads": 2, "patch_size": 8, "image_size": 16, "projection_dim": 12}


def build(bands=BANDS, ratios=None, output_ratio=1, seed=0, **options):
    torch.manual_seed(seed)
    options = {"clip": NO_CLIP, **SMALL, **options}
    return M3amba(bands, CLASSES, M3ambaConfig(**options), ratios, output_ratio)


def crops(bands=BANDS, size=(4, 6), batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(batch, c, *size, generator=generator) for name, c in bands.items()}


def labels(size=(4, 6), batch=2, low=HIDDEN):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(low, len(CLASSES), (batch, *size), generator=generator)


def head_logits(model):
    """Logits (B, K, H, W) of all heads, filled by the next forward pass; the fusion's last."""
    found = []
    for head in [*model.heads.values(), model.fusion_head]:
        head.register_forward_hook(lambda *given: found.append(given[-1]))
    return found


def shaken(model):
    """No parameter at a special value: heads that differ, adapters that do something."""
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


# Losses


@pytest.mark.parametrize("bands", [BANDS, {"hsi": 3}, {"a": 1, "b": 2, "c": 3}], ids=len)
def test_losses_by_hand(bands):
    model = shaken(build(bands, supervised=0.7, consistency=0.3))
    found = head_logits(model)
    target = labels()
    out = model(crops(bands), target)
    fusion, *branches = [x.detach().double() for x in found]  # (B, H, W, K)
    torch.testing.assert_close(out.logits.double(), fusion.permute(0, 3, 1, 2))

    supervised, labelled, apart, seen = 0.0, 0, 0.0, 0
    for place in torch.cartesian_prod(*(torch.arange(n) for n in target.shape)).tolist():
        b, i, j = place
        label, answers = int(target[b, i, j]), [x[b, i, j] for x in (fusion, *branches)]
        if label >= 0:
            labelled += 1
            supervised += sum(math.log(sum(x.exp()) / x[label].exp()) for x in answers)
        if label != HIDDEN:
            seen += 1
            apart += sum(1 - float(x @ answers[0] / x.norm() / answers[0].norm()) for x in answers)
    assert float(out.parts["supervised"]) == pytest.approx(supervised / labelled, rel=1e-5)
    assert float(out.parts["consistency"]) == pytest.approx(apart / seen, rel=1e-5)
    total = 0.7 * supervised / labelled + 0.3 * apart / seen
    assert out.loss.item() == pytest.approx(total, rel=1e-5)
    right = (fusion.argmax(-1) == target) & (target >= 0)
    assert float(out.parts["accuracy"]) == pytest.approx(float(right.sum()) / labelled)


def gradients_of_heads(target, **options):
    """Of each head's logits, (B, H, W, K)."""
    model = shaken(build(**options))
    found = head_logits(model)
    loss = model(crops(), target).loss
    return torch.autograd.grad(loss, found)


def test_hidden_pixels_teach_nothing():
    target = labels()
    for gradient in gradients_of_heads(target, consistency=0.5):
        assert (gradient[target == HIDDEN] == 0).all()
        assert gradient[target != HIDDEN].abs().sum(-1).gt(0).all()  # IGNORED too: consistency


def test_unlabelled_pixels_teach_consistency_alone():
    target = labels()
    for gradient in gradients_of_heads(target, consistency=0.0):
        assert (gradient[target < 0] == 0).all()
        assert gradient[target >= 0].abs().sum(-1).gt(0).all()


def test_logits_of_hidden_pixels_do_not_move_the_loss():
    model = shaken(build(output_ratio=2)).eval()
    target = labels((8, 12), low=0)
    target[:, :, 5:] = HIDDEN  # tokens are 2×2 labels; those of columns 3 to 5 reach no other
    shift = torch.zeros(6, 3)  # of the logits of a column's tokens, one class

    for head in (*model.heads.values(), model.fusion_head):
        head.register_forward_hook(lambda module, given, out: out + shift)
    untouched = model(crops(), target).loss
    shift[3:, 0] = 5.0
    assert torch.equal(model(crops(), target).loss, untouched)
    shift[2, 0] = 5.0
    assert not torch.equal(model(crops(), target).loss, untouched)


def test_without_the_consistency_loss_none_is_reported():
    out = build(consistency=0.0)(crops(), labels())
    assert set(out.parts) == {"supervised", "accuracy"}
    assert torch.equal(out.loss, out.parts["supervised"])


def test_label_smoothing_spreads_the_target():
    plain, smooth = build(consistency=0.0), build(consistency=0.0, label_smoothing=0.2)
    found = head_logits(plain)
    target = labels(low=IGNORED)
    before, after = plain(crops(), target).loss, smooth(crops(), target).loss
    uniform = sum(-x.double().log_softmax(-1)[target >= 0].mean(-1).mean().item() for x in found)
    assert after.item() == pytest.approx(0.8 * before.item() + 0.2 * uniform, rel=1e-5)


def test_labels_mean_the_same_in_samples_and_in_losses():
    assert (IGNORED, HIDDEN) == (data_scene.IGNORED, data_scene.HIDDEN)


# Ablations


def same_weights(model, base):
    """The weights of `base` wherever both models have a tensor of that name and shape."""
    own = model.state_dict()
    shared = {n: t for n, t in base.state_dict().items() if n in own and own[n].shape == t.shape}
    model.load_state_dict(shared, strict=False)
    return model


def answers(model, size=(4, 6)):
    with torch.no_grad():
        return model.eval()(crops(size=size)).logits


def test_guidance_at_every_iteration_is_seen_from_the_second_on():
    base, every = shaken(build(depth=3)), build(depth=3, guidance_at="every")
    guides = []
    for iteration in same_weights(every, base).iterations:
        iteration.register_forward_hook(
            lambda module, given, out: guides.append((given[1], out[1]))
        )
    assert not torch.allclose(answers(base), answers(every))
    first = every.guidance(crops())
    torch.testing.assert_close(guides[0][0], first)
    torch.testing.assert_close(guides[1][0], guides[0][1] + first)
    torch.testing.assert_close(guides[2][0], guides[1][1] + first)


def test_averages_differ_with_the_same_weights():
    base, rate = shaken(build(average="transition")), build(average="rate")
    same_weights(rate, base)
    for ours, theirs in zip(rate.iterations, base.iterations, strict=True):
        for name in BANDS:
            guide = theirs.branches[name].scan.guide
            ours.branches[name].scan.guide.project.data = guide.project.data[:, -4:]  # of B
    assert not torch.allclose(answers(base), answers(rate))


def test_without_cross_scans_branches_and_guidance_are_concatenated():
    model = shaken(build(cross=False))
    assert not any("guide." in name for name, _ in model.named_parameters())
    assert model.iterations[0].merge.in_features == 3 * 8  # two branches and z
    before = answers(model)
    model.guidance.bias.data[0] += 1
    assert not torch.allclose(answers(model), before)


def test_without_clip_the_guidance_sees_all_raw_bands_at_once():
    model = build()
    before = model.guidance(crops())
    for name in BANDS:
        other = {**crops(), name: crops()[name] + 1}
        assert not torch.allclose(model.guidance(other), before)
    assert sum(p.ndim == 1 for p in model.guidance.parameters()) == 3  # one bias, one norm


def test_dropped_paths_rise_linearly_to_the_last_iteration():
    rates = [block.fusion.drop_path.rate for block in of_depth(5).iterations]
    assert rates == pytest.approx([0, 0.025, 0.05, 0.075, 0.1])
    assert of_depth(1).iterations[0].fusion.drop_path.rate == pytest.approx(0.1)


def of_depth(depth):
    return build(depth=depth, drop_path=0.1)


@pytest.mark.parametrize("upsample", ["bilinear", "shuffle"])
@pytest.mark.parametrize(
    ("detail", "output_ratio", "ratio"),
    [(1, 4, 4), (2, 4, 10), (4, 4, 2), (4, 1, 1), (2, 1, 4), (1, 2, 1)],
)
def test_tokens_finer_than_the_grid(detail, output_ratio, ratio, upsample):
    ratios, tokens = {"lidar": ratio}, []
    model = shaken(build(BANDS, ratios, output_ratio, detail=detail, upsample=upsample))
    model.fusion_head.register_forward_hook(lambda module, given, out: tokens.append(given[0]))
    layers = crops() | {"lidar": torch.randn(2, 1, 4 * ratio, 6 * ratio)}
    fine = (4 * output_ratio, 6 * output_ratio)
    out = model(layers, labels(fine))
    assert tokens[0].shape == (2, 4 * detail, 6 * detail, 8)
    assert out.logits.shape == (2, 3, *fine)
    out.loss.backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


def test_shuffled_logits_are_those_of_the_token_they_lie_in():
    model = shaken(build(output_ratio=2, upsample="shuffle")).eval()
    found = head_logits(model)
    logits = model(crops()).logits
    per_token = found[0].unflatten(-1, (3, 2, 2))  # (B, H, W, K, 2, 2)
    for i, j in [(0, 0), (3, 5), (2, 1)]:
        torch.testing.assert_close(
            logits[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2], per_token[:, i, j]
        )


def test_logits_of_finer_tokens_are_averaged():
    model = shaken(build(detail=2)).eval()
    found = head_logits(model)
    logits = model(crops()).logits
    torch.testing.assert_close(logits[:, :, 1, 2], found[0][:, 2:4, 4:6].mean((1, 2)))


@pytest.mark.parametrize("mode", ["frozen", "adapters", "finetune"])
@pytest.mark.parametrize("guidance", ["tokens", "pooled"])
def test_clip_guides_at_any_size(mode, guidance):
    clip = ClipConfig(mode=mode, guidance=guidance, architecture=TOWER, precision="fp32")
    model = build(clip=clip, detail=2, guidance_at="every")
    pretrained = {n: t.clone() for n, t in model.guidance.encoder.tower.state_dict().items()}
    shaken_parts = [p for p in model.parameters() if p.requires_grad]
    for parameter in shaken_parts:
        parameter.data += 0.1
    out = model(crops(), labels())
    assert out.logits.shape == (2, 3, 4, 6)
    out.loss.backward()
    idle = [n for n, p in model.named_parameters() if p.requires_grad and not p.grad.any()]
    silent = {".k_proj.bias", "class_embedding"}  # of no effect in a softmax, or on patch tokens
    assert [n for n in idle if not any(n.endswith(end) for end in silent)] == []
    kept = bool(frozen_names(model))
    assert kept == (mode != "finetune")
    if kept:
        after = model.guidance.encoder.tower.state_dict()
        assert all(torch.equal(after[n], t) for n, t in pretrained.items())


def test_the_models_inits_leave_clip_as_it_is():
    model = build(clip=ClipConfig(mode="adapters", architecture=TOWER))
    for adapters in model.guidance.encoder.adapters.values():
        for adapter in adapters:
            assert not adapter.up.weight.any()  # the untrained adapter is the identity


# Inits


def test_linear_layers_start_small_and_without_bias():
    model = build(width=64, state=4)
    for module in model.iterations.modules():
        if isinstance(module, torch.nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.25)
            assert module.weight.mean().abs() < 0.005
            assert module.bias is None or not module.bias.any()
    rates = [p for n, p in model.named_parameters() if n.endswith("A_log")]
    assert len(rates) == 2 * (2 * 2 + 1)
    for rate in rates:
        expected = torch.arange(1.0, 5.0).log().expand_as(rate)
        torch.testing.assert_close(rate.detach(), expected)


# Refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width is 0; it must be 1 or more"),
        ({"depth": 0}, "depth is 0"),
        ({"state": -1}, "state is -1"),
        ({"detail": 0}, "detail is 0"),
        ({"width": 8, "expand": 0.1}, "expand is 0.1; .* 1/8"),
        ({"mlp_ratio": -1.0}, "mlp_ratio is -1.0"),
        ({"mlp_ratio": math.inf}, "mlp_ratio is inf"),
        ({"drop_path": 1.0}, "drop_path is 1.0; it must be from 0 to below 1"),
        ({"drop_path": -0.1}, "drop_path is -0.1"),
        ({"dropout": 1.5}, "dropout is 1.5"),
        ({"dropout": math.nan}, "dropout is nan"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"supervised": 0.0}, "supervised is 0.0; it must be above 0"),
        ({"supervised": math.nan}, "supervised is nan"),
        ({"consistency": -0.1}, "consistency is -0.1; it must be 0 or more"),
        ({"average": "mean"}, "average is 'mean'; it is one of transition, rate"),
        ({"upsample": "nearest"}, "upsample is 'nearest'; it is one of bilinear, shuffle"),
        ({"guidance_at": "last"}, "guidance_at is 'last'; it is one of first, every"),
        ({"guidance_at": "every", "depth": 1}, "no later iteration"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        M3ambaConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratios": {"lidar": 3}, "detail": 2}, "layer 'lidar': 3 times finer .* detail 2"),
        ({"ratios": {"lidar": 10}, "detail": 4}, "layer 'lidar': 10"),
        ({"output_ratio": 3, "detail": 2}, "labels: 3 times finer"),
        ({"output_ratio": 3, "detail": 2, "upsample": "shuffle"}, "labels: 3 times finer"),
        ({"ratios": {"lidar": 0}}, "layer 'lidar': 0"),
        ({"bands": {}}, "needs layers"),
        ({"bands": {"hsi": 0}}, "needs layers"),
        ({"bands": {"keys": 3}}, "cannot be named 'keys'"),
        ({"bands": {"a.b": 3}}, "cannot be named 'a.b'"),
    ],
)
def test_impossible_scenes_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        build(**options)
    with pytest.raises(ConfigError, match="0 classes"):
        M3amba(BANDS, [], M3ambaConfig(**SMALL, clip=NO_CLIP))


@pytest.mark.parametrize("name", LAND_COVER)
def test_a_preset_survives_its_file(name):
    config = LAND_COVER[name].config
    assert from_dict(type(config), to_dict(config)) == config


# How large it is


def counts(**options):
    """Numbers that training may change, and all of them; Houston2013: 144 + 1 bands, 15 classes."""
    options = {"clip": NO_CLIP, **options}
    with torch.device("meta"):
        model = M3amba(
            {"hsi": 144, "lidar": 1}, [str(k) for k in range(15)], M3ambaConfig(**options)
        )
    parameters = list(model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    return trained, sum(p.numel() for p in parameters)


VIT_B = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
VIT_B |= {"num_attention_heads": 12, "image_size": 224, "projection_dim": 512}


def test_the_paper_is_the_default():
    assert M3ambaConfig() == LAND_COVER["m3amba"].config
    config = M3ambaConfig()
    assert (config.width, config.depth, config.state, config.mlp_ratio) == (384, 9, 16, 4.0)
    assert config.clip.mode == "adapters"  # scheme D of Table I; scheme A is mode none


def test_heads_start_as_convolutions_do():
    """The released heads are 1×1 convolutions with PyTorch's own start: uniform, ±1/√width."""
    torch.manual_seed(0)
    weight = build(BANDS, width=192).fusion_head[2].weight
    assert weight.abs().max() <= 192**-0.5
    assert weight.std().item() == pytest.approx((3 * 192) ** -0.5, rel=0.1)  # 0.04, not 0.02


def test_parameters_of_the_full_model():
    assert counts() == (67_937_709, 67_937_709)
    assert counts(average="rate") == (65_228_205, 65_228_205)
    adapters = ClipConfig(mode="adapters", architecture=VIT_B | {"patch_size": 16})
    assert counts(clip=adapters) == (70_951_270, 149_661_286)


def test_parameters_of_the_released_form():
    """Its 70,814,543 are ours in that form, with what cannot influence the output (4,534,272) and
    without the convolutions of 144 + 1 bands to three channels (441)."""
    pooled = ClipConfig(
        mode="frozen", guidance="pooled", fuse="sum", architecture=VIT_B | {"patch_size": 32}
    )
    trained, _ = counts(average="rate", clip=pooled)
    to_three_channels = 3 * (144 + 1) + 2 * 3
    assert trained + 4_534_272 - to_three_channels == 70_814_543
