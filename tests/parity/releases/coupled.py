"""CALC, its discriminators, and UACL, whose encoder and heads are CALC's."""

import torch
from parity_release import Release
from torch import nn

from bandweave.models.calc import CALC, CALCConfig
from bandweave.models.uacl import UACL, UACLConfig
from bandweave.nn.losses.adversary import Discriminator


def block(theirs, conv, norm, ours):
    """A convolution and its batch norm, whose mean takes the convolution's bias off."""
    weight = theirs[f"{conv}.weight"]
    return {
        f"{ours}.0.weight": weight[..., None] if weight.ndim == 3 else weight,
        f"{ours}.1.weight": theirs[f"{norm}.weight"],
        f"{ours}.1.bias": theirs[f"{norm}.bias"],
        f"{ours}.1.running_mean": theirs[f"{norm}.running_mean"] - theirs[f"{conv}.bias"],
        f"{ours}.1.running_var": theirs[f"{norm}.running_var"],
        f"{ours}.1.num_batches_tracked": theirs[f"{norm}.num_batches_tracked"].view(()),
    }


def blocks(theirs, pairs):
    """Blocks of the release (.0 and .1 of a name) under our names."""
    found = {}
    for there, here in pairs.items():
        found |= block(theirs, f"{there}.0", f"{there}.1", here)
    return found


def heads(theirs, suffixes):
    """The heads, by what the release's names of them end with, the finest level's first."""
    ours = {}
    for level, suffix in enumerate(suffixes):
        first, second, last = (f"classifier.conv{number}{suffix}" for number in (1, 2, 3))
        here = f"heads.{level}"
        ours |= blocks(theirs, {first: f"{here}.squeeze.0", second: f"{here}.squeeze.1"})
        ours[f"{here}.classify.weight"] = theirs[f"{last}.0.weight"][..., 0, 0]
        ours[f"{here}.classify.bias"] = theirs[f"{last}.0.bias"]
    return ours


def shape_of(weights, given, first, last):
    """Bands, classes and options that a file's inputs and weights tell."""
    bands = {name: given[name].shape[1] for name in ("hsi", "second")}
    classes = [str(index) for index in range(len(weights[last]))]
    return bands, classes, {"patch": given["hsi"].shape[-1], "width": len(weights[first])}


def make_calc(weights, given, **options):
    first, last = "encoder.conv1_1.0.weight", "classifier.conv3.0.weight"
    bands, classes, sizes = shape_of(weights, given, first, last)
    return CALC(bands, classes, CALCConfig(**sizes, as_published=True, **options))


def build_calc(numbers):
    net = make_calc(numbers.weights, numbers.inputs)
    net.discriminators = None
    return net


def translate_calc(theirs, numbers):
    ours = blocks(
        theirs,
        {
            "encoder.conv1_1": "encoder.own.0",
            "encoder.conv1_2": "encoder.own.1",
            "encoder.conv2_1": "encoder.shared.0",
            "encoder.conv3_1": "encoder.shared.1",
        },
    )
    ours["encoder.shares"] = torch.cat([theirs["encoder.xishu1"], theirs["encoder.xishu2"]])
    ours |= heads(theirs, ("_3", "_2", ""))
    for step in range(2):
        there = f"decoder.dconv{step + 1}"
        ours |= block(theirs, f"{there}.1", f"{there}.2", f"decoder.shared.{step}")
    for source, letter in enumerate("HL"):
        for kind in ("weight", "bias"):
            ours[f"decoder.own.{source}.{kind}"] = theirs[f"decoder.dconv3_{letter}.1.{kind}"]
    net = make_calc(theirs, numbers.inputs, adversarial=0.0).to(numbers.dtype)
    kept = {name: value for name, value in net.named_buffers() if "running_" not in name}
    return {**{n: value for n, value in kept.items() if n not in ours}, **ours}


