"""A scene as one word of a command line, or as a run's config.yaml names it."""

from __future__ import annotations

import ast
import difflib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from bandweave.errors import ConfigError, FileError

if TYPE_CHECKING:
    from bandweave.data.scene import Scene

SCENE_FILES = (".yaml", ".yml")


def scene_from(text: str, folder: str | None = None) -> Scene:
    """Open the scene that a user named.

    text    a scene file, a folder, `simulated` or `simulated:SEED`, a benchmark's name (with
            `folder`), or what a run keeps: `simulated_scene(seed=0, …)`, `benchmark_scene(…)`
    folder  where a benchmark's files are

    Raises ConfigError for text that names no scene, and what opening the scene raises.

    >>> scene_from("simulated_scene(seed=3, height=32, width=32)").name
    'simulated-3'
    """
    from bandweave.data.benchmarks.catalogue import benchmark_names
    from bandweave.data.benchmarks.scenes import benchmark_scene
    from bandweave.data.scenefile.open import open_scene
    from bandweave.data.simulation.scene import simulated_scene

    if text.endswith(")") and "(" in text:
        return _call(text, {"simulated_scene": simulated_scene, "benchmark_scene": benchmark_scene})
    kind, _, seed = text.partition(":")
    if kind == "simulated" and not Path(text).exists():
        if seed and not seed.isdecimal():
            raise ConfigError(f"{text}: the seed of a simulation is a whole number, 0 or more")
        return simulated_scene(seed=int(seed or 0))
    if folder is not None:
        return benchmark_scene(text, folder)
    path = Path(text)
    if not path.exists():
        raise _no_scene(text, benchmark_names())
    if path.is_file() and not is_scene_file(text):
        raise FileError(
            f"{text} is no scene file (.yaml); `bandweave scenes make {text} … > scene.yaml` "
            f"drafts one from the files of a scene"
        )
    return open_scene(path)


def is_scene_file(name: str) -> bool:
    """Tell whether a file is called as scene files are."""
    return name.lower().endswith(SCENE_FILES)


def _call(text: str, makers: dict) -> Scene:
    """Make the scene of a call with plain values, which is read and not evaluated."""
    try:
        call = ast.parse(text, mode="eval").body
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            raise ValueError("no call of a name")
        make = makers[call.func.id]
        values = [ast.literal_eval(value) for value in call.args]
        named = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
        inspect.signature(make).bind(*values, **named)
    except (SyntaxError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{text}: not understood ({error}); a scene is a file, a folder, `simulated:0`, "
            f"{' or '.join(f'`{name}(…)`' for name in makers)} with plain values"
        ) from None
    return make(*values, **named)


def _no_scene(text: str, benchmarks: tuple[str, ...]) -> ConfigError | FileError:
    if text in benchmarks:
        return ConfigError(
            f"{text} is a benchmark: say with --folder where its files are "
            f"(`bandweave scenes get {text}` downloads or tells where from)"
        )
    parent = Path(text).parent
    near = [str(parent / p.name) for p in parent.iterdir()] if parent.is_dir() else []
    close = difflib.get_close_matches(text, [*near, *benchmarks, "simulated"], n=1)
    if Path(text).suffix or len(Path(text).parts) > 1:
        guess = f"; did you mean {close[0]}?" if close else ""
        return FileError(f"{text}: no such scene file or folder{guess}")
    guess = f"did you mean {close[0]}?" if close else f"benchmarks are {', '.join(benchmarks)}"
    return FileError(f"{text}: no such file, folder or benchmark; {guess}")
