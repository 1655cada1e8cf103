"""How long a net is trained: as long as pixels of the training side that are held out say.

No length is right for every scene: what is too short for one has learnt another by heart. So a
first training goes without a part of the training side, whose score is taken along the way. Its
learning rate stays and its weights are averaged, so that every step could have been the last. The
net is then trained again, on the whole training side, for as long as was best.

A few blocks or plots do not tell lengths apart that score nearly alike. Of all lengths that are not
worse than the best one by more than chance, the one in the middle is taken: a score that stays the
same from early on speaks for no short training.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from bandweave.data.scene import Scene
from bandweave.data.splits.splitting import VALIDATION, Split
from bandweave.data.splits.splitting import split as draw_split
from bandweave.errors import SplitError
from bandweave.training.config import Launch, TrainConfig
from bandweave.training.folder import RunFolder
from bandweave.training.history import Row, read_history
from bandweave.training.loop import TrainTask, fit

T = TypeVar("T", bound=TrainConfig)

log = logging.getLogger(__name__)

LOOKS = 16  # scores in the most steps; where those are fewer than five times as many, none is taken
CHANCE = 0.1  # by which the scores of single blocks, objects or parts differ from look to look
SMOOTHED = 1  # looks before and after one that count with it
AVERAGED = 0.999  # decay of the average of weights
WINDOWS = 128  # of the map at most, that a look goes over
BY_HEART = 0.999  # share of training pixels that are right
FALL = 0.02  # of the score of held-out pixels


@dataclass(frozen=True)
class Length:
    """What was found.

    steps     that were best, or as good by what the held-out pixels can tell
    score     of the held-out pixels there: overall accuracy, a mean over neighbouring looks
    held_out  their number
    seconds   that it took to find
    """

    steps: int
    score: float
    held_out: int
    seconds: float


def looks_every(steps: int) -> int:
    """Steps from one look to the next; 0 where so few leave nothing to choose from."""
    return steps // LOOKS if steps >= 5 * LOOKS else 0


def hold_out(scene: Scene, split: Split, share: float) -> Split | None:
    """The split with a share of its training side for validation, the test side as it was.

    None, which is said, where none can be drawn; the share is of blocks, objects or parts.
    """
    options = {**asdict(split.config), "validation": share}
    if not split.config.has_blocks:
        options["size"] = None  # of the blocks of the validation
    try:
        return draw_split(scene, **options)
    except SplitError as error:
        log.warning("no pixels are held out to choose the length of training: %s", error)
        return None


def trial_of(config: T) -> T:
    """How the first training goes: at one rate, with averages of weights, and looks on the way."""
    return replace(
        config,
        schedule="constant",
        ema=config.ema or AVERAGED,
        validate_every=looks_every(config.steps),
        patience=0,
    )


def shortened(config: T, steps: int) -> T:
    """The same for so many steps, of which as many warm up."""
    return replace(config, steps=steps, warmup=min(config.warmup * config.steps / steps, 1.0))


def find_length(task: TrainTask, held: Split, folder: RunFolder, launch: Launch) -> Length:
    """Train a task of `trial_of`, and find after how many steps the held-out pixels were best.

    held  as `hold_out` gave it
    """
    fit(replace(task, title="finding the length"), folder.held_out, launch)
    rows = read_history(folder.held_out / folder.history.name)
    share = held.counts[VALIDATION].sum() / held.counts.sum()
    steps, score = best_length(rows, max(round(held.units * share), 1))
    warn_of_learning_by_heart(rows)
    pixels = int(held.counts[VALIDATION].sum())
    log.info(
        "%d of at most %d steps: %.1f %% of %d held-out pixels were right",
        *(steps, task.config.steps, 100 * score, pixels),
    )
    return Length(steps, score, pixels, rows[-1]["seconds"])


def best_length(rows: Sequence[Row], units: int) -> tuple[int, float]:
    """The middle one of the lengths that scored about best, and its score.

    units  blocks, objects or parts that are held out: what a score is good for follows from them

    >>> scores = enumerate([0.2, 0.5, 0.7, 0.8, 0.8, 0.8, 0.7, 0.4], 1)
    >>> best_length([{"step": 10 * n, "validation": score} for n, score in scores], units=4)[0]
    50
    """
    looks = [(int(row["step"]), row["validation"]) for row in rows if "validation" in row]
    smooth = []
    for place, (steps, _) in enumerate(looks):
        near = [score for _, score in looks[max(place - SMOOTHED, 0) : place + SMOOTHED + 1]]
        smooth.append((sum(near) / len(near), steps))
    least = max(smooth)[0] - CHANCE / math.sqrt(units)
    good = [(steps, score) for score, steps in smooth if score >= least]
    return good[len(good) // 2]


def warn_of_learning_by_heart(rows: Sequence[Row]) -> None:
    """Warn where all training pixels are right at the end, and held-out ones were better before."""
    looks = [(int(row["step"]), row["validation"]) for row in rows if "validation" in row]
    if len(looks) < 2:
        return
    since = [row["accuracy"] for row in rows if row["step"] > looks[-2][0] and "accuracy" in row]
    best, last = max(score for _, score in looks), looks[-1][1]
    if since and sum(since) / len(since) >= BY_HEART and last < best - FALL:
        log.warning(
            "the net knows its training pixels by heart (%.1f %% right after %d steps), and of the "
            "held-out ones %.1f %% are right, where %.1f %% were after fewer steps",
            *(100 * sum(since) / len(since), looks[-1][0], 100 * last, 100 * best),
        )
