"""A scene as one word: a file, a folder, a simulation, a benchmark."""

from __future__ import annotations

import pytest

from bandweave.data.scenefile.argument import scene_from
from bandweave.errors import BandweaveError


def test_a_file_and_its_folder(scene_file):
    for text in (str(scene_file), str(scene_file.parent)):
        assert scene_from(text).origin == str(scene_file)


@pytest.mark.parametrize(("text", "seed"), [("simulated", 0), ("simulated:7", 7)])
def test_a_simulation(monkeypatch, text, seed):
    monkeypatch.setattr(
        "bandweave.data.simulation.scene.simulated_scene", lambda seed: f"scene {seed}"
    )
    assert scene_from(text) == f"scene {seed}"


def test_what_a_run_keeps_of_a_scene_opens_it_again():
    scene = scene_from("simulated_scene(2, height=32, width=32, bands=4)")
    assert scene_from(scene.origin).origin == scene.origin


def test_a_benchmark_in_its_folder(monkeypatch):
    monkeypatch.setattr(
        "bandweave.data.benchmarks.scenes.benchmark_scene", lambda *where: " in ".join(where)
    )
    assert scene_from("muufl", "/data") == "muufl in /data"
    assert scene_from("benchmark_scene('muufl', '/data', 'mat')") == "muufl in /data in mat"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("simulated:x", "simulated:x: the seed of a simulation is a whole number"),
        ("simulatd", "no such file, folder or benchmark; did you mean simulated?"),
        ("muffl", "did you mean muufl?"),
        ("muufl", "say with --folder where its files are"),
        ("zzz", "benchmarks are houston2013, augsburg"),
        ("gone/scene.yaml", "gone/scene.yaml: no such scene file or folder"),
        ("simulated_scene(sed=1)", "simulated_scene(sed=1): not understood"),
        ("simulated_scene(seed=print())", "not understood"),
        ("simulated_scene(", "no such file"),
        ("print(1)", "print(1): not understood ('print')"),
        ("[print][0](1)", "not understood (no call of a name)"),
        ("simulated_scene(height=3)", "no side may be less than 16"),
    ],
)
def test_other_words_are_refused(text, told):
    with pytest.raises(BandweaveError) as error:
        scene_from(text)
    assert told in str(error.value)


def test_a_raster_is_no_scene(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    with pytest.raises(BandweaveError, match=r"`bandweave scenes make .*a\.tif … > scene\.yaml`"):
        scene_from(str(tmp_path / "a.tif"))


def test_a_file_that_was_misspelt(scene_file):
    with pytest.raises(BandweaveError, match=r"did you mean .*scene\.yaml\?"):
        scene_from(str(scene_file.with_name("scne.yaml")))
