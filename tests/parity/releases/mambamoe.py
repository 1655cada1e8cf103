"""MambaMoE, its spectral expert made once and kept."""

import torch
from parity_release import Release

from bandweave.models.mambamoe import SCALES, MambaMoE, MambaMoEConfig
from bandweave.nn.losses.corrective import uncertainty

HEADS = ("coarse", "middle", "fine")  # as ours answer


def _count(weights, form):
    """How many names `form` makes of 0, 1, … there are."""
    return next(i for i in range(len(weights) + 1) if form.format(i) not in weights)


def build(numbers):
    meta, weights = numbers.meta, numbers.weights
    width, bands = weights["feature_1.0.weight"].shape[:2]
    experts = "block_1.moe.block.moe_layer.experts.{}.A_logs"
    rates = [weights[experts.format(i)] for i in range(_count(weights, experts))]
    config = MambaMoEConfig(
        width=width,
        ranks=tuple(len(each) for each in rates),
        state=rates[0].shape[1],
        mlp_ratio=(len(weights["block_1.ffn.fc1.bias"]) + 0.5) / width,
        head_ratio=(len(weights["cls_head_1.0.bias"]) + 0.5) / width,
        as_published=True,
        scene_size=(meta["H"], meta["W"]),
    )
    classes = [f"class {i}" for i in range(len(weights["cls_head_1.3.bias"]))]
    return MambaMoE({"hsi": bands}, classes, config)


def translate(theirs, numbers):
    found = {
        "stem.convs.hsi.weight": theirs["feature_1.0.weight"],
        "stem.bias": theirs["feature_1.0.bias"],
    }

    def take(ours, source, *parts):
        for part in parts or ("weight", "bias"):
            found[f"{ours}.{part}"] = theirs[f"{source}.{part}"]

    def take_linear(ours, source):
        found[f"{ours}.weight"] = theirs[f"{source}.weight"].flatten(1)
        found[f"{ours}.bias"] = theirs[f"{source}.bias"]

    for s in range(SCALES):
        if s:
            take(f"encoder.{s}.conv", f"feature_{s + 1}.0")
        take(f"encoder.{s}.norm", f"feature_{s + 1}.1")
        ours, block = f"mixtures.{s}", f"block_{s + 1}"
        found[f"{ours}.scale"] = theirs[f"{block}.skip_scale"]
        found[f"{ours}.mlp_scale"] = theirs[f"{block}.skip_scale2"]
        take(f"{ours}.first_norm", f"{block}.ln_2")
        take(f"{ours}.norm", f"{block}.moe.norm_1")
        take(f"{ours}.mlp.0", f"{block}.ln_1")
        take(f"{ours}.mlp.1", f"{block}.ffn.fc1")
        take(f"{ours}.mlp.3", f"{block}.ffn.fc2")
        take_linear(f"{ours}.in_proj", f"{block}.moe.block.conv_1")
        take_linear(f"{ours}.out_proj", f"{block}.moe.block.proj")
        found |= {f"{ours}.spectral.{n}": x for n, x in _spectral(theirs, block).items()}
        layer = f"{block}.moe.block.moe_layer"
        take(f"{ours}.spatial.router", f"{layer}.gate.body.2", "weight")
        for i in range(_count(theirs, layer + ".experts.{}.A_logs")):
            expert = _expert(theirs, f"{layer}.experts.{i}")
            found |= {f"{ours}.spatial.experts.{i}.{n}": x for n, x in expert.items()}
        for unit, number in (("skip", 1), ("unit", 2)):
            if unit == "unit" or s < SCALES - 1:
                source = f"path_blocks.{s}.resConfUnit{number}"
                take(f"decoder.{s}.{unit}.first", f"{source}.conv1")
                take(f"decoder.{s}.{unit}.second", f"{source}.conv2")
        head = f"cls_head_{SCALES - s}"
        take(f"heads.{s}.1", f"{head}.0")
        take(f"heads.{s}.2", f"{head}.1")
        take(f"heads.{s}.4", f"{head}.3")
    return found


