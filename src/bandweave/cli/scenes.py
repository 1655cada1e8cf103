"""bandweave scenes: known benchmarks, and files of one's own."""

from __future__ import annotations

import argparse
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bandweave.cli.arguments import Parser, add_common, add_overwrite
from bandweave.errors import ConfigError, FileError, OutputError
from bandweave.local_files import check_input_file
from bandweave.output_files import check_output
from bandweave.schema import nearest

ACTIONS = {
    "list": "the known benchmarks: layers, classes, masks",
    "get": "download a benchmark, or say where to get it",
    "check": "look a scene or a benchmark's folder over before any training",
    "make": "draft a scene file from files",
}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of the action that comes first."""
    action = argv[0] if argv else "--help"
    if action in ("-h", "--help"):
        print("usage: bandweave scenes ACTION …\n")
        print("\n".join(f"  {name:7}{text}" for name, text in ACTIONS.items()))
        raise SystemExit(0 if argv else 2)
    if action not in ACTIONS:
        raise ConfigError(f"scenes {action}: no such action{nearest(action, list(ACTIONS))}")
    parser = Parser(f"scenes {action}", f"{ACTIONS[action].capitalize()}.")
    add = parser.add_argument
    if action == "get":
        add("name", metavar="NAME", help="of a benchmark, as `bandweave scenes list` names it")
        add("folder", metavar="FOLDER", nargs="?", help="where the files go; ./NAME by default")
    elif action == "check":
        add("scene", metavar="PATH|NAME", help="a scene file, its folder, or a benchmark's name")
        add("folder", metavar="FOLDER", nargs="?", help="of a benchmark; ./NAME by default")
        add("--fix", action="store_true", help="write what answers a problem into the scene file")
    elif action == "make":
        add(
            "files",
            metavar="FILE",
            nargs="+",
            help="rasters, polygons, a table to join; or their folder",
        )
        add("--out", metavar="FILE", help="the scene file to write, instead of printing it")
        add_overwrite(parser)
    add_common(parser)
    args = parser.read(argv[1:])
    args.action = action
    return args


def run(args: argparse.Namespace) -> int:
    """Do it; `check` ends with 1 where there are problems."""
    return {"list": _list, "get": _get, "check": _check, "make": _make}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    from bandweave.cli.columns import format_columns
    from bandweave.data.benchmarks.catalogue import benchmark_names, describe

    rows = [("name", "size", "pixel", "layers (bands)", "classes", "masks", "download")]
    for name in benchmark_names():
        known = describe(name)
        layers = ", ".join(f"{layer} {facts.bands}" for layer, facts in known.layers.items())
        rows.append(
            (
                name,
                "×".join(map(str, known.shape)),
                f"{known.pixel:g} m",
                layers,
                str(len(known.classes)),
                "official" if known.official else "none",
                "yes" if any(copy.fetch for copy in known.variants.values()) else "by hand",
            )
        )
    print(format_columns(rows))
    return 0


def _get(args: argparse.Namespace) -> int:
    from bandweave.data.benchmarks.scenes import get

    print(get(args.name, args.folder or args.name))
    return 0


def _check(args: argparse.Namespace) -> int:
    from bandweave.data.benchmarks.catalogue import benchmark_names
    from bandweave.data.benchmarks.scenes import check
    from bandweave.data.check.scene import PROBLEM, check_scene

    if args.scene in benchmark_names():
        if args.fix:
            raise ConfigError(
                f"--fix writes into a scene file, and {args.scene} is a benchmark; draft a file of "
                "its layers with `bandweave scenes make`"
            )
        findings = check(args.scene, args.folder or args.scene)
        for finding in findings:
            print(finding)
        return int(any(finding.kind != "note" for finding in findings))
    if args.folder:
        raise ConfigError(
            f"a scene of your own is checked without a FOLDER, and {args.scene} is no benchmark"
            f"{nearest(args.scene, benchmark_names())}"
        )
    with _notes_once():
        if args.fix:
            _fix(args.scene)
        lines = check_scene(args.scene)
    print("\n".join(lines))
    return int(any(line.startswith(PROBLEM) for line in lines))


@contextmanager
def _notes_once() -> Iterator[None]:
    """A scene's notes are lines of its check, and of no draft: they are not logged on opening."""
    logger = logging.getLogger("bandweave.data")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _fix(scene: str) -> None:
    """Set the keys that answer the problems of a scene file; say each line that was written."""
    from bandweave.data.check.fix import fix_scene_text
    from bandweave.training.atomic import write_text

    path = Path(scene)
    if path.is_dir():
        path = path / "scene.yaml"
        if not path.exists():
            raise ConfigError(
                f"--fix writes into a scene file, and {scene} is a folder without scene.yaml; "
                "draft one with `bandweave scenes make`"
            )
    file = check_input_file(path).resolve()  # a link stays one
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not a YAML text file (byte {error.start})") from None
    new, edits = fix_scene_text(text, path.resolve().parent, str(path))
    if not edits:
        print(f"nothing to write into {path}")
        return
    path = file
    mode = path.stat().st_mode
    if not mode & stat.S_IWUSR or not os.access(path, os.W_OK):
        raise OutputError(
            f"{path} is read-only, so --fix wrote nothing; make it writable, or write "
            + ", ".join(f"`{edit}` into {edit.where}" for edit in edits)
            + " of a copy"
        )
    write_text(path, new)
    path.chmod(stat.S_IMODE(mode))
    for edit in edits:
        print(f"wrote into {edit.where}: {edit}")


def _make(args: argparse.Namespace) -> int:
    from bandweave.data.draft.write import draft_scene
    from bandweave.training.atomic import write_text

    out = Path(args.out) if args.out else None
    if out:
        check_output(out, overwrite=args.overwrite, inputs=args.files)
    with _notes_once():
        text = draft_scene(args.files, out.parent if out else ".")
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
        print(out)
    return 0