def run_calc(net, given):
    levels = net.encoder(given["hsi"], given["second"])
    first, second = net.decoder(levels[-1], net.patch)
    judged = {f"p{i + 1}": net.heads[i](level).softmax(1) for i, level in enumerate(levels)}
    return {"fake_hsi_flat": first.flatten(1), "fake_second_flat": second.flatten(1), **judged}


def build_discriminators(numbers):
    weights, judges = numbers.weights, []
    for letter in "HL":
        width, bands, *_ = weights[f"dis_{letter}.conv1.0.weight"].shape
        judges.append(Discriminator(bands, width, len(weights[f"dis_{letter}.fc.bias"])))
    return nn.ModuleDict({"discriminators": nn.ModuleList(judges)})


def translate_discriminators(theirs, numbers):
    ours = {}
    for number, letter in enumerate("HL"):
        here, there = f"discriminators.{number}", f"dis_{letter}"
        ours[f"{here}.attention.conv.weight"] = theirs[f"{there}.sa.conv.weight"]
        for kind in ("weight", "bias"):
            ours[f"{here}.blocks.0.0.{kind}"] = theirs[f"{there}.conv1.0.{kind}"]
            ours[f"{here}.score.{kind}"] = theirs[f"{there}.fc.{kind}"]
        steps = range(2, 7)
        ours |= blocks(theirs, {f"{there}.conv{s}": f"{here}.blocks.{s - 1}" for s in steps})
    return ours


def run_discriminators(net, given):
    judges = net["discriminators"]
    return {f"score_{name}": judges[i](given[name]) for i, name in enumerate(("hsi", "second"))}


def build_uacl(numbers, given=None):
    first, last = "encoder.spa1.0.weight", "classifier.conv3_3.0.weight"
    bands, classes, sizes = shape_of(numbers.weights, given or numbers.inputs, first, last)
    return UACL(bands, classes, UACLConfig(**sizes, as_published=True))


def translate_uacl(theirs, numbers):
    ours = blocks(
        theirs,
        {
            "encoder.spa1": "encoder.own.0",
            "encoder.spa2": "encoder.own.1",
            "encoder.spa3": "encoder.shared.0",
            "encoder.spa4": "encoder.shared.1",
            **{f"encoder.spe{i + 1}": f"gates.{i}" for i in range(3)},
            **{f"mapper.conv{i + 1}": f"mapper.{i}" for i in range(2)},
        },
    )
    ours["encoder.shares"] = torch.cat([theirs["encoder.h_factor"], theirs["encoder.l_factor"]])
    return ours | heads(theirs, ("_1", "_2", "_3"))


def run_uacl(net, given):
    judged = net.judge(given["hsi"], given["second"], given["spectrum"][..., 0])
    probabilities = judged.probabilities
    outputs = {f"p{level + 1}": p for level, p in enumerate(probabilities)}
    return {**outputs, "mapped": judged.features[..., None, None]}


def level(number):
    return lambda levels: levels[number]


RELEASES = [
    Release(
        "calc",
        build_calc,
        translate_calc,
        run_calc,
        {
            "level1_hsi": "encoder.own.0",
            "level1_second": "encoder.own.1",
            "level2_hsi": "encoder.shared.0",
            "decoder1": "decoder.shared.0",
            "fused1": ("encoder", level(0)),
            "fused2": ("encoder", level(1)),
            "fused3": ("encoder", level(2)),
        },
        idle=lambda name: name.startswith("classifier.coefficient"),
    ),
    Release(
        "calc-disc",
        build_discriminators,
        translate_discriminators,
        run_discriminators,
        {
            "attention_hsi": "discriminators.0.attention",
            "conv2_hsi": "discriminators.0.blocks.1",
            "conv6_hsi": "discriminators.0.blocks.5",
            "conv6_second": "discriminators.1.blocks.5",
        },
    ),
    Release(
        "uacl",
        build_uacl,
        translate_uacl,
        run_uacl,
        {
            "level1_hsi": "encoder.own.0",
            "spectral1": ("gates.0", lambda gate: gate[..., 0]),
            "spectral3": ("gates.2", lambda gate: gate[..., 0]),
        },
    ),
]
