"""Tables: what is bold, what is a dash, and what is said beside them."""

import csv
import io
import re

import pytest

from bandweave.comparison import tables
from bandweave.comparison.summary import summarise
from bandweave.comparison.tables import escape_tex, markdown_rows
from bandweave.landcover.comparison.plan import Plan
from bandweave.landcover.comparison.task import LandCoverTask
from bandweave.landcover.metrics import METRICS, MapMetric, map_metrics

TASK = LandCoverTask(Plan({}, {}, {}, ()))


def markdown(results):
    return tables.format_markdown(TASK, summarise(TASK, results))


def tex(results):
    return tables.format_tex(TASK, summarise(TASK, results))


def of(result, rights, **more):
    """Results of models by name, a seed for each number of right pixels."""
    return [
        result(model, seed, right, **more)
        for model, own in rights.items()
        for seed, right in enumerate(own)
    ]


CLEAR = {"good": [90, 91, 92, 90, 91], "bad": [50, 52, 51, 53, 50]}


def bold(results):
    return {
        row.model: {score for score, entry in row.scores.items() if entry.holds}
        for panel in summarise(TASK, results).panels
        for row in panel.rows
    }


def test_a_difference_that_holds_is_bold(result):
    results = of(result, CLEAR)
    assert bold(results) == {
        "good": set(map_metrics()),
        "bad": set(),
    }
    text = markdown(results)
    assert "| good | **90.80 ± 0.84** | **90.80 ± 0.84** | **81.60 ± 1.67** |" in text
    assert "| bad | 51.20 ± 1.30 |" in text
    assert "adjusted by Holm's method for the 1 pair of models in all tables" in text


def test_fewer_than_five_seeds_claim_nothing_and_say_so(result):
    four = {model: own[:4] for model, own in CLEAR.items()}
    assert bold(of(result, four))["good"] == set()
    assert "Nothing is bold: with 4 seeds no difference can be claimed" in markdown(
        of(result, four)
    )
    one = {model: own[:1] for model, own in CLEAR.items()}
    text = markdown(of(result, one))
    assert "| good | 90.00 | 90.00 |" in text, "one number has no deviation"
    assert "A single seed: nothing tells how much of a difference is chance" in text


def test_a_difference_that_does_not_hold_is_not_bold(result):
    near = {"one": [90, 80, 91, 85, 88], "other": [88, 82, 86, 86, 84]}
    assert bold(of(result, near)) == {"one": set(), "other": set()}
    assert "**" not in markdown(of(result, near))


def test_the_best_must_be_better_than_each_other(result):
    three = {**CLEAR, "close": [90, 91, 91, 90, 91]}
    assert bold(of(result, three))["good"] == set()


def test_the_size_of_the_test_side_counts(result):
    """The same differences hold against a training side of 100 pixels, not against one of 2."""
    scattered = {"one": [90, 80, 95, 85, 88], "other": [80, 76, 84, 80, 75]}
    assert "overall_accuracy" in bold(of(result, scattered, train=10_000))["one"]
    assert bold(of(result, scattered, train=2))["one"] == set()


def test_more_panels_are_more_comparisons(result):
    scattered = {"one": [90, 80, 95, 85, 88], "other": [80, 76, 84, 80, 75]}
    results = of(result, scattered, train=10_000)
    for number in range(40):
        results += of(result, {"one": [50] * 5, "other": [50] * 5}, scene=f"other-{number}")
    assert summarise(TASK, results[:10]).panels[0].rows[0].scores["overall_accuracy"].holds
    assert not summarise(TASK, results).panels[0].rows[0].scores["overall_accuracy"].holds
    assert "for the 41 pairs of models" in markdown(results)


def test_a_cell_that_failed_is_a_dash_with_a_footnote(result):
    rights = {**CLEAR, "broken": [None, 70, None, 71, 72]}
    results = of(result, rights)
    text = markdown(results)
    assert f"| broken |{' – [1] |' * len(map_metrics())} 3 |" in text
    assert (
        "[1] town, blocks, broken: seed 0, 2: it broke. Overall accuracy of those that are done"
        in text
    )
    assert "70.00 (seed 1), 71.00 (seed 3), 72.00 (seed 4)" in text
    assert bold(results)["good"], "the others are compared all the same"
    latex = tex(results)
    assert "-- [1]" in latex
    assert "[1] town, blocks, broken" in latex