def _expert(theirs, name):
    return {
        "in_proj.project.weight": theirs[f"{name}.in_proj.weight"],
        "in_proj.conv.weight": theirs[f"{name}.conv2d.weight"],
        "in_proj.conv.bias": theirs[f"{name}.conv2d.bias"],
        "stream.project": theirs[f"{name}.x_proj.weight"][None],
        "stream.step_weight": theirs[f"{name}.dt_proj.weight"].T[None],
        "stream.step_bias": theirs[f"{name}.dt_proj.bias"][None],
        "stream.A_log": theirs[f"{name}.A_logs"][None],
        "stream.D": theirs[f"{name}.Ds"][None],
        "out_proj.norm.weight": theirs[f"{name}.out_norm.weight"],
        "out_proj.norm.bias": theirs[f"{name}.out_norm.bias"],
        "out_proj.project.weight": theirs[f"{name}.out_proj.weight"],
    }


def _spectral(theirs, block):
    shared = f"{block}.moe.block.shared"
    projections = theirs[f"{shared}.x_proj_weight_spectral"]
    orders, _, features = projections.shape
    rates = theirs[f"{shared}.A_logs_spectral"]
    return {
        "in_proj.weight": theirs[f"{shared}.in_proj.weight"],
        "conv.weight": theirs[f"{shared}.conv.weight"],
        "conv.bias": theirs[f"{shared}.conv.bias"],
        "stream.project": projections,
        "stream.step_weight": theirs[f"{shared}.dt_projs_weight_spectral"].mT,
        "stream.step_bias": theirs[f"{shared}.dt_projs_bias_spectral"],
        "stream.A_log": rates.view(orders, features, -1),
        "stream.D": theirs[f"{shared}.Ds_spectral"].view(orders, features),
        "norm.weight": theirs[f"{shared}.out_norm_spectral.weight"],
        "norm.bias": theirs[f"{shared}.out_norm_spectral.bias"],
        "out_proj.weight": theirs[f"{shared}.out_proj.weight"],
    }


def run(net, given):
    """Logits of all heads, and in evaluation their uncertainty, on the labels' grid."""
    answers = []
    hooks = [
        head.register_forward_hook(lambda *call: answers.append(call[2])) for head in net.heads
    ]
    size = given["x"].shape[-2:]
    net({"hsi": given["x"]}, torch.zeros(1, *size, dtype=torch.long))
    for hook in hooks:
        hook.remove()
    found = {n: net._to_labels(a, size) for n, a in zip(HEADS, answers, strict=True)}
    if not net.training:
        for name, answer in zip(HEADS, answers, strict=True):
            u = uncertainty(answer, "as_published")[:, None]
            found[f"un_{name}"] = net._to_labels(u, size)
    return found


def channels_first(x):
    return x.permute(0, 3, 1, 2)


MIDDLE = {
    "feature1": ("encoder.0", lambda x: x),
    "feature2": ("encoder.1", lambda x: x),
    "feature3": ("encoder.2", lambda x: x),
    "sse1": ("mixtures.0.spectral", lambda x: x),
    "sse1_scan_norm": ("mixtures.0.spectral.norm", lambda x: x[:, :, None]),
    "sre1": ("mixtures.0.spatial", lambda found: channels_first(found[0])),
    "dssem1": ("mixtures.0.out_proj", channels_first),
    **{f"gate{s + 1}": (f"mixtures.{s}.spatial.router", lambda x: x) for s in range(SCALES)},
    **{
        f"block{s + 1}": (f"mixtures.{s}", lambda found: channels_first(found[0]))
        for s in range(SCALES)
    },
    **{f"fuse{s + 1}": (f"decoder.{s}", lambda x: x) for s in range(SCALES)},
}

RELEASE = Release("mambamoe", build, translate, run, MIDDLE)
