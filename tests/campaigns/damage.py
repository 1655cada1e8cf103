"""Ways to damage a file of a known structure, each drawn from a random generator.

Bytes alone rarely get past a reader's first check. So a number in a header, an entry of a TIFF's
directory, a word of a text or a leaf of a tree is replaced by a value that some reader trips over.
"""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

HUGE = 2**70
NUMBERS = (0, 1, -1, 2, 127, 255, 256, 65_535, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, HUGE)
FLOATS = (math.nan, math.inf, -math.inf, 1e308, -1e308, 1e-320, -0.0, 0.5, 1e15)
TEXTS = (
    "", " ", "-1", "0", "nan", ".inf", "-.inf", "1e400", "9" * 400, "9" * 5000, "x" * 300,
    "x" * 5000, "\x1b[31mred", "a\rb", "a\x00b", "naïve", "日本", "null", "~", "true", "[]", "{}",
    "[[[[[[[[", "..", "../..", "/", "/dev/null", "/dev/zero", "=1+1", "<&>\"'", "{part}", "%s", "*",
    "{0}", "!!python/object:os.system", "http://127.0.0.1:9/x", "/vsicurl/http://127.0.0.1:9/x",
    "0x10", "1_000", "12:30", "\u202eabc", "\ud800".encode("utf-8", "replace").decode(),
)  # fmt: skip


def value(rng: random.Random) -> Any:
    """A value that a reader of a tree may not expect."""
    kind = rng.randrange(8)
    if kind == 0:
        return None
    if kind == 1:
        return rng.choice((True, False))
    if kind == 2:
        return rng.choice(NUMBERS)
    if kind == 3:
        return rng.choice(FLOATS)
    if kind == 4:
        return rng.choice(([], {}, [[]], [None], {"": None}, [1, 2, 3], {"a": {"b": []}}))
    if kind == 5 and rng.random() < 0.1:
        return nested(rng.choice((50, 150, 300)))
    return rng.choice(TEXTS)


def nested(depth: int) -> list[Any]:
    """A list in a list, `depth` times."""
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


# Bytes --------------------------------------------------------------------------------------------


