"""Measure what more processes bring, and plan beyond this machine.

  fwcompare scaling framework=jax model=cnn --processes 1,2
  fwcompare scaling model=mlp --processes 1,2 --plan 8,64 --bandwidth-gbit 10 --latency-us 50

The batch stays the same. For each number of processes one run trains with all of them, and one run
trains a single process on the share of the batch that each had: what is left of the step is
communication. Each is one run, without intervals. Where processes share cores, their times are
shown, and nothing is concluded from them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fwcompare.compose import compose
from fwcompare.config import Plan
from fwcompare.errors import RequestError, RunError
from fwcompare.grid import number
from fwcompare.launch import physical_cores
from fwcompare.scaling import ASSUMPTIONS, Costs, Expected, Link, Measured, planned
from fwcompare.single import execute
from fwcompare.spec import Distributed, RunSpec
from fwcompare.terminal import stdout

SUMMARY = "what more processes bring: speed-up, communication, and a plan beyond this machine"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", metavar="option", help="such as model=cnn")
    parser.add_argument("--processes", default="1,2", help="to measure, with commas (1,2)")
    parser.add_argument("--plan", default="4,8,16", help="to plan, with commas (4,8,16)")
    parser.add_argument("--bandwidth-gbit", type=float, default=10.0, help="of the plan's link")
    parser.add_argument("--latency-us", type=float, default=50.0, help="of the plan's link")
    parser.add_argument("--config-dir", help="folder with your own configuration groups")
    parser.add_argument("--format", choices=("table", "json"), default="table")


@dataclass(frozen=True)
class Scaling:
    """All that was measured and planned."""

    spec: RunSpec
    costs: Costs
    link: Link
    measured: tuple[Measured, ...]
    expected: tuple[Expected, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "engine": self.spec.framework.name,
            "model": self.spec.model.name,
            "batch_size": self.spec.training.batch_size,
            "threads": self.spec.device.threads,
            "costs": asdict(self.costs),
            "link": asdict(self.link),
            "measured": [
                asdict(row)
                | {
                    "speedup": row.speedup,
                    "efficiency": row.efficiency,
                    "communication": row.communication,
                }
                for row in self.measured
            ],
            "planned": [
                asdict(row) | {"speedups": row.speedups, "efficiencies": row.efficiencies}
                for row in self.expected
            ],
            "assumptions": ASSUMPTIONS,
        }


def run(arguments: argparse.Namespace) -> int:
    counts, ahead = _counts(arguments.processes, "--processes"), _counts(arguments.plan, "--plan")
    link = Link(arguments.bandwidth_gbit * 1e9 / 8, arguments.latency_us / 1e6)
    if max(counts) == 1:
        raise RequestError("--processes=1 leaves nothing to compare.", "Such as --processes 1,2.")
    found = measure(arguments.overrides, arguments.config_dir, counts, ahead, link)
    if arguments.format == "json":
        sys.stdout.write(json.dumps(found.to_json(), indent=1) + "\n")
    else:
        show(found, stdout())
    return 0


def _counts(given: str, option: str) -> list[int]:
    try:
        found = sorted({int(word) for word in given.split(",")})
    except ValueError:
        found = [0]
    if found[0] < 1:
        raise RequestError(f"{option}={given} must be whole numbers from 1, with commas.")
    return found


def measure(
    overrides: Sequence[str],
    config_dir: str | None,
    counts: Sequence[int],
    ahead: Sequence[int],
    link: Link,
) -> Scaling:
    """Run every number of processes, and a single process on each share.

    Raises:
        RequestError: what was asked is wrong.
        UnsupportedError: the engine trains alone.
        RunError: a run did not end well.
    """
    options = [o.lstrip("+~").partition("=")[0] for o in overrides]
    if any(option.startswith("distributed") for option in options):
        raise RequestError("How many processes is said by --processes.", "Leave out distributed.*.")
    cores = len(physical_cores())
    given = list(overrides)
    if "device.threads" not in options:
        given.append(f"device.threads={max(cores // max(counts), 1)}")
    plans = {count: _plan(given, config_dir, count) for count in counts}
    base = next(iter(plans.values())).spec
    batch, threads = base.training.batch_size, base.device.threads
    for count in ahead:
        if batch % count:
            raise RequestError(
                f"--plan: trainer.batch_size={batch} does not split evenly over {count} processes."
            )
    alone: dict[int, float] = {}
    steps: dict[int, float] = {}
    for count, plan in {1: next(iter(plans.values())), **plans}.items():
        training = replace(base.training, batch_size=batch // count)
        alone[count] = _step(plan, base.but(distributed=Distributed(), training=training))
        steps[count] = _step(plan, plan.spec) if count > 1 else alone[1]
    costs = Costs.fitted(
        {batch // count: seconds for count, seconds in alone.items()},
        base.model.graph.parameter_count * base.dtype.itemsize,
    )
    return Scaling(
        base,
        costs,
        link,
        tuple(
            Measured(count, steps[count], alone[count], alone[1], count * threads > cores)
            for count in sorted({1, *counts})
        ),
        tuple(planned(costs, batch, ahead, link)),
    )


def _plan(overrides: list[str], config_dir: str | None, count: int) -> Plan:
    together = ["distributed=data_parallel", f"distributed.processes={count}", "tracking=none"]
    return compose([*overrides, *together], config_dir).plan()


def _step(plan: Plan, spec: RunSpec) -> float:
    """Seconds of a steady step."""
    _, record = execute(replace(plan, spec=spec))
    if not record.ok or "perf/step_ms_median" not in record.metrics:
        raise RunError(
            f"{spec.distributed.processes} processes with batches of {spec.training.batch_size}: "
            f"{record.reason or 'too few steps were timed'}.",
            "Train for more epochs." if record.ok else None,
        )
    return record.metrics["perf/step_ms_median"] / 1e3


def show(found: Scaling, console: Console) -> None:
    """Two tables, and what they rest on."""
    spec = found.spec
    threads = spec.device.threads
    console.print(
        Text(
            f"{spec.framework.name} trains {spec.model.name} on {spec.dataset.name}, batches of "
            f"{spec.training.batch_size}, {threads} thread{'s' * (threads > 1)} a process",
            style="bold",
        )
    )
    console.print(_measured(found))
    for row in found.measured:
        if row.shared:
            there = len(physical_cores())
            told = (
                f"{row.processes} processes share {there} core{'s' * (there > 1)}: their times say "
                "nothing of speed-up, efficiency or communication."
            )
            console.print(Text(told, style="yellow"), soft_wrap=True)
    console.print("One run each, so without intervals.", style="dim")
    link = found.link
    console.print(
        Text(
            f"\nPlanned, with a link of {link.bytes_per_s * 8 / 1e9:g} Gbit/s and "
            f"{link.latency_s * 1e6:g} µs, and {found.costs.gradient_bytes:,} bytes of gradients",
            style="bold",
        )
    )
    console.print(_planned(found))
    console.print(Text(f"Assumed: {'; '.join(ASSUMPTIONS)}.", style="dim"), soft_wrap=True)


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _measured(found: Scaling) -> Table:
    table = _table(
        "processes", "step, ms", "share alone, ms", "speed-up", "efficiency", "communication"
    )
    for row in found.measured:
        table.add_row(
            str(row.processes),
            number(row.step_s * 1e3),
            number(row.alone_s * 1e3),
            _ratio(row.speedup),
            _share(row.efficiency),
            _share(row.communication),
        )
    return table


def _planned(found: Scaling) -> Table:
    table = _table("processes", "step, ms", "of which sums, ms", "speed-up", "efficiency")
    for row in found.expected:
        table.add_row(
            str(row.processes),
            f"{number(row.least_s * 1e3)} to {number(row.most_s * 1e3)}",
            number(row.exchange_s * 1e3),
            " to ".join(map(_ratio, row.speedups)),
            " to ".join(map(_share, row.efficiencies)),
        )
    return table


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
