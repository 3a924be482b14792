"""``docs/preflight.md``: what preflight expects of the zoo's models, against what they take.

    .venv/bin/python benchmarks/preflight.py [--engines pytorch,jax,tensorflow] [--keep FILE]

Every model is trained for a few steps in a process of its own, large enough to stand out above what
the framework itself takes. ``--keep`` holds the measurements: what is there is not run again, and
only the expectation is worked out anew. Takes about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from machine import machine
from page import platform_line, table

from fwcompare import roofline
from fwcompare.memory import MIB
from fwcompare.verbs.preflight import look

PAGE = Path("docs/preflight.md")
COMMAND = Path(sys.executable).with_name("fwcompare")

#: The bounds that the estimates are held to.
MEMORY_BOUND = 0.25
TIME_BOUND = 2.0

STEPS = 4

COMMON = (
    "device.threads=1",
    "tracking=none",
    "trainer.epochs=1",
    f"trainer.max_steps={STEPS}",
    "trainer.samples=0",
    "measure.predict_s=0.02",
    "preflight.mode=warn",
)


@dataclass(frozen=True)
class Case:
    """A model at a size, on data of a size."""

    name: str
    batch: int
    options: tuple[str, ...]
    #: Whether nothing was fitted to it.
    held_out: bool = False

    @property
    def label(self) -> str:
        return f"{self.name}, held out" if self.held_out else self.name

    @property
    def overrides(self) -> list[str]:
        model = [] if self.name == "baseline" else [f"model={self.name}"]
        return [*model, f"trainer.batch_size={self.batch}", *COMMON, *self.options]


def _images(side: int, batch: int) -> tuple[str, ...]:
    return (
        "dataset=synthetic",
        f"dataset.params.input_shape=[{side},{side},3]",
        f"dataset.params.samples={batch * STEPS * 2}",
        "dataset.params.outputs=10",
    )


def _tokens(steps: int, batch: int) -> tuple[str, ...]:
    return (
        "dataset=synthetic_tokens",
        f"dataset.params.steps={steps}",
        f"dataset.params.samples={batch * STEPS * 2}",
        "dataset.params.tokens=1000",
    )


def _image_case(name: str, side: int, batch: int, *options: str) -> Case:
    return Case(name, batch, (*_images(side, batch), *options))


#: What nothing is expected of but the framework itself.
BASELINE = Case("baseline", 16, ("model=logistic", "dataset=digits"))

CASES = (
    _image_case("mlp", 64, 64, "model.params.width=1024"),
    _image_case("lenet5", 128, 64),
    _image_case("cnn", 48, 64),
    _image_case("cnn_bn", 48, 64),
    _image_case("article", 48, 32),
    _image_case("article_full", 48, 16, "model.params.depth=6"),
    _image_case("resnet_small", 64, 64),
    _image_case("resnet18", 64, 32),
    _image_case("resnet50", 64, 16),
    _image_case("mobilenet_v2", 96, 32),
    _image_case("vit_tiny", 32, 32, "model.params.patches=256", "model.params.features=128"),
    _image_case("autoencoder", 96, 32, "task=reconstruction"),
    _image_case("unet_small", 64, 32),
    Case("lstm", 64, (*_tokens(96, 64), "model.params.units=512", "model.params.features=256")),
    Case("gru", 64, (*_tokens(96, 64), "model.params.units=512", "model.params.features=256")),
    Case(
        "transformer_encoder", 32,
        (*_tokens(128, 32), "model.params.features=256", "model.params.hidden=1024"),
    ),
    Case(
        "gpt_small", 32,
        (
            "dataset=python_reference", "task=language_modelling", "dataset.params.steps=128",
            "model.params.features=256",
        ),
    ),
)  # fmt: skip

#: Some of them at other sizes, to which no footprint was fitted.
HELD_OUT = tuple(
    replace(case, held_out=True)
    for case in (
        _image_case("cnn", 32, 128),
        _image_case("resnet18", 96, 16),
        _image_case("vit_tiny", 32, 16, "model.params.patches=256", "model.params.features=192"),
        Case("lstm", 32, (*_tokens(64, 32), "model.params.units=384", "model.params.features=128")),
        _image_case("unet_small", 96, 16),
        Case(
            "transformer_encoder", 16,
            (*_tokens(96, 16), "model.params.features=512", "model.params.hidden=1024"),
        ),
    )
)  # fmt: skip


#: What is known of rows that are beyond a bound.
WHY = {
    ("pytorch", "lstm, held out"): "a small one, for which 15 MiB of PyTorch's own code weigh that "
    "the baseline does not touch, and shapes do not tell.",
}


def measured(engine: str, case: Case) -> dict[str, Any]:
    """The metrics of a run, or why there are none."""
    with tempfile.TemporaryDirectory(prefix="fwcompare-") as folder:
        subprocess.run(
            [COMMAND, f"framework={engine}", *case.overrides],
            cwd=folder, env=dict(os.environ), capture_output=True, check=False,
        )  # fmt: skip
        for record in Path(folder).glob("outputs/runs/*/record.json"):
            found = json.loads(record.read_text(encoding="utf-8"))
            return {"status": found["status"], "reason": found["reason"], **found["metrics"]}
    return {"status": "refused"}


def gathered(
    engines: Sequence[str], cases: Sequence[Case], keep: Path, again: bool = True
) -> dict[str, Any]:
    """Measurements by engine and model; those that are kept already are not made again.

    Without ``again`` nothing is measured: what is kept is taken, whatever it was measured with.
    """
    found = json.loads(keep.read_text(encoding="utf-8")) if keep.is_file() else {}
    found.setdefault("machine", machine())
    for engine in engines:
        own = found.setdefault(engine, {})
        for case in (BASELINE, *cases):
            key = " ".join(case.overrides)
            if again and own.get(case.label, {}).get("key") != key:
                own[case.label] = {"key": key, **measured(engine, case)}
                keep.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def best_peak(attempts: int = 4) -> roofline.Peak:
    """The peak of one thread: the highest that is seen, for other work can only lower it.

    Products and copies each have their own highest.
    """
    seen = [peak for _ in range(attempts) if (peak := roofline.measure(1)) is not None]
    best = max(seen, key=lambda peak: peak.flops_per_s["float32"])
    return replace(best, copy_bytes_per_s=max(peak.copy_bytes_per_s for peak in seen))


@dataclass(frozen=True)
class Row:
    """Expected and measured, of one model in one engine; MiB and milliseconds."""

    engine: str
    case: Case
    memory: tuple[float, float]
    step: tuple[float, float]

    @property
    def memory_ratio(self) -> float:
        return self.memory[0] / self.memory[1]

    @property
    def time_ratio(self) -> float:
        return self.step[0] / self.step[1]


def rows(found: dict[str, Any], engines: Sequence[str], cases: Sequence[Case]) -> Iterator[Row]:
    """Every model that was measured in an engine."""
    peak = roofline.Peak.from_json(found["peak"])
    for engine in engines:
        base = found[engine]["baseline"]["memory/peak_rss_mib_train"]
        for case in cases:
            own = found[engine].get(case.label, {})
            if own.get("status") != "ok":
                continue
            asked = [*own["key"].split(" "), f"framework={engine}"]
            (told,) = look(asked, None, None, peak).rows
            assert told.duration is not None
            yield Row(
                engine,
                case,
                (told.memory.above_base / MIB, own["memory/peak_rss_mib_train"] - base),
                (
                    told.duration.step_s * 1e3,
                    own["perf/step_ms_median"] * own["perf/cpu_cores_used"],
                ),
            )


TEXT = """\
# What preflight expects, and what is taken

