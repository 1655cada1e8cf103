"""SS-Mamba, which loses an odd last band in its spectral tokens."""

from parity_release import Release

from bandweave.models.ssmamba import SSMamba, SSMambaConfig


def build(numbers):
    meta = numbers.meta
    A_log = numbers.weights["blocks.0.spa_block.self_attention.A_log"]
    config = SSMambaConfig(
        patch=meta["window"],
        width=meta["embed_dim"],
        hidden=meta["hid_chans"],
        depth=meta["depth"],
        state=A_log.shape[1],
        expand=A_log.shape[0] / meta["embed_dim"],
        odd_band="dropped",
    )
    classes = [str(k) for k in range(meta["nclass"])]
    return SSMamba({"hsi": meta["in_chans"]}, classes, config)


def translate(theirs, numbers):
    ours = {
        "class_token": theirs["spe_cls_token"].flatten(),
        "spatial_code": theirs["spa_pos_embed"][0, :-1],  # without that of the class token
        "spectral_code": theirs["spe_pos_embed"][0],
    }
    for layer in (0, 3):
        conv, norm = f"dimen_redu.{layer}.", f"dimen_redu.{layer + 1}."
        ours[f"reduce.{layer}.weight"] = theirs[conv + "weight"]
        for name in ("weight", "bias", "running_var"):
            ours[f"reduce.{layer + 1}.{name}"] = theirs[norm + name]
        batches = theirs[norm + "num_batches_tracked"].reshape(())
        ours[f"reduce.{layer + 1}.num_batches_tracked"] = batches
        mean = theirs[norm + "running_mean"] - theirs[conv + "bias"]  # of what has no bias here
        ours[f"reduce.{layer + 1}.running_mean"] = mean
    names = {
        "spatial": "spa_patch_embed.proj",
        "spectral": "spe_patch_embed.proj",
        "norm": "fc_norm",
        "head": "head",
    }
    for our, their in names.items():
        for kind in ("weight", "bias"):
            ours[f"{our}.{kind}"] = theirs[f"{their}.{kind}"]
    for i in range(numbers.meta["depth"]):
        ours[f"blocks.{i}.enhance.0.weight"] = theirs[f"blocks.{i}.l1.0.weight"]
        for our, their in (("spatial", "spa_block"), ("spectral", "spe_block")):
            our, their = f"blocks.{i}.{our}.", f"blocks.{i}.{their}."
            scan = their + "self_attention."
            ours |= {
                our + "norm.weight": theirs[their + "ln_1.weight"],
                our + "norm.bias": theirs[their + "ln_1.bias"],
                our + "scan.in_proj.weight": theirs[scan + "in_proj.weight"],
                our + "scan.stream.project": theirs[scan + "x_proj.weight"][None],
                our + "scan.stream.step_weight": theirs[scan + "dt_proj.weight"].T[None],
                our + "scan.stream.step_bias": theirs[scan + "dt_proj.bias"][None],
                our + "scan.stream.A_log": theirs[scan + "A_log"][None],
                our + "scan.stream.D": theirs[scan + "D"][None],
                our + "scan.out_proj.norm.weight": theirs[scan + "out_norm.weight"],
                our + "scan.out_proj.norm.bias": theirs[scan + "out_norm.bias"],
                our + "scan.out_proj.project.weight": theirs[scan + "out_proj.weight"],
            }
    return ours


def turn(tokens):
    """(B, D, …) to tokens (B, T, D)."""
    return tokens.flatten(2).transpose(1, 2)


RELEASE = Release(
    "ssmamba",
    build,
    translate,
    lambda net, given: {"logits": net.classify_patch(given["x"])},
    middle={
        "reduce": "reduce",
        "spa_tokens": ("spatial", turn),
        "spe_tokens": ("spectral", turn),
        "spe_block": "blocks.0.spectral",
        "enhance_sigmoid": "blocks.0.enhance",
        "block0.1": ("blocks.0", lambda sequences: sequences[1]),
        "pooled_norm": "norm",
    },
    idle=lambda name: name == "spa_cls_token",  # the last both ways, and in no mean
)
