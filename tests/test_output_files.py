"""What may be written to, and what unfinished files and locks of dead processes become."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from rasterio.transform import Affine

from bandweave.errors import OutputError
from bandweave.output_files import (
    check_output,
    make_unfinished_name,
    only_writer,
    remove_abandoned,
)
from bandweave.raster.writing.outputs import OutputSet
from bandweave.training.atomic import write_text

HOLD = """
import sys, time
from pathlib import Path
from bandweave.output_files import only_writer, make_unfinished_name
with only_writer(Path(sys.argv[1]) / ".lock", "it"):
    (Path(sys.argv[1]) / make_unfinished_name("map.tif")).write_text("half")
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of a folder and has an unfinished file there."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


# ------------------------------------------------------------------------------------- targets


def test_a_file_that_stands_there_is_replaced_only_when_asked(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(OutputError, match="exists; replace it with --overwrite"):
        check_output(tmp_path / "a", overwrite=False)
    assert check_output(tmp_path / "a", overwrite=True) == tmp_path / "a"


@pytest.mark.parametrize("way", ["same", "relative", "link", "hard link"])
def test_an_input_is_never_replaced_under_any_name(tmp_path, monkeypatch, way):
    source = tmp_path / "in.tif"
    source.write_text("pixels")
    monkeypatch.chdir(tmp_path)
    names = {"same": source, "relative": "../" + tmp_path.name + "/in.tif"}
    if way == "link":
        (tmp_path / "x").symlink_to(source)
    if way == "hard link":
        os.link(source, tmp_path / "x")
    with pytest.raises(OutputError, match="is an input"):
        check_output(names.get(way, tmp_path / "x"), inputs=["none.tif", source])


def test_links_are_followed_and_stay(tmp_path):
    target = tmp_path / "there" / "map.txt"
    target.parent.mkdir()
    (tmp_path / "link").symlink_to(target)
    write_text(tmp_path / "link", "one")
    assert (tmp_path / "link").is_symlink()
    assert target.read_text() == "one"
    with OutputSet() as outputs:
        outputs.text(tmp_path / "link", "two")
    assert (tmp_path / "link").is_symlink()
    assert target.read_text() == "two"


@pytest.mark.parametrize("write", [write_text, lambda path, text: OutputSet().path(path)])
def test_folders_pipes_and_devices_are_refused(tmp_path, write):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for name, told in (("folder", "folder"), ("pipe", "pipe"), ("null", "device")):
        with pytest.raises(OutputError, match=told):
            write(tmp_path / name, "text")
    assert os.path.exists("/dev/null")
    assert not os.path.isfile("/dev/null")


# ------------------------------------------------------------------- what other processes leave


def test_what_a_dead_process_left_is_removed_and_a_living_one_s_stays(tmp_path, holder):
    mine = tmp_path / make_unfinished_name("map.tif")
    mine.write_text("half")
    remove_abandoned(tmp_path, "map.tif")
    assert len(list(tmp_path.glob(".map.tif.unfinished-*"))) == 2
    holder.kill()
    holder.wait()
    remove_abandoned(tmp_path, "map.tif")
    assert list(tmp_path.glob(".map.tif.unfinished-*")) == [mine]


def test_folders_of_dead_processes_are_removed_by_the_next_output(tmp_path):
    host = make_unfinished_name("x").split("unfinished-")[1].rsplit("-", 3)[0]
    dead = tmp_path / f".bandweave.unfinished-{host}-999999999-1-abcd"
    other = tmp_path / ".bandweave.unfinished-elsewhere-999999999-1-abcd"
    for folder in (dead, other):
        folder.mkdir()
        (folder / "map.tif.raw").write_bytes(bytes(100))
    with OutputSet() as outputs:
        outputs.text(tmp_path / "a.txt", "text")
    assert not dead.exists()
    assert other.exists()  # nobody can know whether it is still written


# ----------------------------------------------------------------------------------------- locks


def test_a_second_writer_is_refused_with_the_first_one_s_process(tmp_path, holder):
    with (
        pytest.raises(OutputError, match=rf"it is being written by process {holder.pid} on "),
        only_writer(tmp_path / ".lock", "it"),
    ):
        pass


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path, holder):
    holder.kill()
    holder.wait()
    with only_writer(tmp_path / ".lock", "it"):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert not (tmp_path / ".lock").exists()


def test_two_writers_of_one_output(tmp_path):
    with OutputSet() as outputs:
        outputs.text(tmp_path / "a.txt", "one")
        with pytest.raises(OutputError, match="is being written by process"), OutputSet() as more:
            more.text(tmp_path / "a.txt", "two")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_two_trainings_in_one_folder(begin, tmp_path):
    import bandweave as bw

    scene = bw.simulated_scene(seed=0, height=64, width=64)
    split = bw.split(scene, "blocks", size=8, guard=1)
    asked = {"model": "m3amba_tiny", "out": tmp_path / "run", "quiet": True}
    words = ("train", "--scene", scene.origin, "--model", "m3amba_tiny", "--size", "8")
    words += ("--hold-out", "0", "--out", tmp_path / "run", "--quiet")
    first = begin(*words, "--steps", "100000")
    try:
        until = time.monotonic() + 120
        while not (tmp_path / "run" / "history.csv").exists() and time.monotonic() < until:
            time.sleep(0.1)
        for way in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(OutputError, match=f"written by process {first.pid} on"):
                bw.train(scene, split, **asked, steps=1, **way)
    finally:
        first.send(signal.SIGKILL)
        first.wait(60)
    run = bw.train(scene, split, **asked, steps=1, overwrite=True)
    assert run.folder.finished


