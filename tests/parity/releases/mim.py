"""MiM's third model: whole paths both ways, weights that peak behind the middle."""

from parity_release import Release

from bandweave.models.mim import PATHS, MiM, MiMConfig

ENCODER = "mim_1.T_mamba1."
PLACES = {  # ours: theirs
    "embed.0": "to_patch_embedding.1",
    "embed.1": "to_patch_embedding.2",
    "embed.2": "to_patch_embedding.3",
    "encoder.embed.0": ENCODER + "to_patch_embedding.0",
    "encoder.embed.1": ENCODER + "to_patch_embedding.1",
    "encoder.embed.2": ENCODER + "to_patch_embedding.2",
    "encoder.norm": ENCODER + "norm",
    "encoder.block.norm": ENCODER + "vim.norm",
    "encoder.block.gate": ENCODER + "vim.proj1",
    "encoder.block.tokens": ENCODER + "vim.proj2",
    "head.0": "mlp_head.0",
    "head.2": "mlp_head.3",
}


def build(numbers):
    meta = numbers.meta
    config = MiMConfig(
        patch=meta["image_size"],
        embedding=meta["channels"],
        width=meta["dim"],
        state=numbers.weights[ENCODER + "vim.forward_ssm.A_log"].shape[1],
        passes=meta["depth"],
        scan="full",
        as_published=True,
    )
    classes = [str(k) for k in range(meta["num_classes"])]
    return MiM({"hsi": meta["channels"]}, classes, config)


def translate(theirs, numbers):
    ours = {
        f"{our}.{kind}": theirs[f"{their}.{kind}"]
        for our, their in PLACES.items()
        for kind in ("weight", "bias")
    }
    ours["encoder.positions"] = theirs[ENCODER + "pos_embedding"][0]
    ours["shares"] = theirs["k_weights"]
    for way in ("forward", "backward"):
        scan, ssm = f"encoder.block.{way}_scan.", f"{ENCODER}vim.{way}_ssm."
        ours |= {
            scan + "before.weight": theirs[f"{ENCODER}vim.{way}_conv1d.weight"][..., 0],
            scan + "before.bias": theirs[f"{ENCODER}vim.{way}_conv1d.bias"],
            scan + "stream.project": theirs[ssm + "deltaBC_layer.weight"][None],
            scan + "stream.step_weight": theirs[ssm + "dt_proj_layer.weight"].T[None],
            scan + "stream.step_bias": theirs[ssm + "dt_proj_layer.bias"][None],
            scan + "stream.A_log": theirs[ssm + "A_log"][None],
            scan + "stream.D": theirs[ssm + "D"][None],
        }
    return ours


def run(net, given):
    x = given["x"][:, 0]
    return {"logits": net.classify_patch(x)}


def lay_path(path):
    """What a module gave for one of our paths."""
    return lambda x: x[path::PATHS]


def lay_image(x):
    """Embedded pixels (B, T, C) as an image (B, C, p, p)."""
    side = round(x.shape[1] ** 0.5)
    return x.transpose(1, 2).unflatten(2, (side, side))


RELEASE = Release(
    "mim",
    build,
    translate,
    run,
    middle={
        "embed": ("embed", lay_image),
        **{f"encoder_out.call{i}": ("encoder", lay_path(k)) for i, k in enumerate((0, 3, 1, 2))},
        **{f"block.call{i}": (f"encoder.block#{i}", lay_path(0)) for i in range(2)},
        **{f"fwd_ssm.call{i}": (f"encoder.block.forward_scan#{i}", lay_path(0)) for i in range(2)},
        **{
            f"bwd_ssm.call{i}": (f"encoder.block.backward_scan#{i}", lambda y: y[::PATHS].flip(1))
            for i in range(2)
        },
    },
)