def damage_bytes(rng: random.Random, data: bytes, head: int = 512) -> bytes:
    """The bytes with one to four damages; two in three lie in the first `head` bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if changed:
            rng.choice(_BYTES)(rng, changed, _place(rng, len(changed), head))
    return bytes(changed)


def damage_anywhere(rng: random.Random, data: bytes) -> bytes:
    """Bytes damaged at any place alike."""
    return damage_bytes(rng, data, len(data))


def _place(rng: random.Random, size: int, head: int) -> int:
    return rng.randrange(min(head, size) if rng.random() < 2 / 3 else size)


def _flip(rng: random.Random, data: bytearray, at: int) -> None:
    data[at] ^= 1 << rng.randrange(8)


def _overwrite(rng: random.Random, data: bytearray, at: int) -> None:
    length = min(rng.choice((1, 2, 4, 8, 64)), len(data) - at)
    fill = rng.choice((b"\0", b"\xff", None))
    data[at : at + length] = fill * length if fill else rng.randbytes(length)


def _number(rng: random.Random, data: bytearray, at: int) -> None:
    """An aligned whole number of 2, 4 or 8 bytes, of either order."""
    size = rng.choice((2, 4, 4, 8))
    at -= at % size
    if at + size <= len(data):
        word = rng.choice(NUMBERS) % 2 ** (8 * size)
        data[at : at + size] = word.to_bytes(size, rng.choice(("little", "big")))  # type: ignore[arg-type]


def _double(rng: random.Random, data: bytearray, at: int) -> None:
    at -= at % 4
    if at + 8 <= len(data):
        data[at : at + 8] = struct.pack(rng.choice(("<d", ">d")), rng.choice(FLOATS))


def _cut(rng: random.Random, data: bytearray, at: int) -> None:
    del data[at:]


def _remove(rng: random.Random, data: bytearray, at: int) -> None:
    del data[at : at + rng.choice((1, 4, 16, 256))]


def _insert(rng: random.Random, data: bytearray, at: int) -> None:
    data[at:at] = rng.randbytes(rng.choice((1, 4, 16, 256)))


def _repeat(rng: random.Random, data: bytearray, at: int) -> None:
    data[at:at] = data[at : at + rng.choice((4, 16, 256))]


def _append(rng: random.Random, data: bytearray, at: int) -> None:
    data += rng.randbytes(rng.choice((1, 512)))


_BYTES: tuple[Callable[[random.Random, bytearray, int], None], ...] = (
    *(_flip, _flip, _overwrite, _overwrite, _number, _number, _number, _double),
    *(_cut, _remove, _insert, _repeat, _append),
)


# Texts --------------------------------------------------------------------------------------------


def damage_text(rng: random.Random, text: str) -> bytes:
    """The text with one to three words, numbers or lines changed, as bytes that may be no text."""
    lines = text.splitlines() or [""]
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        what = rng.randrange(10)
        if what <= 4:
            lines[at] = _other_word(rng, lines[at])
        elif what == 5:
            lines.insert(rng.randrange(len(lines) + 1), lines[at])
        elif what == 6 and len(lines) > 1:
            del lines[at]
        elif what == 7:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif what == 8:
            lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
        else:
            lines[at] += rng.choice(TEXTS)
    ending = rng.choice(("\n", "\n", "\n", "\r\n", "\r"))
    changed = ending.join(lines).encode("utf-8", "replace") + ending.encode()
    return _recoded(rng, changed)


def _other_word(rng: random.Random, line: str) -> str:
    """The line with one of its words replaced; what stands between words stays."""
    spans, start = [], None
    for at, sign in enumerate([*line, " "]):
        inside = sign.isalnum() or sign in "._-+"
        if inside and start is None:
            start = at
        elif not inside and start is not None:
            spans.append((start, at))
            start = None
    if not spans:
        return line + rng.choice(TEXTS)
    first, last = rng.choice(spans)
    return line[:first] + _word(rng) + line[last:]


def _word(rng: random.Random) -> str:
    return str(rng.choice((rng.choice(TEXTS), rng.choice(NUMBERS), rng.choice(FLOATS))))


def _recoded(rng: random.Random, data: bytes) -> bytes:
    """Now and then in another encoding, behind a byte order mark, or with damaged bytes."""
    what = rng.randrange(24)
    if what == 0:
        return data.decode().encode("utf-16")
    if what == 1:
        return b"\xef\xbb\xbf" + data
    if what == 2:
        return data.decode().encode("latin-1", "replace") + b"\xe9\n"
    return damage_bytes(rng, data, len(data)) if what <= 4 else data


# Trees --------------------------------------------------------------------------------------------


def damage_tree(rng: random.Random, tree: Any, leaf: Callable[[random.Random], Any] = value) -> Any:
    """The tree of mappings and lists with one to three of its nodes changed; itself unharmed.

    leaf   draws what a node is replaced by
    """
    changed = _copy(tree)
    for _ in range(rng.choice((1, 1, 2, 3))):
        nodes = list(_nodes(changed))
        if not nodes:
            return leaf(rng)
        holder, key = rng.choice(nodes)
        what = rng.randrange(8)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, dict):
            holder[rng.choice(TEXTS)] = holder.pop(key)
        elif what == 2 and isinstance(holder, list):
            holder.append(_copy(holder[key]))
        elif what == 3:
            holder[key] = [holder[key]]
        elif what == 4 and isinstance(holder[key], int | float):
            holder[key] = rng.choice((*NUMBERS, *FLOATS))
        else:
            holder[key] = leaf(rng)
    return changed


def _copy(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _copy(each) for key, each in tree.items()}
    return [_copy(each) for each in tree] if isinstance(tree, list | tuple) else tree


def _nodes(tree: Any) -> Any:
    """Every node below the root, as its holder and its key there."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    for key in keys:
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _nodes(tree[key])


def damage_json(rng: random.Random, data: bytes) -> bytes:
    """JSON with another tree, or damaged as a text."""
    if rng.random() < 0.75:
        changed = damage_tree(rng, json.loads(data))
        return json.dumps(changed, ensure_ascii=rng.random() < 0.5).encode("utf-8", "replace")
    return damage_text(rng, data.decode())


