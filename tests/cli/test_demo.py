"""The demo, on a smaller scene for fewer steps."""

from __future__ import annotations

import rasterio

from bandweave.cli import demo


def test_the_demo_from_files_to_a_report(call, refused, monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "SIZE", {"height": 64, "width": 64, "bands": 8})
    monkeypatch.setattr(demo, "SPLIT", {"size": 8, "guard": 1})
    monkeypatch.setattr(demo, "CROP", 8)
    monkeypatch.setattr(demo, "BATCH", 2)
    out = tmp_path / "demo"
    result = call("demo", "--out", out, "--steps", "2", "--quiet")
    assert (result.status, result.err) == (0, "")
    told = dict(line.split(maxsplit=1) for line in result.out.splitlines()[-5:])
    assert told["map"] == str(out / "run" / "map.tif")
    assert told["report"] == str(out / "run" / "report.html")
    assert "s in all" in told["time"]
    assert "overall accuracy" in result.out
    with rasterio.open(told["map"]) as image:
        assert (image.height, image.width) == (64, 64)
        assert image.crs.is_projected
    assert (out / "run" / "report.html").stat().st_size > 10_000
    assert (out / "run" / "scores.json").exists()
    assert (out / "scene" / "scene.yaml").exists()

    assert call("demo", "--out", out, "--steps", "1", "--quiet").status == 0, "once more, over it"
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    assert "holds something else than an earlier demo" in refused("demo", "--out", other)
    assert "is a file" in refused("demo", "--out", other / "thesis.txt")
