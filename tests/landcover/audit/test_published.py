"""Published scores against their benchmark: what the field's tables are known to hold, and more."""

import numpy as np
import pytest
import yaml
from scipy.io import savemat

from bandweave.cli.main import main
from bandweave.data.benchmarks.catalogue import describe
from bandweave.errors import ConfigError, GridMismatch
from bandweave.landcover.audit.published import read_published
from bandweave.landcover.audit.published_checks import audit_published

HOUSTON = describe("houston2013").classes.values()
TRAIN, TEST = ([getattr(each, side) for each in HOUSTON] for side in ("train", "test"))
TABLE_VIII = {  # M³amba on Houston 2013
    "benchmark": "houston2013",
    "accuracy": [100.0, 100.0, 100.0, 100.0, 99.90, 92.65, 99.81, 97.93, 98.87, 99.48, 99.20, 73.50,
                 99.25, 99.69, 99.57],
    "overall_accuracy": 97.31,
    "average_accuracy": 97.32,
    "kappa": 97.11,
}  # fmt: skip
TABLE_IX = {  # M³amba on Augsburg, rows as printed
    "benchmark": "augsburg",
    "classes": ["forest", "commercial area", "residential area", "industrial area", "low plants",
                "allotment", "water"],
    "accuracy": [99.63, 99.24, 85.19, 99.60, 95.39, 81.29, 92.89],
    "overall_accuracy": 98.19,
    "average_accuracy": 93.32,
}  # fmt: skip


@pytest.fixture
def audit(tmp_path):
    """audit(content): the findings on a YAML file, as text by kind."""

    def run(content):
        path = tmp_path / "published.yaml"
        path.write_text(yaml.safe_dump(content))
        found = {"fits": [], "differs": [], "unknown": []}
        for finding in audit_published(read_published(path)):
            found[finding.kind].append(finding.message)
        return found

    return run


