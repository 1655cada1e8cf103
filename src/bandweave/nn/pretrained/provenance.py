"""The tensors of a model that are another's, published and unchanged, and where they came from.

They need not be saved with a run: it keeps their source and digests, and is checked against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from bandweave.errors import WeightsError


class FrozenPart(nn.Module):
    """The part of a model that holds published weights.

    source  the weights as they were asked for; None where they come with the run
    sha256  file name → digest
    kind    what an error calls the weights
    option  the flag that names them
    """

    kind: ClassVar[str] = "the weights"
    option: ClassVar[str] = "--weights"

    def __init__(self) -> None:
        super().__init__()
        self.source: str | None = None
        self.sha256: dict[str, str] = {}

    @property
    def frozen(self) -> list[str]:
        """Names of the submodules that never change."""
        raise NotImplementedError

    def describe_architecture(self) -> dict[str, Any]:
        """The shape of what is frozen, from which a self-contained run builds it; JSON-able."""
        raise NotImplementedError


class FrozenClip(FrozenPart):
    """The part of a model that holds CLIP's towers."""

    kind = "CLIP weights"
    option = "--clip.weights"


def frozen_names(module: nn.Module) -> set[str]:
    """Names in `module.state_dict()` that are as they were published and need not be saved."""
    return {
        ".".join(filter(None, (prefix, tower, name)))
        for prefix, part in module.named_modules()
        if isinstance(part, FrozenPart)
        for tower in part.frozen
        for name in part.get_submodule(tower).state_dict()
    }


def weights_fingerprint(module: nn.Module) -> dict[str, Any] | None:
    """The origin of a model's published weights, for a run's metadata; None without any.

    `source` as it was asked for, `sha256` file name → digest, `architecture` the shape (a
    self-contained run keeps it as `architecture` beside the option that names the weights).
    """
    part = _find_part(module)
    if part is None:
        return None
    return {
        "source": part.source,
        "sha256": dict(part.sha256),
        "architecture": part.describe_architecture(),
    }


def check_weights(module: nn.Module, recorded: Mapping[str, Any] | None) -> None:
    """Compare a model's published weights with the fingerprint that a run recorded.

    Raises WeightsError where they differ. Weights that come with the run, or that were fine-tuned
    and so are saved whole, have nothing to compare.
    """
    part = _find_part(module)
    if part is None or not recorded or not part.sha256 or not frozen_names(module):
        return
    digests = {"recorded": recorded["sha256"].values(), "found": part.sha256.values()}
    if sorted(digests["recorded"]) != sorted(digests["found"]):
        raise WeightsError(
            f"the run was trained on {part.kind} {recorded['source']!r} with sha256 "
            f"{', '.join(digests['recorded'])}; {part.source!r} has "
            f"{', '.join(digests['found'])}: give the same weights with `{part.option}`"
        )


def _find_part(module: nn.Module) -> FrozenPart | None:
    parts = (part for part in module.modules() if isinstance(part, FrozenPart))
    return next(parts, None)
