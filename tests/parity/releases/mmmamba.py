"""MMMamba, whose release leaves the order of directions and the layout of images as ours are."""

import math

from parity_release import Release

from bandweave.models.mmmamba import MMMamba, MMMambaConfig

DIRECTIONS = 4
BLOCKS = 16  # no file has more
MS, PAN = "ms", "pan"
STREAMS = {MS: "vis", PAN: "inf"}  # ours, and the ending of the release's names


def build(numbers):
    w = numbers.weights
    width, bands = w["ms_encoder.0.weight"].shape[:2]
    channels, state = w["mm_mamba.0.attn.A_logs"].shape
    channels //= DIRECTIONS
    ms, pan = numbers.inputs["ms"], numbers.inputs["pan"]
    config = MMMambaConfig(
        width=width,
        depth=_count(w, "mm_mamba.{}.ffn.dwconv.weight", 0),
        residuals=_count(w, "ms_encoder.{}.conv_1.weight", 1),
        state=state,
        expand=(channels + 0.5) / width,
        mlp_ratio=(w["mm_mamba.0.ffn.dwconv.weight"].shape[0] + 0.5) / width,
        upsampling="nearest",
        attention_width=w["ms_head.process.0.conv_du.0.weight"].shape[0],
    )
    return MMMamba(bands, config, pan.shape[-1] // ms.shape[-1])


def _count(w, name, first):
    number = 0
    while name.format(first + number) in w:
        number += 1
    return number


def translate(theirs, numbers):
    ours = {}

    def take(here, there, bias=True):
        for kind in ("weight", "bias") if bias else ("weight",):
            ours[f"{here}.{kind}"] = theirs[f"{there}.{kind}"]

    def take_linear(here, there):
        ours[f"{here}.weight"] = theirs[f"{there}.weight"].flatten(1)

    for stream in STREAMS:
        take(f"encoders.{stream}.in_proj", f"{stream}_encoder.0")
        for i in range(_count(theirs, f"{stream}_encoder.{{}}.conv_1.weight", 1)):
            there = f"{stream}_encoder.{i + 1}"
            for place, name in ((0, "conv_1"), (2, "norm"), (3, "conv_2")):
                take(f"encoders.{stream}.units.{i}.{place}", f"{there}.{name}")
    for i in range(_count(theirs, "mm_mamba.{}.ffn.dwconv.weight", 0)):
        here, there = f"blocks.{i}", f"mm_mamba.{i}"
        take_linear(f"{here}.fuse.project", f"{there}.attn.in_proj_vis")
        for s, (stream, ending) in enumerate(STREAMS.items()):
            take(f"{here}.fuse_norms.{s}", f"{there}.norm_{stream}.body", bias=False)
            take(f"{here}.network_norms.{s}", f"{there}.norm_{stream}_2.body", bias=False)
            take(f"{here}.fuse.convs.{s}", f"{there}.attn.conv2d_{ending}")
            take(f"{here}.fuse.out_projs.{s}.norm", f"{there}.attn.out_norm_{ending}")
            take_linear(f"{here}.fuse.out_projs.{s}.project", f"{there}.attn.out_proj_{ending}")
        shared, attn = f"{here}.fuse.shared", f"{there}.attn"
        ours[f"{shared}.project"] = theirs[f"{attn}.x_proj_weight"]
        ours[f"{shared}.step_weight"] = theirs[f"{attn}.dt_projs_weight"].transpose(1, 2)
        ours[f"{shared}.step_bias"] = theirs[f"{attn}.dt_projs_bias"]
        ours[f"{shared}.A_log"] = theirs[f"{attn}.A_logs"].unflatten(0, (DIRECTIONS, -1))
        ours[f"{shared}.D"] = theirs[f"{attn}.Ds"].unflatten(0, (DIRECTIONS, -1))
        take_linear(f"{here}.network.widen", f"{there}.ffn.project_in")
        take(f"{here}.network.conv", f"{there}.ffn.dwconv", bias=False)
        take_linear(f"{here}.network.narrow", f"{there}.ffn.project_out")
    take_linear("merge", "simple_fusion")
    ours["merge.bias"] = theirs["simple_fusion.bias"]
    take("tail.refine", "ms_head.conv_in")
    for part, name in (("branch", "process"), ("excite", "conv_du")):
        for place in (0, 2):
            take(f"tail.attention.{part}.{place}", f"ms_head.process.0.{name}.{place}")
    take("tail.out_proj", "ms_head.conv_last")
    return ours


def _channels_first(x):
    return x.permute(0, 3, 1, 2)


def _square(tokens):
    """(B, T, E) to (B, H, W, E) of a square image, which is all that the release can do."""
    return tokens.unflatten(1, (math.isqrt(tokens.shape[1]), -1))


def _of_stream(s):
    return lambda streams: _channels_first(streams[s])


MIDDLE = {f"{stream}_encoder": (f"encoders.{stream}", _channels_first) for stream in STREAMS}
MIDDLE |= {
    f"{name}.{s}": (path, _of_stream(s))
    for s in range(len(STREAMS))
    for name, path in [("missm", "blocks.0.fuse")]
    + [(f"block{i + 1}", f"blocks.{i}") for i in range(BLOCKS)]
}
for s, stream in enumerate(STREAMS):
    MIDDLE[f"norm_{stream}"] = (f"blocks.0.fuse_norms.{s}", _channels_first)
    MIDDLE[f"scan_norm_{stream}"] = (f"blocks.0.fuse.out_projs.{s}.norm", _square)
MIDDLE |= {"fusion": ("merge", _channels_first), "tail": ("tail", lambda x: x)}

RELEASE = Release(
    "mmmamba", build, translate, lambda net, given: {"hrms": net(given["ms"], given["pan"]).image},
    MIDDLE,
)  # fmt: skip