def test_a_panel_in_which_nothing_is_done(result):
    text = markdown(of(result, {"one": [None], "other": [None]}))
    assert "no cell is done" in text
    assert "[2] town, blocks, other: seed 0: it broke" in text
    assert "\\end{table}" in tex(of(result, {"one": [None]}))


def test_latex_is_booktabs_and_escaped(result):
    text = tex(of(result, CLEAR))
    assert "\\toprule" in text
    assert text.count("\\midrule") == 2
    assert "a \\& b & 90.40 $\\pm$ 0.89 & 50.80" in text
    assert "b\\_c & " in text
    assert "OA & \\textbf{90.80 $\\pm$ 0.84} & 51.20 $\\pm$ 1.30 \\\\" in text
    assert "% good: runs/town/blocks/good/seed-*" in text
    assert "±" not in text


def test_what_must_stand_beside_the_numbers(result):
    text = markdown(of(result, CLEAR))
    assert "`runs/town/blocks/good/seed-*`" in text
    assert "| 1,234 | 7 px, 25 % |" in text
    assert "- Guard: 4 px (8 m)" in text
    assert "- Seeds: 0, 1, 2, 3, 4 (of split and training)" in text
    assert "- Hashes of the splits: 000000000000… (seed 0)" in text
    assert "Class 'absent' has no test pixel, and takes no part in the average accuracy" in text
    assert "| absent | – | – |" in text
    assert "- Note: Guard: 30 pixels unused (seed 0; alike with 1, 2, 3, 4)" in text
    fixed = markdown(of(result, CLEAR, name="official"))
    assert "of training; one split" in fixed


def test_csv_has_a_row_for_each_class_and_one_of_totals(result):
    results = of(result, {"one": [90, None]})
    rows = list(csv.DictReader(io.StringIO(tables.format_results(TASK, results))))
    assert [(row["seed"], row["row"], row["class"]) for row in rows] == [
        ("0", "class", "a & b"),
        ("0", "class", "b_c"),
        ("0", "class", "absent"),
        ("0", "total", ""),
        ("1", "total", ""),
    ]
    assert (rows[0]["train"], rows[0]["test"], rows[0]["accuracy"]) == ("60", "50", "0.9")
    assert rows[2]["accuracy"] == "", "no pixel, no accuracy"
    assert (rows[3]["overall_accuracy"], rows[3]["parameters"]) == ("0.9", "1234")
    assert rows[3]["run"] == "runs/town/blocks/one/seed-0"
    assert rows[4]["failed"] == "it broke"
    assert not {"seconds", "time"} & set(rows[0]), "what depends on when is in times.csv"
    times = list(csv.DictReader(io.StringIO(tables.format_times(TASK, results))))
    assert [(row["seed"], row["train"], row["cpu"]) for row in times] == [("0", "2.0", "c")]


@pytest.mark.parametrize("name", ["[2pt]", "*", "*[9cm]", "a & b%", "\\input{x}", "{x", "~^#$_"])
def test_no_name_is_a_command_of_latex(name):
    text = escape_tex(name)
    bare = re.sub(r"\\textbackslash\{\}|\\textascii(tilde|circum)\{\}|\\[&%$#_{}]", "", text)
    bare = re.sub(r"\{[\[\]*]\}", "", bare)  # a star or bracket in braces is no option of `\\`
    assert not set(bare) & set("\\{}[]*&%$#_~^")


def test_a_cell_of_markdown_stays_in_its_cell():
    lines = markdown_rows(["a|b"], [["c\n| d"]])
    assert lines == ["| a\\|b |", "|---|", "| c \\| d |"]


def test_a_score_that_was_not_known_when_results_were_kept_is_a_dash(result, monkeypatch):
    results = of(result, CLEAR)
    row = MapMetric(name="own", symbol="own", compute=lambda scores: 0.5)
    monkeypatch.setitem(METRICS, "own", row)
    assert "| good | **90.80 ± 0.84** | **90.80 ± 0.84** | **81.60 ± 1.67** |" in markdown(results)
    assert "– | 5 |" in markdown(results)
