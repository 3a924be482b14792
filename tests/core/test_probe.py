"""The clock: what it counts, when it synchronises, and what it refuses."""

from __future__ import annotations

import time

import numpy as np
import pytest

from fwcompare.errors import DivergedError
from fwcompare.probe import Memory, Probe, ProbeMisuse
from fwcompare.record import EventFile, read_events

STEP_SECONDS = 0.004


@pytest.fixture
def events(tmp_path):
    file = EventFile(tmp_path / "events.jsonl")
    yield file
    file.close()


def train(probe, epochs, steps, loss=1.0, seconds=STEP_SECONDS):
    for epoch in range(1, epochs + 1):
        probe.epoch_begin(epoch)
        for _ in range(steps):
            time.sleep(seconds)
            probe.step()
        probe.epoch_end(lambda: np.full(steps, loss))


def test_blocks_last_as_long_as_asked_and_hold_every_step(events):
    synchronised = []
    probe = Probe(events, lambda epoch: [8] * 30, block_seconds=0.02)
    probe.synchronize_with(lambda: synchronised.append(1))
    train(probe, 2, 30)
    observed = probe.observed
    assert sum(steps for _, steps, _ in observed.blocks) == 2 * 30 - 1
    assert observed.first_step_s >= STEP_SECONDS
    whole = [seconds for _, steps, seconds in observed.blocks if steps > 1]
    assert np.median(whole) >= 0.02
    assert len(synchronised) < 2 * 30, "a synchronisation at each step is what blocks avoid"
    total = observed.first_step_s + sum(seconds for *_, seconds in observed.blocks)
    assert observed.train_seconds == pytest.approx(total)
    assert observed.train_seconds >= 60 * STEP_SECONDS


def test_blocks_of_long_steps_hold_several(events):
    """Where a step is longer than a block, the device would be waited for at each."""
    probe = Probe(events, lambda epoch: [8] * 14, block_seconds=STEP_SECONDS / 4)
    train(probe, 2, 14)
    by_epoch = [[s for e, s, _ in probe.observed.blocks if e == epoch] for epoch in (1, 2)]
    assert by_epoch[0] == [1, 4, 4, 4]  # behind the first step, and one to know how long it lasts
    assert by_epoch[1] == [4, 4, 4, 2]


def test_asynchronous_work_is_waited_for(events):
    """A step that only queues its work must be charged for it."""
    queued = []

    def synchronize():
        time.sleep(STEP_SECONDS * len(queued))
        queued.clear()

    probe = Probe(events, lambda epoch: [8] * 20)
    probe.synchronize_with(synchronize)
    probe.epoch_begin(1)
    for _ in range(20):
        queued.append(1)
        probe.step()
    probe.epoch_end(lambda: np.ones(20))
    assert probe.observed.train_seconds >= 20 * STEP_SECONDS


def test_evaluation_is_not_training(events):
    def evaluate():
        time.sleep(0.05)
        return {"val/loss": 0.5}

    probe = Probe(events, lambda epoch: [8] * 5, evaluate=evaluate)
    train(probe, 2, 5)
    assert probe.observed.train_seconds < 0.09
    assert probe.observed.history[1]["val/loss"] == 0.5
    assert probe.observed.history[1]["time/wall_s"] == probe.observed.train_seconds


def test_loss_is_weighted_by_samples(events):
    probe = Probe(events, lambda epoch: [8, 8, 2])
    probe.epoch_begin(1)
    for _ in range(3):
        probe.step()
    probe.epoch_end(lambda: np.array([1.0, 2.0, 5.0]))
    assert probe.observed.history[0]["train/loss"] == pytest.approx((8 + 16 + 10) / 18)


def test_a_loss_that_is_not_finite_ends_the_run(events, tmp_path):
    probe = Probe(events, lambda epoch: [8] * 2)
    with pytest.raises(DivergedError, match="epoch 1"):
        train(probe, 1, 2, loss=float("nan"))
    assert [e["event"] for e, _ in read_events(tmp_path / "events.jsonl")][-1] == "epoch"


def test_misuse_is_a_defect_of_the_plugin(events):
    probe = Probe(events, lambda epoch: [8] * 3)
    with pytest.raises(ProbeMisuse, match="not begun"):
        probe.epoch_end(lambda: np.ones(3))
    probe.epoch_begin(1)
    with pytest.raises(ProbeMisuse, match="before epoch 1 ended"):
        probe.epoch_begin(2)
    probe.step()
    with pytest.raises(ProbeMisuse, match="1 steps of 3"):
        probe.epoch_end(lambda: np.ones(3))


def test_phases_keep_their_own_peak_of_memory(events):
    if not Memory().resettable:
        pytest.skip("this system does not let a process reset its peak")
    probe = Probe(events, lambda epoch: [])
    with probe.phase("large"):
        block = np.ones(40_000_000)  # 320 MB
        del block
    with probe.phase("small"):
        pass
    phases = probe.observed.phases
    assert phases["large"].peak_rss_bytes - phases["small"].peak_rss_bytes > 250e6


def test_programs_compiled_behind_the_first_step_are_counted(events):
    """Two in the first step, one in the midst of the second epoch; evaluation's do not count."""
    compiled = [0]

    def evaluate():
        compiled[0] += 10
        return {}

    probe = Probe(events, lambda epoch: [8] * 3, block_seconds=1.0, evaluate=evaluate)
    probe.count_with(lambda: compiled[0])
    for epoch, by_step in ((1, (2, 0, 0)), (2, (0, 1, 0))):
        probe.epoch_begin(epoch)
        for programs in by_step:
            compiled[0] += programs
            probe.step()
        probe.epoch_end(lambda: np.ones(3))
    assert probe.observed.recompilations == 1


def test_where_nothing_is_compiled_there_is_no_count(events):
    probe = Probe(events, lambda epoch: [8] * 3)
    train(probe, 2, 3, seconds=0)
    assert probe.observed.recompilations is None
