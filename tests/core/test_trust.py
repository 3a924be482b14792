"""Notes of the machine on a comparison, from made runs."""

from __future__ import annotations

import pytest

from fwcompare import testing
from fwcompare.arms import Run
from fwcompare.compare import compare
from fwcompare.noise import NOISY, QUIET
from fwcompare.plugin import installed
from fwcompare.record import RunRecord
from fwcompare.roofline import MARGIN, Peak
from fwcompare.trust import PEAK_SHARE, weighed, with_peak_shares
from fwcompare.work import training_step

PEAK = Peak("a CPU", 1, (0,), {"float32": 1e11, "float64": 5e10}, 1e10, "made")


@pytest.fixture
def runs(tmp_path):
    """Three runs at these shares of the peak, and three again as a control."""
    data = testing.small_data(tmp_path / "data", (4,), 3)
    layers = [{"name": "logits", "kind": "dense", "units": 3}]
    sgd = testing.optimizer("sgd")
    spec, _ = testing.make_run(
        tmp_path, min(installed()), layers, data, optimizer=sgd, precision="float32"
    )
    flops = training_step(spec.model.graph, sgd, 16, 4).flops / 16

    def made(*shares: float, control: bool = False, **conditions) -> list[Run]:
        return [
            Run(
                spec.framework.name,
                seed,
                RunRecord(
                    f"{seed}{control}", "ok", "", seed, seed,
                    metrics={"perf/samples_per_s": share * 1e11 / flops, "test/accuracy": 0.9},
                    environment={"cpu": "a CPU", "conditions": conditions},
                ),
                spec,
                control=control,
            )
            for seed, share in enumerate(shares)
        ]  # fmt: skip

    return made


def judged(runs):
    (comparison,) = weighed(compare(runs), runs, [PEAK])
    return comparison


def test_each_run_has_its_share(runs):
    own = with_peak_shares(runs(0.1, 0.2, 0.3), [PEAK])
    assert [run.record.metrics[PEAK_SHARE] for run in own] == pytest.approx([0.1, 0.2, 0.3])
    without = with_peak_shares(runs(0.1), [])
    assert PEAK_SHARE not in without[0].record.metrics


def test_the_roof_and_the_noise_are_told_once(runs):
    found = judged(with_peak_shares(runs(0.1, 0.2, 0.3, steal_share=0.2), [PEAK]))
    roofs = [note for note in found.notes if "peak with 1 thread: 100 GFLOP/s" in note]
    assert len(roofs) == 1 and "bound by memory" in roofs[0]
    assert found.noise.verdict == NOISY
    assert "Noise of the measurement: noisy: the hypervisor took 20.0%" in found.notes[-1]


@pytest.mark.parametrize(
    ("share", "words"), [(1.2, "faster than NumPy's"), (2 * MARGIN, "is impossible")]
)
def test_a_share_above_one_is_told(runs, share, words):
    found = judged(with_peak_shares(runs(0.5, 0.5, share), [PEAK]))
    assert [note for note in found.notes if words in note]
    ordinary = judged(with_peak_shares(runs(0.5, 0.5, 0.9), [PEAK]))
    assert not [note for note in ordinary.notes if words in note]


def test_the_control_makes_the_verdict(runs):
    first = runs(0.5, 0.501, 0.499, foreign_cores=0.9)
    again = runs(0.5, 0.5, 0.5, control=True, foreign_cores=0.9)
    found = judged([*first, *again])
    assert found.noise.verdict == QUIET
    assert "two equal arms differ" in found.noise.reasons[0]
    apart = judged([*first, *runs(0.6, 0.8, 0.5, control=True)])
    assert apart.noise.verdict == NOISY