# --------------------------------------------------------------------------------------- signals

WRITE = """
import sys, time
from bandweave.cli import main as cli
from bandweave.raster.writing.outputs import OutputSet
def run(_):
    with OutputSet() as outputs:
        outputs.text(sys.argv[1] + "/map.txt", "half")
        print("half", flush=True)
        time.sleep(60)
class Module:
    @staticmethod
    def parse(argv):
        import argparse
        return argparse.Namespace(quiet=True, debug=False)
    run = staticmethod(run)
cli.import_module = lambda name: Module
arguments, sys.argv = sys.argv, ["bandweave", "map"]
sys.argv = ["bandweave", arguments[1]]
cli.COMMANDS[arguments[1]] = ""
sys.exit(cli.main())
"""


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "hung up"),
    ],
)
def test_a_signal_ends_in_one_line_and_leaves_nothing(tmp_path, number, status, word):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (status, f"bandweave: {word}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_modules_are_loaded(number):
    code = (
        "import sys, os, signal; sys.argv = ['bandweave', 'info']\n"
        "import bandweave.cli\n"
        f"os.kill(os.getpid(), {int(number)})\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.returncode == 128 + number
    assert told.stderr.count("\n") == 1


@pytest.mark.parametrize("closing", [">&-", "2>&-", ">&- 2>&-", "| true", "> /dev/full"])
def test_closed_and_full_streams_end_without_a_traceback(closing):
    command = f"{sys.executable} -m bandweave scenes list {closing}"
    told = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in told.stderr
    assert told.returncode in (0, 1, 2)


def test_an_ascii_locale_has_no_letters_that_stop_the_output(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 3), np.float32))
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    told = subprocess.run(
        [sys.executable, "-m", "bandweave", "info", str(tmp_path / "a.npy")],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert told.returncode == 0
    assert "2\\xd73" in told.stdout


# ------------------------------------------------------------------------------ the command line


def run_command(*words):
    from bandweave.cli.main import main

    return main([str(word) for word in words])


@pytest.fixture
def pair(write_geotiff):
    """PAN, and MS of half its resolution, in files."""
    rng = np.random.default_rng(0)
    pan = rng.integers(1, 200, (1, 32, 32)).astype(np.uint8)
    ms = rng.integers(1, 200, (3, 16, 16)).astype(np.uint8)
    corner = Affine(2, 0, 500_000, 0, -2, 4_000_000)
    return write_geotiff("pan.tif", pan), write_geotiff("ms.tif", ms, corner)


@pytest.fixture
def commands(pair, tmp_path):
    """Each command that writes what the user names, without the name of its output."""
    pan, ms = pair
    codes = tmp_path / "pan.tif"
    return {
        "sharpen": (["sharpen", pan, ms], ["--method", "brovey"], "out.tif"),
        "sharpen-score": (
            ["sharpen-score", "--pan", pan, "--ms", ms, "--methods", "brovey", "--out"],
            [],
            "scores",
        ),
        "scenes make": (["scenes", "make", ms, "--out"], [], "scene.yaml"),
        "sample": (["sample", codes], ["--per-class", "2"], "points.gpkg"),
    }


@pytest.mark.parametrize("name", ["sharpen", "sharpen-score", "scenes make", "sample"])
def test_every_command_asks_before_it_replaces(commands, tmp_path, capsys, name):
    before, after, out = commands[name]
    words = [*before, tmp_path / out, *after]
    assert run_command(*words) == 0
    assert run_command(*words) == 2
    assert "exists; replace it with --overwrite" in capsys.readouterr().err
    assert run_command(*words, "--overwrite") == 0


@pytest.mark.parametrize("name", ["sharpen", "scenes make"])
def test_no_command_replaces_what_it_reads(commands, tmp_path, capsys, pair, name):
    before, after, _ = commands[name]
    raw = pair[1].read_bytes()
    (tmp_path / "link.tif").symlink_to(pair[1])
    for out in (pair[1], tmp_path / "link.tif"):
        assert run_command(*before, out, *after, "--overwrite") == 2
        assert "is an input" in capsys.readouterr().err
    assert pair[1].read_bytes() == raw


def test_a_sidecar_without_its_map_is_no_reason_to_refuse_hours_later(tmp_path):
    (tmp_path / "map.tif.aux.xml").write_text("old")
    with OutputSet(overwrite=False) as outputs:
        outputs.text(tmp_path / "map.tif", "map")
        outputs.text(tmp_path / "map.tif.aux.xml", "new", beside=True)
    assert (tmp_path / "map.tif.aux.xml").read_text() == "new"
