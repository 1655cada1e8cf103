"""Every model is fed with something that there is."""

from typing import get_args

import pytest
import torch

import bandweave as bw
from bandweave.errors import ConfigError
from bandweave.landcover.predict.feeding import FEEDS, make_sampler, predictor_of, seen_at_once
from bandweave.landcover.predict.net import Net
from bandweave.models import LAND_COVER
from bandweave.models.contract import Feed


def test_what_every_model_is_fed_with_can_be_sampled_and_streamed():
    assert FEEDS.keys() == set(get_args(Feed))
    assert {preset.model.fed for preset in LAND_COVER.values()} <= FEEDS.keys()


def test_food_that_is_not_there():
    module = torch.nn.Linear(1, 1)
    module.fed = "cake"
    with pytest.raises(ConfigError, match="fed with 'cake'; there are crops"):
        make_sampler(module, None, None, None, None)
    with pytest.raises(ConfigError, match="fed with 'cake'"):
        predictor_of(Net(module, [], None, reference="", classes=1, window=1))


def test_what_is_seen_at_once():
    scene = bw.simulated_scene(seed=1, height=16, width=40, bands=4)
    assert seen_at_once(12, scene) == 12
    assert seen_at_once(0, scene) == 40
