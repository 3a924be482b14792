"""Small prepared runs on random numbers: what proofs of a plugin and its tests are made of."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fwcompare.data.batches import DataFolder
from fwcompare.data.prepare import Split, write_folder
from fwcompare.graph import Graph
from fwcompare.launch import prepare
from fwcompare.parity.cases import Case
from fwcompare.plugin import front
from fwcompare.spec import (
    Dataset,
    Device,
    Framework,
    Init,
    Measure,
    Model,
    Optimizer,
    RunSpec,
    Scheduler,
    Task,
    Training,
    optimizer_class,
)

_numbers = itertools.count()

#: Options of each optimizer as the shipped configuration has them.
OPTIMIZER_OPTIONS: dict[str, dict[str, Any]] = {
    "sgd": {"lr": 0.05},
    "momentum": {"lr": 0.05, "momentum": 0.9, "nesterov": False},
    "nesterov": {"lr": 0.05, "momentum": 0.9, "nesterov": True},
    "adam": {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    "adamw": {
        "lr": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8,
        "decay": "decoupled", "weight_decay": 0.01,
    },
    "rmsprop": {"lr": 0.001, "rho": 0.99, "epsilon": 1e-8},
    "adagrad": {"lr": 0.01, "initial_accumulator": 0.0, "epsilon": 1e-10},
}  # fmt: skip


def optimizer(name: str, **options: Any) -> Optimizer:
    """An optimizer with the shipped options, but for those given."""
    base = {"decay": "none", "weight_decay": 0.0, "decay_scope": "all", "clip_norm": None}
    return optimizer_class(name)(**{"name": name, **base, **OPTIMIZER_OPTIONS[name], **options})


def small_data(
    folder: Path,
    input_shape: Sequence[int],
    outputs: int,
    samples: int = 64,
    task: str = "classification",
    tokens: int | None = None,
    padding: int | None = None,
) -> DataFolder:
    """A prepared dataset of random numbers, or of random ids of so many ``tokens``.

    With ``padding``, samples have any number of other ids, and that one behind them. It has
    ``samples`` to train on, 16 to validate and 16 to test.
    """
    random = np.random.default_rng(7)
    splits = {}
    for name, size in (("train", samples), ("val", 16), ("test", 16)):
        inputs: np.ndarray = random.normal(size=(size, *input_shape))
        if tokens is not None:
            inputs = random.integers(0, tokens, inputs.shape).astype(np.int32)
        if padding is not None:
            lengths = random.integers(1, input_shape[0] + 1, (size, 1))
            inputs[inputs == padding] = padding - 1 if padding else 1
            inputs[np.arange(input_shape[0]) >= lengths] = padding
        if task == "regression":
            targets: np.ndarray = random.normal(size=(size, outputs))
        elif task == "multi_label":
            targets = random.integers(0, 2, (size, outputs)).astype(np.float32)
        else:
            each = inputs.shape if task == "language_modelling" else size
            targets = random.integers(0, outputs, each).astype(np.int32)
        splits[name] = Split(inputs, targets)
    meta = {"kind": task, "outputs": outputs, "tokens": tokens, "padding": padding}
    return write_folder(folder, splits, meta)


def make_run(
    root: Path,
    engine: str,
    layers: Sequence[Mapping[str, Any]],
    data: DataFolder,
    *,
    optimizer: Optimizer,
    scheduler: Scheduler = Scheduler("constant"),  # noqa: B008 - frozen
    precision: str = "float64",
    execution: str = "native",
    semantics: str = "aligned",
    task: str = "classification",
    seed: int = 1,
    training: Mapping[str, Any] | None = None,
    step_losses: bool = True,
    threads: int = 1,
    device: str = "cpu",
) -> tuple[RunSpec, Path]:
    """A spec and its run folder, weights drawn and everything in place for a worker."""
    engine_front = front(engine)
    graph = Graph.from_layers(data.input_shape, layers, data.input_type)
    defaults = {
        "epochs": 1, "batch_size": 16, "max_steps": None, "drop_last": True, "timeout_s": 300.0,
    }  # fmt: skip
    folder = root / f"{engine}-{next(_numbers)}"
    loss, metric = {
        "classification": ("cross_entropy", "accuracy"),
        "multi_label": ("binary_cross_entropy", "micro_f1"),
        "regression": ("mse", "mae"),
        "reconstruction": ("mse", "mae"),
        "language_modelling": ("cross_entropy", "perplexity"),
    }[task]
    spec = RunSpec(
        run=folder.name,
        framework=Framework(engine, engine_front.trainer, tuple(engine_front.packages)),
        model=Model(
            "test", {}, graph.input_shape, tuple(graph.to_layers()), graph.digest, graph.input_type
        ),
        task=Task(task, loss, metric, "inputs" if task == "reconstruction" else "given"),
        dataset=Dataset("random", {}, str(data.path), data.meta["digest"]),
        optimizer=optimizer,
        scheduler=scheduler,
        device=Device(device, threads),
        precision=precision,
        execution=execution,
        semantics=semantics,
        init=Init("glorot", "uniform", 1.0),
        training=Training(**{**defaults, **(training or {})}),
        measure=Measure(20.0, 0.0, 0, step_losses),
        seed=seed,
    )
    prepare(spec, folder)
    return spec, folder


def case_run(
    root: Path, case: Case, engine: str, execution: str = "native", device: str = "cpu"
) -> RunSpec:
    """The spec of a conformance case in one engine, with its data made under ``root``."""
    outputs = 2 if case.task == "regression" else 3
    shape = "x".join(map(str, case.input_shape))
    folder = root / "data" / f"{case.task}-{shape}-{case.tokens}-{case.padding}"
    if (folder / "meta.json").is_file():
        data = DataFolder.open(folder)
    else:
        data = small_data(
            folder,
            case.input_shape,
            outputs,
            task=case.task,
            tokens=case.tokens,
            padding=case.padding,
        )
    spec, _ = make_run(
        root,
        engine,
        case.layers,
        data,
        optimizer=optimizer(case.optimizer, **case.options),
        scheduler=Scheduler(**case.scheduler),
        execution=execution,
        task=case.task,
        training={"epochs": 3, "max_steps": case.steps},
        device=device,
    )
    return spec
