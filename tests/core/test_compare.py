"""Comparisons are pure functions over records."""

from __future__ import annotations

import io
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from fwcompare import arms, report
from fwcompare.arms import Run, load_runs
from fwcompare.compare import Spread, compare, profile
from fwcompare.errors import RequestError
from fwcompare.plan import plans
from fwcompare.record import RunRecord
from fwcompare.regression import changes
from fwcompare.stats.criteria import Criteria
from fwcompare.terminal import plain
from fwcompare.verbs import call


def run(engine, seed, rate=None, status="ok", reason="", control=False, accuracy=None, **digests):
    metrics = {}
    if rate is not None:
        accuracy = 0.9 + seed / 100 if accuracy is None else accuracy
        metrics = {"perf/samples_per_s": rate, "test/accuracy": accuracy}
    name = f"{engine}-{seed}{'-again' if control else ''}"
    record = RunRecord(name, status, reason, 1, 2, metrics=metrics, digests=digests)
    return Run(engine, seed, record, control=control)


def arm(engine, rates, control=False, accuracies=None):
    accuracies = accuracies or [None] * len(rates)
    return [
        run(engine, seed, rate, control=control, accuracy=accuracy)
        for seed, (rate, accuracy) in enumerate(zip(rates, accuracies, strict=True))
    ]


def only(runs, baseline=None, **criteria):
    (comparison,) = compare(runs, "sweep", baseline, criteria=Criteria(**criteria))
    return comparison


def rows(comparison):
    return {row.label: row for row in comparison.rows}


def speed(runs, label="b", **criteria):
    return rows(only(runs, **criteria))[label].speed


def times(rates, factors):
    return [rate * factor for rate, factor in zip(rates, factors, strict=True)]


QUIET = [100.0, 101.0, 99.0, 100.5, 99.5]


# Verdicts


def test_ratios_are_paired_by_seed_on_a_log_scale():
    # The seeds are far apart and given in different orders: unpaired, nothing could be shown.
    runs = [run("a", s, r) for s, r in ((0, 100.0), (1, 10.0), (2, 1000.0))]
    runs += [run("b", s, r) for s, r in ((2, 2020.0), (0, 196.0), (1, 20.2))]
    found = speed(runs)
    logs = np.log([1.96, 2.02, 2.02])
    expected = stats.ttest_1samp(logs, 0.0)
    low, high = np.exp(expected.confidence_interval(0.95))
    assert (found.estimate.value, found.estimate.low, found.estimate.high) == pytest.approx(
        (np.exp(logs.mean()), low, high)
    )
    assert found.estimate.p_value == pytest.approx(expected.pvalue)
    assert (found.kind, str(found)) == ("faster", f"2.00x faster [{low:.2f}, {high:.2f}]")


def test_slower_is_said_in_its_own_sense():
    found = speed(arm("a", QUIET) + arm("b", [r / 1.5 for r in reversed(QUIET)]))
    assert found.kind == "slower" and found.words == "1.50x slower"
    low, high = found.interval.strip("[]").split(", ")
    assert 1 < float(low) < 1.5 < float(high), "the interval of being slower, not of the ratio"
    assert found.estimate.low < found.estimate.high < 1


def test_no_difference_shown_is_not_equivalent():
    noisy = [100.0, 140.0, 80.0, 100.0]
    found = speed(arm("a", [100.0] * 4) + arm("b", noisy))
    assert found.kind == "no difference shown"
    assert found.estimate.low < 1 < found.estimate.high


def test_equivalent_is_a_result():
    runs = arm("a", QUIET) + arm("b", times(QUIET, (1.001, 1, 1.002, 1, 1.001)))
    assert str(speed(runs)).startswith("equivalent within 2 % [1.000, 1.00")
    assert speed(runs, speed_margin=0.0).kind == "no difference shown"


def test_accuracy_is_compared_in_points():
    base = [0.950, 0.955, 0.945, 0.951]
    runs = arm("a", QUIET[:4], accuracies=base)
    runs += arm("b", QUIET[:4], accuracies=[0.950, 0.956, 0.944, 0.952])
    runs += arm("c", QUIET[:4], accuracies=[0.920, 0.924, 0.913, 0.921])
    found = rows(only(runs))
    assert found["b"].score.words == "equivalent within 0.5 points"
    assert found["c"].score.words == "3.1 points lower"
    assert found["c"].score.estimate.value == pytest.approx(-0.03075)


