"""The tensors of a model that are CLIP's own, unchanged, and where they came from.

They need not be saved with a run: it keeps their source and digests, and is checked against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from bandweave.errors import WeightsError


class FrozenClip(nn.Module):
    """The part of a model that holds CLIP's towers.

    source  the weights as they were asked for; None where they come with the run
    sha256  file name → digest
    """

    def __init__(self) -> None:
        super().__init__()
        self.source: str | None = None
        self.sha256: dict[str, str] = {}

    @property
    def frozen(self) -> list[str]:
        """Names of the submodules that never change."""
        raise NotImplementedError

    def describe_architecture(self) -> dict[str, Any]:
        """The towers' shape, from which a self-contained run builds them; JSON-able."""
        raise NotImplementedError


def frozen_names(module: nn.Module) -> set[str]:
    """Names in `module.state_dict()` that are as CLIP published them and need not be saved."""
    return {
        ".".join(filter(None, (prefix, tower, name)))
        for prefix, part in module.named_modules()
        if isinstance(part, FrozenClip)
        for tower in part.frozen
        for name in part.get_submodule(tower).state_dict()
    }


def weights_fingerprint(module: nn.Module) -> dict[str, Any] | None:
    """The origin of a model's CLIP weights, for a run's metadata; None without CLIP.

    `source` as it was asked for, `sha256` file name → digest, `architecture` the towers' shape
    (a self-contained run keeps it as `clip.architecture` of the model's config).
    """
    for part in module.modules():
        if isinstance(part, FrozenClip):
            return {
                "source": part.source,
                "sha256": dict(part.sha256),
                "architecture": part.describe_architecture(),
            }
    return None


def check_weights(module: nn.Module, recorded: Mapping[str, Any] | None) -> None:
    """Compare a model's CLIP weights with the fingerprint that a run recorded.

    Raises WeightsError where they differ. A tower whose weights come with the run, or that was
    fine-tuned and so is saved whole, has nothing to compare.
    """
    found = weights_fingerprint(module)
    if not found or not recorded or not found["sha256"] or not frozen_names(module):
        return
    digests = {"recorded": recorded["sha256"].values(), "found": found["sha256"].values()}
    if sorted(digests["recorded"]) != sorted(digests["found"]):
        raise WeightsError(
            f"the run was trained on CLIP weights {recorded['source']!r} with sha256 "
            f"{', '.join(digests['recorded'])}; {found['source']!r} has "
            f"{', '.join(digests['found'])}: give the same weights with `--clip.weights`"
        )
