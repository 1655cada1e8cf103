"""Which scenes are here, and the protocols that ours are measured under on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bandweave.data.benchmarks.catalogue import benchmark_names
from bandweave.data.benchmarks.scenes import benchmark_scene, check
from bandweave.data.scene import Scene
from bandweave.data.scenefile.argument import scene_from
from bandweave.errors import BandweaveError, ConfigError
from bandweave.schema import nearest
from papers.printed import Paper, Place


@dataclass
class Scenes:
    """Scenes by the name that the tables give them.

    absent  the papers' scenes that are not here, and why
    """

    here: dict[str, Scene] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def others(self) -> list[str]:
        """Those here that are no benchmark: they stand in all papers' tables."""
        return [name for name in self.here if name not in benchmark_names()]


def find_scenes(papers: Sequence[Paper], folder: Path | None, asked: Sequence[str]) -> Scenes:
    """The scenes that were asked for, or all of the papers' that are here.

    folder  holds a folder for each benchmark, by its name
    asked   names of benchmarks, and other scenes as commands name them

    Raises ConfigError for a name that is no scene, and what opening a scene file raises.
    """
    known = list(dict.fromkeys(name for paper in papers for name in paper.scenes))
    found = Scenes()
    for name in known:
        if asked and name not in asked:
            found.absent[name] = "not asked for"
            continue
        try:
            found.here[name] = _benchmark(name, folder)
        except BandweaveError as error:
            found.absent[name] = str(error)
    for text in asked:
        if text in known:
            continue
        if text in benchmark_names():
            papers_are = ", ".join(paper.paper for paper in papers)
            raise ConfigError(f"{text} is in no table of {papers_are}; those have {known}")
        if not Path(text).exists() and text.isidentifier() and text != "simulated":
            raise ConfigError(f"there is no scene {text!r}{nearest(text, [*known, 'simulated'])}")
        scene = scene_from(text)
        name = f"{scene.name} (file)" if scene.name in benchmark_names() else scene.name
        if not scene.classes:
            raise ConfigError(f"{text} has no labels, so there is nothing to score")
        if name in found.here:
            raise ConfigError(f"two scenes are named {name!r}")
        found.here[name] = scene
    return found


def _benchmark(name: str, folder: Path | None) -> Scene:
    if folder is None:
        raise ConfigError("no folder: give --folder, or set BANDWEAVE_DATA")
    if not (folder / name).is_dir():
        raise ConfigError(f"no folder {folder / name}")
    missing = [str(each) for each in check(name, folder / name) if each.kind == "missing"]
    if missing:
        raise ConfigError(f"{folder / name}: {'; '.join(missing)}")
    return benchmark_scene(name, folder / name)


def layers_of(paper: Paper, name: str, scene: Scene, which: str) -> list[str]:
    """Names of the scene's layers that a configuration sees; none where it has no such."""
    if name in paper.scenes:
        layers = list(paper.scenes[name].layers)
    else:
        layers = [scene.reference, *(each for each in scene.layers if each != scene.reference)]
    return {"all": layers, "reference": layers[:1], "others": layers[1:]}[which]


def place_of(paper: Paper, name: str) -> Place | None:
    """What the paper says of the scene; None where it does not have it."""
    return paper.scenes.get(name)


def splits_of(
    paper: Paper, name: str, scene: Scene, protocols: Sequence[str], size: int, guard: int
) -> dict[str, dict[str, Any]]:
    """Options of the splits by a name that says what they are.

    protocols    published: the split that the paper names, of other scenes their masks or what the
                 paper does where there are none; blocks: squares of ground with a guard
    size, guard  of blocks, px of the labels

    Where the paper names no split, classes with too few pixels are left out, and said to be.
    """
    found = []
    if "published" in protocols:
        place = place_of(paper, name)
        if place is not None:
            found.append(dict(place.split))
        elif any(part.labels is not None and part.labels.given is not None for part in scene.parts):
            found.append({"name": "official" if scene.official else "given"})
        else:
            found.append({**paper.elsewhere, "drop": True})
    if "blocks" in protocols:
        found.append({"name": "blocks", "size": size, "guard": guard, "drop": True})
    return {_key(options): options for options in found}


def _key(options: Mapping[str, Any]) -> str:
    return "-".join(str(value) for key, value in options.items() if key != "drop")


def in_words(options: Mapping[str, Any]) -> str:
    """A split in a few words.

    >>> in_words({"name": "random", "train": 0.05})
    'random, 5 % of each class'
    """
    name = options["name"]
    if options.get("per_class"):
        return f"{name}, {options['per_class']} pixels a class"
    if name == "random":
        return f"{name}, {100 * options['train']:g} % of each class"
    if name == "blocks":
        return f"blocks of {options['size']} px, guard {options['guard']} px"
    return f"{name} masks"
