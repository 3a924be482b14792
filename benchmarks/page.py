"""``docs/benchmarks.md`` from what ``overhead.py``, ``building.py`` and ``startup.py`` have left
behind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import building
import overhead
import startup
from ratios import Ratio

PAGE = Path("docs/benchmarks.md")

TEXT = """\
# Benchmarks

What fwcompare costs over a framework used by hand. Written by `make benchmark`; do not edit.

{machine}

Versions: {versions}.

## A training step

`overhead` is the time of fwcompare's trainer with `semantics=native` over that of a loop written by
hand in the same framework ([`benchmarks/loops`](../benchmarks/loops)): the same entry, feed, model
and optimizer, without callbacks, probe or anything else of fwcompare. Limit: {overhead_limit:.2f}.
`cure` is `perf/cure_ratio`: `semantics=aligned` over `native`, which is what the same mathematics
costs. Limit: {cure_limit:.2f}. `A/A` is a second instance of the hand-written loop over the first:
what noise alone does.

{steps}

A ratio is the geometric mean over {rounds} pairs, with a 95 % t interval of the logarithms. A limit
is `met` when the ratio is not above it, `exceeded` when the interval is above it by more than the
farther end of the A/A interval, and otherwise `within noise`.

The one cure that costs is that of layer norm in `jax`, which `gpt_small` shows: Flax's own takes
the variance as E[x²] − E[x]², in float32 wrong for numbers far from zero, and aligned semantics
have it taken in two passes (`use_fast_variance=False`), as every other engine does.

How it is measured:

- A fresh process for each engine, with the environment and affinity of fwcompare's workers and one
  thread. The four arms take turns there; the order is reversed each round, and the arms of each
  ratio are always neighbours.
- A sample is a whole `fit` of one epoch, the device synchronised before the clock is read. The data
  are repeated or cut to make an epoch of its length:
{workloads}
- Adam, float32. The learning rate is 1e-6, so that nothing is learned: converged weights hold
  denormal numbers, on which processors are slow, and where an arm meets them depends on the weights
  it began with.
- In this benchmark alone the allocator is pinned: {allocator}.
  By default glibc gives freed memory back and faults it in again, or does not, as the heap happens
  to lie, and two instances of one CNN loop differ by as much as 15 %. What is compared here is the
  path through the code; a run of fwcompare leaves the allocator as its users have it.

## Building a model

`{model}` for images of 224x224 and 1,000 classes, with Adam: the CPU time from a run's folder to a
trainer that is ready to train (reading the layers, inferring every shape, reading the initial
weights, building and filling the model, and the optimizer's slots where the framework does not
make them at its first step), over that of a builder written by hand in the same framework, which
draws its weights. Limit: {build_limit:.2f}. CPU time, for it is hardly disturbed where a machine is
busy with other things. {builds} pairs for each engine, behind a first build that does not count;
{build_machine}

{building}

## Start-up

Commands that run nothing, median of {calls} calls. Limit: {command_limit:.1f} s.

{commands}

A small run (`model=mlp dataset=digits trainer.epochs=1 tracking=none`), median of {runs}. `beyond`
is the wall time of the command less the phases `import`, `build`, `train`, `eval`, `input` and
`predict` of its record; `parent` is the part of it before the worker starts and after its record is
written. Limit: {run_limit:.1f} s.

{engines}
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers or verdicts, and stand right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def step_rows(engines: dict[str, Any]) -> Iterator[list[str]]:
    """A row for each engine and model."""
    for engine, found in engines.items():
        for model, cell in found["models"].items():
            ms = cell["step_ms"]
            yield [
                engine,
                model,
                f"{ms['hand']:.3f}",
                f"{ms['native']:.3f}",
                str(Ratio(**cell["overhead"])),
                cell["overhead_limit"],
                str(Ratio(**cell["perf/cure_ratio"])),
                cell["cure_limit"],
                str(Ratio(**cell["noise"])),
            ]


