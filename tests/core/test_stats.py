"""Holm, outliers, plans, targets, break-even and profiles: against SciPy or by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fwcompare.errors import RequestError
from fwcompare.stats.break_even import break_even_steps
from fwcompare.stats.criteria import Criteria
from fwcompare.stats.holm import holm
from fwcompare.stats.outliers import modified_z, outliers
from fwcompare.stats.planner import (
    detection_power,
    seeds_for_detection,
    seeds_for_precision,
    upper_spread,
)
from fwcompare.stats.profile import performance_profile
from fwcompare.stats.target import Arrival, arrival, p_sign


def test_holm_by_hand():
    # Sorted 0.01, 0.03, 0.04 times 3, 2, 1 is 0.03, 0.06, 0.04; the last is raised to 0.06.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_claims_what_the_stepwise_rule_claims():
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.random(5) ** 3
        order = np.argsort(p)
        claimed = set()
        for step, index in enumerate(order):
            if p[index] > 0.05 / (len(p) - step):
                break
            claimed.add(int(index))
        assert {i for i, q in enumerate(holm(p)) if q <= 0.05} == claimed


def test_outliers_by_hand():
    # Median 10, absolute deviations 1, 0, 0, 1, 90 with median 1: 0.6745 * 90 = 60.7.
    values = [9.0, 10.0, 10.0, 11.0, 100.0]
    assert modified_z(values) == pytest.approx([-0.6745, 0, 0, 0.6745, 60.705])
    assert outliers(values) == [4]
    assert modified_z(values) == pytest.approx(
        (np.array(values) - 10) / stats.median_abs_deviation(values, scale="normal"), rel=1e-4
    )


def test_outliers_among_ties_and_in_small_samples():
    assert outliers([5.0] * 9 + [6.0]) == [9], "the mean deviation stands in for a MAD of zero"
    assert outliers([5.0] * 10) == []
    assert outliers([1.0, 1.0, 100.0]) == [], "three values cannot tell"


@pytest.mark.parametrize("count", [3, 8, 30])
def test_power_is_that_of_the_noncentral_t(count):
    spread, difference, alpha = 0.05, 0.06, 0.05
    shift = difference / spread * math.sqrt(count)
    limit = stats.t.ppf(1 - alpha / 2, count - 1)
    expected = stats.nct.sf(limit, count - 1, shift)
    assert detection_power(spread, difference, alpha, count) == pytest.approx(expected, abs=1e-6)


def test_plans_by_the_book():
    # A difference of one standard deviation at 5 % and 80 % power: 10 pairs in any table.
    assert seeds_for_detection(1.0, 1.0, 0.05) == 10
    assert seeds_for_detection(1.0, 0.5, 0.05) == 34
    # 1.96 / sqrt(n) <= 0.1 asks for 385 by the normal distribution; t needs a few more.
    assert 385 <= seeds_for_precision(1.0, 0.1, 0.95) <= 390
    assert seeds_for_precision(0.0, 0.01, 0.95) == seeds_for_detection(0.0, 0.01, 0.05) == 3
    assert seeds_for_precision(1.0, 1e-6, 0.95) is seeds_for_detection(1.0, 1e-6, 0.05) is None


@pytest.mark.parametrize("spread", [0.03, 0.1])
def test_a_plan_with_a_control_finds_what_exceeds_the_noise_floor(spread):
    """Against drawing: three runs a pair with noise of their own, arm, control and baseline."""
    size, sweeps = math.log1p(0.05), 4000
    count = seeds_for_detection(spread, size, 0.05, floor_confidence=0.95)
    assert count > seeds_for_detection(spread, size, 0.05)
    rng = np.random.default_rng(0)
    arm, again, base = rng.normal(0, spread / math.sqrt(2), (3, sweeps, count))
    limit = stats.t.ppf(0.975, count - 1) / math.sqrt(count)
    shown, floor = arm + size - base, again - base
    ends = np.abs(floor.mean(1)) + limit * floor.std(1, ddof=1)
    found = shown.mean(1) > np.maximum(limit * shown.std(1, ddof=1), ends)
    assert 0.78 <= found.mean() <= 0.86


def test_a_plan_is_the_least_that_suffices():
    spread, size = 0.03, math.log1p(0.02)
    count = seeds_for_precision(spread, size, 0.95)

    def half(n):
        return stats.t.ppf(0.975, n - 1) * spread / math.sqrt(n)

    assert half(count) <= size < half(count - 1)
    count = seeds_for_detection(spread, size, 0.01)
    powers = [detection_power(spread, size, 0.01, n) for n in (count - 1, count)]
    assert powers[0] < 0.8 <= powers[1]


def test_the_upper_limit_of_a_spread():
    assert upper_spread(2.0, 5) == pytest.approx(2 * math.sqrt(4 / stats.chi2.ppf(0.2, 4)))
    assert upper_spread(1.0, 3) > 2 and upper_spread(1.0, 200) < 1.05


def history(*values):
    return [{"val/accuracy": v, "time/wall_s": 2.0 * n} for n, v in enumerate(values, start=1)]


def test_epochs_and_time_to_a_target():
    assert arrival(history(0.5, 0.9, 0.8, 0.95), "val/accuracy", 0.9, True) == Arrival(2.0, 4.0)
    assert arrival(history(0.5, 0.9), "val/accuracy", 0.6, False) == Arrival(1.0, 2.0)
    for nothing in (history(0.5, math.nan), [], [{"time/wall_s": 1.0}]):
        found = arrival(nothing, "val/accuracy", 0.9, True)
        assert not found.reached and found.train_seconds == math.inf


def test_the_sign_test_knows_infinity():
    pairs = [(1.0, math.inf)] * 5 + [(3.0, 2.0)] + [(math.inf, math.inf)] * 4
    assert p_sign(pairs) == pytest.approx(stats.binomtest(1, 6).pvalue)
    assert p_sign([(math.inf, math.inf)]) == 1.0


@pytest.mark.parametrize(
    ("compiled", "plain", "steps"),
    [
        ((10.0, 0.001), (0.0, 0.003), 5000.0),
        ((10.0, 0.003), (0.0, 0.003), math.inf),
        ((10.0, 0.004), (0.0, 0.003), math.inf),
        ((0.5, 0.001), (1.0, 0.003), 0.0),
        ((math.nan, 0.001), (0.0, 0.003), math.inf),
    ],
)
def test_break_even(compiled, plain, steps):
    assert break_even_steps(*compiled, *plain) == pytest.approx(steps)


def test_a_performance_profile_by_hand():
    found = performance_profile(
        {
            "a": {"w1": 1.0, "w2": 4.0, "w3": 3.0},
            "b": {"w1": 2.0, "w2": 2.0, "w3": math.inf, "w4": math.inf},
            "c": {"w1": 1.0},
        },
        (1.0, 2.0, 10.0),
    )
    assert found.workloads == 3, "nobody solved w4: it has no best"
    assert found.shares["a"] == pytest.approx((2 / 3, 1.0, 1.0))
    assert found.shares["b"] == pytest.approx((1 / 3, 2 / 3, 2 / 3))
    assert found.shares["c"] == pytest.approx((1 / 3, 1 / 3, 1 / 3))


@pytest.mark.parametrize(
    "wrong",
    [
        {"confidence": 1.0},
        {"confidence": math.nan},
        {"equivalence_margin": -0.1},
        {"speed_margin": 2.0},
        {"target": math.inf},
    ],
)
def test_criteria_out_of_range(wrong):
    with pytest.raises(RequestError, match=f"compare.{next(iter(wrong))}"):
        Criteria(**wrong)
