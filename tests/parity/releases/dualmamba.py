"""DualMamba, whose three taps lie along the columns in the release."""

from parity_release import Release

from bandweave.models.dualmamba import DualMamba, DualMambaConfig

BLOCK = "encoder_layers.0.0."
NORMS = {  # ours, theirs; and the bias before it, which theirs has
    "stem.1": ("group_emb.batch_norm", "group_emb.proj.bias"),
    "block.share.first_norm": (BLOCK + "fuse.fc1.1", BLOCK + "fuse.fc1.0.bias"),
    "block.share.second_norm": (BLOCK + "fuse.fc2.1", BLOCK + "fuse.fc2.0.bias"),
    "block.convolutions.first.1": (BLOCK + "conv_branch.conv1.1", None),
    "block.convolutions.depthwise.1": (BLOCK + "conv_branch.conv2.1", None),
    "block.convolutions.taps.1": (BLOCK + "conv_branch.conv_spe.1", None),
    "block.convolutions.last.1": (BLOCK + "conv_branch.conv3.1", None),
}
NAMES = {
    "stem.0.weight": "group_emb.proj.weight",
    "norm.weight": "classifier.norm.weight",
    "norm.bias": "classifier.norm.bias",
    "head.weight": "classifier.head.weight",
    "head.bias": "classifier.head.bias",
    "block.place.weight": BLOCK + "dynamic_pos.weight",
    "block.place.bias": BLOCK + "dynamic_pos.bias",
    "block.spatial_norm.weight": BLOCK + "norm.weight",
    "block.spatial_norm.bias": BLOCK + "norm.bias",
    "block.spectral_norm.weight": BLOCK + "norm_spe.weight",
    "block.spectral_norm.bias": BLOCK + "norm_spe.bias",
    "block.convolutions.first.0.weight": BLOCK + "conv_branch.conv1.0.weight",
    "block.convolutions.depthwise.0.weight": BLOCK + "conv_branch.conv2.0.weight",
    "block.convolutions.taps.0.weight": BLOCK + "conv_branch.conv_spe.0.weight",
    "block.convolutions.last.0.weight": BLOCK + "conv_branch.conv3.0.weight",
}
MLP = {"0": "norm2", "1": "mlp.fc1", "3": "mlp.fc2"}


def build(numbers):
    meta, weights = numbers.meta, numbers.weights
    (width,), (groups,) = meta["dims"], meta["n_groups"]
    weight = weights[BLOCK + "op.dt_projs_weight"]  # (K, E, R)
    config = DualMambaConfig(
        patch=meta["patch_size"],
        width=width,
        groups=groups,
        state=weights[BLOCK + "op.A_logs"].shape[1],
        expand=weight.shape[1] / width,
        taps="columns",
        gate=weights[BLOCK + "op.in_proj.weight"].shape[0] == 2 * weight.shape[1],
        mlp_ratio=meta["mlp_ratio"],
    )
    classes = [str(k) for k in range(meta["num_classes"])]
    return DualMamba({"hsi": meta["in_chans"]}, classes, config)


def translate(theirs, numbers):
    ours = {our: theirs[their] for our, their in NAMES.items()}
    for our, (their, bias) in NORMS.items():
        for kind in ("weight", "bias", "running_var"):
            ours[f"{our}.{kind}"] = theirs[f"{their}.{kind}"]
        ours[f"{our}.num_batches_tracked"] = theirs[f"{their}.num_batches_tracked"].reshape(())
        mean = theirs[f"{their}.running_mean"]
        ours[f"{our}.running_mean"] = mean if bias is None else mean - theirs[bias]
    for our, their in (("first", "fc1"), ("second", "fc2")):
        ours[f"block.share.{our}.weight"] = theirs[f"{BLOCK}fuse.{their}.0.weight"].flatten(1)
    for our, their in (("block.spatial.", "op."), ("block.spectral.", "op_spe.")):
        their = BLOCK + their
        weight = theirs[their + "dt_projs_weight"]
        ours |= {
            our + "in_proj.weight": theirs[their + "in_proj.weight"],
            our + "stream.project": theirs[their + "x_proj_weight"],
            our + "stream.step_weight": weight.transpose(1, 2),
            our + "stream.step_bias": theirs[their + "dt_projs_bias"],
            our + "stream.A_log": theirs[their + "A_logs"].unflatten(0, weight.shape[:2]),
            our + "stream.D": theirs[their + "Ds"].unflatten(0, weight.shape[:2]),
            our + "out_proj.norm.weight": theirs[their + "out_norm.weight"],
            our + "out_proj.norm.bias": theirs[their + "out_norm.bias"],
            our + "out_proj.project.weight": theirs[their + "out_proj.weight"],
        }
    if numbers.meta["mlp_ratio"]:
        for our, their in MLP.items():
            for kind in ("weight", "bias"):
                ours[f"block.mlp.{our}.{kind}"] = theirs[f"{BLOCK}{their}.{kind}"]
    return ours


def lay_square(tokens):
    """Tokens (B, p², D) as (B, p, p, D)."""
    side = round(tokens.shape[1] ** 0.5)
    return tokens.unflatten(1, (side, side))


RELEASE = Release(
    "dualmamba",
    build,
    translate,
    lambda net, given: {"logits": net.classify_patch(given["x"][:, 0])},
    middle={
        "stem": ("stem", lambda x: x.permute(0, 2, 3, 1)),
        "pos_dw": "block.place",
        "spa": ("block.spatial", lay_square),
        "spe": "block.spectral",
        "spa_scan_norm": "block.spatial.out_proj.norm",
        "spe_scan_norm": "block.spectral.out_proj.norm",
        "conv_branch": "block.convolutions",
        "fusion_weight": ("block.share", lambda w: w[..., None, None]),
        "block": "block",
    },
    double=(1e-10, 1e-8),  # of a scan whose norm is over two features
)
