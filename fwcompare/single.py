"""One run from the command line: checked, run, tracked, and shown."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from rich.table import Table
from rich.text import Text

from fwcompare import launch, recovery
from fwcompare.config import Configuration, Plan, new_run_id
from fwcompare.display import Display
from fwcompare.errors import RequestError
from fwcompare.grid import score
from fwcompare.record import LOG_FILE, SAMPLES_FILE, RunRecord, log_tail
from fwcompare.terminal import stderr, stdout

#: What a person wants to know of one run, in order; the rest is in the record.
_SHOWN = (
    ("test/accuracy", "test accuracy"),
    ("test/micro_f1", "test micro-F1"),
    ("test/mae", "test mean absolute error"),
    ("test/perplexity", "test perplexity"),
    ("test/loss", "test loss"),
    ("train/loss", "train loss, last epoch"),
    ("perf/samples_per_s", "samples/s, steady"),
    ("perf/step_ms_median", "step, ms"),
    ("perf/input_ms_median", "of which input, ms"),
    ("time/first_step_s", "first step, s"),
    ("time/train_s", "training, s"),
    ("time/total_s", "whole process, s"),
    ("perf/predict_samples_per_s", "prediction, samples/s"),
    ("perf/predict_ms_batch1_p50", "prediction at batch 1, ms"),
    ("memory/peak_rss_mib", "peak memory, MiB"),
    ("memory/peak_device_mib", "peak memory of the GPU, MiB"),
    ("perf/cpu_cores_used", "cores used in training"),
)


#: Lines of the log of a run that has failed which are shown.
_LOG_LINES = 8

#: Lines of a language model's text that are shown.
_SAMPLE_LINES = 16


def run_single(made: Configuration) -> RunRecord:
    """Run what a configuration asks for, once.

    Raises:
        RequestError: what was asked is wrong.
        UnsupportedError: the engine cannot do it.
    """
    return run_plan(made.plan())


def run_plan(plan: Plan) -> RunRecord:
    """Run a plan once under a name of its own: run, track, show."""
    folder, record = execute(plan)
    show(folder, record)
    return record


def execute(plan: Plan) -> tuple[Path, RunRecord]:
    """Run a plan once under a name of its own, and track it. Returns its folder and its record."""
    console = stderr()
    spec = plan.spec
    recovery.announce(plan.outputs, console)
    spec = spec.but(run=new_run_id(spec.framework.name, spec.model.name, spec.seed))
    folder = plan.outputs / "runs" / spec.run
    label = f"{spec.framework.name}/{spec.model.name} s{spec.seed}"
    if plan.remark:
        console.print(Text(f"Warning: {plan.remark}", style="yellow"), soft_wrap=True)
    with Display(console, 1) as display:
        display.begin(spec)
        try:
            record = launch.run(spec, folder, partial(display.event, spec.run))
        except RequestError:  # nothing has been run, and the next start shall not think so
            shutil.rmtree(folder, ignore_errors=True)
            raise
        display.end(spec.run, label, record)
    # One run, whatever its processes: that of rank 0 is tracked.
    if plan.tracking.name != "none" and not spec.distributed.host:
        from fwcompare.tracker import track_run

        track_run(plan.tracking, plan.outputs, console, folder)
    return folder, record


def show(folder: Path, record: RunRecord) -> None:
    """Show what a person wants to know of a run."""
    console, out = stderr(), stdout()
    if record.metrics:
        out.print(_summary(record))
    for line in _beginning(folder / SAMPLES_FILE):
        out.print(Text(line, style="italic"), soft_wrap=True)
    for warning in record.warnings:
        out.print(Text(f"Warning: {warning}", style="yellow"))
    if record.status in ("failed", "killed", "out_of_memory"):
        for line in _end_of_log(folder, record):
            console.print(Text(line, style="dim"), soft_wrap=True)
        console.print(f"The whole log: {folder / LOG_FILE}", soft_wrap=True)
    out.print(Text(f"Record: {folder}", style="dim"), soft_wrap=True)


def _end_of_log(folder: Path, record: RunRecord) -> list[str]:
    """The last lines of the log; none where the log ends with what was already said as the reason:
    that is a message for people, and what stands above it is for those who look for more."""
    lines = log_tail(folder, _LOG_LINES)
    return [] if lines and lines[-1] == record.reason else lines


def _beginning(samples: Path) -> list[str]:
    """The first lines of what a language model wrote; none for any other model."""
    if not samples.is_file():
        return []
    lines = samples.read_text(encoding="utf-8").splitlines()
    rest = [f"... {len(lines) - _SAMPLE_LINES} more lines in {samples.name}"]
    return lines[:_SAMPLE_LINES] + (rest if len(lines) > _SAMPLE_LINES else [])


def _summary(record: RunRecord) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for key, label in _SHOWN:
        if key in record.metrics:
            value = record.metrics[key]
            table.add_row(label, Text(score(key, value), justify="right"))
    for key in ("device", "execution"):
        if key in record.facts:
            table.add_row(key, Text(str(record.facts[key]), justify="right"))
    return table
