"""Every network of a release gives the release's numbers on the release's weights."""

from pathlib import Path

import pytest
import torch
from parity_release import Numbers, find_files, load_releases, run_release, too_far

FILES = sorted(Path(__file__).parent.glob("releases/*.py"))
RELEASES = [release for path in FILES for release in load_releases(path)]
CASES = [
    pytest.param(release, path, id=path.stem)
    for release in RELEASES
    for path in find_files(f"{release.name}-[0-9]*")
]
if not CASES:
    CASES = [pytest.param(None, None, marks=pytest.mark.skip("BANDWEAVE_DATA has no parity/"))]

pytestmark = pytest.mark.parametrize(("release", "path"), CASES)
precision = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["64", "32"])


def limits(release, dtype):
    return release.double if dtype == torch.float64 else release.single


@precision
@pytest.mark.parametrize("train", [False, True], ids=["evaluation", "training"])
def test_parity_of_outputs_and_gradients(release, path, dtype, train):
    numbers = Numbers(path, dtype)
    stored = numbers.under("out_train.", "train.out.") if train else numbers.under("out.")
    if not stored:
        pytest.skip("the file has no numbers of this mode")
    found = run_release(release, numbers, train)
    near, near_gradients = limits(release, dtype)
    assert set(found.outputs) <= set(stored)
    assert not too_far(found.outputs, stored, near)
    gradients = {n: g for n, g in numbers.gradients(train).items() if not release.free(n)}
    assert not too_far(found.gradients, gradients, near_gradients)
    if not train:
        assert not too_far(found.middle, numbers.under("mid."), near)
        return
    after = numbers.under("after.", "train.buf.")
    if after:
        weights = numbers.weights
        before, buffers = (
            release.translate(each, numbers) for each in (weights, {**weights, **after})
        )
        moved = {n: value for n, value in buffers.items() if not torch.equal(value, before[n])}
        assert not too_far(found.buffers, moved, near)


def test_parity_takes_every_weight_that_has_influence(release, path):
    numbers = Numbers(path)
    theirs = {
        name: value.requires_grad_(value.is_floating_point())
        for name, value in numbers.weights.items()
    }
    ours = release.translate(theirs, numbers)
    net = release.build(numbers)
    expected = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in ours.items()} == expected
    reached = torch.autograd.grad(
        torch.stack([value.sum() for value in ours.values() if value.requires_grad]).sum(),
        [value for value in theirs.values() if value.requires_grad],
        allow_unused=True,
    )
    names = [name for name, value in theirs.items() if value.requires_grad]
    left = {
        name
        for name, gradient in zip(names, reached, strict=True)
        if (gradient is None or not gradient.any()) and not release.idle(name)
    }
    assert left <= numbers.unused | {n for n in left if "running_" in n}
