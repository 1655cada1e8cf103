"""What the pages and the README say is true of the code: names, tables, commands, scene files."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from bandweave.cli import compare
from bandweave.cli.main import name_module
from bandweave.data.scenefile.schema import read_scene_file
from bandweave.errors import ConfigError
from bandweave.landcover.audit.published import read_published
from bandweave.landcover.comparison.plan import Plan

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}


def blocks(language: str) -> list[tuple[str, str]]:
    """All fenced blocks of a language: page and content."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.M | re.S)
    return [(page, found) for page, text in TEXTS.items() for found in fence.findall(text)]


def command_lines() -> list[tuple[str, str]]:
    """Each `$ bandweave …` of the pages, without what stands for other words, and its page."""
    lines = []
    for page, block in blocks("console"):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"^\$ (torchrun .* -m bandweave\.cli\.main|bandweave) ", "", line)
            if command != line:
                lines.append((page, command.replace("…", "")))
    return lines


@pytest.fixture(scope="module")
def generated() -> ModuleType:
    """The hook that writes parts of the pages."""
    spec = importlib.util.spec_from_file_location("generated", ROOT / "docs" / "generated.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", TEXTS)
def test_what_the_code_writes_is_written(generated, page):
    written = generated.on_page_markdown(TEXTS[page])
    assert "{{" not in written
    assert written.count("\n|") >= 3 * TEXTS[page].count("{{ options")


def test_options_are_those_of_the_dataclass(generated):
    table = generated.on_page_markdown("{{ options bandweave.data.samples.crops.SampleConfig }}")
    assert "| `crop` | whole number | `32` | px of the scene's grid: side of a crop; 0 for" in table
    assert "augment" not in table  # has a table of its own


def test_every_name_of_the_reference_exists():
    names = re.findall(r"^::: ([\w.]+)$", TEXTS["docs/reference.md"], re.M)
    assert len(names) > 10
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_commands_have_these_options(page, line):
    command, *arguments = shlex.split(line, comments=True)
    importlib.import_module(name_module(command)).parse(arguments)


def test_a_command_with_a_wrong_option_would_be_seen():
    module = importlib.import_module(name_module("train"))
    with pytest.raises(ConfigError, match="stpes"):
        module.parse(["--scene", "scene.yaml", "--out", "run", "--stpes", "3"])


@pytest.mark.parametrize(("page", "text"), blocks("yaml"))
def test_yaml_files_have_these_keys(page, text, tmp_path):
    file = tmp_path / "file.yaml"
    file.write_text(text, encoding="utf-8")
    if page.endswith("audit.md"):
        assert read_published(file).classes
    elif page.endswith("compare.md"):
        args = compare.parse(["--config", str(file), "--out", "tables"])
        scenes = {name: (origin, None) for name, origin in args.scenes.items()}
        assert Plan.make(args.models, scenes, args.splits, args.seeds).models
    else:
        assert read_scene_file(file).layers


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python_examples_import_what_there_is(page, code):
    compile(code, page, "exec")
    for module, names in re.findall(r"^from ([\w.]+) import ([\w, ]+)$", code, re.M):
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name), name
    import bandweave

    assert set(re.findall(r"\bbw\.(\w+)", code)) <= set(bandweave.__all__)


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) < 130


@pytest.mark.parametrize(("page", "code"), blocks("console"))
def test_commands_fit_the_width_of_a_page(page, code):
    widest = 110 if page == "README.md" else 76  # characters, on a screen of 1280 px
    assert [line for line in code.splitlines() if len(line) > widest] == []


@pytest.mark.parametrize("page", TEXTS)
def test_pictures_are_there(page):
    for target in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXTS[page]):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_pictures_are_small():
    sizes = [path.stat().st_size for path in (ROOT / "docs" / "images").iterdir()]
    assert max(sizes) < 150_000
    assert sum(sizes) < 1_500_000


def test_a_drawing_becomes_part_of_its_page(generated):
    written = generated.on_page_markdown("![Data flow](../images/m3amba.svg)")
    assert written.startswith("<figure>\n<svg")
    assert "\n\n" not in written  # an empty line would end the drawing


def test_presets_of_one_model(generated):
    names = re.findall(r"^\| `(\w+)` \|", generated.on_page_markdown("{{ presets m3amba }}"), re.M)
    assert names == ["m3amba", "m3amba_small", "m3amba_tiny"]


def test_the_design_names_folders_files_and_tables_that_exist():
    text = TEXTS["docs/design.md"]
    source = ROOT / "src" / "bandweave"
    places = re.findall(r"`([\w./]+(?:/|\.py))`", text)
    assert len(places) > 30
    for place in places:
        assert (source / place).exists() or (ROOT / place).exists(), place
    for names, file in re.findall(r"^\|[^|]+\| (.+) in `(.+\.py)` \|$", text, re.M):
        for name in re.findall(r"\w+", names):
            assert f"\n{name}: dict[" in (source / file).read_text(encoding="utf-8"), name


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\s+- ([\w/]+\.md)$", text, re.M))
    assert listed == {page.removeprefix("docs/") for page in TEXTS if page != "README.md"}