def test_sixteen_copies_of_the_training_labels(audit):
    supports = [16 * count - 96 // 15 for count in TRAIN]  # less what the border cut off
    found = audit({"benchmark": "houston2013", "supports": supports})
    (message,) = found["differs"]
    assert f"{sum(supports)} pixels were scored, the test mask has 12197" in message
    assert "16 times the training counts" in message
    assert "the training labels were scored" in message


def test_the_houston_table_follows_from_training_counts(audit):
    found = audit(TABLE_VIII)
    (message,) = found["differs"]
    assert "give an overall accuracy of 97.20 %, printed is 97.31 %" in message
    assert "it follows from the training counts" in message
    assert "average to 97.32 %, as printed" in found["fits"][0]


def test_the_augsburg_rows_stand_in_another_order(audit):
    (message,) = audit(TABLE_IX)["differs"]
    assert "92.31 %, printed is 98.19 %" in message
    assert "own order of classes (forest, residential area, industrial area, low plants" in message
    assert "give 98.21 %" in message


def test_an_honest_table_fits(audit):
    rng = np.random.default_rng(0)
    matrix = np.diag(TEST) + 0
    for row in matrix:
        wrong = rng.integers(1, 20)
        k = int(row.argmax())
        row[k] -= wrong
        row[(k + 1) % 15] += wrong
    accuracy = np.diagonal(matrix) / matrix.sum(1)
    expected = matrix.sum(0) @ matrix.sum(1) / matrix.sum() ** 2
    overall = np.trace(matrix) / matrix.sum()
    content = {
        "benchmark": "houston2013",
        "confusion": matrix.tolist(),
        "accuracy": accuracy.round(4).tolist(),
        "overall_accuracy": float(overall.round(4)),
        "average_accuracy": float(accuracy.mean().round(4)),
        "kappa": float(((overall - expected) / (1 - expected)).round(4)),
    }
    found = audit(content)
    assert not found["differs"]
    assert len(found["fits"]) == 7
    for name in ("overall_accuracy", "average_accuracy", "kappa"):
        spoilt = audit({**content, name: content[name] - 0.01})
        assert any(name.replace("_", " ") in message for message in spoilt["differs"])
    spoilt = audit({**content, "accuracy": (matrix.diagonal() / matrix.sum(0)).tolist()})
    assert any("(precision)" in message for message in spoilt["differs"])


def test_counts_more_than_once(audit):
    supports = [9 * n for n in TEST]
    (message,) = audit({"benchmark": "houston2013", "supports": supports})["differs"]
    assert "9 times the test counts: pixels were counted more than once" in message
    assert not audit({"benchmark": "houston2013", "supports": TEST})["differs"]
    missing = [TEST[0] - 40, *TEST[1:]]
    (message,) = audit({"benchmark": "houston2013", "supports": missing})["differs"]
    assert "1 of 15 supports differ, such as healthy grass with 1013 instead of 1053" in message
    assert "more than once" not in message


def test_any_order_is_tried_where_the_benchmark_is_unknown(audit):
    content = {"supports": [10, 100, 1000], "accuracy": [0.9, 0.5, 0.1], "overall_accuracy": 0.8568}
    (message,) = audit(content)["differs"]
    assert "1 of 6 orders of the classes would give it" in message
    (message,) = audit({**content, "overall_accuracy": 0.7})["differs"]
    assert "none of 6 orders" in message


def masks(tmp_path, overlap=0):
    train, test = np.zeros((2, 10, 12), np.uint8)
    train[:3] = [[1] * 6 + [2] * 6]
    test[5:] = [[1] * 6 + [2] * 6]
    train[5, :overlap] = 1
    savemat(tmp_path / "gt.mat", {"tr": train, "te": test})
    return train, test


def entry(name):
    return {"path": "gt.mat", "key": name}


def test_a_map_and_its_masks(audit, tmp_path):
    train, test = masks(tmp_path, overlap=3)
    predicted = np.where(test > 0, test, train).astype(np.uint8)
    predicted[6, :6] = 2
    predicted[7, 0] = 0
    savemat(tmp_path / "map.mat", {"map": predicted})
    content = {
        "masks": {"train": entry("tr"), "test": entry("te")},
        "map": {"path": "map.mat"},
        "overall_accuracy": 100.0,
    }
    found = audit(content)
    text = "\n".join(found["differs"])
    assert "3 pixels are in both masks, 5.00 % of the test pixels" in text
    assert "1 of 60 test pixels have no class in the map" in text
    assert "on test pixels is 89.83 %, printed is 100.00 %, which is its score on the training" in (
        text
    )
    assert audit({**content, "overall_accuracy": 89.83})["fits"] == [
        "the map's overall accuracy on test pixels is 89.83 %, as printed"
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "says nothing that could be compared"),
        ({"benchmark": "houston"}, "did you mean 'houston2018'|did you mean 'houston2013'"),
        ({"benchmark": "houston2013", "supports": [1, 2]}, "2 entries for 15 classes"),
        ({"confusion": [[1, 2], [3]]}, "not square"),
        ({"supports": [1, -2]}, "not negative"),
        ({"accuracy": [99.0, 101.0]}, "shares, or percent"),
        ({**TABLE_IX, "classes": ["wood", *TABLE_IX["classes"][1:]]}, "no class 'wood'"),
        ({**TABLE_IX, "classes": ["forest"] * 7}, "name each of the 7 classes once"),
        ({"map": {"path": "map.mat"}}, "give `masks"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path, content, said):
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=said):
        read_published(path)


def test_masks_of_other_sizes(audit, tmp_path):
    masks(tmp_path)
    savemat(tmp_path / "map.mat", {"map": np.ones((4, 5), np.uint8)})
    with pytest.raises(GridMismatch, match="10×12 px and 4×5 px"):
        audit({"masks": {"train": entry("tr"), "test": entry("te")}, "map": {"path": "map.mat"}})


def test_the_command(tmp_path, capsys):
    path = tmp_path / "published.yaml"
    path.write_text(yaml.safe_dump(TABLE_VIII))
    assert main(["audit", "--published", str(path)]) == 1
    assert "differs: the accuracies per class and the test counts" in capsys.readouterr().out
    path.write_text("benchmark: houston2013\n")
    assert main(["audit", "--published", str(path)]) == 2
    assert "nothing in it can be compared" in capsys.readouterr().err
    assert main(["audit"]) == 2
    assert "what is to be audited" in capsys.readouterr().err
