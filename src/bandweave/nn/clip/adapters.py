"""Adapters: small trainable layers inside a frozen transformer.

Source: M³amba, section III-A, eq. 6: "two linear layers with residual connections, inserted
after each attention block", one set per modality. Width, activation and initialisation are not
given there. Here: GELU between the two, and an up-projection that starts at zero, so that an
untrained adapter is the identity.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Adapter(nn.Module):
    """x + up(GELU(down(x))), width → bottleneck → width."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        nn.init.trunc_normal_(self.down.weight, std=0.02)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(F.gelu(self.down(x)))
