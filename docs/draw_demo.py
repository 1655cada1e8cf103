"""Draw docs/images/demo.png from what `make demo` left: python docs/draw_demo.py [demo]."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import rasterio
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bandweave import open_scene
from bandweave.landcover.report.pictures import shown_bands


def main() -> None:
    demo = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    scene = open_scene(demo / "scene" / "scene.yaml")
    (part,) = scene.parts
    hsi, _ = part.layers["hsi"].read(part.grid.window)
    lidar, _ = part.layers["lidar"].read(part.grid.window)
    bands = list(shown_bands(scene.layers["hsi"]).bands)
    low, high = np.percentile(hsi[bands], (2, 98), axis=(1, 2))
    colour = np.clip((np.moveaxis(hsi[bands], 0, -1) - low) / (high - low), 0, 1)
    with rasterio.open(demo / "run" / "map.tif") as file:
        codes, colours = file.read(1), file.colormap(1)
    table = np.array([colours[code][:3] for code in range(int(codes.max()) + 1)], np.uint8)
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = [(colour, "hyperspectral"), (lidar[0], "height"), (table[codes], "map by m3amba_tiny")]
    for axes, (picture, title) in zip(figure.subplots(1, 3), panels, strict=True):
        axes.imshow(picture, cmap="gray", interpolation="nearest")
        axes.set_title(title, fontsize=11)
        axes.set_axis_off()
    target = Path(__file__).parent / "images" / "demo.png"
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, dpi=100)
    print(target)


if __name__ == "__main__":
    main()
