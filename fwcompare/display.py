"""What a person sees while runs go on: a live line in a terminal, plain lines in a pipe.

The display is refreshed only when the parent looks at the event file; between two looks the parent
sleeps, so that nothing spins beside a timed child.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from fwcompare.grid import number, score
from fwcompare.metrics import METRICS
from fwcompare.probe import clock
from fwcompare.record import RunRecord
from fwcompare.spec import RunSpec

#: What a run is at once a phase has ended; the other phases recur, or are over in no time.
_NEXT = {
    "import": "building the model",
    "build": "first step; compiling, where there is something to compile",
    "input": "measuring prediction",
    "predict": "writing weights",
}


#: Columns of a terminal with room for a bar and for the time that has gone by.
_WIDE = 90


class _Cut(TextColumn):
    """Text as it is, which is cut where there is no room for it, and never folded."""

    def __init__(self, text: str, style: str = "none") -> None:
        super().__init__(text, style=style, markup=False, table_column=Column())

    def render(self, task: Task) -> Text:
        text = super().render(task)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


def _columns(width: int) -> list[ProgressColumn]:
    """Name, how far, and what it is at; on a wide terminal also a bar and a clock."""
    beside = [BarColumn(bar_width=16), TimeElapsedColumn()] if width >= _WIDE else []
    count = TextColumn("{task.completed:.0f}/{task.total:.0f}", markup=False)
    return [
        _Cut("{task.description}"), *beside[:1], count, *beside[1:],
        _Cut("{task.fields[note]}", style="dim"),
    ]  # fmt: skip


class Display(AbstractContextManager["Display"]):
    """Progress over ``total`` runs."""

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self.total = total
        self.done = 0
        self._began = clock()
        self._progress: Progress | None = None
        self._all: TaskID | None = None
        #: The lines of the runs that go on, by run.
        self._lines: dict[str, tuple[TaskID, RunSpec]] = {}

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._progress = Progress(
                *_columns(self.console.width),
                console=self.console,
                transient=True,
                auto_refresh=False,
            )
            self._progress.start()
            if self.total > 1:
                self._all = self._progress.add_task("runs", total=self.total, note="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress:
            self._progress.stop()

    def begin(self, spec: RunSpec) -> None:
        """A run is about to start."""
        if self._progress:
            name = f"{spec.framework.name}/{spec.model.name} s{spec.seed}"
            line = self._progress.add_task(
                name, total=max(spec.training.epochs, 1), note="starting"
            )
            self._lines[spec.run] = line, spec
            self._progress.refresh()

    def event(self, run: str, event: dict[str, Any]) -> None:
        """A run wrote an event."""
        if self._progress is None or run not in self._lines:
            return
        line, spec = self._lines[run]
        if event["event"] == "epoch":
            metrics = event["metrics"]
            note = f"loss {metrics['train/loss']:.4f}"
            if (key := f"val/{spec.task.metric}") in metrics:
                note += f"  val {spec.task.metric} {score(key, metrics[key])}"
            self._progress.update(line, completed=event["epoch"], note=note)
        elif event["event"] == "start":
            self._progress.update(line, note="importing the framework")
        elif event["event"] == "phase" and event["name"] in _NEXT:
            self._progress.update(line, note=_NEXT[event["name"]])
        self._progress.refresh()

    def end(self, run: str, label: str, record: RunRecord) -> None:
        """A run has ended; say how."""
        self.done += 1
        if self._progress and run in self._lines:
            self._progress.remove_task(self._lines.pop(run)[0])
        if self._progress and self._all is not None:
            seconds = (clock() - self._began) / self.done * (self.total - self.done)
            note = f"about {_time(seconds)} left" if self.done < self.total else ""
            self._progress.update(self._all, completed=self.done, note=note)
        if self._progress:
            self._progress.refresh()  # tracking, which may take seconds, comes before the next run
        self.console.print(self._line(label, record), soft_wrap=True)

    def _line(self, label: str, record: RunRecord) -> Text:
        width = len(str(self.total))
        line = (
            Text(f"[{self.done:>{width}}/{self.total}] ", style="dim") if self.total > 1 else Text()
        )
        line.append(f"{label:<28} ")
        line.append(f"{record.status:<11} ", style="green" if record.ok else "red")
        metrics = record.metrics
        keys = (f"test/{name}" for name in METRICS)
        quoted = [key for key in keys if key in metrics]
        parts = [f"{key} {score(key, metrics[key])}" for key in quoted]
        if "perf/samples_per_s" in metrics:
            parts.append(f"{number(metrics['perf/samples_per_s'])} samples/s")
        if "time/total_s" in metrics:
            parts.append(f"{metrics['time/total_s']:.1f} s")
        if record.reason:
            parts.append(record.reason)
        line.append("  ".join(parts))
        return line


def _time(seconds: float) -> str:
    """A time left as one says it: 40 s, 3 min, 2 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.0f} h"