Written by `python benchmarks/preflight.py`; do not edit.
[What preflight does](how-to/preflight.md).

{machine}

Models of the zoo are trained for a few steps on one thread, float32 and Adam, each in a fresh
process. *Memory* is the peak of resident memory in training above the baseline, which is the same
peak of the smallest model (`model=logistic dataset=digits`) in the same engine; *expected* is what
`fwcompare preflight` says without the framework's own. *Step* is the CPU time of a steady step (the
median step times the cores used: what it takes where nothing else runs on the core), against what
is expected from the machine's measured peak. A run had {cores} of its core in training, at the
median: other work on the machine had the rest. The bounds are 25 % of memory and a factor of 2 of
time; what is beyond them is in bold. Each number is of one run: that a run of the same model takes
some per cent more or less memory, as its allocator happens to go, is not in the table.

The footprints by which engines are judged were fitted to these very runs, so that the table shows
how well a handful of numbers describes them, and is no forecast of models that are unlike them; but
to those that are *held out* nothing was fitted, except that loops of a program cost by
themselves, which they showed. An engine or a model that is not in the table has not been measured.

{summary}

{table}
{beyond}
What each model was trained with, besides `{common}`:

{options}

Peak of one thread: {peak}.
"""


def page(found: dict[str, Any], engines: Sequence[str], cases: Sequence[Case]) -> str:
    """The whole page."""
    told = list(rows(found, engines, cases))
    head = [
        "engine",
        "model",
        "memory, MiB",
        "expected",
        "ratio",
        "step, CPU ms",
        "expected",
        "ratio",
    ]
    summary = [
        ["engine", "baseline, MiB", "memory within 25 %", "median ratio", "time within 2x",
         "median ratio"],
    ]  # fmt: skip
    lines = []
    for engine, held_out in product(engines, (False, True)):
        own = [r for r in told if r.engine == engine and r.case.held_out == held_out]
        if not own:
            continue
        near = sum(_memory_holds(row) for row in own)
        soon = sum(_time_holds(row) for row in own)
        base = found[engine]["baseline"]["memory/peak_rss_mib_train"]
        lines.append(
            [
                f"{engine}, held out" if held_out else engine, f"{base:,.0f}",
                f"{near} of {len(own)}", f"{statistics.median(r.memory_ratio for r in own):.2f}",
                f"{soon} of {len(own)}", f"{statistics.median(r.time_ratio for r in own):.2f}",
            ]
        )  # fmt: skip
    body = [
        [
            row.engine, row.case.label,
            f"{row.memory[1]:,.0f}", f"{row.memory[0]:,.0f}",
            _marked(f"{row.memory_ratio:.2f}", _memory_holds(row)),
            f"{row.step[1]:,.0f}", f"{row.step[0]:,.0f}",
            _marked(f"{row.time_ratio:.2f}", _time_holds(row)),
        ]
        for row in told
    ]  # fmt: skip
    options = [
        [c.label, str(c.batch), f"`{' '.join(o for o in c.options if 'samples' not in o)}`"]
        for c in cases
        if any(row.case is c for row in told)
    ]
    return TEXT.format(
        machine=platform_line(found["machine"]),
        summary=table(summary[0], lines),
        table=table(head, body),
        peak=f"{found['peak']['flops_per_s']['float32'] / 1e9:,.0f} GFLOP/s in float32, "
        f"{found['peak']['copy_bytes_per_s'] / 1e9:,.1f} GB/s copied",
        common=" ".join(COMMON),
        cores=f"{statistics.median(_cores(found, told)):.2f}",
        options=table(["model", "batch", "options"], options),
        beyond=_beyond(told),
    )


def _cores(found: dict[str, Any], told: Sequence[Row]) -> list[float]:
    """What share of a core each run had."""
    return [found[row.engine][row.case.label]["perf/cpu_cores_used"] for row in told]


def _beyond(told: Sequence[Row]) -> str:
    """A line for each row that is beyond a bound, with what is known of it."""
    rows = [row for row in told if not (_memory_holds(row) and _time_holds(row))]
    if not rows:
        return ""
    lines = (
        f"- `{row.engine}`, {row.case.label}: "
        f"{WHY.get((row.engine, row.case.label), 'not explained.')}\n"
        for row in rows
    )
    return "\nBeyond the bounds:\n\n" + "".join(lines)


def _memory_holds(row: Row) -> bool:
    return abs(row.memory_ratio - 1) <= MEMORY_BOUND


def _time_holds(row: Row) -> bool:
    return 1 / TIME_BOUND <= row.time_ratio <= TIME_BOUND


def _marked(text: str, holds: bool) -> str:
    return text if holds else f"**{text}**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", default="pytorch,jax,tensorflow")
    parser.add_argument("--models", help="some of the models, with commas")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--as-kept", action="store_true", help="measure nothing, take what is kept")
    parser.add_argument("--print", action="store_true", help="print the page, do not write it")
    arguments = parser.parse_args()
    engines = arguments.engines.split(",")
    chosen = set((arguments.models or "").split(",")) - {""}
    cases = [case for case in (*CASES, *HELD_OUT) if not chosen or case.name in chosen]
    with tempfile.TemporaryDirectory(prefix="fwcompare-") as folder:
        keep = arguments.keep or Path(folder) / "measured.json"
        found = gathered(engines, cases, keep, not arguments.as_kept)
        if "peak" not in found:
            found["peak"] = best_peak().to_json()
            keep.write_text(json.dumps(found, indent=1), encoding="utf-8")
    text = page(found, engines, cases)
    if arguments.print:
        print(text)
    else:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
