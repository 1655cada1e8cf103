"""A tiny CLIP model with random weights, in both formats that are read."""

from pathlib import Path

import pytest
import torch

WIDTH, LAYERS, HEADS, PATCH, IMAGE, EMBEDDING = 32, 3, 2, 8, 32, 24


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> Path:
    """A folder in transformers' format: a whole CLIPModel, text tower included."""
    from transformers import CLIPConfig, CLIPModel

    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "vocab_size": 20, "projection_dim": EMBEDDING}
    vision = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": LAYERS}
    vision |= {"num_attention_heads": HEADS, "patch_size": PATCH, "image_size": IMAGE}
    vision |= {"projection_dim": EMBEDDING, "hidden_act": "gelu"}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=EMBEDDING))
    for parameter in model.parameters():  # biases and norms are not left at 0 and 1
        torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp("tiny_clip")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_openclip(tiny_clip) -> dict[str, torch.Tensor]:
    """The same weights under OpenCLIP's names."""
    from safetensors.torch import load_file

    return openclip_state(load_file(tiny_clip / "model.safetensors"))


def openclip_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    stem = "vision_model."
    renamed = {
        "visual.class_embedding": state[stem + "embeddings.class_embedding"],
        "visual.positional_embedding": state[stem + "embeddings.position_embedding.weight"],
        "visual.proj": state["visual_projection.weight"].T.contiguous(),
        "visual.conv1.weight": state[stem + "embeddings.patch_embedding.weight"],
        "token_embedding.weight": state["text_model.embeddings.token_embedding.weight"],
        "logit_scale": state["logit_scale"],
    }
    for leaf in ("weight", "bias"):
        renamed[f"visual.ln_pre.{leaf}"] = state[f"{stem}pre_layrnorm.{leaf}"]
        renamed[f"visual.ln_post.{leaf}"] = state[f"{stem}post_layernorm.{leaf}"]
        for n in range(LAYERS):
            block, layer = f"visual.transformer.resblocks.{n}", f"{stem}encoder.layers.{n}"
            attention = [state[f"{layer}.self_attn.{key}_proj.{leaf}"] for key in "qkv"]
            renamed[f"{block}.attn.in_proj_{leaf}"] = torch.cat(attention)
            renamed[f"{block}.attn.out_proj.{leaf}"] = state[f"{layer}.self_attn.out_proj.{leaf}"]
            renamed[f"{block}.ln_1.{leaf}"] = state[f"{layer}.layer_norm1.{leaf}"]
            renamed[f"{block}.ln_2.{leaf}"] = state[f"{layer}.layer_norm2.{leaf}"]
            renamed[f"{block}.mlp.c_fc.{leaf}"] = state[f"{layer}.mlp.fc1.{leaf}"]
            renamed[f"{block}.mlp.c_proj.{leaf}"] = state[f"{layer}.mlp.fc2.{leaf}"]
    return renamed
