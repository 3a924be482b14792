"""The Python interface: runs and sweeps by the command line's own code, with data frames.

``fwcompare.run``, ``fwcompare.sweep`` and ``fwcompare.load`` take what the command line takes, and
raise where it exits: ``RequestError`` for what is asked wrongly, before any work. A run that fails
is not raised; its ``status`` says so, as it does in a table.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwcompare import compose, frames, multirun, report, single
from fwcompare.arms import SWEEP_FILE, Run, load_run
from fwcompare.compare import Comparison
from fwcompare.errors import FwcompareError, RequestError
from fwcompare.folders import find_run, find_sweep
from fwcompare.limits import user_path
from fwcompare.outcome import Outcome, outcome
from fwcompare.record import NO_FAILURES, RunRecord
from fwcompare.spec import RunSpec
from fwcompare.terminal import stdout

if TYPE_CHECKING:
    from pandas import DataFrame

#: Hydra's state is one a process, and runs that overlap would disturb each other's timing: a call
#: from another thread waits until this one has ended.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class RunResult:
    """One run, from its folder."""

    folder: Path
    found: Run

    @property
    def name(self) -> str:
        return self.record.run

    @property
    def record(self) -> RunRecord:
        """Everything that was observed, raw timings included."""
        return self.found.record

    @property
    def spec(self) -> RunSpec | None:
        """Everything that was asked; None where the run was refused before that was known."""
        return self.found.spec

    @property
    def ok(self) -> bool:
        return self.record.ok

    @property
    def status(self) -> str:
        return self.record.status

    @property
    def metrics(self) -> dict[str, float]:
        """Final metrics by name."""
        return self.record.metrics

    @cached_property
    def history(self) -> DataFrame:
        """A row an epoch."""
        return frames.history_frame([self.found])

    def show(self) -> None:
        """Print what the command line prints of a run."""
        single.show(self.folder, self.record)

    def __repr__(self) -> str:
        reason = f": {self.record.reason}" if self.record.reason else ""
        return f"<run {self.name}, {self.status}{reason}>"


@dataclass(frozen=True)
class SweepResult:
    """A sweep, from its folder."""

    outcome: Outcome

    @property
    def folder(self) -> Path:
        return self.outcome.folder

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def ok(self) -> bool:
        """Whether every run has ended well, or was refused as what its engine cannot do."""
        statuses = {record.status for record in self.records}
        return not self.outcome.missing and statuses <= set(NO_FAILURES)

    @property
    def records(self) -> list[RunRecord]:
        """Everything that was observed, run by run."""
        return [run.record for run in self.outcome.runs]

    @property
    def comparisons(self) -> list[Comparison]:
        """One for each experiment that was run, in order of appearance."""
        return list(self.outcome.comparisons)

    @cached_property
    def runs(self) -> DataFrame:
        """A row a run: what it was, how it ended, final metrics."""
        return frames.runs_frame(self.outcome.runs, self.comparisons)

    @cached_property
    def history(self) -> DataFrame:
        """A row an epoch of a run."""
        return frames.history_frame(self.outcome.runs, self.comparisons)

    @cached_property
    def verdicts(self) -> DataFrame:
        """A row an arm: ratio to the baseline, interval, verdict in words, standing."""
        return frames.verdicts_frame(self.comparisons)

    def show(self) -> None:
        """Print the tables that the command line prints at the end of a sweep."""
        report.show(self.comparisons, stdout())

    def __repr__(self) -> str:
        counts = Counter(record.status for record in self.records)
        said = ", ".join(f"{count} {status}" for status, count in counts.items())
        return f"<sweep {self.name}: {said}>"


def run(*overrides: str, config_dir: str | Path | None = None, **options: Any) -> RunResult:
    """Train once, in a process of its own.

    Args:
        overrides: options as on the command line: ``"framework=jax"``, ``"trainer.epochs=5"``.
        config_dir: a folder of configuration of your own, as ``--config-dir``.
        options: the same by keyword, with ``__`` for a dot: ``seed=1``, ``trainer__epochs=5``.

    Raises:
        RequestError: what was asked is wrong, or is a sweep; nothing has been run.
        UnsupportedError: the engine cannot do it, or is not installed.
    """
    asked = [*_overrides(overrides, options), *compose.search_path(config_dir)]
    with _one_at_a_time:
        _refuse_sweep(asked)
        plan = compose.compose(asked).plan()
        folder, record = single.execute(plan)
    return RunResult(folder, load_run(folder, record))


def sweep(*overrides: str, config_dir: str | Path | None = None, **options: Any) -> SweepResult:
    """Run every combination, prove that they are one experiment, and compare.

    Takes what ``run`` takes, with Hydra's sweeps for values: ``"framework=pytorch,jax"``,
    ``seed="range(5)"``. Runs that fail are rows of the result, with their ``status``.

    Raises:
        RequestError: something asked for is wrong; nothing has been run.
        KeyboardInterrupt: passed on; what had ended is kept, and ``load()`` reads it.
    """
    asked = [*_overrides(overrides, options), *compose.search_path(config_dir)]
    ended: list[multirun.Ended] = []
    with _one_at_a_time, multirun.handed_to(ended.append):
        _multirun([*asked, "hydra.mode=MULTIRUN"])
    return SweepResult(outcome(ended[0].sweep.folder))


def load(
    name: str | Path | None = None,
    *,
    outputs: str | Path | None = None,
    baseline: str | None = None,
    target: float | None = None,
) -> RunResult | SweepResult:
    """A run or a sweep from its folder, without training.

    Args:
        name: its folder, or its name under ``outputs``; None: the newest sweep.
        outputs: ``paths.outputs``.
        baseline: the engine or arm that a sweep's others are measured against.
        target: the validation metric that training is to reach (``compare.target``).

    Raises:
        RequestError: there is none, or nothing of it has ended.
    """
    with _one_at_a_time:
        place = Path(outputs) if outputs is not None else compose.compose([]).outputs
    if name is None or _is_sweep(str(name), place):
        folder = find_sweep(None if name is None else str(name), place)
        return SweepResult(outcome(folder, baseline, target))
    try:
        folder = find_run(str(name), place)
    except RequestError as error:
        raise RequestError(f"'{name}' is neither a sweep nor a run.", error.hint) from error
    record = RunRecord.read(folder)
    if record is None:
        raise RequestError(f"The run {folder.name} has not ended yet.")
    return RunResult(folder, load_run(folder, record))


def _is_sweep(name: str, outputs: Path) -> bool:
    places = user_path(name), outputs / "sweeps" / name
    return any((place / SWEEP_FILE).is_file() for place in places)


def _overrides(given: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    """Keywords as overrides, behind those that were given as such."""
    return [
        *given,
        *(f"{key.replace('__', '.')}={_value(value)}" for key, value in options.items()),
    ]


def _value(value: object) -> str:
    """A value as Hydra reads it: a string as it is, a path as one word whatever it holds."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Path):
        escaped = str(value).replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_value, value))}]"
    return str(value)


def _refuse_sweep(overrides: Sequence[str]) -> None:
    """Raises ``RequestError`` where the configuration is that of a sweep."""
    from hydra.types import RunMode

    with compose.application() as hydra:
        mode = hydra.get_mode(compose.CONFIG_NAME, list(overrides))
    if mode == RunMode.MULTIRUN:
        raise RequestError("This asks for several runs.", "Call fwcompare.sweep with it.")


def _multirun(overrides: Sequence[str]) -> None:
    """What Hydra's main does for ``-m``."""
    from fwcompare.cli import job

    compose.require_sweeper()
    try:
        with compose.application() as hydra:
            hydra.multirun(compose.CONFIG_NAME, job, list(overrides), False)
    except FwcompareError:
        raise
    except Exception as error:
        raise compose.translate(error) from error
