"""The promises of the statistics, in short simulations; benchmarks/simulations.py has the long."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fwcompare.arms import Run
from fwcompare.compare import compare
from fwcompare.record import RunRecord
from fwcompare.stats.criteria import Criteria
from fwcompare.stats.inference import of_pairs, of_two_samples
from fwcompare.stats.planner import seeds_for_detection, upper_spread

SPREAD = 0.03


def sweep(rng, engines, seeds, ratio=1.0, control=False):
    """Runs with an effect of each seed; engine 1 is ``ratio`` times as fast as the others."""
    effects = rng.normal(0, 0.1, seeds)
    runs = []
    for engine in range(engines + control):
        noise = rng.normal(0, SPREAD / math.sqrt(2), seeds)
        for seed in range(seeds):
            rate = 1000 * math.exp(effects[seed] + noise[seed]) * (ratio if engine == 1 else 1)
            record = RunRecord("", "ok", "", 0, 1, metrics={"perf/samples_per_s": rate})
            again = engine == engines
            runs.append(Run("0" if again else str(engine), seed, record, control=again))
    return runs


def kinds(runs, **criteria):
    (comparison,) = compare(runs, "", "0", criteria=Criteria(**criteria))
    return {row.label: row.speed.kind for row in comparison.rows}


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_cover_the_truth(seeds):
    rng = np.random.default_rng(seeds)
    intervals = [of_pairs(rng.normal(0.1, SPREAD, seeds)).interval(0.95) for _ in range(1500)]
    assert 0.93 <= np.mean([low <= 0.1 <= high for low, high in intervals]) <= 0.97


def test_intervals_of_skewed_noise_cover_the_truth_from_ten_seeds_on():
    rng = np.random.default_rng(1)
    intervals = [of_pairs(rng.exponential(1.0, 10)).interval(0.95) for _ in range(1500)]
    assert 0.93 <= np.mean([low <= 1 <= high for low, high in intervals]) <= 0.97


def test_intervals_of_independent_samples_cover_the_truth():
    rng = np.random.default_rng(2)
    found = [of_two_samples(rng.normal(1, 1, 5), rng.normal(0, 3, 4)) for _ in range(1500)]
    assert 0.93 <= np.mean([i.interval(0.95)[0] <= 1 <= i.interval(0.95)[1] for i in found]) <= 0.97


@pytest.mark.parametrize(("seeds", "sweeps"), [(3, 400), (5, 400), (10, 100)])
def test_sweeps_without_a_difference_seldom_claim_one(seeds, sweeps):
    rng = np.random.default_rng(seeds)
    alarms = sum(
        bool({"faster", "slower"} & set(kinds(sweep(rng, 7, seeds), speed_margin=0.0).values()))
        for _ in range(sweeps)
    )
    assert alarms <= stats.binom.ppf(0.999, sweeps, 0.05)


def test_the_planned_number_of_seeds_finds_a_slow_down():
    rng = np.random.default_rng(4)
    found = 0
    for _ in range(100):
        spread = float(rng.normal(0, SPREAD, 5).std(ddof=1))
        seeds = seeds_for_detection(upper_spread(spread, 5), math.log1p(0.05), 0.05)
        found += kinds(sweep(rng, 2, seeds, ratio=0.95))["1"] == "slower"
    assert found >= 80


def test_a_difference_at_the_margin_is_seldom_called_equivalent():
    rng = np.random.default_rng(5)
    found = [kinds(sweep(rng, 2, 8, ratio=1.05), speed_margin=0.05)["1"] for _ in range(400)]
    assert 0 < found.count("equivalent") / len(found) <= 0.07


def test_a_control_costs_no_true_alarm_and_spares_false_ones():
    rng = np.random.default_rng(6)
    without = [kinds(sweep(rng, 2, 5, control=True))["1"] for _ in range(300)]
    assert sum(kind in ("faster", "slower") for kind in without) <= 6
    large = [kinds(sweep(rng, 2, 5, ratio=1.5, control=True))["1"] for _ in range(50)]
    assert large == ["faster"] * 50
