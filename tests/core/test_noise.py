"""The verdict on noise, from made records."""

from __future__ import annotations

import pytest

from fwcompare.noise import NOISY, QUIET, SOME, UNKNOWN, Crowd, crowding, noise
from fwcompare.record import RunRecord

#: Deviations of five equal runs, or of the blocks within one, in units of their spread: their
#: median absolute deviation is 1 / 1.4826.
WAVE = (0.0, 0.6745, -0.6745, 2.0, -2.0)


def record(number=0, step_ms=10.0, block_spread=0.01, status="ok", cores=(1,), **conditions):
    """A run that took ``step_ms`` a step, ``number`` minutes after the first."""
    return RunRecord(
        run=f"run-{number}",
        status=status,
        reason="",
        started_ms=number * 60_000,
        ended_ms=number * 60_000 + 1,
        metrics={"perf/step_ms_median": step_ms},
        blocks=[(1, 10, step_ms / 100 * (1 + block_spread * w)) for w in WAVE * 4],
        environment={"cores": list(cores), "conditions": conditions},
    )


def arm(spread=0.01, **options):
    """Five equal runs whose step times have this spread; the order hides no drift."""
    return [record(i, 10 * (1 + spread * wave), **options) for i, wave in enumerate(WAVE)]


def test_quiet():
    found = noise({"a": arm(steal_share=0.0, foreign_cores=0.03), "b": arm(0.02)})
    assert (found.verdict, found.reasons) == (QUIET, ())
    assert found.figures["run_spread"] == pytest.approx(0.015, rel=0.01)
    assert found.figures["block_spread"] == pytest.approx(0.01, rel=0.01)
    assert "nothing disturbed" in str(found)


@pytest.mark.parametrize(
    ("records", "verdict", "words"),
    [
        (arm(0.05), SOME, "equal runs differ by 5.0%"),
        (arm(0.12), NOISY, "equal runs differ by 12.0%"),
        (arm(block_spread=0.08), SOME, "vary by 8.0% within a run"),
        (arm(block_spread=0.2), NOISY, "vary by 20.0% within a run"),
        (arm(steal_share=0.02), SOME, "the hypervisor took 2.0%"),
        (arm(steal_share=0.06), NOISY, "the hypervisor took 6.0%"),
        (arm(foreign_cores=0.2), SOME, "worked on the runs' cores: 0.20 cores' worth"),
        (arm(foreign_cores=0.9), NOISY, "worked on the runs' cores: 0.90 cores' worth"),
        (arm(quota_share=0.5), NOISY, "held the runs back for 50.0%"),
        (arm(thermal_throttles=3), SOME, "heat in 5 of 5 runs"),
    ],
)
def test_each_disturbance(records, verdict, words):
    found = noise({"a": records})
    assert found.verdict == verdict
    assert len(found.reasons) == 1 and words in found.reasons[0]
    assert words in str(found)


def test_one_disturbed_run_is_outvoted():
    records = [*arm(foreign_cores=0.0), record(9, foreign_cores=1.0)]
    found = noise({"a": records})
    assert found.verdict == SOME
    assert "0.00 cores' worth (worst run: 1.00 cores' worth)" in found.reasons[0]


@pytest.mark.parametrize(("by_end", "verdict"), [(0.02, QUIET), (0.1, SOME), (-0.3, NOISY)])
def test_drift(by_end, verdict):
    """Two engines in turn, the second twice as slow; both take longer as the sweep goes on."""
    times = [1 + by_end * i / 11 for i in range(12)]
    runs = [record(i, (10 if i % 2 else 20) * time) for i, time in enumerate(times)]
    found = noise({"a": runs[::2], "b": runs[1::2]})
    assert found.figures["drift"] == pytest.approx(by_end, rel=0.2)
    drifted = [reason for reason in found.reasons if "by the end of the sweep" in reason]
    assert bool(drifted) == (verdict != QUIET)
    assert found.verdict == verdict
    if drifted:
        assert ("longer" if by_end > 0 else "shorter") in drifted[0]


@pytest.mark.parametrize(("control", "verdict"), [(0.01, QUIET), (-0.05, SOME), (0.2, NOISY)])
def test_a_control_decides(control, verdict):
    found = noise({"a": arm(0.05, foreign_cores=0.9)}, control)
    assert found.verdict == verdict
    assert "two equal arms differ" in found.reasons[0]
    assert any("other processes" in reason for reason in found.reasons)


def test_different_cores_are_told():
    found = noise({"a": arm(cores=(1,)), "b": arm(cores=(0,)), "c": arm(cores=(0, 1))})
    assert found.verdict == SOME and "different cores" in str(found)
    assert noise({"a": arm(cores=(1,)), "c": arm(cores=(0, 1))}).verdict == QUIET


def test_failed_runs_do_not_count():
    assert noise({"a": arm(0.5, status="failed")}).verdict == UNKNOWN
    assert noise({}).verdict == UNKNOWN


def spans(*runs):
    """Records by (start, end, host, cores)."""
    return [
        RunRecord(str(n), "ok", "", start, end, environment={"host": host, "cores": cores})
        for n, (start, end, host, cores) in enumerate(runs)
    ]


@pytest.mark.parametrize(
    ("runs", "crowd"),
    [
        ([(0, 5, "a", [0]), (5, 9, "a", [0])], Crowd(1, 0)),
        ([(0, 5, "a", [0]), (4, 9, "a", [1])], Crowd(2, 0)),
        ([(0, 5, "a", [0]), (4, 9, "a", [0, 1]), (6, 9, "a", [2])], Crowd(2, 2)),
        ([(0, 5, "a", [0]), (4, 9, "b", [0])], Crowd(1, 0)),
        ([(0, 9, "a", [0]), (1, 2, "a", [1]), (3, 4, "a", [0])], Crowd(2, 2)),
    ],
)
def test_runs_beside_one_another(runs, crowd):
    assert crowding(spans(*runs)) == crowd


def test_runs_on_cores_of_their_own_may_share_a_gpu():
    runs = spans((0, 5, "a", [0]), (4, 9, "a", [1]))
    first, second = ({"name": "a GPU", "uuid": f"GPU-{n}"} for n in (1, 2))
    for run in runs:
        run.environment["gpu"] = first
    assert crowding(runs) == Crowd(2, 2)
    runs[1].environment["gpu"] = second
    assert crowding(runs) == Crowd(2, 0)


def test_a_crowd_is_told_and_shared_cores_are_noisy():
    assert noise({"a": arm(0.02)}, crowd=Crowd(2, 0)).verdict == SOME
    found = noise({"a": arm(0.02)}, crowd=Crowd(2, 2))
    assert found.verdict == NOISY and "2 runs shared their cores" in str(found)
