"""The selective scan: one definition, any order, several engines. Tensors only."""

from bandweave.scan.engine import engine_name
from bandweave.scan.order import (
    ScanOrder,
    bidirectional_order,
    cross_order,
    forward_order,
)
from bandweave.scan.selective import selective_scan

__all__ = [
    "ScanOrder",
    "bidirectional_order",
    "cross_order",
    "engine_name",
    "forward_order",
    "selective_scan",
]
