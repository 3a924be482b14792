"""Tell what a run would need, before anything is loaded: memory, arithmetic, and time.

  fwcompare preflight model=resnet18 dataset=fashion_mnist trainer.batch_size=128
  fwcompare preflight model=article_full
  fwcompare preflight model=article_full model.params.depth=8 --engines pytorch,jax

Memory is set against what this machine, or its GPU, has available; time comes from the machine's
peak, which is measured for it (a second or two). Where several processes train together, all is of
one of them. Exits with 2 where the run fits in no engine, or none can do it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fwcompare import roofline
from fwcompare.capacity import Capacity
from fwcompare.compose import compose
from fwcompare.config import Configuration
from fwcompare.data.batches import Feed
from fwcompare.duration import Duration, Machine, start_seconds, step_flops, step_seconds
from fwcompare.errors import UnsupportedError
from fwcompare.footprint import PLAIN, Footprint
from fwcompare.memory import Memory
from fwcompare.parity.prove import choose_engines, for_engine
from fwcompare.plugin import footprint, front, installed, missing_engines, refusal
from fwcompare.preflight import Subject, Verdict, beyond_32_bits, count_words, size_words
from fwcompare.report import colour
from fwcompare.spec import RunSpec
from fwcompare.terminal import stdout

SUMMARY = "what a run would need: memory, arithmetic, time, and whether it fits here"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="option", help="such as model=resnet18")
    parser.add_argument("--engines", help="engines, with commas (all that are installed)")
    parser.add_argument("--config-dir", help="folder with your own configuration groups")
    parser.add_argument("--format", choices=("table", "json"), default="table")


def run(arguments: argparse.Namespace) -> int:
    found = look(arguments.overrides, arguments.engines, arguments.config_dir)
    if arguments.format == "json":
        sys.stdout.write(json.dumps(found.to_json(), indent=1) + "\n")
    else:
        show(found, stdout())
    return 0 if any(row.verdict.fits in ("yes", "tight") for row in found.rows) else 2


@dataclass(frozen=True)
class Row:
    """What is expected of one engine; nothing but the reason where it cannot do this at all."""

    engine: str
    memory: Memory | None
    verdict: Verdict
    #: None where the machine's peak is not known.
    duration: Duration | None


@dataclass(frozen=True)
class Findings:
    """All that is told of a run."""

    spec: RunSpec
    subject: Subject
    feed: Feed
    capacity: Capacity | None
    peak: roofline.Peak | None
    rows: tuple[Row, ...]

    @property
    def flops(self) -> int:
        """Of a step, in one process."""
        batch = self.subject.setting.batch_size
        return step_flops(self.subject.graph, self.spec.optimizer, batch)

    def to_json(self) -> dict[str, Any]:
        """For programs; whole numbers are exact."""
        return {
            "model": self.spec.model.name,
            "parameters": self.subject.graph.parameter_count,
            "least_bytes": self.subject.least,
            "processes": self.spec.distributed.processes,
            "capacity_bytes": self.capacity.bytes if self.capacity else None,
            "flops_per_step": self.flops,
            "flops_per_epoch": self.flops * self.feed.steps_per_epoch,
            "engines": {
                row.engine: {
                    "fits": row.verdict.fits,
                    "peak_bytes": row.memory.peak if row.memory else None,
                    "bytes": asdict(row.memory) if row.memory else None,
                    "seconds": _seconds(row.duration),
                }
                | ({} if row.memory else {"reason": row.verdict.message})
                for row in self.rows
            },
        }


def _seconds(duration: Duration | None) -> dict[str, float | None] | None:
    if duration is None:
        return None
    found = {"step": duration.step_s, "epoch": duration.epoch_s, "whole": duration.whole_s}
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def look(
    overrides: Sequence[str],
    engines: str | None,
    config_dir: str | None,
    peak: roofline.Peak | None = None,
) -> Findings:
    """All that is to be told; ``peak`` is that of the machine, measured anew where it is not given.

    Raises:
        RequestError: what was asked is wrong.
        UnsupportedError: the engine that was asked for cannot do it.
    """
    available = [name for name in installed() if name not in missing_engines()]
    asked = [o.partition("=")[2] for o in overrides if o.partition("=")[0] == "framework"]
    wanted = engines.split(",") if engines else None
    if asked:
        made = compose(overrides, config_dir)
        spec, chosen = made.plan(refuse=False).spec, [made.engine]
    else:
        chosen = choose_engines(wanted, available)
        made, spec = _first_able(overrides, config_dir, chosen)
    if peak is None and spec.device.name == "cpu":
        peak = roofline.measure(spec.device.threads)
    return _found(made, spec, chosen, peak)


def _first_able(
    overrides: Sequence[str], config_dir: str | None, engines: Sequence[str]
) -> tuple[Configuration, RunSpec]:
    """The run in the first of the engines that can do it; what they need beyond it differs.

    Raises:
        UnsupportedError: the reason of the first, where there is none.
    """
    refused: list[UnsupportedError] = []
    for engine in engines:
        made = compose([*overrides, f"framework={engine}"], config_dir)
        try:
            return made, made.plan(refuse=False).spec
        except UnsupportedError as error:
            refused.append(error)
    raise refused[0]


def _found(
    made: Configuration, spec: RunSpec, engines: Sequence[str], peak: roofline.Peak | None
) -> Findings:
    subject, training = made.subject(spec), spec.training
    feed = Feed(
        subject.samples, training.batch_size, training.epochs, spec.seed,
        training.drop_last, training.max_steps,
    )  # fmt: skip
    there = made.capacity(spec)
    rows = []
    for engine in engines:
        own = for_engine(spec, engine, spec.execution)
        if reason := refusal(front(engine), own):
            said = reason if engine in reason else f"{engine}: {reason}"
            rows.append(Row(engine, None, Verdict("unsupported", said), None))
            continue
        takes = footprint(front(engine))
        rows.append(
            Row(
                engine,
                subject.expected(takes),
                made.verdict(own, subject, there),
                _duration(own, subject, feed, peak, takes),
            )
        )
    return Findings(spec, subject, feed, there, peak, tuple(rows))


def _duration(
    spec: RunSpec, subject: Subject, feed: Feed, peak: roofline.Peak | None, takes: Footprint
) -> Duration | None:
    roof = peak.flops_per_s.get(spec.compute_type) if peak else None
    if peak is None or roof is None:
        return None
    machine = Machine(roof, peak.copy_bytes_per_s)
    batch, itemsize = subject.setting.batch_size, spec.dtype.itemsize
    step = step_seconds(subject.graph, spec.optimizer, batch, itemsize, machine, takes)
    start = start_seconds(subject.graph, takes)
    return Duration(step, feed.steps_per_epoch, feed.total_steps, start)


def show(found: Findings, console: Console) -> None:
    """Two tables, with what there is and what does not fit."""
    spec, subject, feed = found.spec, found.subject, found.feed
    threads = f"{spec.device.threads} thread" + "s" * (spec.device.threads > 1)
    where = spec.device.name if spec.device.name != "cpu" else threads
    console.print(
        Text(f"{spec.model.name} on {spec.dataset.name}", style="bold")
        + f": batch {spec.training.batch_size}, {spec.optimizer.name}, {spec.precision}, {where}"
    )
    if spec.distributed.meets:
        console.print(
            f"{spec.distributed.words} train together. All below is of one of them, with "
            f"{subject.setting.batch_size} samples of each batch; summing gradients comes on top.",
            soft_wrap=True,
        )
    elif spec.distributed.active:
        console.print(
            f"{spec.distributed.words} of the model share each batch, in one process.",
            soft_wrap=True,
        )
    console.print(_mathematics(found))
    steps = feed.steps_per_epoch
    console.print(f"A step: {_flops(found.flops)}. An epoch of {steps:,} steps: "
                  f"{_flops(found.flops * steps)}.")  # fmt: skip
    if found.capacity:
        console.print(f"Memory: {found.capacity.words} {size_words(found.capacity.bytes)}.")
    else:
        console.print("Memory: this system does not tell how much is available.")
    if found.peak:
        rate = found.peak.flops_per_s["float32"] / 1e9
        copied = found.peak.copy_bytes_per_s / 1e9
        console.print(
            f"Peak with {threads}: {rate:,.0f} GFLOP/s in float32, {copied:,.1f} GB/s copied."
        )
    if layer := beyond_32_bits(subject):
        console.print(
            Text(
                f"A tensor of layer '{layer.name}' has more than 2**31 - 1 numbers: kernels that "
                "count in 32 bits refuse it.",
                style="yellow",
            ),
            soft_wrap=True,
        )
    console.print(_engines(found))
    for message in dict.fromkeys(
        f"{row.verdict.message}\n{row.verdict.hint}".strip()
        for row in found.rows
        if row.verdict.message
    ):
        console.print(Text(message, style="yellow"), soft_wrap=True)


def _mathematics(found: Findings) -> Table:
    """What training needs in any engine, and what usual ones keep."""
    subject = found.subject
    plain = subject.expected(PLAIN)
    slots, copies = subject.setting.slots, subject.setting.replicas
    parameters = subject.graph.parameter_count * copies
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("what training holds")
    table.add_column("numbers", justify="right")
    table.add_column("memory", justify="right")
    words = f"optimizer, {slots} slot" + "s" * (slots != 1) + " a parameter"
    for what, count, size in (
        ("parameters", parameters, plain.gradients),
        ("gradients", parameters, plain.gradients),
        (words, slots * parameters, plain.slots),
        ("batch of inputs", plain.batch // subject.setting.weight_bytes, plain.batch),
        ("activations kept for the backward pass", None, plain.kept),
        ("training split", None, subject.data_bytes),
    ):
        table.add_row(what, "" if count is None else count_words(count), size_words(size))
    table.add_section()
    table.add_row("at the very least, in any engine", "", size_words(subject.least))
    return table


def _engines(found: Findings) -> Table:
    """What is expected of each engine."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("engine")
    for heading in ("process, at most", "of it framework", "a step", "an epoch"):
        table.add_column(heading, justify="right")
    epochs = found.spec.training.epochs
    limit = "" if found.spec.training.max_steps is None else ", limited"
    table.add_column(f"{epochs} epoch{'s' * (epochs != 1)}{limit}", justify="right")
    table.add_column("fits")
    styles = {"yes": "green", "tight": "yellow", "no": "red", "never": "bold red"}
    styles["unsupported"] = "red"
    for row in found.rows:
        times = ["–"] * 3
        if row.duration:
            seconds = (row.duration.step_s, row.duration.epoch_s, row.duration.whole_s)
            times = [time_words(value) for value in seconds]
        memory = [size_words(b) for b in (row.memory.peak, row.memory.base)] if row.memory else "––"
        table.add_row(
            Text(row.engine, style=colour(row.engine)),
            *memory,
            *times,
            Text(row.verdict.fits, style=styles[row.verdict.fits]),
        )
    return table


def _flops(count: int) -> str:
    """FLOPs: exact where that can be read, else by their power of ten."""
    return f"{count_words(count, 10**15)} FLOPs"


#: Units of time in seconds, the largest first.
_UNITS = (("years", 31_557_600.0), ("days", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


def time_words(seconds: float) -> str:
    """A time as one says it: 12 ms, 3.4 s, 5.0 min; two digits or three."""
    if not math.isfinite(seconds):
        return "for ever"
    for unit, size in _UNITS:
        if seconds >= 2 * size or (unit == "s" and seconds >= 1):
            value = seconds / size
            return f"{value:.3g} {unit}" if value >= 1e6 else f"{value:,.{value < 100:d}f} {unit}"
    return f"{seconds * 1e3:.3g} ms"
