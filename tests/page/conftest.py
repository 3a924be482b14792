"""Sweep folders with made records, as a finished sweep leaves them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fwcompare import testing
from fwcompare.arms import SWEEP_FILE
from fwcompare.outcome import outcome
from fwcompare.page import evidence, html
from fwcompare.parity.ladder import Rung
from fwcompare.parity.standing import PROOFS_FILE, ArmProof, Standing
from fwcompare.record import SPEC_FILE, RunRecord, write_json
from fwcompare.roofline import Peak
from fwcompare.spec import Framework, RunSpec

PEAK = Peak("a CPU", 1, (0,), {"float32": 1e11, "float64": 5e10}, 1e10, "made")
PHASES = ("prepare", "import", "build", "train", "eval", "input", "predict", "export")

#: Makes a sweep folder; see ``make_sweep``.
Make = Callable[..., Path]


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> RunSpec:
    """The spec that every made run is a variant of."""
    root = tmp_path_factory.mktemp("spec")
    data = testing.small_data(root / "data", (4,), 3)
    layers = [{"name": "logits", "kind": "dense", "units": 3}]
    sgd = testing.optimizer("sgd")
    made, _ = testing.make_run(root, "pytorch", layers, data, optimizer=sgd, precision="float32")
    return made


@pytest.fixture
def make_sweep(tmp_path: Path, spec: RunSpec) -> Make:
    """A function that makes the folder of a sweep.

    Its arguments: engines, the number of seeds, the names of the models (each a group), epochs,
    a function from an engine and a seed to a status, and values for ``sweep.json``.
    """

    def make(
        engines: Sequence[str] = ("pytorch", "jax"),
        seeds: int = 4,
        models: Sequence[str] = ("mlp",),
        epochs: int = 5,
        status: Callable[[str, int], str] = lambda engine, seed: "ok",
        name: str = "made",
        **listing: Any,
    ) -> Path:
        folder = tmp_path / "outputs" / "sweeps" / name
        cells, proofs = [], []
        for model in models:
            for engine in engines:
                for seed in range(seeds):
                    own = _spec(spec, model, engine, seed, epochs, f"run-{len(cells)}")
                    (folder / own.run).mkdir(parents=True)
                    own.write(folder / own.run / SPEC_FILE)
                    ended = status(engine, seed)
                    if ended != "running":
                        _record(own, engines.index(engine), ended).write(folder / own.run)
                    cells.append({"run": own.run, "engine": engine, "seed": seed})
                proofs.append(_proof(own))
        whole = {"name": name, "cells": cells, "peaks": [PEAK.to_json()], "command": "", **listing}
        write_json(folder / SWEEP_FILE, whole)
        write_json(folder / PROOFS_FILE, [proof.to_json() for proof in proofs])
        return folder

    return make


@pytest.fixture
def page() -> Callable[[Path], str]:
    """A function from a sweep folder to its page."""

    def page(folder: Path) -> str:
        found = outcome(folder)
        return html.render(evidence.gather(folder, found.runs, found.comparisons))

    return page


def _spec(base: RunSpec, model: str, engine: str, seed: int, epochs: int, run: str) -> RunSpec:
    return base.but(
        model=replace(base.model, name=model, digest=model),
        framework=Framework(engine, "module:Trainer", ()),
        training=replace(base.training, epochs=epochs),
        device=replace(base.device, threads=1),
        seed=seed,
        run=run,
    )


def _proof(spec: RunSpec) -> ArmProof:
    rungs = (Rung("P0", 0.0, 0.0), Rung("P1", 2e-13, 1e-11), Rung("P3", 2e-9, 1e-11, "logits/bias"))
    standing = Standing("proven")
    return ArmProof(
        spec.group, spec.framework.name, spec.execution, standing, rungs, "pytorch", "float64", 100
    )


def _record(spec: RunSpec, rank: int, status: str) -> RunRecord:
    """A run like many; engines of a higher ``rank`` are faster by ten per cent each."""
    if status != "ok":
        return RunRecord(spec.run, status, f"{spec.framework.name} {status}", 1, 2)
    noise = random.Random(f"{spec.run} {spec.seed}")
    pace = (1 + 0.1 * rank) * noise.uniform(0.99, 1.01)
    history = [
        {
            "epoch": epoch,
            "train/loss": 2.0 * 0.7**epoch * noise.uniform(0.95, 1.05),
            "val/loss": 2.1 * 0.7**epoch * noise.uniform(0.95, 1.05),
            "val/accuracy": 1 - 0.7**epoch * noise.uniform(0.4, 0.6),
            "time/wall_s": 0.5 + epoch / pace,
        }
        for epoch in range(1, spec.training.epochs + 1)
    ]
    seconds = len(history) / pace + 0.5
    metrics = {
        "test/accuracy": 0.9 + noise.uniform(0, 0.02),
        "perf/samples_per_s": 10_000 * pace,
        "perf/step_ms_median": 6.4 / pace,
        "perf/predict_samples_per_s": 50_000 * pace,
        "perf/predict_ms_batch1_p50": 0.1 / pace,
        "time/first_step_s": 0.4,
        "time/compile_s": 0.3,
        "time/train_s": seconds,
        "time/total_s": seconds + 4,
        "memory/peak_rss_mib": 300.0 + 20 * rank,
        **{f"memory/peak_rss_mib_{phase}": 100.0 + 10 * n for n, phase in enumerate(PHASES)},
    }
    return RunRecord(
        spec.run, "ok", "", 1_790_000_000_000, 1_790_000_010_000,
        metrics=metrics,
        history=history,
        blocks=[(epoch, 20, 0.02 * noise.uniform(0.9, 1.1)) for epoch in range(1, 60)],
        phases={phase: {"seconds": 0.3, "peak_rss_bytes": 2e8} for phase in PHASES},
        versions={"fwcompare": "0.1.0", "python": "3.11.7", f"lib-{spec.framework.name}": "1.0"},
        environment={"cpu": "a CPU", "cores": [0], "platform": "Linux"},
        facts={"device": "cpu", "execution": "eager"},
    )  # fmt: skip
