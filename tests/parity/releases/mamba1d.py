"""A plain Mamba layer, under the customary names of its parameters."""

from parity_release import Release

from bandweave.nn.scans.mamba import MambaLayer


def build(numbers):
    meta = numbers.meta
    return MambaLayer(meta["D"], meta["N"], meta["expand"], meta["width"])


def translate(theirs, numbers):
    return {
        "in_proj.weight": theirs["in_proj.weight"],
        "conv.weight": theirs["conv1d.weight"],
        "conv.bias": theirs["conv1d.bias"],
        "stream.project": theirs["x_proj.weight"][None],
        "stream.step_weight": theirs["dt_proj.weight"].T[None],
        "stream.step_bias": theirs["dt_proj.bias"][None],
        "stream.A_log": theirs["A_log"][None],
        "stream.D": theirs["D"][None],
        "out_proj.weight": theirs["out_proj.weight"],
    }


RELEASE = Release("mamba1d", build, translate, lambda net, given: {"y": net(given["x"])})
