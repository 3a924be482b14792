"""The cost model: lines through what was measured, and sums in a ring."""

from __future__ import annotations

import pytest

from fwcompare.errors import RequestError
from fwcompare.scaling import Costs, Link, Measured, exchange_s, planned
from fwcompare.verbs import call

LINK = Link(1e9, 1e-4)


def test_a_line_goes_through_two_batches():
    costs = Costs.fitted({64: 0.010, 32: 0.006}, 1000)
    assert costs.fixed_s == pytest.approx(0.002) and costs.sample_s == pytest.approx(0.000125)
    assert costs.compute_s(16) == pytest.approx(0.004)


def test_neither_part_is_less_than_nothing():
    steep = Costs.fitted({64: 0.010, 32: 0.001}, 1000)
    assert steep.fixed_s == 0 and steep.sample_s > 0
    falling = Costs.fitted({64: 0.010, 32: 0.012}, 1000)
    assert falling.sample_s == 0 and falling.fixed_s == pytest.approx(0.011)
    with pytest.raises(RequestError, match="two batches"):
        Costs.fitted({64: 0.010}, 1000)


def test_a_sum_in_a_ring():
    assert exchange_s(10**9, 1, LINK) == 0
    assert exchange_s(10**9, 2, LINK) == pytest.approx(1 + 2e-4)
    # The bytes come near to twice the gradients; the messages go on to grow.
    assert exchange_s(10**9, 1000, LINK) == pytest.approx(1.998 + 0.1998)


def test_a_plan_lies_between_hidden_sums_and_none():
    costs = Costs(0.001, 0.0001, 10**6)
    one, two, eight = planned(costs, 64, [1, 2, 8], LINK)
    assert one.speedups == (1, 1) and one.exchange_s == 0
    assert two.compute_s == pytest.approx(0.0042) and two.exchange_s == pytest.approx(0.0012)
    assert two.most_s == pytest.approx(0.0054) and two.least_s == pytest.approx(0.0042)
    assert eight.speedups[0] < eight.speedups[1] < 8
    # A link that carries everything at once leaves what no process can share.
    (ideal,) = planned(costs, 64, [8], Link(1e30, 0.0))
    assert ideal.speedups[0] == pytest.approx(0.0074 / 0.0018)


def test_processes_that_share_cores_tell_nothing():
    own = Measured(2, 0.006, 0.005, 0.010, shared=False)
    assert own.speedup == pytest.approx(1 / 0.6) and own.efficiency == pytest.approx(1 / 1.2)
    assert own.communication == pytest.approx(1 / 6)
    assert Measured(2, 0.004, 0.005, 0.010, shared=False).communication == 0
    shared = Measured(2, 0.006, 0.005, 0.010, shared=True)
    assert (shared.speedup, shared.efficiency, shared.communication) == (None, None, None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--processes", "1"], "nothing to compare"),
        (["--processes", "two"], "whole numbers"),
        (["--plan", "0"], "whole numbers"),
        (["--bandwidth-gbit", "0"], "bandwidth"),
        (["--latency-us", "-1"], "latency"),
        (["distributed=data_parallel"], "--processes"),
    ],
)
def test_wrong_requests_are_told_before_any_work(arguments, words):
    with pytest.raises(RequestError, match=words):
        call("scaling", arguments)
