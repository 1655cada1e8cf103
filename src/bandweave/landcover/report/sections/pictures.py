"""The pictures of a run: scene, labels, map, where it is right and wrong, confidence."""

from __future__ import annotations

from bandweave.landcover.report.colours import RIGHT_COLOUR, WRONG_COLOUR, confidence_ramp
from bandweave.landcover.report.findings import Findings
from bandweave.landcover.report.reduced import choose_bands
from bandweave.report.section import Section, fill_section
from bandweave.report.words import percent

TEMPLATE = """
{% if not plates.has_map %}
<p class="soft">There is no map of this scene in the report. <code>bandweave map</code> makes one.</p>
{% endif %}
{% if plates.parts == 1 %}
{% set plate = plates.shown[0] %}
<div class="plate {{ plates.shape or ("four" if plate.main | length > 6) }}{{ ' one' if plate.main | length == 1 }}">
{% for picture in plate.main %}
{{ figure(picture, picture.title ~ " of " ~ scene.name, plate.ground) }}
{% endfor %}
</div>
{% if plate.ground.corners %}
<p class="soft">{{ plate.ground.corners }}</p>
{% endif %}
{% else %}
<div class="parts">
{% if plates.shown | length < plates.parts %}
<p class="soft">{{ plates.shown | length }} of {{ plates.parts | counted }} parts, those with test pixels before others.</p>
{% endif %}
{% if bands %}
<p class="soft">{{ scene.reference }} is shown in {{ bands }}.</p>
{% endif %}
{% for plate in plates.shown %}
<h3>{{ plate.name }}</h3>
{% if plate.ground.corners %}
<p class="soft">{{ plate.ground.corners }}</p>
{% endif %}
<div class="plate">
{% for picture in plate.main %}
{{ figure(picture, picture.title ~ " of " ~ plate.name, plate.ground) }}
{% endfor %}
{% for picture in plate.layers %}
{{ figure(picture, "layer " ~ picture.title ~ " of " ~ plate.name) }}
{% endfor %}
</div>
{% endfor %}
</div>
{% endif %}
{{ legend(classes) }}
{% if plates.label_classes %}
<p class="soft">The labels have classes of their own:</p>
{{ legend(plates.label_classes) }}
{% endif %}
{% if plates.has_confidence %}
<div class="ramp"><span>confidence {{ least_confidence }}</span><i></i><span>100 %</span></div>
{% endif %}
{% if plates.tested %}
<ul class="legend"><li>{{ swatch(right_colour) }}right</li><li>{{ swatch(wrong_colour) }}wrong, on test pixels</li></ul>
{% endif %}
{% if plates.parts == 1 and plates.shown[0].layers %}
<h3>Other layers</h3>
<div class="plate small">
{% for picture in plates.shown[0].layers %}
{{ figure(picture, "layer " ~ picture.title) }}
{% endfor %}
</div>
{% endif %}
<p class="soft">Images are stretched from the 2nd to the 98th percentile of each band; grey is no data.</p>
"""  # noqa: E501
STYLE = """
.ramp { display: flex; align-items: center; gap: .6rem; color: var(--soft); font-size: .92em; }
.ramp i { width: 11rem; height: .8rem; border-radius: 2px; background: linear-gradient(to right, {{ ramp | join(", ") }}); }
"""  # noqa: E501


def show_pictures(found: Findings) -> Section:
    """The image, labels, map, where it is right and wrong, and the confidence, if the map has one.

    Large scenes are read reduced; single labels are drawn as dots. The image is in true colour
    where bands lie within 40 nm of 660, 560 and 480 nm, and the page says which it is. A scale bar
    in metres on the ground (of degrees too) and the corners in the CRS stand under the pictures of
    what has a place.
    """
    plates, scene = found.plates, found.scene
    title = "Map" if plates.has_map else "Scene"
    return fill_section(
        f"{title} and truth" if plates.has_labels else title,
        TEMPLATE,
        STYLE,
        plates=plates,
        scene=scene,
        bands=choose_bands(scene.layers[scene.reference]).words,
        classes=found.run.classes,
        ramp=confidence_ramp(),
        least_confidence=percent(1 / len(found.run.classes), 0),
        right_colour=RIGHT_COLOUR,
        wrong_colour=WRONG_COLOUR,
    )
