"""The scores of a run with their protocol, the baseline beside it, and what it was trained on."""

from __future__ import annotations

from bandweave.landcover.metrics import map_metrics
from bandweave.landcover.report.findings import Findings
from bandweave.landcover.report.protocol import describe_protocol
from bandweave.report.section import Section, fill_section

TEMPLATE = """
{% if scores %}
<section class="headline">
  <div class="scores">
{% for name, metric in metrics.items() %}
    <div class="score{{ ' lesser' if not loop.first }}"><b>{{ metric.text(values[name]) }}</b><span>{{ metric.name }}{% if loop.first and interval[0] %}, {{ interval[0] }}{% endif %}</span></div>
{% endfor %}
  </div>
  <div>
    {{ definitions(protocol) }}
  </div>
</section>
<p>Each of {{ scores.support.sum() | counted }} test {{ scores.unit }}s was counted once. {{ interval[1] }}
{% if other_scene %} They lie in the scene <b>{{ other_scene }}</b>, not in the one shown here.{% endif %}
{% if other_split %} This is not the split that the model was trained with: pixels it was trained on may be among them.{% endif %}</p>
{% if beside %}
<h3>Beside a baseline</h3>
{{ table(beside.heads, beside.rows) }}
<p class="soft">{{ beside.about }}</p>
{% elif lacking %}
<p class="soft">No baseline is shown: {{ lacking }}.</p>
{% endif %}
{% if objects %}
<h3>By object</h3>
<p>Each of {{ objects.support.sum() | counted }} test objects has the class of most of its test pixels:
{% for name, metric in metrics.items() %}{{ metric.name }} <b>{{ metric.text(by_object[name]) }}</b>{{ ", " if not loop.last }}{% endfor %}.</p>
{% endif %}
{% else %}
<p>This run has no scores. {% if has_labels %}<code>bandweave score</code> counts them on the test pixels of a split.{% else %}The scene has no labels to score a map by.{% endif %}</p>
{% endif %}
{% if not scores or other_split %}
<h3>What it was trained on</h3>
{{ definitions(trained) }}
{% endif %}
"""  # noqa: E501


def show_scores(found: Findings) -> Section:
    """The scores with the protocol beside them, by pixel and, for polygons and points, by object.

    Also what the run was trained on, and [a baseline](#the-baseline) beside the model.
    """
    scored = found.protocol.get("scene")
    return fill_section(
        "Scores",
        TEMPLATE,
        scores=found.pixels,
        values=found.pixels.overall() if found.pixels else {},
        objects=found.objects,
        by_object=found.objects.overall() if found.objects else {},
        metrics=map_metrics(),
        protocol=describe_protocol(found.protocol),
        interval=found.interval,
        other_scene=scored if scored != found.scene.name else None,
        other_split=found.other_split,
        beside=found.beside,
        lacking=found.lacking,
        has_labels=found.plates.has_labels,
        trained=describe_protocol(found.run.facts["protocol"]),
    )