# Formats ------------------------------------------------------------------------------------------


def damage_tiff(rng: random.Random, data: bytes) -> bytes:
    """A little-endian classic TIFF with entries of a directory changed, or with other bytes."""
    entries = _tiff_entries(data)
    if not entries or rng.random() < 0.4:
        return damage_bytes(rng, data)
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.choice(entries)
        field, form = rng.choice(((0, "<H"), (2, "<H"), (4, "<I"), (8, "<I"), (8, "<H")))
        size = struct.calcsize(form)
        word = rng.choice((*NUMBERS, *_TAGS, rng.getrandbits(32))) % 2 ** (8 * size)
        if rng.random() < 0.3:  # a value that lies elsewhere, where there is one
            kind, count, offset = struct.unpack_from("<HII", data, at + 2)
            if count * _SIZES.get(kind, 1) > 4 and offset + 8 < len(data):
                struct.pack_into(
                    "<d" if kind == 12 else "<q",
                    *(changed, offset),
                    rng.choice(FLOATS) if kind == 12 else rng.getrandbits(62),
                )
                continue
        struct.pack_into(form, changed, at + field, word)
    return bytes(changed)


_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 12: 8, 16: 8}
_TAGS = (256, 257, 258, 259, 262, 277, 278, 284, 320, 322, 338, 339, 33550, 33922, 34735, 42113)


def _tiff_entries(data: bytes) -> list[int]:
    """Where each entry of each directory lies."""
    found: list[int] = []
    at = struct.unpack_from("<I", data, 4)[0] if data[:4] == b"II*\0" else 0
    while 0 < at < len(data) - 2 and len(found) < 500:
        count = struct.unpack_from("<H", data, at)[0]
        found += [at + 2 + 12 * i for i in range(count) if at + 14 + 12 * i <= len(data)]
        end = at + 2 + 12 * count
        at = struct.unpack_from("<I", data, end)[0] if end + 4 <= len(data) else 0
    return found


def damage_safetensors(rng: random.Random, data: bytes) -> bytes:
    """A model's file with other metadata, another table of tensors, or other bytes."""
    what = rng.random()
    if what < 0.3:
        return damage_bytes(rng, data)
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + length])
    metadata = header["__metadata__"]
    if rng.random() < 0.5:  # as an older version wrote it: checksums refuse what is behind them
        metadata.pop("bandweave checksums", None)
    if what < 0.9 and "bandweave" in metadata:
        stored = damage_tree(rng, json.loads(metadata["bandweave"]))
        header["__metadata__"] = {**metadata, "bandweave": json.dumps(stored)}
    else:
        header = damage_tree(rng, header)
    text = json.dumps(header).encode("utf-8", "replace")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def damage_npy(rng: random.Random, data: bytes) -> bytes:
    """An array's file with another header, or other bytes."""
    if rng.random() < 0.4:
        return damage_bytes(rng, data, 128)
    length = struct.unpack_from("<H", data, 8)[0]
    text = damage_text(rng, data[10 : 10 + length].decode("latin-1")).strip()
    if rng.random() < 0.5:
        kinds = ("|O", "<U9", "|V8", "<c8", "<m8[s]", "|b1", "<f2", "<f16", ">i8", "[('a', '<f4')]")
        shapes = ("()", "(0,)", "(-1, 3, 4)", f"({2**40}, {2**40}, 3)", "(2, 3)", "(1, 1, 1, 1)")
        kind, shape = rng.choice(kinds), rng.choice(shapes)
        kind = kind if kind[0] == "[" else repr(kind)
        text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text = text[:65_000] + b" " * (-(11 + len(text[:65_000])) % 64) + b"\n"
    return data[:8] + struct.pack("<H", len(text)) + text + data[10 + length :]


def damage_file(
    path: Path, rng: random.Random, how: Callable[[random.Random, bytes], bytes]
) -> None:
    """Damage a file where it lies."""
    path.write_bytes(how(rng, path.read_bytes()))


def as_text(rng: random.Random, data: bytes) -> bytes:
    """Damage bytes that are a text."""
    return damage_text(rng, data.decode("utf-8", "replace"))
