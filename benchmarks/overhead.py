"""What fwcompare's trainers cost over loops written by hand, and ``aligned`` over ``native``.

Each engine gets a fresh process, with the environment and the core of a worker, in which four arms
take turns: the trainer in native and in aligned semantics, the loop of ``loops/<engine>.py``, and a
second instance of that loop, which shows what the noise alone does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from machine import machine
from ratios import Ratio, paired, verdict

from fwcompare.compose import compose
from fwcompare.launch import environment, prepare
from fwcompare.plugin import front, versions
from fwcompare.record import write_json

ENGINES = (
    "pytorch",
    "lightning",
    "tensorflow",
    "keras_tensorflow",
    "keras_jax",
    "keras_torch",
    "jax",
)
OUTPUT = Path("outputs/benchmarks/overhead.json")

#: Highest ratio of a trainer in native semantics to the loop written by hand.
OVERHEAD_LIMIT = 1.05
#: Highest ratio of aligned to native semantics.
CURE_LIMIT = 1.10

OPTIONS = (
    "optimizer=adam",
    # So small that no arm learns: converged weights hold denormal numbers, which cost more, and
    # where an arm meets them depends on the weights that it began with.
    "optimizer.lr=1e-6",
    "device=cpu",
    "device.threads=1",
    "precision=float32",
    "execution=native",
    "trainer.epochs=1",
    "tracking=none",
)

DIGITS = ("dataset=digits", "trainer.batch_size=64")
TOKENS = (
    "dataset=synthetic_tokens",
    "dataset.params.tokens=256",
    "dataset.params.steps=64",
    "trainer.batch_size=32",
)

#: What each model is trained on, and how large it is where that is not as in ``conf/model``.
MODELS: dict[str, tuple[str, ...]] = {
    "mlp": DIGITS,
    "cnn": DIGITS,
    "cnn_bn": DIGITS,
    "resnet18": (
        "dataset=synthetic",
        "dataset.params.input_shape=[32,32,3]",
        "dataset.params.samples=1000",
        "model.params.width=16",
        "trainer.batch_size=32",
    ),
    "lstm": TOKENS,
    "gru": TOKENS,
    "gpt_small": (
        "dataset=python_reference",
        "task=language_modelling",
        "trainer.batch_size=32",
    ),
}

#: glibc by default gives freed blocks back to the system and faults them in again, or does not, as
#: the heap happens to lie: two instances of one loop then differ by as much as 15 %.
ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
    # The highest that glibc takes.
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
}


def measure(engine: str, models: Sequence[str], rounds: int) -> dict[str, Any]:
    """Times of every arm of an engine, by model, from one fresh process."""
    with tempfile.TemporaryDirectory(prefix="fwcompare-") as name:
        folder = Path(name)
        cells: dict[str, dict[str, str]] = {}
        for model in models:
            for semantics in ("native", "aligned"):
                given = (f"framework={engine}", f"model={model}", f"semantics={semantics}")
                spec = compose([*OPTIONS, *MODELS[model], *given]).plan().spec
                run = folder / f"{model}-{semantics}"
                prepare(spec, run)
                cells.setdefault(model, {})[semantics] = str(run)
        request = {"engine": engine, "cells": cells, "rounds": rounds}
        write_json(folder / "request.json", request)
        ended = subprocess.run(
            [sys.executable, Path(__file__).with_name("arms.py"), folder],
            env={**environment(spec, front(engine)), **ALLOCATOR},
            capture_output=True,
            text=True,
        )
        if ended.returncode:
            raise SystemExit(f"{ended.stderr}\n{engine}: ended with {ended.returncode}.")
        times: dict[str, Any] = json.loads((folder / "times.json").read_text(encoding="utf-8"))
        return times


def judge(cell: dict[str, Any]) -> dict[str, Any]:
    """The ratios of a cell and whether they keep the limits."""
    times = cell["seconds"]
    noise = paired(times["hand_again"], times["hand"])
    overhead = paired(times["native"], times["hand"])
    cure = paired(times["aligned"], times["native"])
    return {
        "step_ms": {arm: 1e3 * median(taken) / cell["steps"] for arm, taken in times.items()},
        "noise": asdict(noise),
        "overhead": asdict(overhead),
        "perf/cure_ratio": asdict(cure),
        "overhead_limit": verdict(overhead, OVERHEAD_LIMIT, noise),
        "cure_limit": verdict(cure, CURE_LIMIT, noise),
    }


def main() -> None:
    """Measure the engines asked for and write all that was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=12, help="timed fits of each arm; even")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--keep", action="store_true", help="what is there of others stays")
    given = parser.parse_args()
    found = kept(given.output) if given.keep else {}
    given.output.parent.mkdir(parents=True, exist_ok=True)
    for engine in given.engines:
        cells = measure(engine, given.models, given.rounds)
        judged = {model: {**cell, **judge(cell)} for model, cell in cells.items()}
        models = {**found.get(engine, {}).get("models", {}), **judged}
        found[engine] = {
            "versions": versions(tuple(front(engine).requirements)),
            "models": {model: models[model] for model in MODELS if model in models},
        }
        for model, cell in judged.items():
            print(
                f"{engine:17}{model:10} overhead {Ratio(**cell['overhead'])}  "
                f"cure {Ratio(**cell['perf/cure_ratio'])}  noise {Ratio(**cell['noise'])}",
                flush=True,
            )
        write_json(
            given.output,
            {"machine": machine(), "options": OPTIONS, "models": MODELS, "engines": found},
        )


def kept(path: Path) -> dict[str, Any]:
    """The engines of an earlier measurement."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["engines"]
    return found


if __name__ == "__main__":
    main()
