"""What building a model costs over a builder written by hand, in every engine.

CPU time is compared. Each engine gets a fresh process, with the environment and the core of a
worker, in which four arms take turns: a run folder turned into a trainer, in native and in aligned
semantics, the builder of ``loops/<engine>.py``, and that builder once more, which shows what the
noise alone does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from machine import machine
from overhead import ALLOCATOR, ENGINES, OPTIONS
from ratios import Ratio, paired, verdict

from fwcompare.compose import compose
from fwcompare.launch import environment, prepare
from fwcompare.plugin import front, versions
from fwcompare.record import write_json

OUTPUT = Path("outputs/benchmarks/building.json")
MODEL = "resnet50"

#: Highest ratio of a trainer built from its run folder to the builder written by hand.
BUILD_LIMIT = 1.30

#: As many images as a batch: data are given, and what is built is a model.
SAMPLES, SHAPE, CLASSES = 16, (224, 224, 3), 1000


def measure(engine: str, data: Path, rounds: int) -> dict[str, Any]:
    """Times of every arm of an engine, from one fresh process."""
    given = (
        *OPTIONS, f"framework={engine}", f"model={MODEL}", f"trainer.batch_size={SAMPLES}",
        "dataset=npz", f"dataset.params.file={data}", f"dataset.params.classes={CLASSES}",
        "dataset.params.normalize=none", "dataset.params.split_seed=0",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="fwcompare-") as name:
        folder = Path(name)
        folders = {}
        for semantics in ("native", "aligned"):
            plan = compose([*given, f"semantics={semantics}", f"paths.cache={data.parent}"]).plan()
            prepare(plan.spec, folder / semantics)
            folders[semantics] = str(folder / semantics)
        request = {"engine": engine, "folders": folders, "rounds": rounds}
        write_json(folder / "request.json", request)
        ended = subprocess.run(
            [sys.executable, Path(__file__).with_name("builds.py"), folder],
            env={**environment(plan.spec, front(engine)), **ALLOCATOR},
            capture_output=True,
            text=True,
        )
        if ended.returncode:
            raise SystemExit(f"{ended.stderr}\n{engine}: ended with {ended.returncode}.")
        times: dict[str, Any] = json.loads((folder / "times.json").read_text(encoding="utf-8"))
        return times


def judge(times: dict[str, list[float]]) -> dict[str, Any]:
    """The ratios of an engine and whether they keep the limit."""
    noise = paired(times["hand_again"], times["hand"])
    found: dict[str, Any] = {
        "median_s": {arm: median(taken) for arm, taken in times.items()},
        "noise": asdict(noise),
    }
    for semantics in ("native", "aligned"):
        ratio = paired(times[semantics], times["hand"])
        found[semantics] = asdict(ratio)
        found[f"{semantics}_limit"] = verdict(ratio, BUILD_LIMIT, noise)
    return found


def images(folder: Path) -> Path:
    """A file of made-up images with their labels."""
    random = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "val", "test"):
        arrays[f"x_{part}"] = random.normal(size=(SAMPLES, *SHAPE)).astype(np.float32)
        arrays[f"y_{part}"] = np.arange(SAMPLES)
    path = folder / "images.npz"
    np.savez(path, **arrays)
    return path


def main() -> None:
    """Measure the engines asked for and write all that was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--rounds", type=int, default=8, help="timed builds of each arm; even")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="fwcompare-") as name:
        data = images(Path(name))
        for engine in given.engines:
            times = measure(engine, data, given.rounds)
            found[engine] = {
                "versions": versions(tuple(front(engine).requirements)),
                "seconds": times,
                **judge(times),
            }
            native, aligned, noise = (
                Ratio(**found[engine][ratio]) for ratio in ("native", "aligned", "noise")
            )
            print(f"{engine:17} native {native}  aligned {aligned}  noise {noise}", flush=True)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(
        given.output,
        {"machine": machine(), "options": OPTIONS, "model": MODEL, "engines": found},
    )


if __name__ == "__main__":
    main()
