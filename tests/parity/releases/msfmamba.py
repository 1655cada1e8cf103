"""MSFMamba, whose maps are read as they do not lie in the release."""

from parity_release import Release

from bandweave.models.msfmamba import MSFMamba, MSFMambaConfig


def build(numbers):
    meta = numbers.meta
    config = MSFMambaConfig(
        patch=meta["window_size"],
        depth=meta["num_layer"],
        width=numbers.weights["layers.0.sar_conv.0.weight"].shape[0],
        state=meta["d_state"],
        expand=meta["expand"],
        as_published=True,
    )
    classes = [str(k) for k in range(meta["num_classes"])]
    bands = {"hsi": meta["pca_num"], "x": meta["slar_channel_num"]}
    return MSFMamba(bands, classes, config)


def stream(theirs, their, our, orders=slice(None)):
    """The parameters of a scan of those of the release's sequences."""
    weight = theirs[their + "dt_projs_weight"]  # (K, E, R)
    A_log, D = theirs[their + "A_logs"], theirs[their + "Ds"]
    if A_log.ndim == 2:
        A_log, D = A_log.unflatten(0, weight.shape[:2]), D.unflatten(0, weight.shape[:2])
    return {
        our + "project": theirs[their + "x_proj_weight"][orders],
        our + "step_weight": weight.transpose(1, 2)[orders],
        our + "step_bias": theirs[their + "dt_projs_bias"][orders],
        our + "A_log": A_log[orders],
        our + "D": D[orders],
    }


def rename(theirs, their, our, names, kinds=("weight", "bias")):
    """Parameters under our prefix of those under theirs."""
    return {
        f"{our}{to}.{kind}": theirs[f"{their}{of}.{kind}"]
        for of, to in names.items()
        for kind in kinds
    }


def translate_scales(theirs, their, our):
    """Two scales; the bias that widens is added once here, of the sum of both directions."""
    op, scan = their + "self_attention.", our + "scan."
    names = {"conv2d": "in_proj.conv", "DWconv1": "fine", "DWconv2": "coarse"}
    names["out_norm"] = "out_proj.norm"
    projects = {"in_proj": "in_proj.project", "out_proj": "out_proj.project"}
    return {
        **rename(theirs, their, our, {"ln_1": "norm"}),
        **rename(theirs, op, scan, names),
        **rename(theirs, op, scan, {**projects, "conv_transpose": "widen"}, ["weight"]),
        scan + "widen.bias": 2 * theirs[op + "conv_transpose.bias"],
        **stream(theirs, op, scan + "fine_stream.", slice(0, 2)),
        **stream(theirs, op, scan + "coarse_stream.", slice(2, 4)),
    }


def translate_spectrum(theirs, their, our):
    op, scan = their + "self_attention.", our + "scan."
    projects = {"in_proj": "in_proj", "proj": "before.0", "out_proj": "out_proj.project"}
    return {
        **rename(theirs, their, our, {"ln_1": "norm"}),
        **rename(theirs, op, scan, {"out_norm": "out_proj.norm"}),
        **rename(theirs, op, scan, projects, ["weight"]),
        **stream(theirs, op, scan + "stream."),
    }


def translate_guided(theirs, their, our, source, attention):
    """One scan of the fusion: of the source of that number, by the attention of that number."""
    attention = f"{their}attention{attention}."
    names = {f"ln_{source}": "norm", f"conv2d{source}": "in_proj.conv"}
    projects = {
        f"in_proj{source}": "in_proj.project",
        f"out_proj{source}": "out_proj.project",
    }
    return {
        **rename(theirs, their, our, names),
        **rename(theirs, their, our, projects, ["weight"]),
        **rename(theirs, attention, our, {"out_norm": "out_proj.norm"}),
        **stream(theirs, attention, our + "stream."),
    }


def translate_conv(theirs, their, our):
    """A convolution and the norm behind it, which has its bias."""
    mean = theirs[their + "1.running_mean"] - theirs[their + "0.bias"]
    return {
        our + "0.weight": theirs[their + "0.weight"],
        **rename(theirs, their, our, {"1": "1"}, ["weight", "bias", "running_var"]),
        our + "1.running_mean": mean,
        our + "1.num_batches_tracked": theirs[their + "1.num_batches_tracked"].reshape(()),
    }


def translate(theirs, numbers):
    ours = rename(theirs, "", "", {"fusionlinear_fusion": "head"})
    for i in range(numbers.meta["num_layer"]):
        their, our = f"layers.{i}.", f"levels.{i}."
        ours |= {
            **translate_conv(theirs, their + "hsi_conv.", our + "spectral_conv."),
            **translate_conv(theirs, their + "sar_conv.", our + "spatial_conv."),
            **translate_scales(theirs, their + "MBh.", our + "spectral_scales."),
            **translate_scales(theirs, their + "MBx.", our + "spatial_scales."),
            **translate_spectrum(theirs, their + "SpBh.", our + "spectrum."),
            **translate_guided(theirs, their + "FSSBlock.", our + "fusion.spatial.", 2, 1),
            **translate_guided(theirs, their + "FSSBlock.", our + "fusion.spectral.", 1, 2),
        }
    return ours


def run(net, given):
    sources = given["hsi"][:, 0], given["x"]
    outputs = {"logits": net.classify_patch(*sources)}
    return outputs if net.training else outputs | {"features": net.extract(*sources)}


def part(maps):
    """Maps (B, D, q, q) of the first module's eight by their bands."""
    return maps.unflatten(1, (8, -1))


def lay_square(tokens):
    """Tokens (B, q², E) as (B, q, q, E)."""
    side = round(tokens.shape[1] ** 0.5)
    return tokens.unflatten(1, (side, side))


FUSION = "levels.0.fusion"
RELEASE = Release(
    "msfmamba",
    build,
    translate,
    run,
    middle={
        "hsi_conv": "levels.0.spectral_conv",
        "x_conv": "levels.0.spatial_conv",
        "mspa_hsi_op": "levels.0.spectral_scales.scan",
        "mspa_hsi": ("levels.0.spectral_scales", part),
        "mspa_x": "levels.0.spatial_scales",
        "spe_op": "levels.0.spectrum.scan",
        "spe": ("levels.0.spectrum", part),
        "fus_scan_x": (f"{FUSION}.spatial.out_proj.norm", lay_square),
        "fus_scan_hsi": (f"{FUSION}.spectral.out_proj.norm", lay_square),
        "fus.0": (FUSION, lambda sources: part(sources[0])),
        "fus.1": (FUSION, lambda sources: sources[1]),
    },
)
