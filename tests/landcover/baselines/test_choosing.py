"""What options are chosen on: folds of pixels, blocks or parts."""

import numpy as np
import pytest

import bandweave as bw
from bandweave.data.splits.splitting import TRAIN
from bandweave.errors import SplitError
from bandweave.landcover.baselines.choosing import choose, number_places
from bandweave.landcover.baselines.methods import METHODS


def test_places_are_blocks_of_the_split_or_parts():
    scene = bw.simulated_scene(seed=0, height=48, width=56)
    split = bw.split(scene, "blocks", size=8, guard=1, drop=True)
    places, (rows, cols) = number_places(split), np.nonzero(split.roles[0] == TRAIN)
    blocks = rows // 8 * 7 + cols // 8
    both = np.unique(np.stack([places, blocks]), axis=1)
    assert np.unique(places).size == np.unique(blocks).size == both.shape[1]
    parts = bw.simulated_scene(seed=0, height=16, width=16, parts=14)
    split = bw.split(parts, "parts", drop=True)
    trained = [index for index, roles in enumerate(split.roles) if (roles == TRAIN).any()]
    assert np.unique(number_places(split)).tolist() == trained


def test_too_few_blocks_are_said():
    scene = bw.simulated_scene(seed=0, height=48, width=56)
    split = bw.split(scene, "blocks", size=8, guard=1, drop=True)
    roles = np.zeros_like(split.roles[0])
    roles[:3, :3] = TRAIN
    object.__setattr__(split, "roles", (roles,))
    with pytest.raises(SplitError, match=r"lie in 1 blocks of 4 px.*folds: pixels"):
        number_places(split)


def test_blocks_see_through_what_neighbours_give_away():
    """A value tells the class of seven places in ten; pixels of a place are alike."""
    rng = np.random.default_rng(0)
    places, heights = np.repeat(np.arange(160), 3), rng.normal(size=160)
    labels = ((heights > 0) ^ (rng.random(160) < 0.3)).astype(np.int16)[places]
    values = heights[places, None] + 1e-6 * rng.normal(size=(480, 1))
    asked = METHODS["knn"], METHODS["knn"].config, values, labels
    chosen = [choose(*asked, own, 0, 1)[0]["on__n_neighbors"] for own in (None, places)]
    assert chosen == [1, 15]


@pytest.mark.parametrize("name", ["svm", "gradient_boosting"])
def test_what_can_not_be_held_back_leaves_the_first_choice(name):
    method = METHODS[name]
    values, labels = np.eye(4, 3, dtype=np.float32), np.array([0, 1, 0, 1], np.int16)
    chosen, slope = choose(method, method.config, values, labels, None, 0, 1)
    assert [*chosen.values()] == [v[0] for v in method.choices(method.config, 3, 4).values()]
    assert slope == 1
