"""The curves of a run's training, and the use of a routed model's experts over its steps.

A routed model's rows of history.csv hold a share for each expert, under `expert_NAME`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bandweave.landcover.report.findings import Findings
from bandweave.landcover.run import NetRun
from bandweave.report.curves import Curve, Shares, draw_curve, draw_shares
from bandweave.report.section import Section, fill_section
from bandweave.training.history import Row

EXPERT = "expert_"
NOT_A_LOSS = ("step", "loss", "accuracy", "validation", "gradient_norm", "lr", "seconds")
TEMPLATE = """
<div class="curves">
{% for curve, drawing in curves %}
<figure>
<figcaption><b>{{ curve.name.replace("_", " ") }}</b>{% if curve.percent %} <span>in %{% if curve.points is not none %}, on {{ samples }}; points: validation{% else %}, on {{ "validation pixels" if curve.name == "validation" else samples }}{% endif %}</span>{% endif %}</figcaption>
{{ drawing | safe }}
</figure>
{% endfor %}
{% if experts %}
<figure>
<figcaption><b>use of experts</b> <span>in % of what the routers chose</span></figcaption>
{{ experts | safe }}
</figure>
{% endif %}
</div>
"""  # noqa: E501


def show_training(found: Findings) -> Section | None:
    """The curves of loss, accuracy and validation over the steps of training."""
    curves = _make_curves(found.history)
    if not curves:
        return None
    assert isinstance(found.run, NetRun)  # only steps have a history
    experts = read_expert_shares(found.history)
    return fill_section(
        "Training",
        TEMPLATE,
        curves=[(curve, draw_curve(curve)) for curve in curves],
        samples="crops" if found.run.window else "whole parts",
        experts=draw_shares(experts) if experts else None,
    )


def _make_curves(rows: list[Row]) -> list[Curve]:
    """Make curves of the loss, each of its parts, and the accuracy with the validation's."""
    rows = [row for row in rows if "step" in row]
    names = list(dict.fromkeys(name for row in rows for name in row))

    def values(name: str) -> tuple[np.ndarray, np.ndarray]:
        pairs = [(row["step"], row[name]) for row in rows if name in row]
        x, y = (np.array(axis, float) for axis in zip(*pairs, strict=True))
        return x, y

    parts = [name for name in names if name not in NOT_A_LOSS and not name.startswith(EXPERT)]
    curves = [Curve(name, *values(name)) for name in ("loss", *parts) if name in names]
    validation = values("validation") if "validation" in names else None
    if "accuracy" in names:
        curves.append(
            Curve("accuracy", *values("accuracy"), validation, "validation", percent=True)
        )
    elif validation:
        curves.append(Curve("validation", *validation, percent=True))
    return curves


def read_expert_shares(rows: Sequence[Row]) -> Shares | None:
    """Read the shares of the choices that fell on each expert; None where none was chosen."""
    names = [name for name in (rows[0] if rows else {}) if name.startswith(EXPERT)]
    whole = [row for row in rows if "step" in row and all(name in row for name in names)]
    if not names or not whole:
        return None
    return Shares(
        "use of experts",
        np.array([row["step"] for row in whole]),
        {
            name.removeprefix(EXPERT).replace("_", " "): np.array([row[name] for row in whole])
            for name in names
        },
    )
