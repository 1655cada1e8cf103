"""bandweave compare: models, scenes, splits and seeds, to a folder of runs and tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bandweave.cli.arguments import SCENE, add_common, add_folder
from bandweave.cli.comparison_options import (
    SceneComparisonFile,
    add_comparison,
    read_comparison,
)
from bandweave.cli.options import ConfigParser
from bandweave.data.samples.crops import SampleConfig
from bandweave.data.splits.protocols import SplitConfig
from bandweave.landcover.baselines.methods import METHODS
from bandweave.models import LAND_COVER
from bandweave.training.config import TrainConfig

USAGE = "--models A,B --scenes S,T [--splits official,blocks] [--seeds 10] --out DIR"
DESCRIPTION = f"""\
Train, map and score every model on every scene, split and seed, each in its own run folder, and
write results.csv, times.csv, table.md, table.tex and compare.html. The same command continues what
was stopped and repeats nothing that is finished; more models, scenes, splits or seeds may be added.

Models: {", ".join(LAND_COVER)};
classical methods on the same pixels: {", ".join(METHODS)}.
A seed draws the split, but for masks that are given, and trains the model.

--config FILE holds the same in YAML, and there a model or a split may have options of its own:

  models:
    m3amba_small: {{}}
    wide: {{model: m3amba_small, width: 128}}
    random_forest: {{}}
  scenes: [houston.yaml, trento.yaml]
  splits:
    official: {{}}
    far: {{name: blocks, size: 64, guard: 16, context: inductive}}
  seeds: 10

Exit status 1 says that some cells failed: the tables have dashes, with the reasons below."""

_OWN = {"folder": None, "no_maps": False, "no_features": False}
_EXAMPLES = {
    "models": "m3amba_small,random_forest",
    "scenes": "scene.yaml",
    "out": "tables",
}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of `compare`, over those of a configuration file."""
    lists = ("models", "scenes", "splits")
    return read_comparison(
        "compare", _make_parser(), argv, SceneComparisonFile, lists, _EXAMPLES, _OWN
    )


def run(args: argparse.Namespace) -> int:
    """Compare, and print the table."""
    from bandweave.landcover.comparison.comparing import compare

    made = compare(
        args.models,
        args.scenes,
        args.splits,
        args.seeds,
        args.out,
        folder=args.folder,
        options=args.sections,
        split_options=args.split,
        layers=args.layers,
        pca=args.pca,
        processes=args.processes,
        threads=args.threads,
        dask=args.dask,
        maps=not args.no_maps,
        features=not args.no_features,
        against=args.against,
        rows=args.rows,
        command=args.command,
        quiet=args.quiet,
    )
    print(made)
    return int(bool(made.failed))


def _make_parser() -> ConfigParser:
    parser = ConfigParser("compare", USAGE, DESCRIPTION)
    add_comparison(parser.parser)
    add = parser.parser.add_argument
    add("--scenes", type=str, help="between commas, each " + SCENE)
    add("--splits", type=str, help="names between commas (blocks)")
    add_folder(parser.parser)
    add("--layers", type=list[str], help="layers to use, as in hsi,lidar; all by default")
    add("--pca", type=dict[str, int], help="components of a layer for models, as in --pca.hsi 30")
    add("--no-maps", action="store_true", help="write no maps")
    add("--no-features", action="store_true", help="no pictures of features (t-SNE)")
    add_common(parser.parser)
    parser.add("split", SplitConfig(), "split: options of all splits that have a use for them")
    parser.add("samples", SampleConfig(), "samples: of all trained models, over their presets'")
    parser.add("train", TrainConfig(), "train: of all trained models, over their presets'")
    return parser
