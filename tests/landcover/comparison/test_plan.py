"""What is compared is checked before anything is trained."""

import pytest

from bandweave.errors import ConfigError, SplitError
from bandweave.landcover.comparison.plan import Plan, read_cell_config

SCENES = {"town": ("simulated:0", None)}


def plan(models=("knn",), splits=("blocks",), seeds=2, scenes=SCENES, **more):
    return Plan.make(models, scenes, splits, seeds, **more)


def test_every_cell_in_the_order_of_the_table():
    made = plan(["m3amba_tiny", "knn"], ["blocks", "given"], [3, 5])
    assert [str(cell) for cell in made.cells()] == [
        f"town, {split}, {model}, seed {seed}"
        for split in ("blocks", "given")
        for model in ("m3amba_tiny", "knn")
        for seed in (3, 5)
    ]


def test_a_seed_draws_the_split_unless_masks_are_given():
    cells = list(plan(["m3amba_tiny"], ["blocks", "given"], [3]).cells())
    assert [cell.work["split"]["seed"] for cell in cells] == [3, 0]
    assert [cell.work["config"]["train"]["seed"] for cell in cells] == [3, 3]


def test_options_reach_whom_they_are_for():
    made = plan(
        {"wide": {"model": "m3amba_tiny", "width": 64}, "m3amba_tiny": None, "svm": {}},
        {"near": {"name": "blocks", "guard": 0}, "blocks": {}, "given": {}},
        shared={"train": {"steps": 7}, "layers": ["hsi"]},
        split_options={"guard": 3, "train": 0.4},
    )
    assert made.models["wide"]["model"]["width"] == 64
    assert made.models["m3amba_tiny"]["model"]["width"] == 32
    assert {name: config.get("train", {}).get("steps") for name, config in made.models.items()} == {
        "wide": 7,
        "m3amba_tiny": 7,
        "svm": None,
    }
    assert {config["layers"][0] for config in made.models.values()} == {"hsi"}
    assert {name: (s["guard"], s["train"]) for name, s in made.splits.items()} == {
        "near": (0, 0.4),
        "blocks": (3, 0.4),
        "given": (3, 0.5),
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"models": ["m3amba_tniy"]}, "no model 'm3amba_tniy'; did you mean 'm3amba_tiny'?"),
        ({"models": ["random_forst"]}, "did you mean 'random_forest'?"),
        ({"models": ["knn", "knn"]}, "the model 'knn' is named twice"),
        ({"models": []}, "nothing to compare: name some models"),
        ({"splits": ["blcks"]}, "no split 'blcks'; did you mean 'blocks'?"),
        (
            {"splits": {"blocks": {"gaurd": 3}}},
            "blocks.gaurd: no such option; did you mean 'guard'",
        ),
        ({"split_options": {"per_class": 5}}, "none of the splits has a use for 'per_class'"),
        ({"models": {"a": {"model": "m3amba_tiny", "stpes": 3}}}, "a: stpes: no such option; did"),
        ({"models": {"a": {"model": "m3amba_tiny", "seed": 3}}}, "the seeds are those of the comp"),
        (
            {"models": {"a": {"model": "svm", "steps": 3}}},
            "steps: a classical method has no use for it",
        ),
        ({"models": {"a b": {"model": "svm"}, "a_b": {"model": "knn"}}}, "make the same folder"),
        ({"seeds": 0}, "seeds 0: give how many"),
        ({"seeds": [1, 1]}, "different whole numbers"),
    ],
)
def test_what_does_not_exist_is_named(given, told):
    with pytest.raises(ConfigError, match=told.replace("?", r"\?")):
        plan(**given)


def test_a_split_without_a_test_side_is_refused():
    with pytest.raises(SplitError, match="'all' has no test side"):
        plan(splits=["all"])


def test_classical_methods_have_options_too():
    models = {"few": {"model": "random_forest", "trees": 20}, "knn": {"layers": ["hsi"]}}
    few, knn = (read_cell_config(cell) for cell in plan(models, seeds=[3]).cells())
    assert (few.name, few.model.trees, few.train.seed) == ("random_forest", 20, 3)
    assert (knn.name, knn.layers) == ("knn", ["hsi"])
