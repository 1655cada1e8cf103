"""MFT, with either tokenizer of the second source."""

import math

from parity_release import Release, rename

from bandweave.models.mft import MFT, MFTConfig


def build(numbers):
    weights, given = numbers.weights, numbers.inputs
    pixel = weights["token_wA_L"].shape[2] == 1
    config = MFTConfig(
        patch=math.isqrt(given["hsi"].shape[2]),
        tokenizer="pixel" if pixel else "channel",
        width=weights["token_wA"].shape[2],
        tokens=weights["token_wA"].shape[1],
        depth=sum(name.endswith("attn.wq.weight") for name in weights),
        mlp_ratio=weights["ca.layer.0.ffn.fc1.weight"].shape[0] / weights["token_wA"].shape[2],
        dropout=0.0,
        as_published=pixel,
    )
    bands = {"hsi": given["hsi"].shape[1], "second": given["second"].shape[1]}
    return MFT(bands, [str(k) for k in range(len(weights["out3.bias"]))], config)


def translate(theirs, numbers):
    names = {
        "over_bands.0": "conv5.0",
        "over_bands.1": "conv5.1",
        "over_pixels.0.grouped": "conv6.0.gwc",
        "over_pixels.0.full": "conv6.0.pwc",
        "over_pixels.1": "conv6.1",
        "of_second.0": "lidarConv.0",
        "of_second.1": "lidarConv.1",
        "first_tokens.ask": "token_wA",
        "first_tokens.values": "token_wV",
        "second_token.ask": "token_wA_L",
        "second_token.values": "token_wV_L",
        "norm": "ca.encoder_norm",
        "head": "out3",
    }
    if theirs["token_wA_L"].shape[2] > 1:
        names["places"] = "position_embeddings"
    for i in range(sum(name.endswith("attn.wq.weight") for name in theirs)):
        ours, block = f"blocks.{i}", f"ca.layer.{i}"
        names |= {
            f"{ours}.norm": f"{block}.attention_norm",
            f"{ours}.query": f"{block}.attn.wq",
            f"{ours}.key": f"{block}.attn.wk",
            f"{ours}.value": f"{block}.attn.wv",
            f"{ours}.out_proj": f"{block}.attn.proj",
            f"{ours}.mlp.0": f"{block}.ffn_norm",
            f"{ours}.mlp.1": f"{block}.ffn.fc1",
            f"{ours}.mlp.4": f"{block}.ffn.fc2",
        }
    return rename(theirs, names)


def run(net, given):
    side = (net.patch, net.patch)
    return {"logits": net.classify_patch(*(given[n].unflatten(2, side) for n in ("hsi", "second")))}


MIDDLE = {
    "hsi_conv3d": "over_bands",
    "hsi_map": "over_pixels",
    "second_map": "of_second",
    "sequence": "dropout",
    "block0_update": "blocks.0.out_proj",
    "block0": "blocks.0",
    "encoded": "norm",
}
RELEASE = Release(
    "mft-*",
    build,
    translate,
    run,
    MIDDLE,
    idle=lambda name: name == "position_embeddings",  # of the pixel variant
    double=(1e-9, 1e-8),
    single=(1e-5, 1e-4),
)
