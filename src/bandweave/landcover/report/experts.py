"""The use of a model's experts over the steps of training, as a drawing of the report.

A routed model's rows of history.csv hold a share for each expert, under `expert_NAME`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bandweave.report.curves import Shares
from bandweave.training.history import Row

PREFIX = "expert_"


def expert_shares(rows: Sequence[Row]) -> Shares | None:
    """The shares of the choices that fell on each expert; None where no expert was chosen."""
    names = [name for name in (rows[0] if rows else {}) if name.startswith(PREFIX)]
    whole = [row for row in rows if "step" in row and all(name in row for name in names)]
    if not names or not whole:
        return None
    return Shares(
        "use of experts",
        np.array([row["step"] for row in whole]),
        {
            name.removeprefix(PREFIX).replace("_", " "): np.array([row[name] for row in whole])
            for name in names
        },
    )
