"""Train the CLIP that comes with bandweave on pictures and captions of simulated scenes.

    nice python tools/embedded_clip/train.py --work embedded_clip_work

draws the pictures, trains (ten minutes of one core for the 900 steps), and writes
config.json, model.safetensors (float16), vocab.json and merges.txt to src/bandweave/nn/
embedded_clip. What is in --work is not done again: a run that was stopped goes on where its last
checkpoint stands, with the numbers it would have had. At the end the zero-shot accuracy on scenes
of other seeds is printed.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from captions import PROMPT, all_words, caption
from pictures import FACTS, KINDS, SIDE, draw
from transformers import CLIPConfig, CLIPModel

from bandweave.data.simulation.canvas import COVERS
from bandweave.nn.clip.guidance import CLIP_MEAN, CLIP_STD
from bandweave.nn.clip.text import TextArchitecture, embed_texts, end_index
from bandweave.nn.clip.tokenizer import byte_alphabet, load_tokenizer, write_vocabulary

OUT = Path(__file__).parents[2] / "src" / "bandweave" / "nn" / "clip" / "embedded"
FIRST_SEED, HELD_OUT = 100_000, 90_000  # of the scenes trained on, and of those kept for the check
PER_SCENE, CHECKED_SCENES = 400, 10
EMBEDDING, LENGTH, MERGES = 128, 48, 900
VISION = {"hidden_size": 144, "num_hidden_layers": 5, "num_attention_heads": 3}
TEXT = {"hidden_size": 128, "num_hidden_layers": 5, "num_attention_heads": 4}
BATCH, RATE, WARM, DECAY = 80, 1e-3, 60, 0.1
HIGHEST_SCALE = 100.0
SAVED_EVERY = 50  # steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of what can be resumed")
    parser.add_argument("--out", type=Path, default=OUT, help="where the model is written")
    parser.add_argument("--scenes", type=int, default=80)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    held_out = pictures(options.work, HELD_OUT, CHECKED_SCENES)
    images, facts = pictures(options.work, FIRST_SEED, options.scenes)
    merges = learn_merges(Counter(word for text in all_words() for word in words(text)), MERGES)
    write_vocabulary(options.work, merges)
    model, tokens = build(options.work, merges, options.seed)
    train(model, tokens, images, facts, options)
    model.half()
    options.out.mkdir(parents=True, exist_ok=True)
    write_vocabulary(options.out, merges)
    model.save_pretrained(options.out)
    for kind, (right, seen) in check(model.float(), tokens, *held_out).items():
        print(f"{kind:18s} {right / seen:6.1%} of {seen}")


def pictures(work: Path, first: int, scenes: int) -> tuple[np.ndarray, np.ndarray]:
    """All pictures (N, 3, SIDE, SIDE) uint8 of so many scenes, and their facts."""
    images = np.empty((scenes * PER_SCENE, 3, SIDE, SIDE), np.uint8)
    facts = np.empty(scenes * PER_SCENE, FACTS)
    for number in range(scenes):
        kept = work / f"scene-{first + number}.npz"
        if not kept.exists():
            seen, said = draw(first + number, PER_SCENE)
            np.savez(partial := kept.with_suffix(".part.npz"), images=seen, facts=said)
            partial.rename(kept)
        here = slice(number * PER_SCENE, (number + 1) * PER_SCENE)
        with np.load(kept) as stored:
            images[here], facts[here] = stored["images"], stored["facts"]
    return images, facts


def words(text: str) -> list[str]:
    """As CLIP's tokenizer splits: lower case, runs of letters, single digits."""
    spaced = "".join(each if each.isalpha() else f" {each} " for each in text.lower())
    return spaced.split()


def learn_merges(counts: Counter[str], number: int) -> list[str]:
    """Byte-pair encoding: at most `number` pairs, the commonest first, until words are whole."""
    assert set("".join(counts)) <= set(byte_alphabet())
    split = {word: [*word[:-1], f"{word[-1]}</w>"] for word in sorted(counts)}
    merges: list[str] = []
    while len(merges) < number:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, pieces in split.items():
            for pair in pairwise(pieces):
                pairs[pair] += counts[word]
        if not pairs:
            break
        left, right = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(f"{left} {right}")
        for word, pieces in split.items():
            split[word] = _merged(pieces, left, right)
    return merges


def _merged(pieces: list[str], left: str, right: str) -> list[str]:
    out: list[str] = []
    for piece in pieces:
        if out and (out[-1], piece) == (left, right):
            out[-1] = left + right
        else:
            out.append(piece)
    return out


