"""What is bold among sharpening methods, and what is said where nothing is."""

import re

import numpy as np

from bandweave.comparison import summary, tables
from bandweave.comparison.plan import Cell
from bandweave.comparison.results import Result
from bandweave.pansharp.comparison.plan import Options, Plan
from bandweave.pansharp.comparison.task import SharpeningTask
from bandweave.pansharp.scores.names import FULL, REDUCED

TASK = SharpeningTask(Plan({}, [], [], {}, Options(), ()), {})

PAIRS = np.arange(6.0)  # what a pair adds to a score: large beside what methods differ by


def of(model, psnr, classical=False):
    """Results whose PSNR is psnr (seeds, pairs); all other scores are alike."""
    values = np.atleast_2d(psnr)
    found = []
    for seed, row in enumerate(values):
        scores = {
            f"p{i}": {
                "reduced": {**dict.fromkeys(REDUCED, 0.5), "psnr": float(value)},
                "full": dict.fromkeys(FULL, 0.5),
            }
            for i, value in enumerate(row)
        }
        depends = {
            "lines": [["Sensor", "s (a, b)"], ["Peak", "255"]],
            "ratio": 2,
            "registered": True,
            "notes": ["band 2 is outside PAN"],
        }
        seconds = {"train": None if classical else 3.0}
        facts = {"seconds": seconds, "parameters": None if classical else 1000}
        cell = Cell((), model, None if classical else seed, {})
        values = {(p,): {pair: own[p] for pair, own in scores.items()} for p in ("reduced", "full")}
        took = {"reduced": 1.0, "full": 2.0}
        details = {pair: {"facts": depends, "seconds": took} for pair in scores}
        found.append(Result(cell, facts, values, details))
    return found


def summarise(results):
    return summary.summarise(TASK, results)


def markdown(found):
    return tables.format_markdown(TASK, found)


def tex(found):
    return tables.format_tex(TASK, found)


def jitter(seeds, pairs=6, size=0.05, key=0):
    return size * np.random.default_rng(key).standard_normal((seeds, pairs))


def bold(results):
    panel = summarise(results).panels[0]
    return [row.model for row in panel.rows if row.scores["psnr"].holds]


def test_a_difference_over_seeds_and_pairs_is_bold():
    good = of("good", 30 + PAIRS + jitter(5))
    results = [*good, *of("bad", 29 + PAIRS + jitter(5, key=1)), *of("gsa", 29 + PAIRS, True)]
    assert bold(results) == ["good"]
    found = summarise(results)
    assert not any(row.scores["q"].holds for row in found.panels[0].rows), "all the same"
    text = markdown(found)
    assert re.search(r"\| good \| \*\*32\.\d\d ± 0\.\d\d\*\* \|", text)
    assert "for the 3 pairs of methods" in text
    assert "of other pairs like these 6" in text
    assert "- Note: Band 2 is outside PAN" in text
    latex = tex(found)
    assert "good & \\textbf{32." in latex
    assert "min F$'$" in latex
    assert "Q2$^n$ $\\uparrow$ & SCC" in latex
    assert latex.count("{") == latex.count("}")


def test_a_difference_on_some_pairs_only_is_not_bold():
    """Every seed agrees, but pairs do not: on other pairs it may be otherwise."""
    helped = np.array([3.0, 3, 3, -1, -1, 0])
    assert bold([*of("a", 30 + helped + jitter(9)), *of("b", 30 + jitter(9, key=1))]) == []


def test_a_difference_of_some_seeds_only_is_not_bold():
    lucky = np.array([[3.0], [3], [-1], [-1], [0]])
    assert bold([*of("a", 30 + lucky + jitter(5, 9)), *of("b", 30 + jitter(5, 9, key=1))]) == []


def test_fewer_than_five_seeds_or_pairs_claim_nothing_and_say_so():
    few = [*of("good", 40 + jitter(4)), *of("gsa", 30 + PAIRS, True)]
    assert bold(few) == []
    assert "Nothing is bold: with 4 seeds no difference" in summarise(few).claims
    few = [*of("good", 40 + jitter(5, 4)), *of("gsa", 30 + PAIRS[:4], True)]
    assert bold(few) == []
    assert "Nothing is bold: 4 test pairs cannot tell" in summarise(few).claims
    one = summarise([*of("good", 40 + jitter(1)), *of("gsa", 30 + PAIRS, True)])
    assert one.notes[0].startswith("A single seed: nothing tells")


def test_classical_methods_alone_are_compared_over_pairs():
    gsa = of("gsa", 31 + PAIRS + jitter(1), True)
    assert bold([*gsa, *of("ihs", 30 + PAIRS, True)]) == ["gsa"]
    assert "±" not in "".join(map(str, summarise(gsa).panels[0].rows[0].scores.values()))


def test_a_lower_error_is_the_better_one():
    results = [*of("a", 30 + jitter(5)), *of("b", 30 + jitter(5, key=1))]
    for result in results[:5]:
        for pair, found in enumerate(result.values["reduced",].values()):
            found["ergas"] = 0.3 + 0.01 * pair + 0.001 * result.cell.seed
    panel = summarise(results).panels[0]
    assert [row.scores["ergas"].holds for row in panel.rows] == [True, False]


def test_a_pair_without_a_score_counts_for_none():
    results = [*of("a", 30 + PAIRS, True), *of("b", 30 + PAIRS, True)]
    results[0].values["reduced",]["p5"]["psnr"] = np.nan
    panel = summarise(results).panels[0]
    assert [row.scores["psnr"].mean for row in panel.rows] == [32.0, 32.0]
    assert panel.notes == ["PSNR: without p5, where a method has none"]
    assert str(panel.rows[0].parts[5]) == "–"


def test_a_perfect_image_is_no_error():
    results = [*of("a", np.full(6, np.inf), True), *of("b", 30 + PAIRS, True)]
    assert bold(results) == []
    assert "| a | ∞ |" in markdown(summarise(results))


def test_a_failed_seed_is_a_dash_and_the_others_stand_in_the_note():
    results = of("a", 30 + PAIRS + np.zeros((5, 1)))
    results[2] = Result(results[2].cell, failed="out of luck")
    found = summarise([*results, *of("gsa", 20 + PAIRS, True)])
    assert bold([*results, *of("gsa", 20 + PAIRS, True)]) == []
    assert found.footnotes[0].startswith(
        "a: seed 2: out of luck. PSNR of those that are done: 32.50"
    )
    assert "| a | – [1] |" in markdown(found)
    assert "a & -- [1] &" in tex(found)


def test_nothing_done():
    found = summarise([Result(Cell((), "gsa", None, {}), failed="it broke")])
    assert "| gsa | – [1] |" in markdown(found)
    assert tex(found).count("-- [1]") > 7
