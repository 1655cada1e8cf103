"""ExViT."""

from parity_release import Release, rename

from bandweave.models.exvit import HEAD, ExViT, ExViTConfig

ENCODERS = {"encoders.0": "transformer1", "encoders.1": "transformer2", "joint": "transformer"}


def _depth(weights, encoder):
    return sum(
        name.startswith(f"{encoder}.layers.") and name.endswith("to_qkv.weight") for name in weights
    )


def build(numbers):
    weights, given = numbers.weights, numbers.inputs
    block = "transformer1.layers.0"
    config = ExViTConfig(
        patch=given["hsi"].shape[-1],
        width=weights["pos_embedding"].shape[2],
        heads=weights[f"{block}.0.fn.fn.to_qkv.weight"].shape[0] // (3 * HEAD),
        depth=_depth(weights, "transformer1"),
        joint_depth=_depth(weights, "transformer"),
        hidden=weights[f"{block}.1.fn.fn.net.0.weight"].shape[0],
        dropout=0.0,
    )
    bands = {"hsi": given["hsi"].shape[1], "second": given["second"].shape[1]}
    return ExViT(bands, [str(k) for k in range(len(weights["mlp_head1.1.bias"]))], config)


def translate(theirs, numbers):
    names = {
        "to_tokens.0": "to_patch_embedding2",
        "to_tokens.1": "to_patch_embedding2c",
        "places": "pos_embedding",
        "weigh.0": "mlp_head0.0",
        "weigh.1.weight": "mlp_head0.1.weight",
        "head.0": "mlp_head1.0",
        "head.1": "mlp_head1.1",
    }
    for i, stem in enumerate(("separable1", "separable2")):
        names |= {f"stems.{i}.{k}": f"{stem}.{k}" for k in range(12)}
    for ours, encoder in ENCODERS.items():
        for i in range(_depth(theirs, encoder)):
            block = f"{encoder}.layers.{i}"
            names |= {
                f"{ours}.{i}.norm": f"{block}.0.fn.norm",
                f"{ours}.{i}.attention.in_proj": f"{block}.0.fn.fn.to_qkv",
                f"{ours}.{i}.attention.out_proj": f"{block}.0.fn.fn.to_out.0",
                f"{ours}.{i}.mlp.0": f"{block}.1.fn.norm",
                f"{ours}.{i}.mlp.1": f"{block}.1.fn.fn.net.0",
                f"{ours}.{i}.mlp.4": f"{block}.1.fn.fn.net.3",
            }
    return rename(theirs, names)


def run(net, given):
    return {"logits": net.classify_patch(given["hsi"], given["second"])}


MIDDLE = {
    "stem_hsi": "stems.0",
    "stem_second": "stems.1",
    "tokens_hsi": "dropout",
    "encoder_hsi": "encoders.0",
    "encoder_second": "encoders.1",
    "fused": "joint",
    "pool_weights": ("weigh", lambda output: output.softmax(1)),
}
RELEASE = Release(
    "exvit",
    build,
    translate,
    run,
    MIDDLE,
    idle=lambda name: name == "mlp_head0.1.bias",  # of numbers that a softmax compares
    double=(1e-9, 1e-8),
    single=(1e-5, 1e-4),
)
