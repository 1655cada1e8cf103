"""S²Mamba, both of whose spectral sequences run forward in the release."""

from parity_release import Release

from bandweave.models.s2mamba import S2Mamba, S2MambaConfig


def build(numbers):
    meta = numbers.meta
    gate = numbers.weights["layers.0.blocks.0.PCS.in_proj.weight"]
    config = S2MambaConfig(
        patch=meta["patch"],
        width=meta["dims"][0],
        state=numbers.weights["layers.0.blocks.0.PCS.A_logs"].shape[1],
        expand=gate.shape[0] / 2 / meta["dims"][0],
        spectral="as_published",
        dropout=0.0,
        drop_path=0.0,
    )
    classes = [str(k) for k in range(meta["num_classes"])]
    return S2Mamba({"hsi": meta["in_chans"]}, classes, config)


def translate(theirs, numbers):
    block = "layers.0.blocks.0."
    ours = {
        "stem.0.weight": theirs["patch_embed.proj.0.weight"],
        "stem.0.bias": theirs["patch_embed.proj.0.bias"],
        "norm.weight": theirs["norm.weight"],
        "norm.bias": theirs["norm.bias"],
        "head.weight": theirs["head.weight"],
        "head.bias": theirs["head.bias"],
        "block.norm.weight": theirs[block + "ln.weight"],
        "block.norm.bias": theirs[block + "ln.bias"],
    }
    for i in (0, 1, 3):
        for kind in ("weight", "bias"):
            given = theirs[f"layers.0.fusion.FFN_softmax.net.{i}.{kind}"]
            ours[f"block.mixture.shares.{i}.{kind}"] = given
    for branch, end, norm in (("PCS", "", "out_proj.norm"), ("BSS", "_spectral", "norm")):
        their, our = block + branch, "block." + ("spatial." if branch == "PCS" else "spectral.")
        weight = theirs[f"{their}.dt_projs_weight{end}"]  # (K, F, R)
        project = "out_proj.project" if branch == "PCS" else "out_proj"
        ours |= {
            our + "in_proj.project.weight": theirs[f"{their}.in_proj.weight"],
            our + "in_proj.conv.weight": theirs[f"{their}.conv2d.weight"],
            our + "in_proj.conv.bias": theirs[f"{their}.conv2d.bias"],
            our + "stream.project": theirs[f"{their}.x_proj_weight{end}"],
            our + "stream.step_weight": weight.transpose(1, 2),
            our + "stream.step_bias": theirs[f"{their}.dt_projs_bias{end}"],
            our + "stream.A_log": theirs[f"{their}.A_logs{end}"].unflatten(0, weight.shape[:2]),
            our + "stream.D": theirs[f"{their}.Ds{end}"].unflatten(0, weight.shape[:2]),
            our + norm + ".weight": theirs[f"{their}.out_norm{end}.weight"],
            our + norm + ".bias": theirs[f"{their}.out_norm{end}.bias"],
            our + project + ".weight": theirs[f"{their}.out_proj.weight"],
        }
    return ours


RELEASE = Release(
    "s2mamba",
    build,
    translate,
    lambda net, given: {"logits": net.classify_patch(given["x"])},
    middle={
        "stem": ("stem", lambda x: x.permute(0, 2, 3, 1)),
        "norm_in": "block.norm",
        "pcs": "block.spatial",
        "bss": "block.spectral",
        "bss_scan_norm": ("block.spectral.norm", lambda y: y[:, :, None]),
        "gate_raw": "block.mixture.shares",
        "smg": "block.mixture",
        "block": "block",
    },
)
