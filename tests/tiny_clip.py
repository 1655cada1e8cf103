"""A CLIP of random weights, for tests: nothing is read from disk."""

from dataclasses import asdict

from bandweave.nn.clip.prompted import PromptedClipConfig
from bandweave.nn.clip.text import TextArchitecture
from bandweave.nn.clip.weights import VisionArchitecture

START, END = 18, 19


def tiny_clip(classes=3, layers=(2, 2), scale=10.0, tokens=None):
    """A config whose towers have that many layers, vision and text, and sentences for classes."""
    vision = VisionArchitecture(
        hidden_size=16, intermediate_size=24, num_hidden_layers=layers[0], num_attention_heads=2,
        image_size=16, patch_size=8, projection_dim=12,
    )  # fmt: skip
    text = TextArchitecture(
        hidden_size=8, intermediate_size=24, num_hidden_layers=layers[1], num_attention_heads=2,
        vocab_size=20, max_position_embeddings=14, projection_dim=12, eos_token_id=END,
    )  # fmt: skip
    if tokens is None:
        tokens = [[START, 1, 2, 3, *range(4, 5 + i % 4), 5 + i % 12, END] for i in range(classes)]
    shape = {"vision": asdict(vision), "text": asdict(text), "scale": scale, "tokens": tokens}
    shape["template"] = [1, 2, 3]
    return PromptedClipConfig(architecture=shape)
