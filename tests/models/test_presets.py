"""The tables of presets: what each says of itself."""

import pytest

from bandweave.models import LAND_COVER, SHARPENERS, describe_presets

PRESETS = LAND_COVER | SHARPENERS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_in_a_line_what_it_is(name):
    about = PRESETS[name].about
    assert 10 < len(about) <= 82  # so that `train --help` has it on one line
    assert "\n" not in about
    if name.endswith(("_small", "_tiny")) and name.startswith("m3amba"):
        assert "without CLIP" in about


def test_presets_are_listed_in_columns():
    lines = describe_presets(LAND_COVER).splitlines()
    assert len(lines) == len(LAND_COVER)
    assert len({line.index(LAND_COVER[line.split()[0]].about) for line in lines}) == 1


@pytest.mark.parametrize("name", PRESETS)
def test_values_of_a_preset_are_options(name):
    """Its sections are read as a configuration's are."""
    from bandweave.landcover.config import LandCoverConfig
    from bandweave.pansharp.config import SharpenConfig

    kind = LandCoverConfig if name in LAND_COVER else SharpenConfig
    read = kind.read({"model": name})
    for section, values in PRESETS[name].sections.items():
        assert {key: getattr(getattr(read, section), key) for key in values} == values