def test_two_seeds_are_too_few_to_say():
    found = speed(arm("a", QUIET[:2]) + arm("b", [200.0, 210.0]))
    assert str(found) == "too few seeds to say (2.04x faster)"
    assert found.estimate.low is None and found.estimate.p_value is None


def test_zero_variance_is_said_and_not_taken_for_certainty():
    found = rows(only(arm("a", [100.0] * 4) + arm("b", [150.0] * 4) + arm("c", [100.0] * 4)))
    assert str(found["b"].speed) == "1.50x faster in all 4 seeds"
    assert "no interval" in found["b"].speed.remark and found["b"].speed.estimate.p_value is None
    assert str(found["c"].speed) == "the same in all 4 seeds"


def test_verdicts_hold_for_all_comparisons_together():
    """A p-value that would do alone does not among many."""
    base = [100.0] * 4
    one = [104.0, 101.0, 103.0, 102.0]
    alone = speed(arm("a", base) + arm("b", one))
    assert alone.kind == "faster" and 0.01 < alone.estimate.p_value < 0.05
    noisy = [100.0, 130.0, 80.0, 101.0]
    many = arm("a", base) + arm("b", one)
    for name in "cdefg":
        many += arm(name, noisy)
    found = speed(many)
    assert found.kind == "no difference shown" and "Holm" in found.remark
    assert found.estimate.p_adjusted == pytest.approx(6 * found.estimate.p_value)


def test_a_control_sets_the_noise_floor():
    base = [100.0, 100.0, 100.0, 100.0]
    runs = arm("a", base) + arm("b", [104.0, 103.0, 105.0, 104.0])
    assert speed(runs).kind == "faster"
    runs += arm("a", [106.0, 95.0, 103.0, 97.0], control=True)
    comparison = only(runs)
    found = rows(comparison)
    assert set(found) == {"a", "b", "a (again)"} and comparison.baseline == "a"
    assert found["b"].speed.kind == "no difference shown"
    assert "noise floor" in found["b"].speed.remark
    assert found["a (again)"].speed.kind == "control"
    assert found["b"].speed.estimate.p_adjusted == found["b"].speed.estimate.p_value, (
        "the control is no claim, and takes no part in the correction"
    )


def test_a_control_that_differs_is_told():
    runs = arm("a", QUIET) + arm("a", [r * 1.2 for r in QUIET[::-1]], control=True)
    assert any("the measurement is biased" in r for r in rows(only(runs))["a (again)"].remarks)


# Bad input


def test_a_seed_that_one_side_lacks_is_left_out_of_the_ratio():
    runs = [run("a", 0, 100.0), run("a", 1, 100.0), run("b", 1, 300.0), run("b", 2, 900.0)]
    assert speed(runs).estimate.pairs == 1 and speed(runs).estimate.value == pytest.approx(3.0)
    runs = [run("a", 0, 100.0), run("b", 1, 300.0)]
    assert speed(runs).kind == "no result"


def test_runs_of_one_seed_are_one_pair():
    runs = arm("a", QUIET[:3]) + [run("b", s, r) for s in range(3) for r in (100.0, 400.0)]
    assert speed(runs).estimate.pairs == 3


def test_failed_runs_keep_their_row():
    runs = [run("a", 0, 100.0), run("b", 0, None, "out_of_memory", "too big"), run("b", 1, 50.0)]
    row = rows(only(runs))["b"]
    assert row.statuses == {"out_of_memory": 1, "ok": 1}
    assert row.reasons == ("too big",)
    assert row.speed.kind == "no result"
    assert any("1 of 2 runs failed" in remark for remark in row.remarks)
    assert only(runs).rows[-1].label == "b"


def test_only_failed_runs():
    comparison = only([run("a", 0, None, "failed", "why")])
    assert comparison.baseline is None
    assert "nothing can be concluded" in comparison.notes[0]
    assert "why" in report.markdown([comparison])


