"""Draw how data flow, as SVG files in docs/images: python docs/draw_flows.py.

A drawing is boxes and arrows on a sheet 480 wide, which a phone can show. Its ink follows the
reader's light or dark colours: as a file by the browser's setting, inside a page by the page's
(docs/generated.py puts it there).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
WIDTH = 480
LINE = 17  # from one line of text to the next
STYLE = """\
.flow { color: #24292f; font: 14px system-ui, "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: dark) { .flow { color: #e6e8eb; } }
.flow text { fill: currentColor; text-anchor: middle; }
.flow .small { font-size: 12px; opacity: .8; }
.flow rect { stroke-width: 1.3; fill-opacity: .13; rx: 5px; }
.flow .data { fill: #8a8f98; stroke: #8a8f98; }
.flow .learnt { fill: #12939a; stroke: #12939a; }
.flow .frozen { fill: #5a7fd6; stroke: #5a7fd6; stroke-dasharray: 2 2; }
.flow .answer { fill: #d9822b; stroke: #d9822b; }
.flow .frame { fill: none; stroke: #8a8f98; stroke-dasharray: 6 4; }
.flow path { fill: none; stroke: #8a8f98; stroke-width: 1.5; }
.flow .head { fill: #8a8f98; stroke: none; }"""


@dataclass(frozen=True)
class Box:
    """A rectangle with lines of text; the first is large."""

    x: int
    y: int
    width: int
    height: int

    def side(self, name: str) -> tuple[int, int]:
        """The middle of one of its sides."""
        x, y = self.x + self.width // 2, self.y + self.height // 2
        return {
            "top": (x, self.y),
            "bottom": (x, self.y + self.height),
            "left": (self.x, y),
            "right": (self.x + self.width, y),
        }[name]


@dataclass
class Drawing:
    """A sheet that grows: what is drawn on it, in SVG.

    title  what it shows, for readers who do not see it
    """

    title: str
    parts: list[str] = field(default_factory=list)
    height: int = 0

    def box(
        self, kind: str, x: int, y: int, width: int, *lines: str, height: int | None = None
    ) -> Box:
        """A box of a kind: data, learnt, frozen or answer."""
        box = Box(x, y, width, height or 16 + LINE * len(lines))
        self._rectangle(kind, box)
        first = y + box.height / 2 - LINE * (len(lines) - 1) / 2 + 5
        for number, line in enumerate(lines):
            self.text(x + width // 2, first + LINE * number, line, small=number > 0)
        return box

    def frame(self, x: int, y: int, width: int, height: int, words: str) -> Box:
        """A dashed line around what belongs together, with its name in the upper left corner."""
        box = Box(x, y, width, height)
        self._rectangle("frame", box)
        self.parts.append(
            f'<text class="small" style="text-anchor: start" x="{x + 8}" y="{y + 16}">'
            f"{escape(words)}</text>"
        )
        return box

    def text(self, x: float, y: float, words: str, small: bool = True) -> None:
        """A line of text with its middle at x."""
        kind = ' class="small"' if small else ""
        self.parts.append(f'<text{kind} x="{x:g}" y="{y:g}">{escape(words)}</text>')
        self.height = max(self.height, int(y) + 8)

    def arrow(self, *points: tuple[int, int]) -> None:
        """A line through points, with a head at the last."""
        (x0, y0), (x, y) = points[-2:]
        self.parts.append('<path d="M' + " L".join(f"{a} {b}" for a, b in points) + '"/>')
        dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
        left, right = (
            (x - 7 * dx - 4 * dy, y - 7 * dy - 4 * dx),
            (
                x - 7 * dx + 4 * dy,
                y - 7 * dy + 4 * dx,
            ),
        )
        corners = " L".join(f"{a} {b}" for a, b in ((x, y), left, right))
        self.parts.append(f'<path class="head" d="M{corners} Z"/>')

    def down(self, *boxes: Box) -> None:
        """An arrow from each box to the one below it; it turns twice where they stand apart."""
        for above, below in pairwise(boxes):
            x0, y0 = above.side("bottom")
            x1, y1 = below.side("top")
            low, high = below.x + 10, below.x + below.width - 10
            x1 = min(max(x0, low), high)  # straight where that meets the box
            middle = (y0 + y1) // 2
            points = [(x0, y0), (x1, y1)] if x0 == x1 else [
                (x0, y0), (x0, middle), (x1, middle), (x1, y1)
            ]  # fmt: skip
            self.arrow(*points)

    def right(self, *boxes: Box) -> None:
        """An arrow from each box to the next on its right."""
        for left, right in pairwise(boxes):
            y = left.side("right")[1]
            self.arrow((left.x + left.width, y), (right.x, y))

    def save(self, name: str) -> None:
        """Write the drawing; no line is empty, so that it may stand inside a page."""
        head = (
            f'<svg class="flow" xmlns="http://www.w3.org/2000/svg" role="img" '
            f'viewBox="0 0 {WIDTH} {self.height + 8}" width="{WIDTH}">'
        )
        lines = [head, f"<title>{escape(self.title)}</title>", f"<style>\n{STYLE}\n</style>"]
        path = IMAGES / f"{name}.svg"
        path.write_text("\n".join([*lines, *self.parts, "</svg>"]) + "\n", encoding="utf-8")
        print(f"docs/images/{path.name}: {path.stat().st_size / 1000:.1f} kB")

    def _rectangle(self, kind: str, box: Box) -> None:
        self.parts.append(
            f'<rect class="{kind}" x="{box.x}" y="{box.y}" width="{box.width}" '
            f'height="{box.height}"/>'
        )
        self.height = max(self.height, box.y + box.height)


def draw_m3amba() -> None:
    """Streams of tokens, steered by a guidance and joined in each iteration."""
    sheet = Drawing("M³amba: one stream for each layer, steered by a guidance, joined N times")
    left, middle, right, wide = 10, 170, 326, 130
    layers = [
        sheet.box("data", left, 8, wide, "a layer", "hyperspectral"),
        sheet.box("data", middle, 8, wide, "all layers", height=50),
        sheet.box("data", right, 8, wide, "another layer", "height, radar, RGB"),
    ]
    stems = [
        sheet.box("learnt", left, 84, wide, "stem", "bands → D features"),
        sheet.box("learnt", middle, 84, wide, "guidance", "a stem, or CLIP"),
        sheet.box("learnt", right, 84, wide, "stem", "bands → D features"),
    ]
    sheet.frame(2, 150, 476, 226, "× depth")
    one = sheet.box("learnt", left, 196, wide, "Cross-SS2D", "4 scans, B from z")
    z = sheet.box("data", middle, 196, wide, "z", "steers the scans")
    other = sheet.box("learnt", right, 196, wide, "Cross-SS2D", "4 scans, B from z")
    total = sheet.box("data", middle, 268, wide, "sum", height=28)
    fusion = sheet.box("learnt", middle, 316, wide, "SS2D", "4 scans of the sum")
    for layer, stem, next_ in zip(layers, stems, (one, z, other), strict=True):
        sheet.down(layer, stem, next_)
    sheet.arrow(z.side("left"), one.side("right"))
    sheet.arrow(z.side("right"), other.side("left"))
    sheet.arrow((75, 246), (75, 282), total.side("left"))
    sheet.arrow((391, 246), (391, 282), total.side("right"))
    sheet.down(total, fusion)
    sheet.arrow(fusion.side("right"), (467, 341), (467, 177), (270, 177), (270, 196))
    sheet.text(336, 191, "the next z")
    heads = [
        sheet.box("learnt", left, 408, wide, "head", "in training only"),
        sheet.box("learnt", middle, 408, wide, "head", "predicts"),
        sheet.box("learnt", right, 408, wide, "head", "in training only"),
    ]
    sheet.arrow((75, 282), (75, 408))
    sheet.arrow((391, 282), (391, 408))
    answer = sheet.box("answer", middle - 12, 482, wide + 24, "class of each pixel")
    sheet.down(fusion, heads[1], answer)
    sheet.save("m3amba")


def draw_mambamoe() -> None:
    """An encoder of three scales, a decoder with three heads, and one mixture of experts."""
    sheet = Drawing("MambaMoE: an encoder of three scales, a decoder, three heads")
    wide = 140
    x, y, z = 10, 170, 330
    layers = sheet.box("data", x, 8, wide, "all layers", "the whole scene")
    stem = sheet.box("learnt", x, 84, wide, "1×1 convolution", "bands → D features")
    sheet.down(layers, stem)
    above, finer = stem, None
    answer = sheet.box("answer", z, 84, wide, "class of each pixel", height=50)
    for row, side in enumerate(("1/2", "1/4", "1/8")):
        top = 164 + 84 * row
        scale = sheet.box("learnt", x, top, wide, f"scale {side}", "mean, then mixture")
        step = sheet.box("learnt", y, top, wide, "decoder", "twice as fine")
        use = "in training only" if row else "predicts"
        head = sheet.box("learnt", z, top, wide, "head", use)
        sheet.down(above, scale)
        sheet.right(scale, step)
        sheet.right(step, head)
        if finer:
            sheet.arrow(step.side("top"), finer.side("bottom"))
        else:
            sheet.arrow(head.side("top"), answer.side("bottom"))
        above, finer = scale, step
    top = 424
    sheet.frame(2, top, 476, 236, "a mixture of experts, at each scale")
    norm = sheet.box("learnt", 170, top + 28, wide, "layer norm, 1×1", "splits the features")
    spectral = sheet.box("learnt", 20, top + 112, wide, "spectral expert", "scans the channels")
    router = sheet.box("learnt", 210, top + 112, wide, "router", "takes the best 2 of 4")
    sheet.down(norm, spectral)
    sheet.down(norm, router)
    for number, arrow in enumerate("→↓←↑"):
        sheet.box("learnt", 370 + 52 * (number % 2), top + 96 + 44 * (number // 2), 44, arrow)
    sheet.right(router, Box(366, router.y, 8, router.height))
    join = sheet.box("learnt", 170, top + 188, wide, "1×1, then MLP", height=34)
    sheet.arrow((90, top + 162), (90, top + 205), join.side("left"))
    sheet.arrow((418, top + 178), (418, top + 205), join.side("right"))
    sheet.text(378, top + 224, "direction experts")
    sheet.save("mambamoe")


def draw_cf_ipt() -> None:
    """Two layers become an image and matrices that guide the prompts of a frozen CLIP."""
    sheet = Drawing("CF-IPT: a patch becomes an image and prompts for a frozen CLIP")
    left, right, wide = 10, 250, 220
    spectral = sheet.box("data", left, 8, wide, "patch of the first layer", "the spectrum")
    spatial = sheet.box("data", right, 8, wide, "patch of the other layers", "height, radar, RGB")
    attention = sheet.box("learnt", 90, 88, 300, "cross-attention", "what the two patches share")
    for patch in (spectral, spatial):
        sheet.down(patch, attention)
    fused = sheet.box("data", left, 168, wide, "fused patch")
    matrices = sheet.box("data", right, 168, wide, "spectral and spatial matrix")
    sheet.down(attention, fused)
    sheet.down(attention, matrices)
    image = sheet.box("learnt", left, 232, wide, "upsampling", "→ an image of 3 channels")
    prompts = sheet.box("learnt", right, 232, wide, "prompts", "each tower's go to the other")
    sheet.down(fused, image)
    sheet.down(matrices, prompts)
    sheet.frame(2, 310, 476, 92, "CLIP, frozen")
    vision = sheet.box("frozen", left, 338, 200, "vision tower", "reads the image")
    text = sheet.box("frozen", 270, 338, 200, "text tower", "“A multisource … of grass”")
    sheet.down(image, vision)
    sheet.arrow((430, 282), (430, 338))
    sheet.arrow((270, 282), (270, 296), (180, 296), (180, 338))
    cosine = sheet.box("data", 140, 426, 200, "cosine", "image against each class")
    sheet.down(vision, cosine)
    sheet.down(text, cosine)
    answer = sheet.box("answer", 140, 502, 200, "class of the middle pixel")
    sheet.down(cosine, answer)
    sheet.save("cf_ipt")


def draw_mmmamba() -> None:
    """MS and PAN, interleaved in one scan, become the detail that MS lacks."""
    sheet = Drawing("MMMamba: MS and PAN are scanned together, and give the detail that MS lacks")
    left, right, wide = 10, 200, 170
    ms = sheet.box("data", left, 8, wide, "MS", "coarse, many bands")
    pan = sheet.box("data", right, 8, wide, "PAN", "fine, one band")
    up = sheet.box("data", left, 84, wide, "interpolation", "to PAN's pixels")
    encoders = [
        sheet.box("learnt", left, 164, wide, "encoder", "residual units"),
        sheet.box("learnt", right, 164, wide, "encoder", "residual units"),
    ]
    sheet.down(ms, up, encoders[0])
    sheet.down(pan, encoders[1])
    sheet.frame(2, 236, 376, 146, "× depth")
    sheet.box("learnt", left, 262, 360, "interleaved scan", "windows of 4×4 px: MS, PAN, MS, PAN …")
    gates = [
        sheet.box("learnt", left, 336, wide, "gated network", height=34),
        sheet.box("learnt", right, 336, wide, "gated network", height=34),
    ]
    for encoder in encoders:
        sheet.arrow(encoder.side("bottom"), (encoder.side("bottom")[0], 262))
    for gate in gates:
        sheet.arrow((gate.side("top")[0], 312), gate.side("top"))
    merge = sheet.box("learnt", 105, 418, wide, "merge", height=30)
    for gate in gates:
        sheet.down(gate, merge)
    tail = sheet.box("learnt", 105, 474, wide, "tail", "convolutions, attention")
    plus = sheet.box("data", 90, 550, 200, "detail + interpolated MS", height=34)
    answer = sheet.box("answer", 105, 610, wide, "sharp MS", "PAN's pixels, all bands")
    sheet.down(merge, tail, plus, answer)
    sheet.arrow((180, 109), (430, 109), (430, 567), plus.side("right"))
    sheet.save("mmmamba")


def draw_data() -> None:
    """From files on disk to files on disk, with the folder that does each step."""
    sheet = Drawing("How data flow: from files through scene, training and prediction to results")
    wide = 220
    left, right = 10, 250
    files = sheet.box("data", left, 8, wide, "your files", "rasters, polygons, scene.yaml")
    readers = sheet.box("learnt", left, 84, wide, "raster/", "reads windows, warps")
    scene = sheet.box("learnt", left, 160, wide, "data/", "scene: named layers on one grid")
    split = sheet.box("learnt", left, 236, wide, "data/splits/", "who trains, who tests")
    samples = sheet.box("learnt", left, 312, wide, "data/samples/", "crops, scaled, as batches")
    train = sheet.box("learnt", left, 388, wide, "training/", "loop, resume, run folder")
    sheet.box("learnt", right, 388, 200, "models/ on nn/ on scan/", "forward, loss, backward")
    run = sheet.box("answer", left, 464, wide, "run folder", "config, weights, history")
    sheet.down(files, readers, scene, split, samples, train, run)
    sheet.arrow((230, 405), (250, 405))
    sheet.arrow((250, 422), (230, 422))
    predict = sheet.box("learnt", right, 540, 200, "landcover/predict/", "strips, row by row")
    sheet.arrow((120, 514), (120, 565), (250, 565))
    sheet.arrow((230, 185), (470, 185), (470, 560), (450, 560))
    sheet.text(355, 178, "a scene, row by row")
    results = [
        sheet.box("answer", 10, 630, 140, "map.tif", "GeoTIFF"),
        sheet.box("answer", 170, 630, 140, "scores.json", "with the protocol"),
        sheet.box("answer", 330, 630, 140, "report.html", "one page"),
    ]
    for result in results:
        sheet.down(predict, result)
    sheet.save("data_flow")


def draw_house() -> None:
    """The folders of the package: each row imports from rows below it alone."""
    sheet = Drawing("The folders of bandweave: each row imports only from rows below it")
    rows = (
        (("cli/", "one file a command"),),
        (("landcover/", "train, map, score, report"), ("pansharp/", "pairs, sharpen, score")),
        (("comparison/", "a long table, for any task"),),
        (("cluster/", "work shared out, for any task"),),
        (
            ("models/", "papers"),
            ("data/", "scenes, splits"),
            ("training/", "loop, run"),
            ("report/", "pages"),
        ),
        (("nn/", "blocks of networks"), ("raster/", "files and grids")),
        (("scan/", "the selective scan: tensors only"),),
    )
    for level, row in enumerate(rows):
        wide = (464 - 8 * (len(row) - 1)) // len(row)
        for place, lines in enumerate(row):
            kind = ("answer", "learnt", "learnt", "learnt", "learnt", "data", "data")[level]
            sheet.box(kind, 8 + place * (wide + 8), 8 + 58 * level, wide, *lines)
    sheet.save("house")


FLOWS = (draw_m3amba, draw_mambamoe, draw_cf_ipt, draw_mmmamba, draw_data, draw_house)


def main() -> None:
    """Draw all."""
    IMAGES.mkdir(exist_ok=True)
    for draw in FLOWS:
        draw()


if __name__ == "__main__":
    main()
