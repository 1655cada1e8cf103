"""Every model is fed with something that there is."""

import pytest
import torch

import bandweave as bw
from bandweave.errors import ConfigError
from bandweave.landcover.predict.feeding import SAMPLERS, STREAMS, make_sampler, seen_at_once
from bandweave.models import LAND_COVER


def test_what_every_model_is_fed_with_can_be_sampled_and_streamed():
    assert SAMPLERS.keys() == STREAMS.keys() - {"itself"}, "which is trained elsewhere"
    assert {preset.model.fed for preset in LAND_COVER.values()} <= SAMPLERS.keys()


def test_food_that_is_not_there():
    module = torch.nn.Linear(1, 1)
    module.fed = "cake"
    with pytest.raises(ConfigError, match="fed with 'cake'; there are crops"):
        make_sampler(module, None, None, None, None)


def test_what_is_seen_at_once():
    scene = bw.simulated_scene(seed=1, height=16, width=40, bands=4)
    assert seen_at_once(12, scene) == 12
    assert seen_at_once(0, scene) == 40
