"""M³amba: one stage, both guidance maps from given image embeddings."""

import torch
from parity_release import Release
from torch import nn

from bandweave.models.m3amba import M3amba, M3ambaConfig
from bandweave.nn.clip.guidance import ClipConfig, ClipGuidance, PooledHead

STREAMS = {"hsi": ("hsi", "x"), "x": ("lidar", "y")}  # our name: the release's, and of its layers


class OfEmbeddings(ClipGuidance):
    """The guidance behind the encoder, of embeddings that were put in `embeddings`."""

    def __init__(self, bands, width, embedding, laid):
        nn.Module.__init__(self)
        self.heads = nn.ModuleDict(
            {name: PooledHead(embedding, count, width, laid) for name, count in bands.items()}
        )
        self.embeddings = {}

    def forward(self, layers, size):
        maps = [head(self.embeddings[name], size) for name, head in self.heads.items()]
        return torch.stack(maps).sum(0)


def build(numbers):
    meta, weights = numbers.meta, numbers.weights
    width = meta["dims"]
    config = M3ambaConfig(
        width=width,
        depth=meta["depths"][0],
        state=weights["layers_z.0.0.op.A_logs"].shape[1],
        mlp_ratio=weights["layers_z.0.0.mlp.fc1.weight"].shape[0] / width,
        expand=weights["layers_z.0.0.op.out_norm.weight"].shape[0] / width,
        drop_path=0.0,
        average="rate",
        clip=ClipConfig(mode="none"),
    )
    bands = {"hsi": meta["in_chans_hsi"], "x": meta["in_chans_lidar"]}
    net = M3amba(bands, [f"class {k}" for k in range(meta["num_classes"])], config)
    net.guidance = OfEmbeddings(bands, width, meta["clip"], (meta["H"], meta["W"]))
    return net


def translate(theirs, numbers):
    ours = {}

    def take(prefix, source):
        for kind in ("weight", "bias"):
            if f"{source}.{kind}" in theirs:
                ours[f"{prefix}.{kind}"] = theirs[f"{source}.{kind}"]

    def take_conv_1x1(prefix, source):
        take(prefix, source)
        ours[f"{prefix}.weight"] = ours[f"{prefix}.weight"].flatten(1)

    def take_stream(prefix, op, stream, parts):
        project = theirs[f"{op}.x_proj_weight{stream}"]
        state = theirs[f"{op}.A_logs{stream}"].shape[1]
        rank = project.shape[1] - 2 * state
        sizes = dict(zip("dBC", project.split([rank, state, state], dim=1), strict=True))
        ours[f"{prefix}.project"] = torch.cat([sizes[part] for part in parts], dim=1)
        orders, channels = project.shape[0], project.shape[2]
        ours[f"{prefix}.A_log"] = theirs[f"{op}.A_logs{stream}"].view(orders, channels, state)
        if "d" in parts:
            steps = theirs[f"{op}.dt_projs_weight{stream}"]
            ours[f"{prefix}.step_weight"] = steps.transpose(1, 2)
            ours[f"{prefix}.step_bias"] = theirs[f"{op}.dt_projs_bias{stream}"]
        if "C" in parts:
            ours[f"{prefix}.D"] = theirs[f"{op}.Ds{stream}"].view(orders, channels)

    def take_block(prefix, block):
        take(f"{prefix}.norm", f"{block}.norm")
        take(f"{prefix}.scan.in_proj.project", f"{block}.op.in_proj")
        take(f"{prefix}.scan.in_proj.conv", f"{block}.op.conv2d")
        take(f"{prefix}.scan.out_proj.norm", f"{block}.op.out_norm")
        take(f"{prefix}.scan.out_proj.project", f"{block}.op.out_proj")
        for ours_at, at in ((0, "norm2"), (1, "mlp.fc1"), (3, "mlp.fc2")):
            take(f"{prefix}.mlp.{ours_at}", f"{block}.{at}")

    for i in range(numbers.meta["depths"][0]):
        for name, (_, layers) in STREAMS.items():
            branch, block = f"iterations.{i}.branches.{name}", f"layers_{layers}.0.{i}"
            take_block(branch, block)
            take_stream(f"{branch}.scan.modality", f"{block}.op", "_hsi", "dC")
            take_stream(f"{branch}.scan.guide", f"{block}.op", "_lidar", "B")
        take_block(f"iterations.{i}.fusion", f"layers_z.0.{i}")
        take_stream(f"iterations.{i}.fusion.scan.stream", f"layers_z.0.{i}.op", "", "dBC")
    for name, (theirs_name, _) in STREAMS.items():
        stem = f"patch_embed_{theirs_name}"
        ours[f"stems.{name}.bias"] = theirs[f"{stem}.0.bias"]
        ours[f"stems.{name}.convs.{name}.weight"] = theirs[f"{stem}.0.weight"]
        take(f"stems.{name}.norm", f"{stem}.2")
        head = f"guidance.heads.{name}"
        take(f"{head}.unfold", f"linear_{theirs_name}")
        take(f"{head}.spread", f"conv_{theirs_name}")
        take(f"{head}.stem", f"{stem}_clip.0")
        take(f"{head}.norm", f"{stem}_clip.2")
        take(f"heads.{name}.0", f"classifier_{theirs_name}.norm")
        take_conv_1x1(f"heads.{name}.2", f"classifier_{theirs_name}.head")
    take("fusion_head.0", "classifier_add.norm")
    take_conv_1x1("fusion_head.2", "classifier_add.head")
    return ours


def run(net, given):
    net.guidance.embeddings = {"hsi": given["clip_hsi"], "x": given["clip_x"]}
    layers = {"hsi": given["hsi"], "x": given["x"]}
    x, fused = net.fuse(layers, net.grid.tokens(layers, None))
    outputs = {name: net.head_logits(head, x[name]) for name, head in net.heads.items()}
    return {**outputs, "fused": net.head_logits(net.fusion_head, fused)}


MIDDLE = {
    "stem_hsi": "stems.hsi",
    "stem_x": "stems.x",
    "guide_hsi": "guidance.heads.hsi",
    "guide_x": "guidance.heads.x",
    "cross_hsi_op.0": "iterations.0.branches.hsi.scan",
    "cross_hsi": "iterations.0.branches.hsi",
    "cross_x": "iterations.0.branches.x",
    "fusion_op": "iterations.0.fusion.scan",
    "fusion1": "iterations.0.fusion",
    "fusion2": "iterations.1.fusion",
}
RELEASE = Release("m3amba", build, translate, run, MIDDLE)
