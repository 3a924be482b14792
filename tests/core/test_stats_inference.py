"""Inference about a mean, against SciPy and cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fwcompare.stats.inference import of_pairs, of_two_samples
from fwcompare.stats.pivot import Student, resampled

SAMPLES = [
    [0.1, 0.2, 0.4],
    [-1.0, 2.5, 0.3, 0.9, 1.1],
    np.random.default_rng(3).normal(0.4, 1.0, 9).tolist(),
]


@pytest.mark.parametrize("values", SAMPLES)
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_few_pairs_are_a_t_test(values, confidence):
    found = of_pairs(values)
    expected = stats.ttest_1samp(values, 0.0)
    assert found.method == "paired t"
    assert found.p_difference() == pytest.approx(expected.pvalue)
    assert found.interval(confidence) == pytest.approx(
        tuple(expected.confidence_interval(confidence))
    )


def test_an_interval_by_hand():
    # Mean 2, standard deviation 1, standard error 1/sqrt(3); t(0.975, 2) = 4.3027 in any table.
    found = of_pairs([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)
    assert found.interval(0.95) == pytest.approx((2 - half, 2 + half), rel=1e-6)
    assert found.spread == pytest.approx(1.0)


def test_independent_samples_are_welchs_test():
    own, base = [1.0, 1.4, 1.2, 2.2], [0.7, 0.9, 0.2, 0.4, 0.5, 0.55]
    found = of_two_samples(own, base)
    expected = stats.ttest_ind(own, base, equal_var=False)
    assert found.p_difference() == pytest.approx(expected.pvalue)
    assert found.interval(0.9) == pytest.approx(tuple(expected.confidence_interval(0.9)))
    assert found.count == 4


@pytest.mark.parametrize("values", SAMPLES)
@pytest.mark.parametrize("margin", [0.05, 0.5, 2.0])
def test_equivalence_is_two_one_sided_tests(values, margin):
    below = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    above = stats.ttest_1samp(values, margin, alternative="less").pvalue
    assert of_pairs(values).p_equivalence(margin) == pytest.approx(max(below, above))


@pytest.mark.parametrize("count", [4, 12])
def test_equivalence_agrees_with_the_interval_of_twice_alpha(count):
    values = np.random.default_rng(count).normal(0.1, 0.5, count)
    found = of_pairs(values)
    low, high = found.interval(0.90)
    reach = max(abs(low), abs(high))
    assert found.p_equivalence(reach * 1.02) < 0.05 < found.p_equivalence(reach * 0.98)


def test_ten_pairs_are_resampled():
    values = np.random.default_rng(0).exponential(1.0, 10)
    found = of_pairs(values)
    assert found.method == "paired bootstrap-t"
    assert found.interval(0.9) == of_pairs(values).interval(0.9), (
        "the same records give the same verdict"
    )
    low, high = found.interval(0.95)
    t = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert low <= t.low + 1e-12 and high >= t.high - 1e-12, "never surer than Student's t"
    assert high - found.mean > 1.2 * (found.mean - low), "a long right tail reaches to the right"
    assert (found.p_difference() < 0.05) == (not low <= 0 <= high)


def test_the_bootstrap_quantiles_are_those_of_the_resampled_t():
    """Against resamples of our own, drawn from another seed."""
    values = np.random.default_rng(5).exponential(1.0, 12)
    draws = values[np.random.default_rng(99).integers(0, 12, (40_000, 12))]
    t = (draws.mean(axis=1) - values.mean()) / stats.sem(draws, axis=1)
    found = resampled(values)
    assert np.quantile(found.ordered, [0.025, 0.5, 0.975]) == pytest.approx(
        np.quantile(t, [0.025, 0.5, 0.975]), rel=0.08, abs=0.03
    )


def test_ties_are_no_ground_for_a_bootstrap():
    values = [0.0] * 11 + [1 / 360]
    assert of_pairs(values).method == "paired t"


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0], [math.log(2), math.log(4) - math.log(2)] * 6])
def test_no_spread_is_no_interval(values):
    found = of_pairs(values)
    assert found.constant and found.interval(0.95) is None
    assert found.p_difference() is None and found.p_equivalence(1.0) is None


@pytest.mark.parametrize("found", [of_pairs([1.0]), of_pairs([1.0, 2.0])])
def test_too_few_pairs_are_no_interval(found):
    assert not found.constant and found.interval(0.95) is None


def test_too_few_runs_of_one_sample():
    assert of_two_samples([1.0, 2.0], [1.0, 2.0, 3.0, 4.0]).interval(0.95) is None


def test_student_is_scipys():
    student = Student(3.7)
    assert student.quantile(0.9) == pytest.approx(stats.t.ppf(0.9, 3.7))
    assert student.tails(1.3) == pytest.approx((stats.t.cdf(1.3, 3.7), stats.t.sf(1.3, 3.7)))
