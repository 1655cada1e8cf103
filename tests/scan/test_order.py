import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bandweave.errors import ScanError
from bandweave.scan import ScanOrder, bidirectional_order, cross_order, forward_order

SIZES = st.integers(1, 9)


@given(SIZES, SIZES)
def test_inverse_undoes_every_sequence(height, width):
    order = cross_order(height, width)
    natural = torch.arange(height * width).expand(4, -1)
    assert torch.equal(order.table.gather(1, order.inverse), natural)
    assert torch.equal(order.inverse.gather(1, order.table), natural)


@given(SIZES, SIZES)
def test_cross_order_walks_rows_and_columns(height, width):
    image = torch.arange(height * width).view(height, width)
    rows, columns, rows_back, columns_back = cross_order(height, width).table
    assert torch.equal(rows, image.flatten())
    assert torch.equal(columns, image.T.flatten())
    assert torch.equal(rows_back, image.flatten().flip(0))
    assert torch.equal(columns_back, image.T.flatten().flip(0))


@given(st.permutations(range(7)))
def test_any_permutation_is_an_order(row):
    order = ScanOrder([row])
    assert (order.sequences, order.tokens) == (1, 7)
    assert order.table[0, order.inverse[0]].tolist() == list(range(7))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ([[0, 1, 1]], "row 0.*2 is missing"),
        ([[0, 1, 2], [0, 1, 3]], "row 1.*2 is missing"),
        ([[0, -1, 1]], "row 0.*2 is missing"),
        ([0, 1, 2], r"not \(3,\)"),
        ([[0.0, 1.0]], "not of torch.float32"),
        ([[False, True]], "not of torch.bool"),
        (torch.empty(0, 3, dtype=torch.int64), "at least one sequence"),
        ("abc", "table of integers"),
    ],
)
def test_a_table_that_is_no_order_is_refused(table, said):
    with pytest.raises(ScanError, match=said):
        ScanOrder(table)


def test_the_table_is_a_copy():
    table = torch.tensor([[1, 0]])
    order = ScanOrder(table)
    table[0, 0] = 5
    assert order.table.tolist() == [[1, 0]]


def test_orders_are_made_once():
    assert cross_order(3, 4) is cross_order(3, 4)
    assert forward_order(5, 2) is forward_order(5, 2)
    assert bidirectional_order(5) is bidirectional_order(5)
    order = cross_order(3, 4)
    assert order.on("cpu")[1] is order.on(torch.device("cpu"))[1]


def test_negative_sizes_are_refused():
    with pytest.raises(ScanError, match="height = -1"):
        cross_order(-1, 3)
    with pytest.raises(ScanError, match="sequences = 0"):
        forward_order(3, 0)


def test_an_order_made_while_predicting_serves_training():
    with torch.inference_mode():
        order = cross_order(3, 23)
        order.on("cpu")
    assert not any(tensor.is_inference() for tensor in (order.table, *order.on("cpu")))
