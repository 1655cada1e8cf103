"""Captions of pictures of simulated scenes, made from their facts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pictures import KINDS

from bandweave.data.simulation.canvas import COVERS

PROMPT = "A multisource fusion patch of {}"  # CF-IPT's
WORDS = {  # what a class may be called; its own name is among them, more than once
    "grass": ("grass", "grass", "a lawn", "a meadow", "grassland", "pasture", "healthy grass"),
    "crops": ("crops", "crops", "a crop field", "farmland", "cropland", "an arable field"),
    "shrubs": ("shrubs", "shrubs", "bushes", "scrub", "shrubland", "low vegetation"),
    "trees": ("trees", "trees", "forest", "woodland", "tree crowns", "high vegetation"),
    "bare soil": ("bare soil", "bare soil", "soil", "bare ground", "bare earth", "a fallow field"),
    "water": ("water", "water", "a river", "open water", "the surface of water"),
    "asphalt": ("asphalt", "asphalt", "a road", "a street", "a highway", "dark pavement"),
    "pavement": ("pavement", "pavement", "concrete", "a sidewalk", "paving", "a paved yard"),
    "tiled roof": (
        "tiled roof", "tiled roof", "red roofs", "a house", "residential buildings", "pitched roofs"
    ),
    "flat roof": (
        "flat roof", "flat roof", "a hall", "commercial buildings", "industrial buildings",
        "a flat building",
    ),
}  # fmt: skip
PICTURES = {  # what a picture of each kind may be called
    "true": ("a true colour image", "an aerial photo", "a photo from above", "an RGB image"),
    "false": ("a false colour image", "a near infrared image", "a multispectral image"),
    "shortwave": ("a shortwave infrared image", "a multispectral image"),
    "grey": ("a panchromatic image", "a grey image"),
    "components": ("a hyperspectral image", "an image of principal components"),
    "projected": ("a hyperspectral image", "an image of mixed bands"),
    "height": ("a height map", "a LiDAR image", "a surface model"),
    "height projected": ("a height map", "a LiDAR image", "a surface model"),
    "fused": ("a fused image", "an image of bands and height"),
}
SIMPLE = ("a photo of {}", "an image of {}", "a patch of {}", "{}", "{} from above")
_KINDS = tuple(KINDS)


def caption(facts: np.ndarray, rng: np.random.Generator) -> str:
    """One of many true captions of a picture."""
    order = np.argsort(-facts["shares"])
    first, second = COVERS[order[0]], COVERS[order[1]]
    share, other = facts["shares"][order[0]], facts["shares"][order[1]]
    subject = first if share > 0.5 else None
    if facts["centre"] >= 0 and (subject is None or facts["side"] < 40):
        subject = COVERS[facts["centre"]]
    picture = rng.choice(PICTURES[_KINDS[facts["kind"]]])
    draw = rng.random()
    if subject and draw < 0.5:
        return PROMPT.format(subject if rng.random() < 0.7 else _word(subject, rng))
    if subject and draw < 0.72:
        template = rng.choice([*SIMPLE, f"{picture} of {{}}", f"{picture} of {{}}"])
        return str(template).format(_word(subject, rng))
    if share > 0.85:
        what = f"nothing but {_word(first, rng)}"
    elif share > 0.6:
        what = f"mostly {_word(first, rng)} with some {_word(second, rng)}"
    elif other > 0.15:
        what = f"{_word(first, rng)} and {_word(second, rng)}"
    else:
        what = f"{_word(first, rng)} among other things"
    words = [_texture(facts), _height(facts), f"about {_round(facts['side'])} m wide"]
    said = [each for each in words if rng.random() < 0.4]
    return ", ".join([f"{picture} of {what}", *said])


def all_words() -> Iterator[str]:
    """Every phrase that a caption can hold."""
    yield PROMPT.format("")
    for phrases in (*WORDS.values(), *PICTURES.values()):
        yield from phrases
    yield from (template.format("") for template in SIMPLE)
    yield "nothing but mostly with some and among other things about m wide up to high , . 's"
    yield "smooth rough very flat low 0 1 2 3 4 5 6 7 8 9 aerial view scene satellite area"


def _word(name: str, rng: np.random.Generator) -> str:
    return str(rng.choice(WORDS[name]))


def _texture(facts: np.ndarray) -> str:
    for limit, word in ((0.12, "smooth"), (0.35, "rough")):
        if facts["texture"] < limit:
            return word
    return "very rough"


def _height(facts: np.ndarray) -> str:
    if facts["height"] < 0.7:
        return "flat"
    return (
        f"low, up to {_round(facts['height'])} m high"
        if facts["height"] < 3
        else (f"up to {_round(facts['height'])} m high")
    )


def _round(metres: float) -> int:
    """To one figure above ten: 7, 20, 90."""
    step = 10 ** max(int(np.log10(max(metres, 1))), 0)
    return int(round(metres / step) * step)
