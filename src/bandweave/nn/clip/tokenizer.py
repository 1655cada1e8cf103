"""CLIP's tokenizer: texts as the numbers that its text tower takes.

Every published CLIP of the supported kinds has a byte-level byte-pair encoding: OpenAI's of 49,408
tokens, or its own (the embedded model). It is read from transformers' files beside the weights, or
from OpenAI's list of merges; where an OpenCLIP file comes without, from the hub's local cache.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bandweave.errors import WeightsError
from bandweave.nn.clip.files import find_clip
from bandweave.nn.clip.text import TextArchitecture

STANDARD = "openai/clip-vit-base-patch16"  # on the hub; RemoteCLIP and GeoRSCLIP use the same
TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # transformers' names
MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"  # OpenAI's name
STANDARD_SIZE = 49408
START, END = "<|startoftext|>", "<|endoftext|>"


class ClipTokenizer:
    """Texts → ids (B, T) int64: start, the text's tokens, end, and `end` again as padding.

    backend   transformers' CLIPTokenizer
    length    tokens of the longest text; longer ones are cut, and still end with `end`
    """

    def __init__(self, backend: Any, length: int) -> None:
        self.backend, self.length = backend, length
        self.start, self.end = int(backend.bos_token_id), int(backend.eos_token_id)

    def __len__(self) -> int:
        return len(self.backend)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        found = self.backend(list(texts), truncation=True, max_length=self.length)["input_ids"]
        longest = max(len(ids) for ids in found)
        return torch.tensor([[*ids, *[self.end] * (longest - len(ids))] for ids in found])

    def pieces(self, text: str) -> list[str]:
        """The tokens of a text as they are written, without start and end."""
        return self.backend.tokenize(text)


def load_tokenizer(
    weights: str, architecture: TextArchitecture, download: bool = False
) -> ClipTokenizer:
    """The tokenizer of a CLIP model.

    weights       the same as for `load_text_weights`
    architecture  the shape of its text tower, which the tokenizer must fit
    download      fetch a tokenizer that is not on this machine

    Raises WeightsError for no tokenizer, a damaged one, or one of another vocabulary.
    """
    files = find_clip(weights, download)
    folder = files.tensors.parent
    if files.config is not None and not Path(weights).expanduser().exists():
        backend = _load_from_folder(folder) or _load_from_hub(weights, download)
    else:
        backend = _load_from_folder(folder)
    if backend is None and architecture.vocab_size == STANDARD_SIZE:
        backend = _load_from_hub(STANDARD, download)
    if backend is None:
        raise WeightsError(
            f"no tokenizer for the CLIP weights {weights!r}: {folder} holds neither "
            f"{' with '.join(TOKENIZER_FILES[0])}, nor {' with '.join(TOKENIZER_FILES[1])}, nor "
            f"{MERGES_FILE}, and CLIP's own ({STANDARD}) is not on this machine: put one of these "
            f"files there, or fetch it once with `--clip.download true`"
        )
    tokenizer = ClipTokenizer(backend, architecture.max_position_embeddings)
    if len(tokenizer) > architecture.vocab_size or tokenizer.end != architecture.eos_token_id:
        raise WeightsError(
            f"the tokenizer of {weights!r} has {len(tokenizer)} tokens and ends texts with "
            f"{tokenizer.end}; its text tower knows {architecture.vocab_size} and ends them with "
            f"{architecture.eos_token_id}: the files do not belong together"
        )
    return tokenizer


def write_vocabulary(folder: Path, merges: Sequence[str]) -> None:
    """transformers' vocab.json and merges.txt of a byte-pair encoding, from its merges in order.

    merges: pairs of tokens, `"g rass</w>"`; the last token of a word ends with `</w>`.
    """
    alphabet = byte_alphabet()
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
    tokens += ["".join(pair.split()) for pair in merges]
    numbers = {token: number for number, token in enumerate([*tokens, START, END])}
    text = json.dumps(numbers, ensure_ascii=False)
    (folder / "vocab.json").write_text(text, encoding="utf-8")
    text = "\n".join(["#version: 0.2", *merges, ""])
    (folder / "merges.txt").write_text(text, encoding="utf-8")


def byte_alphabet() -> list[str]:
    """A visible letter for each of the 256 bytes, in the order of CLIP's vocabulary.

    Bytes that are visible in Latin-1 stand for themselves and come first; the others get the
    letters from number 256 on.
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    visible += range(ord("®"), ord("ÿ") + 1)
    return [chr(byte) for byte in visible] + [chr(256 + n) for n in range(256 - len(visible))]


def _load_from_folder(folder: Path) -> Any | None:
    from transformers import CLIPTokenizer

    for names in TOKENIZER_FILES:
        if all((folder / name).is_file() for name in names):
            try:
                return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
            except Exception as error:  # tokenizers raises plain Exception for a damaged file
                raise WeightsError(
                    f"the tokenizer in {folder} ({' and '.join(names)}) cannot be read: {error}"
                ) from error
    if (folder / MERGES_FILE).is_file():
        merges = read_merges(folder / MERGES_FILE)
        with tempfile.TemporaryDirectory() as name:
            write_vocabulary(Path(name), merges)
            return _load_from_folder(Path(name))
    return None


def read_merges(path: Path) -> list[str]:
    """CLIP's merges, of OpenAI's longer list."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = file.read().split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} is not a readable list of merges: {error}") from error
    count = STANDARD_SIZE - 2 * 256 - 2  # without the bytes, and without start and end
    merges = lines[1 : 1 + count]  # after the version
    if len(merges) < count or any(len(line.split()) != 2 for line in merges):
        raise WeightsError(
            f"{path} holds {len(lines) - 1} lines; {count} pairs of tokens are needed"
        )
    return merges


def _load_from_hub(repository: str, download: bool) -> Any | None:
    """The tokenizer of a hub repository, in the hub's local cache; None where it is not."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    for names in TOKENIZER_FILES:
        try:
            paths = [
                hf_hub_download(repository, name, local_files_only=not download) for name in names
            ]
        except (OSError, ValueError, EntryNotFoundError):
            continue
        return _load_from_folder(Path(paths[0]).parent)
    return None
