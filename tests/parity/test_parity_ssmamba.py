"""The fixed codes of places of SS-Mamba are the release's."""

import math

import pytest
import torch
from parity_release import Numbers, find_files

from bandweave.models.ssmamba import code_cells, code_places


@pytest.mark.parametrize("path", find_files("ssmamba-[0-9]*"), ids=lambda path: path.stem)
def test_parity_of_the_codes_of_places(path):
    weights = Numbers(path, torch.float32).weights
    spatial, spectral = weights["spa_pos_embed"][0], weights["spe_pos_embed"][0]
    side = math.isqrt(len(spatial) - 1)
    near = {"rtol": 0, "atol": 2e-7}  # a last place of single precision
    torch.testing.assert_close(code_cells(side, spatial.shape[1]), spatial[:-1], **near)
    torch.testing.assert_close(code_places(*spectral.shape), spectral, **near)
