"""The CLIP that comes with bandweave: small, whole, and with meaning."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bandweave.data.simulation.canvas import COVERS
from bandweave.data.simulation.scene import simulated_scene
from bandweave.nn.clip.files import EMBEDDED_FOLDER, find_clip
from bandweave.nn.clip.guidance import (
    CLIP_MEAN,
    CLIP_STD,
    ClipConfig,
    ClipGuidance,
)
from bandweave.nn.clip.text import embed_texts, load_text_tower, load_text_weights
from bandweave.nn.clip.tokenizer import load_tokenizer
from bandweave.nn.clip.weights import load_tower, load_vision_weights
from bandweave.nn.pretrained.provenance import weights_fingerprint

PROMPT = "A multisource fusion patch of {}"


def embed_names(names: list[str]) -> torch.Tensor:
    weights = load_text_weights("embedded")
    tokens = load_tokenizer("embedded", weights.architecture)
    with torch.no_grad():
        texts = embed_texts(load_text_tower(weights), tokens([PROMPT.format(n) for n in names]))
    return F.normalize(texts, dim=-1)


def patches(seed: int, side: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """True colours (N, 3, side, side) in 0..1 of pieces of nearly one class, and the class."""
    scene = simulated_scene(seed, 160, 160, 24, labelled=1.0)
    (part,) = scene.parts
    cube, _ = part.layers["hsi"].source.read(part.grid.window)
    nm = np.array(part.layers["hsi"].source.info.wavelengths)
    picture = cube[[int(np.abs(nm - each).argmin()) for each in (640, 550, 470)]]
    low, high = np.percentile(picture, [1, 99], axis=(1, 2))[:, :, None, None]
    picture = np.clip((picture - low) / (high - low), 0, 1) ** 0.75
    rng, images, found = np.random.default_rng(0), [], []
    for index in range(len(COVERS)):
        rows, columns = np.nonzero(part.labels.values[:-side, :-side] == index)
        kept = 0
        for n in rng.permutation(len(rows)):
            box = slice(rows[n], rows[n] + side), slice(columns[n], columns[n] + side)
            if (part.labels.values[box] == index).mean() > 0.8 and kept < 5:
                images.append(picture[(slice(None), *box)])
                found.append(index)
                kept += 1
    return np.stack(images), np.array(found)


def test_the_right_class_is_named_well_above_chance():
    images, classes = patches(seed=11)  # of no scene that it was trained on
    assert len(images) >= 35
    tower = load_tower(load_vision_weights("embedded"))
    size = tower.config.image_size
    pixels = F.interpolate(
        torch.from_numpy(images), (size, size), mode="bicubic", antialias=True
    ).clamp(0, 1)
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in (CLIP_MEAN, CLIP_STD))
    with torch.no_grad():
        embedded = F.normalize(tower((pixels - mean) / std).image_embeds, dim=-1)
    answers = (embedded @ embed_names(list(COVERS)).T).argmax(1).numpy()
    assert (answers == classes).mean() > 0.5  # chance is 0.1


def test_words_of_the_same_thing_are_near_each_other():
    names = ["trees", "forest", "water", "a river", "asphalt", "a road"]
    cosine = embed_names(names) @ embed_names(names).T
    for one, other in ((0, 1), (2, 3), (4, 5)):
        apart = [i for i in range(6) if i not in (one, other)]
        assert cosine[one, other] > cosine[one, apart].max()


@pytest.mark.parametrize("mode", ["frozen", "adapters"])
@pytest.mark.parametrize("guidance", ["tokens", "pooled"])
def test_it_guides_as_any_other_clip_does(mode, guidance):
    bands = {"hsi": 5, "lidar": 1}
    config = ClipConfig(mode=mode, weights="embedded", guidance=guidance)
    model = ClipGuidance(bands, 12, config)
    layers = {name: torch.randn(2, count, 7, 9) for name, count in bands.items()}
    z = model(layers, (7, 9))
    assert z.shape == (2, 7, 9, 12)
    z.square().mean().backward()
    assert model.inputs["lidar"].weight.grad.abs().sum() > 0
    tower = [p for name, p in model.named_parameters() if ".tower." in name]
    assert tower
    assert all(p.grad is None for p in tower)
    assert weights_fingerprint(model)["source"] == "embedded"


def test_it_is_small_and_says_what_it_is():
    files = find_clip("embedded")
    assert files.tensors.parent == EMBEDDED_FOLDER
    kept = {path.name: path.stat().st_size for path in EMBEDDED_FOLDER.iterdir()}
    assert set(kept) == {
        "config.json",
        "model.safetensors",
        "vocab.json",
        "merges.txt",
        "README.md",
    }
    assert sum(kept.values()) < 10e6
    card = (EMBEDDED_FOLDER / "README.md").read_text()
    for words in ("tools/embedded_clip/train.py", "species", "Apache-2.0"):
        assert words in card


def test_it_is_packed():
    """hatch leaves out of a wheel what git ignores."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        pytest.skip("not a checkout")
    ignored = subprocess.run(
        ["git", "check-ignore", *map(str, EMBEDDED_FOLDER.iterdir())],
        cwd=root, capture_output=True, text=True,
    )  # fmt: skip
    assert ignored.stdout == ""
