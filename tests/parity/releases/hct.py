"""HCT. The numbers of heads are in no shape and no metadata of a file: they are found by trying."""

import itertools

import torch
from parity_release import Release, rename

from bandweave.models.hct import HCT, HCTConfig

ENCODERS = "fusion_encoder.layers.0"
CROSS = f"{ENCODERS}.2.layers.0"
HEADS = (8, 8)  # the release's


def make(numbers, heads, cross_heads):
    weights, given = numbers.weights, numbers.inputs
    hidden = [weights[f"{ENCODERS}.{i}.layers.0.1.fn.fn.net.0.weight"].shape[0] for i in (0, 1)]
    config = HCTConfig(
        patch=given["hsi"].shape[-1],
        width=weights["token_wA"].shape[2],
        tokens=weights["token_wA"].shape[1],
        heads=heads,
        hidden=hidden[0],
        hidden_second=hidden[1],
        cross_heads=cross_heads,
        cross_width=len(weights[f"{CROSS}.0.fn.fn.to_q.weight"]) // cross_heads,
        dropout=0.0,
    )
    bands = {"hsi": given["hsi"].shape[2], "second": given["second"].shape[1]}
    return HCT(bands, [str(k) for k in range(len(weights["mlp_head.1.bias"]))], config)


def divide(number):
    return [k for k in range(1, number + 1) if number % k == 0]


def build(numbers):
    """With the numbers of heads that come nearest to the file's logits."""
    wanted, translated = numbers.under("out.")["logits"], translate(numbers.weights, numbers)

    @torch.no_grad()
    def miss(heads):
        net = make(numbers, *heads).to(numbers.dtype).eval()
        net.load_state_dict(translated)
        return float((run(net, numbers.inputs)["logits"] - wanted).abs().max())

    if miss(HEADS) < 1e-4:
        return make(numbers, *HEADS)
    inner = len(numbers.weights[f"{CROSS}.0.fn.fn.to_q.weight"])
    width = numbers.weights["token_wA"].shape[2]
    return make(numbers, *min(itertools.product(divide(width), divide(inner)), key=miss))


def translate(theirs, numbers):
    names = {
        "over_bands.0": "conv3d_features.0",
        "over_bands.1": "conv3d_features.1",
        "over_pixels.0": "conv2d_features.0",
        "over_pixels.1": "conv2d_features.1",
        "of_second.0": "conv2d_features2.0",
        "of_second.1": "conv2d_features2.1",
        "to_tokens.ask": "token_wA",
        "to_tokens.values": "token_wV",
        "class_token": "cls_token",
        "places": "pos_embedding",
        "head.0": "mlp_head.0",
        "head.1": "mlp_head.1",
    }
    for i in (0, 1):
        block, cross = f"{ENCODERS}.{i}.layers.0", f"{CROSS}.{i}.fn"
        names |= {
            f"encoders.{i}.norm": f"{block}.0.fn.norm",
            f"encoders.{i}.attention.in_proj": f"{block}.0.fn.fn.to_qkv",
            f"encoders.{i}.attention.out_proj": f"{block}.0.fn.fn.nn1",
            f"encoders.{i}.mlp.0": f"{block}.1.fn.norm",
            f"encoders.{i}.mlp.1": f"{block}.1.fn.fn.net.0",
            f"encoders.{i}.mlp.4": f"{block}.1.fn.fn.net.3",
            f"crosses.{i}.norm": f"{cross}.norm",
            f"crosses.{i}.query": f"{cross}.fn.to_q",
            f"crosses.{i}.keys_values": f"{cross}.fn.to_kv",
            f"crosses.{i}.out_proj": f"{cross}.fn.to_out.0",
        }
    return rename(theirs, names)


def run(net, given):
    return {"logits": net.classify_patch(given["hsi"][:, 0], given["second"])}


MIDDLE = {
    "hsi_conv3d": "over_bands",
    "hsi_map": "over_pixels",
    "second_map": "of_second",
    "sequence_hsi": "dropout",
    "encoder_hsi": "encoders.0",
    "encoder_second": "encoders.1",
    "cross_update_hsi": "crosses.0",
    "cross_update_second": "crosses.1",
}
RELEASE = Release(
    "hct",
    build,
    translate,
    run,
    MIDDLE,
    idle=lambda name: name.startswith("transformer."),  # never runs
    double=(1e-9, 1e-8),
    single=(1e-5, 1e-4),
)
