"""From raw blocks to metrics."""

from __future__ import annotations

import numpy as np
import pytest

from fwcompare.summary import (
    compile_seconds,
    has_settled,
    steady,
    step_metrics,
    warmup_blocks,
)


def _blocks(times, steps=10):
    return [(1, steps, float(time) * steps) for time in times]


def _noisy(random, length, rise=0.0, fall=1.0):
    """Step times around 1 with 3 % of noise, rare spikes, and a warm-up that dies away."""
    steps = np.arange(length)
    spikes = np.where(random.random(length) < 0.03, 1.5, 1.0)
    return (1 + rise * np.exp(-steps / fall)) * (1 + 0.03 * random.normal(size=length)) * spikes


@pytest.mark.parametrize("length", [20, 50, 200])
def test_without_a_warmup_next_to_nothing_is_left_out(length):
    random = np.random.default_rng(0)
    found = [warmup_blocks(_blocks(_noisy(random, length))) for _ in range(200)]
    assert np.percentile(found, 90) <= 1


@pytest.mark.parametrize(("rise", "fall"), [(1.0, 3.0), (1.0, 10.0), (0.5, 20.0)])
def test_the_end_of_a_warmup_is_found(rise, fall):
    """The excess is at ``SETTLED`` where the exponential has fallen that far; noise may hide it
    from a little earlier on."""
    random = np.random.default_rng(0)
    ends = fall * np.log(rise / 0.05)
    found = [warmup_blocks(_blocks(_noisy(random, 200, rise, fall))) for _ in range(200)]
    assert 0.7 * ends <= np.median(found) <= 1.2 * ends


def test_a_late_spike_is_no_warmup_and_stays_in():
    times = [1.0] * 30
    times[20] = 3.0
    assert len(steady(_blocks(times))) == 30


def test_a_first_block_alone_is_left_out():
    assert warmup_blocks(_blocks([3.0] + [1.0] * 9)) == 1


def test_what_never_settles_is_cut_at_half_and_said():
    late = _blocks([2.0] * 21 + [1.0] * 19)
    assert len(steady(late)) == 20
    assert not has_settled(late)
    assert has_settled(_blocks([1.0] * 40))


def test_few_blocks_are_all_taken():
    assert len(steady(_blocks([5.0, 1.0, 1.0]))) == 3
    assert steady([]) == []


def test_metrics_of_the_steady_blocks():
    found = step_metrics(_blocks([9.0, 1.0, 2.0, 2.0, 2.0, 3.0], steps=4), batch_size=8)
    assert found["perf/step_ms_median"] == 2000
    assert found["perf/samples_per_s"] == 4
    assert found["perf/warmup_steps"] == 4
    assert found["perf/step_ms_block_p5"] < 2000 < found["perf/step_ms_block_p95"]
    assert step_metrics([], 8) == {}


def test_compilation_is_what_first_calls_cost_beyond_usual_ones():
    blocks = _blocks([1.0] * 5)
    calls = {64: [3.0, 0.5, 0.5], 7: [2.5]}
    assert compile_seconds(5.0, blocks, calls) == pytest.approx(4.0 + 2.5 + 2.0)
    assert compile_seconds(None, [], {}) == 0
