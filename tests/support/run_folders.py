"""Run folders and conclusions as runs and sweeps leave them, without running anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fwcompare.graph import Graph
from fwcompare.record import EVENTS_FILE, SPEC_FILE, RunRecord, write_json
from fwcompare.spec import (
    Dataset,
    Device,
    Framework,
    Init,
    Measure,
    Model,
    RunSpec,
    Scheduler,
    Sgd,
    Task,
    Training,
)
from fwcompare.track import Conclusion

STARTED = 1_700_000_000_000


def make_spec(
    run: str = "run-1", params: Mapping[str, Any] | None = None, **changes: Any
) -> RunSpec:
    graph = Graph.from_layers((4,), [{"name": "out", "kind": "dense", "units": 3}])
    layers = tuple(graph.to_layers())
    spec = RunSpec(
        run=run,
        framework=Framework("some_engine", "somewhere:Trainer", ("somewhere",)),
        model=Model("mlp", dict(params or {"hidden": [8]}), (4,), layers, graph.digest),
        task=Task("classification", "cross_entropy", "accuracy"),
        dataset=Dataset("digits", {"normalise": True}, "/data/digits", "ab" * 32),
        optimizer=Sgd("sgd", 0.1, "none", 0.0, "all", None),
        scheduler=Scheduler("constant"),
        device=Device("cpu", 1),
        precision="float32",
        execution="native",
        semantics="aligned",
        init=Init("glorot", "uniform", 1.0),
        training=Training(3, 64, None, True, 100.0),
        measure=Measure(20.0, 0.0, 0),
        seed=7,
        versions={"fwcompare": "0.1.0"},
    )
    return spec.but(**changes)


def write_events(folder: Path, epochs: int, began: int = STARTED) -> None:
    with (folder / EVENTS_FILE).open("a") as file:
        events = [{"event": "start", "time_ms": began}]
        events += [
            {
                "event": "epoch",
                "time_ms": began + epoch * 1000,
                "epoch": epoch,
                "metrics": {"train/loss": 1 / epoch, "val/loss": 2 / epoch, "time/wall_s": epoch},
            }
            for epoch in range(1, epochs + 1)
        ]
        file.writelines(json.dumps(event) + "\n" for event in events)


def write_run(
    root: Path,
    run: str = "run-1",
    status: str = "ok",
    epochs: int = 3,
    metrics: Mapping[str, float] | None = None,
    **changes: Any,
) -> Path:
    """A run folder as a worker leaves it."""
    folder = root / run
    folder.mkdir(parents=True)
    make_spec(run, **changes).write(folder / SPEC_FILE)
    write_events(folder, epochs)
    RunRecord(
        run=run,
        status=status,
        reason="" if status == "ok" else "it went wrong",
        started_ms=STARTED,
        ended_ms=STARTED + 9000,
        metrics={"train/loss": 1 / epochs, "test/accuracy": 0.5, **(metrics or {})},
    ).write(folder)
    return folder


def conclusion(**changes: Any) -> Conclusion:
    return Conclusion(
        **{
            "status": "ok",
            "ended_ms": STARTED + 9000,
            "headline": "1 engine.",
            "body": "| verdicts |",
            **changes,
        }
    )


def write_sweep(outputs: Path, name: str, runs: int = 2, **changes: Any) -> Path:
    """A sweep folder with its runs, as a sweep leaves it when it has ended."""
    folder = outputs / "sweeps" / name
    names = [f"{name}-run-{number}" for number in range(runs)]
    for number, run in enumerate(names):
        write_run(folder, run, seed=number, sweep=name, **changes)
    cells = [
        {"run": run, "engine": "some_engine", "seed": number, "overrides": [], "control": False}
        for number, run in enumerate(names)
    ]
    write_json(folder / "sweep.json", {"name": name, "runs": names, "cells": cells})
    write_json(folder / "comparison.json", {"comparisons": []})
    return folder
