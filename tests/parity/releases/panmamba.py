"""Pan-Mamba, with the release's ways: residuals dropped, norms twice, nearest pixels."""

from parity_release import Release

from bandweave.models.panmamba import STREAMS, PanMamba, PanMambaConfig

LAYERS = 16  # of a kind; no file has more
BRANCHES = (  # of a cross layer: of MS, and of PAN; ours, and the release's names
    {
        "in_proj": "in_proj", "conv": "conv1d", "x_proj": "x_proj", "dt_proj": "dt_proj",
        "A_log": "A_log", "D": "D",
    },
    {
        "in_proj": "in_proj_extra", "conv": "conv1d_b", "x_proj": "x_proj_b",
        "dt_proj": "dt_proj_b", "A_log": "A_b_log", "D": "D_b",
    },
)  # fmt: skip


def build(numbers):
    w = numbers.weights
    width, bands = w["ms_encoder.0.weight"].shape[:2]
    cross = "deep_fusion1.cross_mamba"
    channels, state = w[f"{cross}.A_log"].shape
    config = PanMambaConfig(
        width=width,
        residuals=_count(w, "ms_encoder.{}.conv_1.weight", 1),
        single_layers=_count(w, "ms_feature_extraction.{}.norm.body.weight", 0),
        swaps=_count(w, "swap_mamba{}.norm1.body.weight", 1),
        cross_layers=_count(w, "deep_fusion{}.dwconv.weight", 1),
        state=state,
        expand=(channels + 0.5) / width,
        kernel=w[f"{cross}.conv1d.weight"].shape[-1],
        residual="dropped",
        cross_norms=2,
        upsampling="nearest",
        attention_width=w["output.process.0.conv_du.0.weight"].shape[0],
    )
    return PanMamba(
        bands, config, numbers.inputs["pan"].shape[-1] // numbers.inputs["ms"].shape[-1]
    )


def _count(w, name, first):
    number = 0
    while name.format(first + number) in w:
        number += 1
    return number


def translate(theirs, numbers):
    ours = {}

    def take(here, there):
        for kind in ("weight", "bias"):
            ours[f"{here}.{kind}"] = theirs[f"{there}.{kind}"]

    def take_branch(here, there, names=BRANCHES[0]):
        ours[f"{here}.in_proj.weight"] = theirs[f"{there}.{names['in_proj']}.weight"]
        take(f"{here}.conv", f"{there}.{names['conv']}")
        ours[f"{here}.stream.project"] = theirs[f"{there}.{names['x_proj']}.weight"][None]
        ours[f"{here}.stream.step_weight"] = theirs[f"{there}.{names['dt_proj']}.weight"].T[None]
        ours[f"{here}.stream.step_bias"] = theirs[f"{there}.{names['dt_proj']}.bias"][None]
        ours[f"{here}.stream.A_log"] = theirs[f"{there}.{names['A_log']}"][None]
        ours[f"{here}.stream.D"] = theirs[f"{there}.{names['D']}"][None]

    def take_layer(here, there):
        take_branch(here, there)
        ours[f"{here}.out_proj.weight"] = theirs[f"{there}.out_proj.weight"]

    for s, stream in enumerate(STREAMS):
        take(f"encoders.{stream}.in_proj", f"{stream}_encoder.0")
        for i in range(_count(theirs, f"{stream}_encoder.{{}}.conv_1.weight", 1)):
            there = f"{stream}_encoder.{i + 1}"
            for place, name in ((0, "conv_1"), (2, "norm"), (3, "conv_2")):
                take(f"encoders.{stream}.units.{i}.{place}", f"{there}.{name}")
        ours[f"to_tokens.{stream}.weight"] = theirs[f"{stream}_to_token.proj.weight"].flatten(1)
        ours[f"to_tokens.{stream}.bias"] = theirs[f"{stream}_to_token.proj.bias"]
        for i in range(_count(theirs, f"{stream}_feature_extraction.{{}}.norm.body.weight", 0)):
            here, there = f"single.{stream}.layers.{i}", f"{stream}_feature_extraction.{i}"
            take(f"{here}.norm", f"{there}.norm.body")
            take_layer(f"{here}.mamba", f"{there}.encoder")
        for i in range(_count(theirs, "swap_mamba{}.norm1.body.weight", 1)):
            here, there = f"swaps.{i}", f"swap_mamba{i + 1}"
            take(f"{here}.norms.{s}", f"{there}.norm{s + 1}.body")
            take_layer(f"{here}.mambas.{s}", f"{there}.{stream}encoder")
        take(f"fuse.{stream}", f"shallow_fusion{s + 1}")
        for i in range(_count(theirs, "deep_fusion{}.dwconv.weight", 1)):
            here, there = f"cross.{i}", f"deep_fusion{i + 1}"
            take(f"{here}.norms.{s}", f"{there}.norm{s + 1}.body")
            take_branch(f"{here}.meet.branches.{s}", f"{there}.cross_mamba", BRANCHES[s])
    for i in range(_count(theirs, "deep_fusion{}.dwconv.weight", 1)):
        here, there = f"cross.{i}", f"deep_fusion{i + 1}"
        ours[f"{here}.meet.out_proj.weight"] = theirs[f"{there}.cross_mamba.out_proj.weight"]
        take(f"{here}.conv", f"{there}.dwconv")
    take("tail.refine", "output.conv_in")
    for part, name in (("branch", "process"), ("excite", "conv_du")):
        for place in (0, 2):
            take(f"tail.attention.{part}.{place}", f"output.process.0.{name}.{place}")
    take("tail.out_proj", "output.conv_last")
    return ours


def _channels_first(x):
    return x.permute(0, 3, 1, 2)


def _as_it_is(x):
    return x


def _first(pair):
    return pair[0]


def _of_stream(s):
    return lambda given: given[0][s]


MIDDLE = {"shallow1": ("fuse.ms", _as_it_is), "tail": ("tail", _as_it_is)}
for s, stream in enumerate(STREAMS):
    MIDDLE[f"{stream}_encoder"] = (f"encoders.{stream}", _channels_first)
    MIDDLE[f"single_{stream}"] = (f"single.{stream}", _first)
    MIDDLE |= {f"swap{i + 1}_{stream}": (f"swaps.{i}", _of_stream(s)) for i in range(LAYERS)}
for i in range(LAYERS):
    MIDDLE[f"cross{i + 1}"] = (f"cross.{i}", _first)
    MIDDLE[f"cross{i + 1}_mamba"] = (f"cross.{i}.meet", _as_it_is)

RELEASE = Release(
    "panmamba", build, translate,
    lambda net, given: {"hrms": net(given["ms"], given["pan"]).image}, MIDDLE,
    double=(1e-9, 1e-8), single=(1e-3, 3e-3),
)  # fmt: skip