def test_one_framework_alone():
    comparison = only(arm("a", QUIET))
    assert any("nothing to compare it with" in note for note in comparison.notes)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_what_is_no_usable_number_is_left_out_and_said(bad):
    runs = arm("a", QUIET) + arm("b", [200.0, bad, 202.0, 201.0, 199.0])
    row = rows(only(runs))["b"]
    assert row.speed.kind == "faster" and row.speed.estimate.pairs == 4
    assert any("no usable number in seed 1" in remark for remark in row.remarks)
    json.loads(report.as_json([only(runs)]), parse_constant=pytest.fail)


def test_values_beyond_all_measure_still_make_a_report():
    """A model that went wild without failing: an error of 1e300, a throughput of zero."""
    wild = [run("b", seed, rate) for seed, rate in enumerate([1e300, 1e-300, 0.0, 5.0, 1e12])]
    comparison = only(arm("a", QUIET) + wild)
    assert rows(comparison)["b"].speed.estimate.high == math.inf
    for width in (60, 200):
        report.show([comparison, comparison], plain(file=io.StringIO(), width=width))
    assert json.loads(report.as_json([comparison, comparison]))["profile"]["workloads"] == 2


def test_the_strictest_confidence_serves_two_families_of_tests():
    runs = to_target("a", [3, 3, 4], [3.0, 3.1, 4.2]) + to_target("b", [2, 3, 3], [2.0, 3.3, 3.2])
    runs += to_target("c", [2, None, 3], [2.0, 2.0, 3.2])
    found = rows(only(runs, confidence=0.9999, target=0.9))
    assert found["b"].reached.finding.kind == found["c"].reached.finding.kind


def test_a_metric_that_nobody_has():
    runs = [
        Run(e, s, RunRecord(f"{e}{s}", "ok", "", 1, 2, metrics={"perf/samples_per_s": 100.0 + s}))
        for e in "ab"
        for s in range(3)
    ]
    row = rows(only(runs))["b"]
    assert row.score.kind == "no result"
    assert any("test/accuracy is missing" in remark for remark in row.remarks)


def test_outliers_are_told_and_kept():
    rates = [100.0, 101.0, 99.0, 100.0, 40.0, 100.5]
    row = rows(only(arm("a", rates) + arm("b", [150.0] * 6)))["a"]
    assert row.metrics["perf/samples_per_s"].count == 6
    assert any(remark.startswith("outlier, kept") and "seed 4" in remark for remark in row.remarks)


@pytest.mark.parametrize("kind", ["batches", "data", "initial_weights"])
def test_other_digests_are_not_comparable(kind):
    runs = [run("a", s, 1.0 + s, **{kind: ["x"]}) for s in range(3)]
    runs += [run("b", s, 9.0 + s, **{kind: ["x" if s < 2 else "y"]}) for s in range(3)]
    runs += [run("c", s, 9.0 + s, **{kind: ["x"]}) for s in range(3)]
    runs += [run("d", 7, 9.0, **{kind: ["another seed"]})]
    found = rows(only(runs))
    assert found["b"].standing.state == found["b"].speed.kind == "not comparable"
    assert "in seed 2" in found["b"].standing.reason
    assert found["c"].standing.state == found["d"].standing.state == "unproven"


def test_the_baseline_that_was_asked_for():
    runs = [run("a", 0, 100.0), run("b", 0, 50.0)]
    comparison = only(runs, "b")
    assert comparison.baseline == "b"
    assert rows(comparison)["a"].speed.estimate.value == pytest.approx(2.0)
    with pytest.raises(RequestError, match="baseline 'c'"):
        compare(runs, "sweep", "c")


def test_the_baseline_of_an_engine_with_several_arms():
    def executed(execution):
        variant = (("execution", execution),)
        return [Run("a", s, run("a", s, 100.0 + s).record, None, variant) for s in range(3)]

    both = arms.by_arm(executed("compiled") + executed("native"), {"execution"})
    assert arms.baseline(both, "a") == arms.baseline(both, None) == "a native"
    assert arms.baseline(both, "a compiled") == "a compiled"
    again = [
        Run(r.engine, r.seed, r.record, None, r.variant, control=True) for r in executed("compiled")
    ]
    both |= arms.by_arm(again, {"execution"})
    assert arms.baseline(both, "a") == "a compiled", "the arm that the control repeats"


