"""Areas with standard errors, against the worked example of Olofsson et al. (2014), table 8."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandweave.errors import LabelError
from bandweave.landcover.areas.estimate import Z, estimate_areas

CLASSES = ("deforestation", "forest gain", "stable forest", "stable non-forest")
SAMPLED = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
HECTARES = PIXELS * 0.09  # of 30 m


def test_the_worked_example():
    found = estimate_areas(SAMPLED, HECTARES, CLASSES)
    assert found.area.round() == pytest.approx([21_158, 11_686, 285_770, 581_386], abs=1)
    assert found.half_interval.round() == pytest.approx([6_158, 3_756, 15_510, 16_282], abs=1)
    assert found.overall == pytest.approx(0.947, abs=5e-4)
    assert found.overall_error * Z == pytest.approx(0.0185, abs=5e-4)
    assert found.users.round(2).tolist() == [0.88, 0.73, 0.93, 0.96]
    assert (Z * found.users_error).round(2).tolist() == [0.07, 0.10, 0.04, 0.02]
    assert found.producers.round(2).tolist() == [0.75, 0.85, 0.93, 0.96]
    assert found.rows()[0]["sample_units"] == 75


@settings(deadline=None)
@given(st.integers(2, 5), st.integers(0, 1000))
def test_areas_add_up_and_their_errors_are_those_of_simulated_samples(classes, seed):
    rng = np.random.default_rng(seed)
    mapped = rng.uniform(1, 10, classes)
    found = estimate_areas(
        rng.integers(1, 20, (classes, classes)), mapped, tuple("abcde"[:classes])
    )
    assert found.area.sum() == pytest.approx(mapped.sum())
    assert (found.area_error > 0).all()


def test_standard_errors_are_the_spread_over_samples():
    rng = np.random.default_rng(0)
    truth = np.array([[0.9, 0.1], [0.05, 0.95]])  # of each mapped class, what it really is
    mapped = np.array([100.0, 900.0])
    estimates = []
    for _ in range(2000):
        sampled = np.stack([rng.multinomial(60, row) for row in truth])
        estimates.append(estimate_areas(sampled, mapped, ("a", "b")))
    areas = np.array([each.area for each in estimates])
    producers = np.array([each.producers for each in estimates])
    assert areas.mean(0) == pytest.approx(mapped @ truth, rel=0.01)
    said = np.sqrt(np.mean([each.area_error**2 for each in estimates], axis=0))
    assert said == pytest.approx(areas.std(0), rel=0.05)
    said = np.sqrt(np.mean([each.producers_error[1] ** 2 for each in estimates]))
    assert said == pytest.approx(producers[:, 1].std(), rel=0.15)


def test_a_perfect_sample_has_no_error():
    found = estimate_areas(np.diag([10, 20]), np.array([3.0, 7.0]), ("a", "b"))
    assert found.area.tolist() == pytest.approx([3, 7])
    assert not found.area_error.any()
    assert found.overall == 1


def test_a_class_that_the_map_lacks_may_be_found_by_the_sample():
    sampled = np.array([[8, 2, 0], [1, 9, 0], [0, 0, 0]])
    sampled[0, 2] = 3
    found = estimate_areas(sampled, np.array([5.0, 5.0, 0.0]), ("a", "b", "c"))
    assert found.area[2] == pytest.approx(5 * 3 / 13)
    assert np.isnan(found.users[2])
    assert found.producers[2] == 0


def test_too_small_samples_are_refused():
    with pytest.raises(LabelError, match=r"'b' covers 7 ha of the map and has 1 sample units"):
        estimate_areas(np.array([[5, 0], [0, 1]]), np.array([3.0, 7.0]), ("a", "b"))
    with pytest.raises(LabelError, match=r"3 sample units lie in map class 'b', which covers"):
        estimate_areas(np.array([[5, 0], [0, 3]]), np.array([3.0, 0.0]), ("a", "b"))
