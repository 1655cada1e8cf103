"""What a classical method's options are chosen on: training pixels that are held back in turn.

Neighbours are alike, so pixels that are held back at random tell how well a method fills gaps.
Whole blocks tell how it does on ground that it did not see, which is what a map asks of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bandweave.data.splits.assign import FEW_BLOCKS
from bandweave.data.splits.block_size import SIZES
from bandweave.data.splits.splitting import TRAIN, Split
from bandweave.data.splits.stratify import number_blocks, number_parts
from bandweave.errors import SplitError
from bandweave.landcover.baselines.pairwise import decide_pairs, fit_slope

if TYPE_CHECKING:
    from bandweave.landcover.baselines.methods import Method

FOLDS = 3
SEARCHED = 300  # training pixels of each class, at most, on which options are chosen

Folds = list[tuple[np.ndarray, np.ndarray]]  # pixels that are fitted, and held back


def number_places(split: Split) -> np.ndarray:
    """The block, or part, of every training pixel (P,), by a number.

    Parts where the split trains on enough of them; else blocks as large as those of the split, or
    smaller so that there are enough. Raises SplitError where no size gives one for each fold.
    """
    shapes = [roles.shape for roles in split.roles]
    sides = [split.config.side, *(side for side in SIZES if side < split.config.side)]
    places = np.zeros(0)
    for units in (number_parts(shapes), *(number_blocks(shapes, side) for side in sides)):
        pairs = zip(units, split.roles, strict=True)
        places = np.concatenate([numbers[roles == TRAIN] for numbers, roles in pairs])
        if np.unique(places).size >= FEW_BLOCKS:
            return places
    if (found := np.unique(places).size) < FOLDS:
        raise SplitError(
            f"training pixels lie in {found} blocks of {sides[-1]} px, and options are chosen on "
            f"{FOLDS} folds of blocks; choose them with `folds: pixels`"
        )
    return places


def choose(
    method: Method,
    options: Any,
    values: np.ndarray,
    labels: np.ndarray,
    places: np.ndarray | None,
    seed: int,
    threads: int,
) -> tuple[dict[str, float], float]:
    """The values of the estimator's parameters that folds favour, and the slope of its decisions.

    places  (P,) what is held back as a whole; None for single pixels

    The slope is 1 of an estimator that does not decide by pairs of classes.
    """
    candidates = method.choices(options, values.shape[1], len(values))
    if not candidates and not method.pairs:
        return {}, 1.0
    rng = np.random.default_rng(seed)
    some = [np.flatnonzero(labels == index) for index in np.unique(labels)]
    some = [rng.permutation(each)[:SEARCHED] for each in some if each.size >= FOLDS]
    pixels = np.concatenate([np.zeros(0, np.intp), *some])
    values, labels = values[pixels], labels[pixels]
    folds = _draw_folds(labels, None if places is None else places[pixels], seed)
    if not folds:  # too few pixels to hold any back
        return {parameter: several[0] for parameter, several in candidates.items()}, 1.0
    from joblib import parallel_config
    from sklearn.model_selection import GridSearchCV

    chosen: dict[str, float] = {}
    if candidates:
        estimator = method.make(options, seed, 1)
        search = GridSearchCV(estimator, candidates, cv=folds, n_jobs=threads, refit=False)
        with parallel_config(backend="threading"):  # processes would run a user's script again
            search.fit(values, labels)
        chosen = {parameter: search.best_params_[parameter] for parameter in candidates}
    if not method.pairs:
        return chosen, 1.0
    machine = method.make(options, seed, 1).set_params(**chosen)
    return chosen, fit_slope([*_decide_held(machine, values, labels, folds)])


def _draw_folds(labels: np.ndarray, places: np.ndarray | None, seed: int) -> Folds:
    """Folds of pixels, or of whole places; those that are fitted have two classes or more."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if np.unique(labels).size < 2:
        return []
    if places is None:
        drawn = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(labels, labels)
    elif np.unique(places).size < FOLDS:
        return []
    else:
        kind = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
        drawn = kind.split(labels, labels, places)
    return [(fitted, held) for fitted, held in drawn if np.unique(labels[fitted]).size > 1]


def _decide_held(
    machine: Any, values: np.ndarray, labels: np.ndarray, folds: Folds
) -> Sequence[tuple[np.ndarray, np.ndarray, int]]:
    """Decisions on held-out pixels whose class was fitted, as `fit_slope` takes them."""
    found = []
    for fitted, held in folds:
        machine.fit(values[fitted], labels[fitted])
        known = held[np.isin(labels[held], machine.classes_)]
        if known.size:
            own = np.searchsorted(machine.classes_, labels[known])
            found.append((decide_pairs(machine, values[known]), own, len(machine.classes_)))
    return found