def test_nothing_to_compare(tmp_path):
    with pytest.raises(RequestError, match="no runs"):
        compare([])
    with pytest.raises(RequestError, match="no sweep folder"):
        load_runs(tmp_path)


# Beyond two arms


def executed(execution, compile_s, step_ms):
    variant = (("execution", execution), ("device", "cpu"))
    metrics = {"time/compile_s": compile_s, "perf/step_ms_median": step_ms}
    return [
        Run("a", s, RunRecord(f"{execution}{s}", "ok", "", 1, 2, metrics=metrics), None, variant)
        for s in range(3)
    ]


def test_when_compiling_has_paid():
    runs = executed("native", 1.0, 3.0) + executed("compiled", 11.0, 1.0)
    (found,) = only(runs).break_even
    assert (found.label, found.plain) == ("a compiled", "a native")
    assert found.steps == Spread(*[pytest.approx(10 / 0.002)] * 3, 3)
    assert "after 5,000 steps" in report.markdown([only(runs)])


def test_when_compiling_never_pays():
    comparison = only(executed("native", 1.0, 3.0) + executed("compiled", 11.0, 3.0))
    assert comparison.break_even[0].steps.median == math.inf
    assert comparison.to_json()["break_even"][0]["steps"]["median"] == "inf"
    assert "never repays" in report.markdown([comparison])


def to_target(engine, epochs, seconds, status="ok"):
    """Runs whose validation reaches 0.9 in the given epoch, or never for None."""
    found = []
    for seed, (epoch, taken) in enumerate(zip(epochs, seconds, strict=True)):
        history = [
            {"val/accuracy": 0.95 if n == epoch else 0.5, "time/wall_s": n * taken}
            for n in range(1, 6)
        ]
        bad = "ok" if epoch else status
        record = RunRecord(f"{engine}{seed}", bad, "", 1, 2, history=history)
        found.append(Run(engine, seed, record))
    return found


def test_time_to_a_target_with_failures_as_infinity():
    runs = to_target("a", [4, 4, 4, 4, 4, 4], [1.0, 1.1, 0.9, 1.0, 1.0, 1.05])
    runs += to_target("b", [2, 2, 2, 2, 2, 2], [1.0, 0.9, 1.1, 1.0, 1.0, 1.05])
    runs += to_target("c", [1, None, None, None, 1, None], [1.0] * 6, "diverged")
    runs += to_target("d", [None] * 6, [1.0] * 6)
    found = {label: row.reached for label, row in rows(only(runs, target=0.9)).items()}
    assert found["b"].finding.words == "2.00x sooner" and found["b"].epochs_median == 2.0
    assert (found["c"].reached, found["c"].runs) == (2, 6)
    assert found["c"].train_seconds_median == math.inf
    assert found["c"].finding.kind == "no difference shown", "four of six are no proof"
    assert found["d"].finding.kind == "no difference shown", "2/64 does not hold for two at once"
    text = report.markdown([only(runs, target=0.9)])
    assert "0 of 6" in text and "never" in text
    assert all(row.reached is None for row in only(runs).rows)


def test_several_workloads_have_a_profile_and_no_winner():
    quick, slow = arm("a", QUIET) + arm("b", [50.0] * 5), arm("a", QUIET) + arm("b", [400.0] * 5)
    both = (only(quick), only(slow))
    found = profile(both)
    assert profile(both[:1]) is None
    assert found.workloads == 2
    assert dict(zip(found.factors, found.shares["a"], strict=True)) == {
        **dict.fromkeys((1.0, 1.05, 1.1, 1.25, 1.5, 2.0), 0.5), 4.0: 1.0,
    }  # fmt: skip
    text = report.markdown(both)
    assert "Performance profile over 2 workloads" in text and "No overall winner" in text


