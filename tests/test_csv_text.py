"""Tables as CSV: no cell is a formula, and numbers stay numbers."""

import csv
import io

import pytest

from bandweave.csv_text import format_csv, format_csv_cell


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd", "-name", "@sum", "\t=1", "\rx", "\n=1", " =1", "＝1", "-1+2", "=-1.5"]
)
def test_a_formula_is_text(text):
    safe = "'" + text.replace("\r", " ")
    assert format_csv_cell(text) == safe
    rows = list(csv.reader(io.StringIO(format_csv([text], [{text: text}]), newline="")))
    assert rows == [[safe], [safe]]


@pytest.mark.parametrize("value", [-1.5, "-1.5", -3, "+2", "-1e-05", "a=b", "x-y", "'", 1e-9])
def test_others_are_as_they_are(value):
    assert format_csv_cell(value) == str(value)


def test_nothing_is_empty():
    assert format_csv(["a", "b"], [{"a": None, "b": float("nan"), "c": 1}, {}]) == "a,b\n,\n,\n"