def build(work: Path, merges: list[str], seed: int):
    """The model with random weights, and its tokenizer."""
    size = 2 * 256 + len(merges) + 2
    shared = {"projection_dim": EMBEDDING, "hidden_act": "gelu"}
    text = {**shared, **TEXT, "intermediate_size": 4 * TEXT["hidden_size"]}
    text |= {"vocab_size": size, "max_position_embeddings": LENGTH}
    text |= {"bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": size - 1}
    vision = {**shared, **VISION, "intermediate_size": 4 * VISION["hidden_size"]}
    vision |= {"image_size": SIDE, "patch_size": 8}
    torch.manual_seed(seed)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=EMBEDDING)
    model = CLIPModel(config)
    (work / "config.json").write_text(json.dumps(config.to_dict(), default=str))
    (work / "model.safetensors").touch()  # the tokenizer is looked for beside weights
    shape = TextArchitecture(vocab_size=size, eos_token_id=size - 1, max_position_embeddings=LENGTH)
    return model, load_tokenizer(str(work), shape)


def embed_images(model, images: np.ndarray) -> torch.Tensor:
    """Embeddings of length 1, (B, P), of pictures (B, 3, SIDE, SIDE) uint8."""
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in (CLIP_MEAN, CLIP_STD))
    pixels = (torch.from_numpy(images).float() / 255 - mean) / std
    pooled = model.vision_model(pixels).pooler_output
    return F.normalize(model.visual_projection(pooled), dim=-1)


def embed_captions(model, tokens, texts: list[str]) -> torch.Tensor:
    """Embeddings of length 1, (B, P)."""
    ids, text = tokens(texts), _Text(model)
    lengths = end_index(ids, tokens.end) + 1
    order = lengths.argsort(stable=True)
    halves = order.tensor_split(2)  # the shorter ones are not padded to the longest
    found = [
        embed_texts(text, ids[half, : int(lengths[half].max())]) for half in halves if len(half)
    ]
    return F.normalize(torch.cat(found)[order.argsort()], dim=-1)


class _Text(torch.nn.Module):
    """The text half of a CLIPModel as a tower of its own."""

    def __init__(self, model) -> None:
        super().__init__()
        self.text_model, self.text_projection = model.text_model, model.text_projection
        self.config = model.config.text_config


def contrastive(model, tokens, images: np.ndarray, texts: list[str]) -> torch.Tensor:
    """CLIP's loss, where several images of a batch may have the same caption."""
    different = sorted(set(texts))
    numbers = {text: number for number, text in enumerate(different)}
    own = torch.tensor([numbers[text] for text in texts])
    scale = model.logit_scale.exp().clamp(max=HIGHEST_SCALE)
    logits = scale * embed_images(model, images) @ embed_captions(model, tokens, different).T
    by_text = F.log_softmax(logits, dim=0)[torch.arange(len(own)), own]
    return (F.cross_entropy(logits, own) - by_text.mean()) / 2


def train(model, tokens, images: np.ndarray, facts: np.ndarray, options) -> None:
    """Train to the end, or on from the last checkpoint in the work folder."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), weight_decay=DECAY)
    last, first = options.work / "last.pt", 0
    if last.exists():
        stored = torch.load(last, weights_only=True)
        model.load_state_dict(stored["model"])
        optimizer.load_state_dict(stored["optimizer"])
        first = stored["step"]
    began = time.monotonic()
    for step in range(first, options.steps):
        rng = np.random.default_rng([options.seed, step])
        warm, along = min(1.0, (step + 1) / WARM), step / options.steps
        for group in optimizer.param_groups:
            group["lr"] = RATE * warm * 0.5 * (1 + math.cos(math.pi * along))
        chosen = rng.choice(len(images), BATCH, replace=False)
        texts = [caption(each, rng) for each in facts[chosen]]
        loss = contrastive(model, tokens, images[chosen], texts)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % SAVED_EVERY == 0 or step + 1 == options.steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "step": step + 1}, partial := last.with_suffix(".part"))
            partial.rename(last)
            pace = (time.monotonic() - began) / (step + 1 - first)
            print(f"step {step + 1}/{options.steps} loss {loss:.3f} {pace:.2f} s each", flush=True)


@torch.no_grad()
def check(model, tokens, images: np.ndarray, facts: np.ndarray) -> dict[str, tuple[int, int]]:
    """Pictures whose class CLIP finds among all, by kind: how many, of how many."""
    names = embed_captions(model, tokens, [PROMPT.format(name) for name in COVERS])
    main = facts["shares"].argmax(1)
    clear = (facts["shares"].max(1) > 0.6) & (facts["centre"] == main)
    found = {}
    for number, kind in enumerate(KINDS):
        chosen = np.flatnonzero(clear & (facts["kind"] == number))
        if not len(chosen):
            continue
        answers = (embed_images(model, images[chosen]) @ names.T).argmax(1).numpy()
        found[kind] = (int((answers == main[chosen]).sum()), len(chosen))
    return found


if __name__ == "__main__":
    main()