def test_seeds_to_plan():
    runs = arm("a", [100.0] * 5) + arm("b", [110.0, 114.0, 106.0, 112.0, 109.0])
    runs += arm("c", [100.0] * 5)
    (found,) = plans([only(runs)], 0.02)
    assert found.label == "b", "an arm without spread has nothing to plan with"
    assert found.upper_spread > found.spread == pytest.approx(0.0275, abs=1e-3)
    assert 5 < found.for_interval < found.for_detection
    assert "Seeds to plan" in report.markdown([only(runs)], [found])
    with pytest.raises(RequestError, match="precision"):
        plans([only(runs)], 2.0)


def test_a_plan_with_a_control_says_so_and_asks_for_more():
    runs = arm("a", [100.0] * 5) + arm("b", [110.0, 114.0, 106.0, 112.0, 109.0])
    comparison = only(runs + arm("a", times(QUIET, (1.0, 1.02, 0.99, 1.01, 1.0)), control=True))
    (alone,), (controlled,) = plans([only(runs)], 0.02), plans([comparison], 0.02)
    assert controlled.for_detection > alone.for_detection
    assert "noise floor of an A/A control" in report.markdown([comparison], [controlled])
    assert "noise floor of an A/A control" not in report.markdown([only(runs)], [alone])


# Against an earlier sweep


def sweep_folder(root, name, runs):
    folder = root / "sweeps" / name
    cells = []
    for one in runs:
        place = folder / one.record.run
        place.mkdir(parents=True)
        one.record.write(place)
        cells.append(
            {
                "run": one.record.run,
                "engine": one.engine,
                "seed": one.seed,
                "control": one.control,
            }
        )
    (folder / "sweep.json").write_text(json.dumps({"name": name, "cells": cells}))
    return name


@pytest.mark.parametrize(
    ("factor", "code", "said"),
    [
        (0.8, 1, "1.25x slower"),
        (1.0, 0, "equivalent within 2 %"),
        (1.25, 0, "1.25x faster"),
    ],
)
@pytest.mark.parametrize("first_seed", [0, 10], ids=["same seeds", "other seeds"])
def test_against_an_earlier_sweep(tmp_path, capsys, factor, code, said, first_seed):
    sweep_folder(tmp_path, "before", arm("a", QUIET) + arm("b", QUIET))
    again = times(QUIET, (1.001, 0.999, 1.002, 1.0, 0.998))
    now = [run("a", seed, rate) for seed, rate in enumerate(again, first_seed)]
    now += [run("b", seed, rate * factor) for seed, rate in enumerate(again, first_seed)]
    sweep_folder(tmp_path, "now", now)
    shared = ["now", "--against", "before", "--outputs", str(tmp_path)]
    assert call("report", [*shared, "--format", "markdown"]) == code
    text = capsys.readouterr().out
    assert said in text and ("REGRESSION" in text) == bool(code)
    assert call("report", [*shared, "--format", "json"]) == code
    changed = {c["label"]: c for c in json.loads(capsys.readouterr().out)["changes"]}
    method = changed["b"]["speed"]["estimate"]["method"]
    assert method == ("Welch t" if first_seed else "paired t")
    assert bool(changed["b"]["regression"]) == bool(code) and not changed["a"]["regression"]


@pytest.mark.parametrize(("lost", "code"), [(0.02, 1), (0.002, 0), (-0.02, 0)])
def test_a_score_that_is_worse_by_the_same_in_every_seed(tmp_path, capsys, lost, code):
    before = [0.91, 0.93, 0.92, 0.95, 0.94]
    sweep_folder(tmp_path, "before", arm("a", QUIET, accuracies=before))
    sweep_folder(tmp_path, "now", arm("a", QUIET, accuracies=[score - lost for score in before]))
    shared = ["now", "--against", "before", "--outputs", str(tmp_path)]
    assert call("report", [*shared, "--format", "markdown"]) == code
    assert ("REGRESSION" in capsys.readouterr().out) == bool(code)


