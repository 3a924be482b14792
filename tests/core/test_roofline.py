"""The machine's peak, what is made of it, and a clock that is read too early."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from fwcompare import completion, launch, roofline, testing
from fwcompare.conformance import trial
from fwcompare.plugin import installed
from fwcompare.record import RunRecord
from fwcompare.roofline import MARGIN, Peak, achieved, measure, possible, read_peaks, remark
from fwcompare.verbs import doctor
from fwcompare.work import sample_flops

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from hasty_engine import HastyFront

LAYERS = [{"name": "logits", "kind": "dense", "units": 3}]


@pytest.fixture(scope="module")
def peak() -> Peak:
    found = measure(1)
    assert found is not None
    return found


@pytest.fixture
def run(tmp_path, peak):
    """A spec, and a record of it at a given share of the peak."""
    data = testing.small_data(tmp_path / "data", (4,), 3)
    engine = min(installed())
    spec, _ = testing.make_run(
        tmp_path, engine, LAYERS, data, optimizer=testing.optimizer("sgd"), precision="float32"
    )

    def at(share: float, **changes) -> RunRecord:
        flops = sample_flops(spec.model.graph) + 2 * spec.model.graph.parameter_count / 16
        rate = share * peak.flops_per_s["float32"] / flops
        return RunRecord(
            "run", "ok", "", 0, 1,
            metrics={"perf/samples_per_s": rate},
            environment={"cpu": peak.cpu},
            **changes,
        )  # fmt: skip

    return spec, at


def test_the_peak_of_this_machine(peak):
    # Whatever runs these tests does more than 1 and less than 10 000 GFLOP/s on one core.
    for rate in peak.flops_per_s.values():
        assert 1e9 < rate < 1e13
    assert peak.flops_per_s["float32"] > 1.2 * peak.flops_per_s["float64"]
    assert 1e8 < peak.copy_bytes_per_s < 1e13
    assert (peak.threads, len(peak.cores)) == (1, 1)


def test_a_peak_is_kept_with_its_sweep(peak, tmp_path):
    file = tmp_path / "sweep.json"
    assert read_peaks(file) == ()
    file.write_text(json.dumps({"cells": []}))
    assert read_peaks(file) == ()
    file.write_text(json.dumps({"peaks": [peak.to_json()]}))
    assert read_peaks(file) == (peak,)
    file.write_text(json.dumps({"peaks": [{"threads": 1}]}))
    assert read_peaks(file) == ()


def test_a_peak_that_cannot_be_measured_is_none(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert measure(1) is None


def test_what_a_run_achieved(peak, run):
    spec, at = run
    found = achieved(at(0.5), spec, [peak])
    assert found is not None
    assert found.share == pytest.approx(0.5)
    assert found.flops_per_s == pytest.approx(0.5 * peak.flops_per_s["float32"])
    assert found.peak_flops_per_s == peak.flops_per_s["float32"]
    assert found.bound == "memory" and 0 < found.intensity < 10


def test_more_than_the_peak_is_said():
    assert possible(0.9) and not remark(0.9)
    assert possible(1.1) and "faster than NumPy's" in remark(1.1)
    assert not possible(MARGIN * 1.01) and "impossible" in remark(MARGIN * 1.01)


def test_nothing_is_compared_with_another_machine_or_type(peak, run):
    spec, at = run
    other = dataclasses.replace(at(0.5), environment={"cpu": "another"})
    assert achieved(other, spec, [peak]) is None
    assert achieved(at(0.5), spec, [dataclasses.replace(peak, threads=2)]) is None
    assert achieved(at(0.5), spec.but(precision="mixed_bfloat16"), [peak]) is None
    assert achieved(dataclasses.replace(at(0.5), metrics={}), spec, [peak]) is None


def test_the_fastest_block_is_judged(peak, run):
    """An engine that waits at the end of an epoch alone has a median that looks right."""
    spec, at = run
    rate = at(1.0).metrics["perf/samples_per_s"]
    usual = spec.training.batch_size / rate * 2
    even = at(0.5, blocks=[(1, 1, usual)] * 4)
    assert completion.judge(even, spec, peak).state == "ok"
    late = at(0.5, blocks=[(1, 1, usual / 50), (1, 1, usual), (1, 1, usual), (1, 1, usual * 2)])
    assert completion.judge(late, spec, peak).state == "failed"
    failed = dataclasses.replace(even, status="failed", reason="why")
    assert completion.judge(failed, spec, peak).state == "not run"


@pytest.mark.parametrize(
    ("engine", "trainer"), [("jax", "HastyJaxTrainer"), ("keras_jax", "HastyKerasTrainer")]
)
def test_work_that_is_not_waited_for_is_caught(engine, trainer, peak, tmp_path, monkeypatch):
    """Both dispatch steps asynchronously on a CPU too: without a wait they look impossibly fast."""
    if engine not in installed():
        pytest.skip(f"{engine} is not installed")
    right = completion.check(engine, tmp_path / "right", peak)
    assert right.state == "ok", right
    hasty = HastyFront(engine, f"hasty_engine:{trainer}")
    for module in (launch, trial):
        monkeypatch.setattr(module, "front", lambda name: hasty)
    wrong = completion.check(engine, tmp_path / "wrong", peak)
    assert wrong.state == "failed" and wrong.share > 2 * MARGIN, wrong


def test_doctor_fails_with_the_self_test(monkeypatch, capsys, peak, tmp_path):
    """Exit code 1 and the reason, from a made result of one engine."""
    monkeypatch.setattr(doctor, "measure", lambda threads: peak)
    monkeypatch.setattr(doctor, "installed", lambda: [min(installed())])
    made = completion.Completion("it", "failed", "too fast to be true", 1e12, 9.0)
    monkeypatch.setattr(doctor, "check", lambda name, root, peak: made)
    monkeypatch.setenv("COLUMNS", "80")
    arguments = doctor.argparse.Namespace(
        peak=False, self_test=True, threads=1, outputs=str(tmp_path), repair=False
    )
    assert doctor.run(arguments) == 1
    told = capsys.readouterr().out
    assert "failed: too fast to be true" in told and "9.00" in told and "peak float32" in told


def test_the_child_holds_to_its_threads(monkeypatch):
    """The peak's process gets the same variables and cores as a worker."""
    seen = {}

    def note(command, env, **_):
        seen.update(env)
        raise OSError

    monkeypatch.setattr(roofline.subprocess, "run", note)
    assert measure(1) is None
    assert seen.items() >= launch.thread_environment(1).items()
    assert seen["FWCOMPARE_CORES"] == str(launch.worker_cores(1)[0])