def build_rows(engines: dict[str, Any]) -> Iterator[list[str]]:
    """A row for each engine."""
    for engine, found in engines.items():
        times = found["median_s"]
        yield [
            engine,
            *(f"{1e3 * times[arm]:.0f}" for arm in ("hand", "native", "aligned")),
            str(Ratio(**found["native"])),
            found["native_limit"],
            str(Ratio(**found["aligned"])),
            found["aligned_limit"],
            str(Ratio(**found["noise"])),
        ]


def run_rows(engines: dict[str, Any]) -> Iterator[list[str]]:
    """A row for each engine."""
    for engine, found in engines.items():
        times = found["median"]
        yield [
            engine,
            *(f"{times[name]:.2f}" for name in ("whole_s", "work_s", "beyond_s", "parent_s")),
            met(found["met"]),
        ]


def span(counts: list[int]) -> str:
    """The least and the most of some counts."""
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least} to {most}"


def met(keeps: bool) -> str:
    return "met" if keeps else "exceeded"


def machine_line(of: dict[str, Any]) -> str:
    """The machine in a sentence, and how busy it was."""
    return f"{platform_line(of)} Load when it ended: {of['load_1m']:.2f}."


def platform_line(of: dict[str, Any]) -> str:
    """The machine in a sentence."""
    return (
        f"{of['date']}: {of['cpu']}, cores: {of['cores']}, {of['memory_gib']} GiB; "
        f"{of['platform']}, {of['libc']}; Python {of['python']}, fwcompare {of['fwcompare']}."
    )


def page(steps: dict[str, Any], built: dict[str, Any], start: dict[str, Any]) -> str:
    """The whole page."""
    engines, builds = steps["engines"], built["engines"]
    versions = {name: v for e in engines.values() for name, v in e["versions"].items()}
    cells = [cell for engine in engines.values() for cell in engine["models"].values()]
    counts = {model: cell["steps"] for e in engines.values() for model, cell in e["models"].items()}
    commands = start["commands"]
    return TEXT.format(
        machine=machine_line(steps["machine"]),
        versions=", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
        overhead_limit=overhead.OVERHEAD_LIMIT,
        cure_limit=overhead.CURE_LIMIT,
        steps=table(
            ["engine", "model", "by hand, ms", "native, ms", "overhead", "limit", "cure", "limit",
             "A/A"],
            step_rows(engines),
        ),
        rounds=span([cell["noise"]["pairs"] for cell in cells]),
        workloads="\n".join(
            f"  - {count} steps of `{' '.join([f'model={model}', *steps['models'][model]])}`"
            for model, count in counts.items()
        ),
        allocator=", ".join(f"`{name}={value}`" for name, value in overhead.ALLOCATOR.items()),
        model=built["model"],
        build_limit=building.BUILD_LIMIT,
        builds=next(iter(builds.values()))["noise"]["pairs"],
        build_machine=machine_line(built["machine"]),
        building=table(
            ["engine", "by hand, ms", "native, ms", "aligned, ms", "native / hand", "limit",
             "aligned / hand", "limit", "A/A"],
            build_rows(builds),
        ),
        command_limit=startup.COMMAND_LIMIT,
        calls=len(next(iter(commands.values()))["seconds"]),
        commands=table(
            ["command", "median, s", "limit"],
            (
                [f"`fwcompare {text}`", f"{c['median_s']:.2f}", met(c["met"])]
                for text, c in commands.items()
            ),
        ),
        run_limit=startup.RUN_LIMIT,
        runs=len(next(iter(start["engines"].values()))["runs"]),
        engines=table(
            ["engine", "command, s", "framework's work, s", "beyond, s", "parent, s",
             "limit"],
            run_rows(start["engines"]),
        ),
    )  # fmt: skip


def main() -> None:
    """Write the page from the newest measurements."""
    steps, built, start = (
        json.loads(script.OUTPUT.read_text(encoding="utf-8"))
        for script in (overhead, building, startup)
    )
    PAGE.write_text(page(steps, built, start), encoding="utf-8")
    print(f"Written: {PAGE}")


if __name__ == "__main__":
    main()