def test_false_alarms_do_not_grow_with_the_number_of_experiments():
    """Ten experiments of three arms, nothing changed: one family, not ten with 5 % each."""
    experiments = [
        SimpleNamespace(group=str(n), precision="", task=SimpleNamespace(metric="accuracy"))
        for n in range(10)
    ]
    rng = np.random.default_rng(3)
    alarms, trials = 0, 60
    for _ in range(trials):
        sweeps = [
            [
                Run(engine, seed, run(engine, seed, math.exp(rng.normal(0, 0.03))).record, spec)
                for spec in experiments
                for engine in "abc"
                for seed in range(5)
            ]
            for _ in range(2)
        ]
        found = changes(*sweeps, {}, Criteria(speed_margin=0.0))
        assert len(found) == 30
        alarms += any(change.regression for change in found)
    assert alarms <= stats.binom.ppf(0.999, trials, 0.05)


def test_an_arm_that_no_longer_runs_is_a_regression(tmp_path, capsys):
    sweep_folder(tmp_path, "before", arm("a", QUIET))
    sweep_folder(tmp_path, "now", [run("a", s, None, "failed", "why") for s in range(5)])
    assert call("report", ["now", "--against", "before", "--outputs", str(tmp_path)]) == 1
    assert "ends as failed" in " ".join(capsys.readouterr().out.split())


def test_another_processor_is_not_comparable(tmp_path, capsys):
    def on(cpu, rates):
        return [
            Run(r.engine, r.seed, RunRecord(**{**vars(r.record), "environment": {"cpu": cpu}}))
            for r in arm("a", rates)
        ]

    sweep_folder(tmp_path, "before", on("fast", QUIET))
    sweep_folder(tmp_path, "now", on("slow", [r / 2 for r in QUIET]))
    assert call("report", ["now", "--against", "before", "--outputs", str(tmp_path)]) == 0
    assert "not comparable" in capsys.readouterr().out


def test_sweeps_without_a_common_arm(tmp_path):
    sweep_folder(tmp_path, "before", arm("a", QUIET))
    sweep_folder(tmp_path, "now", arm("b", QUIET))
    with pytest.raises(RequestError, match="in common"):
        call("report", ["now", "--against", "before", "--outputs", str(tmp_path)])


# Formats and size


def test_formats():
    comparisons = compare([run("a", 0, 100.0), run("a|b", 0, 50.0)], "sweep")
    text = report.markdown(comparisons)
    assert "a\\|b" in text and "| baseline |" in text
    parsed = json.loads(report.as_json(comparisons))["comparisons"][0]
    assert parsed["rows"][0]["metrics"]["perf/samples_per_s"]["median"] == 100.0
    assert parsed["rows"][1]["speed"]["kind"] == "too few seeds to say"


@pytest.mark.parametrize("width", [80, 100, 120, 200])
@pytest.mark.parametrize("failed", [False, True])
def test_the_table_fits_the_terminal(width, failed):
    rates = [12345.0, 12400.0, 12300.0]
    runs = arm("keras_tensorflow", [r / 3 for r in rates[::-1]]) + arm("lightning", rates)
    runs += arm("keras_torch", rates, control=failed)
    runs += [run("lightning", 3, None, "failed", "why")] * failed
    comparison = only(runs, "lightning")
    console = plain(width=width, force_terminal=False)
    with console.capture() as capture:
        report.show([comparison], console)
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    row = next(line for line in lines if "keras_tensorflow" in line)
    assert "4,115" in row and "slower" in row
    assert not any("…" in line for line in lines)
    assert any("[2.9" in line for line in lines), "the interval stands beside or below"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (12345.6, "12,346"), (99.96, "100.0"), (1.239, "1.24"), (0.01239, "0.0124"), (0, "0"),
        (math.inf, "never"),
    ],
)  # fmt: skip
def test_numbers(value, shown):
    assert report.number(value) == shown


def test_a_hundred_arms_with_ten_seeds():
    rng = np.random.default_rng(0)
    runs = [
        run(
            f"engine{e}",
            seed,
            100.0 * math.exp(rng.normal(0, 0.02)),
            accuracy=rng.normal(0.9, 0.01),
        )
        for seed in range(10)
        for e in range(100)
    ]
    comparison = only(runs)
    assert report.markdown([comparison]).count("\n| engine") == 101
    assert {row.speed.estimate.method for row in comparison.rows if row.speed.estimate} == {
        "paired bootstrap-t"
    }
