"""Colours for classes whose scene file gives none."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Iterator

# Green, Armytage, "A colour alphabet", 2010, reordered for neighbours that differ; no black, white.
_ALPHABET = [
    "#2bce48",
    "#0075dc",
    "#ffa405",
    "#993f00",
    "#94ffb5",
    "#f0a3ff",
    "#005c31",
    "#ffff80",
    "#ff0010",
    "#5ef1f2",
    "#740aff",
    "#808080",
    "#8f7c00",
    "#ffcc99",
    "#003380",
    "#c20088",
    "#9dcc00",
    "#ffa8bb",
    "#426600",
    "#00998f",
    "#e0ff66",
    "#990000",
    "#ff5005",
    "#4c005c",
]

_HUES = 600  # so many hues of one brightness can be told apart, more or less


def colors(taken: Iterable[str] = ()) -> Iterator[str]:
    """Colours '#rrggbb', each unlike those before it and those taken, 2²⁴ in all."""
    used = {color.lower() for color in taken}
    for color in _ALPHABET:
        if color not in used:
            used.add(color)
            yield color
    for number in range(1, _HUES):  # golden-ratio steps around the hue circle
        red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1.0, 0.75, 0.85)
        color = f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
        if color not in used:
            used.add(color)
            yield color
    for number in range(2**24):  # an odd factor meets each colour once
        color = f"#{number * 0x9E3779 % 2**24:06x}"
        if color not in used:
            yield color
