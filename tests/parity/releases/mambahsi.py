"""MambaHSI: three blocks, of whose maps the coarsest is stretched corner to corner."""

import re

from parity_release import Release

from bandweave.models.mambahsi import MambaHSI, MambaHSIConfig
from bandweave.nn.halving import make_finer

LAYER = {
    "in_proj.weight": "in_proj.weight",
    "conv1d.weight": "conv.weight",
    "conv1d.bias": "conv.bias",
    "x_proj.weight": "stream.project",
    "dt_proj.weight": "stream.step_weight",
    "dt_proj.bias": "stream.step_bias",
    "A_log": "stream.A_log",
    "D": "stream.D",
    "out_proj.weight": "out_proj.weight",
}
PLACES = {  # theirs: ours
    r"patch_embedding\.0\.weight": "stem.convs.hsi.weight",
    r"patch_embedding\.0\.bias": "stem.bias",
    r"patch_embedding\.1\.(\w+)": r"norm.\1",
    r"cls_head\.(\d)\.(\w+)": r"head.\1.\2",
}


def build(numbers):
    meta, weights = numbers.meta, numbers.weights
    layer = "mamba.0.spa_mamba.mamba."
    config = MambaHSIConfig(
        width=meta["hidden_dim"],
        groups=meta["token_num"],
        state=weights[layer + "A_log"].shape[1],
        expand=weights[layer + "A_log"].shape[0] / meta["hidden_dim"],
        head_width=weights["cls_head.0.weight"].shape[0],
        as_published=True,
    )
    classes = [str(k) for k in range(meta["num_classes"])]
    return MambaHSI({"hsi": meta["in_channels"]}, classes, config)


def translate(theirs, numbers):
    ours = {}
    for name, value in theirs.items():
        for pattern, place in PLACES.items():
            if found := re.fullmatch(pattern, name):
                ours[found.expand(place)] = value
        if found := re.fullmatch(r"mamba\.(\d)\.(.+)", name):
            block = f"blocks.{int(found[1]) // 2}"
            ours |= translate_block(block, found[2], value)
    return ours


def translate_block(block, name, value):
    """A tensor of a block, under our name."""
    if name == "weights":
        return {f"{block}.shares": value}
    branch, part, rest = name.split(".", 2)
    branch = {"spa_mamba": "spatial", "spe_mamba": "spectral"}[branch]
    if part == "proj":  # the norm
        return {f"{block}.{branch}.norm.{rest.removeprefix('0.')}": value}
    if rest == "dt_proj.weight":
        value = value.T
    ours = LAYER[rest]
    return {f"{block}.{branch}.mamba.{ours}": value[None] if ours[:6] == "stream" else value}


def run(net, given):
    x = given["x"]
    logits = net.classify_coarse(net.stem({"hsi": x}).permute(0, 3, 1, 2))
    return {"logits": logits, "upsampled": make_finer(logits, x.shape[-2:], corners=True)}


RELEASE = Release(
    "mambahsi",
    build,
    translate,
    run,
    middle={
        "spa_mamba": "blocks.0.spatial.mamba",
        "spe_mamba": "blocks.0.spectral.mamba",
        "spa": "blocks.0.spatial",
        "spe": "blocks.0.spectral",
        **{f"block{k + 1}": f"blocks.{k}" for k in range(3)},
    },
)
