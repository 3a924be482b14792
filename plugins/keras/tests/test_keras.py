"""The cures of the Keras engines, each against the mathematics in NumPy."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special

from fwcompare.data.batches import DataFolder, Feed
from fwcompare.data.prepare import Split, write_folder
from fwcompare.graph import Graph, load
from fwcompare.graph.kinds import FUNCTIONS
from fwcompare.graph.windows import same_padding
from fwcompare.record import FINAL_WEIGHTS, INITIAL_WEIGHTS, SPEC_FILE, RunRecord
from fwcompare.spec import Optimizer, RunSpec, Scheduler
from fwcompare.testing import OPTIMIZER_OPTIONS, WarmPool, make_run, optimizer, small_data
from fwcompare_keras import JAX, TENSORFLOW, TORCH

FRONTS = {front.name: front for front in (TENSORFLOW, JAX, TORCH)}
FLAT = {"name": "flat", "kind": "flatten"}
OUT = {"name": "out", "kind": "dense", "units": 3}
HIDDEN = [{"name": "hidden", "kind": "dense", "units": 6}, {"name": "norm", "kind": "batch_norm"}]
NO_TRAINING = {"epochs": 0}
#: One step over all samples.
ONE_STEP = {"batch_size": 64}

every_engine = pytest.mark.parametrize("engine", FRONTS)


@pytest.fixture(scope="module")
def pool() -> Iterator[WarmPool]:
    """Warm workers: importing Keras takes seconds."""
    with WarmPool() as made:
        yield made


class Ran:
    """A finished run with its weights."""

    def __init__(
        self,
        pool: WarmPool,
        root: Path,
        engine: str,
        layers: list[dict[str, Any]],
        data: DataFolder,
        **options: Any,
    ) -> None:
        options = {"optimizer": optimizer("sgd"), "task": "regression", **options}
        spec, folder = make_run(root / "runs", engine, layers, data, **options)
        self.record: RunRecord = pool.run(spec, folder)
        assert self.record.ok, self.record.reason
        self.spec: RunSpec = spec
        self.initial = load(folder / INITIAL_WEIGHTS, spec.model.graph)
        self.final = load(folder / FINAL_WEIGHTS, spec.model.graph)

    @property
    def losses(self) -> np.ndarray:
        return np.array(self.record.samples["step_losses"])


def regression_data(root: Path, shape: tuple[int, ...], layers: list[dict[str, Any]]) -> DataFolder:
    """Random data with as many targets as the model has outputs."""
    outputs = Graph.from_layers(shape, layers).output_shape[0]
    return small_data(root / "data", shape, outputs, task="regression", samples=70)


def in_child(engine: str, spec: RunSpec, code: str, *arguments: str) -> str:
    """What a fresh Python prints that has the environment of an engine."""
    environment = os.environ | dict(FRONTS[engine].environment(spec)) | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_the_front_imports_no_framework() -> None:
    code = "import sys, fwcompare_keras; print({'keras', 'tensorflow', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_cannot_be_timed_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = regression_data(tmp_path, (3,), [OUT])
    spec, _ = make_run(tmp_path, "keras_jax", [OUT], data, optimizer=optimizer("sgd"))
    assert "execution=native" in str(JAX.supports(spec.but(execution="eager")))
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler" in str(TORCH.supports(spec.but(execution="compiled")))
    for front, execution in itertools.product(FRONTS.values(), ("native", "compiled")):
        monkeypatch.setenv("CXX", sys.executable)
        assert front.supports(spec.but(execution=execution)) is None


def _conv(kind: str, **options: Any) -> dict[str, Any]:
    own = {} if kind == "depthwise_conv2d" else {"filters": 2}
    return {"name": "a", "kind": kind, "kernel_size": 3, **own, **options}


@pytest.mark.parametrize(
    ("engines", "layer", "shape"),
    [
        (FRONTS, _conv("conv2d", stride=2, dilation=2), (9, 9, 2)),
        (FRONTS, _conv("conv1d", stride=2, dilation=2), (9, 2)),
        (["keras_tensorflow"], _conv("depthwise_conv2d", stride=[1, 2]), (9, 9, 2)),
        ([], _conv("conv2d", filters=1), (9, 9, 2)),
        ([], _conv("conv2d_transpose"), (9, 9, 1)),
        ([], _conv("depthwise_conv2d", stride=2, dilation=2), (9, 9, 2)),
    ],
)
def test_layers_that_a_backend_cannot_train_are_refused_by_name(
    tmp_path: Path, engines: list[str], layer: dict[str, Any], shape: tuple[int, ...]
) -> None:
    layers = [layer, {"name": "flat", "kind": "flatten"}, OUT]
    data = regression_data(tmp_path, shape, layers)
    spec, _ = make_run(tmp_path, "keras_jax", layers, data, optimizer=optimizer("sgd"))
    refused = {name: front.supports(spec) for name, front in FRONTS.items()}
    assert {name for name, reason in refused.items() if reason} == set(engines)
    assert all("layer 'a'" in str(refused[name]) for name in engines)


@pytest.mark.parametrize("engine", ["keras_jax", "keras_torch"])
def test_a_whole_run_leaves_tensorflow_out(tmp_path: Path, engine: str) -> None:
    layers = [*HIDDEN, {"name": "drop", "kind": "dropout", "rate": 0.5}, OUT]
    data = regression_data(tmp_path, (4,), layers)
    spec, folder = make_run(
        tmp_path, engine, layers, data, task="regression", optimizer=optimizer("adam")
    )
    spec.write(folder / SPEC_FILE)
    code = (
        "import pathlib, sys\nfrom fwcompare.worker import run\n"
        "record = run(pathlib.Path(sys.argv[1]))\n"
        "print(record.status, 'tensorflow' in sys.modules)"
    )
    assert in_child(engine, spec, code, str(folder)) == "ok False"


@pytest.mark.parametrize("engine", ["keras_jax", "keras_torch"])
def test_float64_that_keras_withholds_is_said(tmp_path: Path, engine: str) -> None:
    data = regression_data(tmp_path, (4,), [OUT])
    spec, _ = make_run(tmp_path, engine, [OUT], data, optimizer=optimizer("sgd"))
    code = (
        "import keras\nfrom fwcompare.errors import UnsupportedError\n"
        "from fwcompare_keras.float64 import check_float64, set_precision\n"
        "keras.config.set_floatx('float64')\n"
        "try:\n    check_float64()\nexcept UnsupportedError as error:\n    said = str(error)\n"
        "set_precision('float64')\n"
        "check_float64()\n"
        "set_precision('float32')\n"
        "print(keras.backend.result_type('float64', 'float64'), keras.__version__ in said)"
    )
    assert in_child(engine, spec, code) == "float32 True"


@every_engine
def test_float32_is_itself_again_after_float64(pool: WarmPool, tmp_path: Path, engine: str) -> None:
    layers = [*HIDDEN, OUT]
    data = regression_data(tmp_path, (4,), layers)
    digests = {}
    for number, precision in enumerate(("float32", "float64", "float32")):
        ran = Ran(pool, tmp_path, engine, layers, data, precision=precision)
        digests[number] = ran.record.digests["final_weights"]
        assert {array.dtype for array in ran.final.values()} == {np.dtype(precision)}
    assert digests[0] == digests[2]


def functions(x: np.ndarray, alpha: float) -> dict[str, np.ndarray]:
    """Every activation, in NumPy."""
    softplus = np.logaddexp(x, 0)
    scale, selu_alpha = 1.0507009873554804934, 1.6732632423543772848
    cubic = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return {
        "relu": np.maximum(x, 0),
        "relu6": np.clip(x, 0, 6),
        "leaky_relu": np.where(x > 0, x, alpha * x),
        "elu": np.where(x > 0, x, alpha * np.expm1(x)),
        "selu": scale * np.where(x > 0, x, selu_alpha * np.expm1(x)),
        "gelu": x * special.ndtr(x),
        "gelu_tanh": 0.5 * x * (1 + np.tanh(cubic)),
        "silu": x * special.expit(x),
        "mish": x * np.tanh(softplus),
        "tanh": np.tanh(x),
        "sigmoid": special.expit(x),
        "softplus": softplus,
        "softsign": x / (1 + np.abs(x)),
        "linear": x,
    }


@every_engine
@pytest.mark.parametrize("function", FUNCTIONS)
def test_activations_hold_in_float64(
    pool: WarmPool, tmp_path: Path, engine: str, function: str
) -> None:
    layers = [{"name": "f", "kind": "activation", "function": function, "alpha": 0.3}]
    x = np.linspace(-25, 25, 16 * 50).reshape(16, 50)
    # Zeros for targets, so that the loss is the mean square of the outputs.
    zeros = Split(x, np.zeros_like(x))
    data = write_folder(
        tmp_path / "data", {"train": zeros, "val": zeros, "test": zeros}, {"outputs": 50}
    )
    # A model without parameters is evaluated, never trained.
    ran = Ran(pool, tmp_path, engine, layers, data, training=NO_TRAINING)
    expected = np.mean(functions(x, 0.3)[function] ** 2)
    assert ran.record.metrics["test/loss"] == pytest.approx(expected, rel=1e-13)


@every_engine
@pytest.mark.parametrize(("size", "stride"), [(2, 1), (2, 2), (3, 2), (4, 3)])
def test_same_pooling_leaves_the_padding_out(
    pool: WarmPool, tmp_path: Path, engine: str, size: int, stride: int
) -> None:
    window = {"pool_size": size, "stride": stride, "padding": "same", "inputs": ["input"]}
    layers = [
        {"name": "max", "kind": "max_pool2d", **window},
        {"name": "mean", "kind": "avg_pool2d", **window},
        {"name": "both", "kind": "concat", "inputs": ["max", "mean"]},
        FLAT,
    ]
    data = regression_data(tmp_path, (8, 7, 2), layers)
    ran = Ran(pool, tmp_path, engine, layers, data, training=NO_TRAINING)
    test = data.split("test", np.dtype("float64"))
    padding = [same_padding(length, size, stride) for length in (8, 7)]
    padded = np.pad(test.inputs, ((0, 0), *padding, (0, 0)), constant_values=np.nan)
    cells = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    cells = cells[:, ::stride, ::stride]
    outputs = np.concatenate([np.nanmax(cells, (4, 5)), np.nanmean(cells, (4, 5))], -1)
    expected = np.mean((outputs.reshape(len(outputs), -1) - test.targets) ** 2)
    assert ran.record.metrics["test/loss"] == pytest.approx(expected, rel=1e-13)


@every_engine
def test_batch_norm_keeps_the_biased_variance_in_two_passes(
    pool: WarmPool, tmp_path: Path, engine: str
) -> None:
    random = np.random.default_rng(3)
    splits = {
        name: Split(random.normal(1e6, 1.0, (size, 3)), random.normal(size=(size, 3)))
        for name, size in (("train", 64), ("val", 16), ("test", 16))
    }
    data = write_folder(tmp_path / "data", splits, {"outputs": 3})
    layers = [{"name": "norm", "kind": "batch_norm", "momentum": 0.7, "epsilon": 1e-4}]
    ran = Ran(pool, tmp_path, engine, layers, data, training=ONE_STEP)
    x = splits["train"].inputs
    mean, variance = x.mean(0), x.var(0)  # divided by n
    np.testing.assert_allclose(ran.final["norm/moving_mean"], 0.3 * mean, rtol=1e-14)
    np.testing.assert_allclose(ran.final["norm/moving_variance"], 0.7 + 0.3 * variance, rtol=1e-10)
    outputs = (x - mean) / np.sqrt(variance + 1e-4)
    expected = np.mean((outputs - splits["train"].targets) ** 2)
    assert ran.losses[0] == pytest.approx(expected, rel=1e-8)


def updated(
    options: Optimizer,
    rate: float,
    step: int,
    p: np.ndarray,
    g: np.ndarray,
    state: dict[str, Any],
) -> np.ndarray:
    """One step of an optimizer on one tensor, by the formulas of ``fwcompare.spec``."""
    match options.name:
        case "sgd":
            return p - rate * g
        case "momentum" | "nesterov":
            b = state["b"] = options.momentum * state.get("b", 0) + g
            return p - rate * (g + options.momentum * b if options.nesterov else b)
        case "adam" | "adamw":
            m = state["m"] = options.beta1 * state.get("m", 0) + (1 - options.beta1) * g
            v = state["v"] = options.beta2 * state.get("v", 0) + (1 - options.beta2) * g**2
            root = np.sqrt(v / (1 - options.beta2**step))
            return p - rate * m / (1 - options.beta1**step) / (root + options.epsilon)
        case "rmsprop":
            v = state["v"] = options.rho * state.get("v", 0) + (1 - options.rho) * g**2
        case "adagrad":
            v = state["v"] = state.get("v", options.initial_accumulator) + g**2
    return p - rate * g / (np.sqrt(v) + options.epsilon)


def linear_regression(ran: Ran, data: DataFolder) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Losses and weights of the layer ``out`` alone, trained as the run asks."""
    spec, options = ran.spec, ran.spec.optimizer
    train, training = data.split("train", np.dtype("float64")), ran.spec.training
    feed = Feed(
        len(train),
        training.batch_size,
        training.epochs,
        spec.seed,
        training.drop_last,
        training.max_steps,
    )
    rates = options.lr * spec.scheduler.factors(feed.total_steps, feed.steps_per_epoch)
    weights = dict(ran.initial)
    states: dict[str, dict[str, Any]] = {name: {} for name in weights}
    losses = []
    for step, (ids, rate) in enumerate(zip(feed.all_batches(), rates, strict=True), 1):
        x = train.inputs[ids]
        difference = x @ weights["out/kernel"] + weights["out/bias"] - train.targets[ids]
        losses.append(np.mean(difference**2))
        slope = 2 * difference / difference.size
        gradients = {"out/kernel": x.T @ slope, "out/bias": slope.sum(0)}
        norm = np.sqrt(sum(np.sum(g**2) for g in gradients.values()))
        for name, gradient in gradients.items():
            p, decays = weights[name], options.decays(name.partition("/")[2])
            if options.clip_norm is not None:
                gradient = gradient * min(1.0, options.clip_norm / norm)
            if decays and options.decay == "l2":
                gradient = gradient + options.weight_decay * p
            weights[name] = updated(options, rate, step, p, gradient, states[name])
            if decays and options.decay == "decoupled":
                weights[name] = weights[name] - rate * options.weight_decay * p
    return np.array(losses), weights


@every_engine
@pytest.mark.parametrize("name", OPTIMIZER_OPTIONS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decay": "l2", "weight_decay": 0.1, "decay_scope": "kernels", "clip_norm": 0.5},
        {"decay": "decoupled", "weight_decay": 0.1, "decay_scope": "all", "lr": 0.03},
    ],
    ids=["plain", "l2-clipped", "decoupled"],
)
def test_optimizers_are_exact_under_a_schedule(
    pool: WarmPool, tmp_path: Path, engine: str, name: str, options: dict[str, Any]
) -> None:
    data = regression_data(tmp_path, (4,), [OUT])
    ran = Ran(
        pool,
        tmp_path,
        engine,
        [OUT],
        data,
        optimizer=optimizer(name, **options),
        scheduler=Scheduler("warmup_cosine", warmup_epochs=1, final_factor=0.1),
        # Five batches an epoch, the last one smaller, and an end in the middle of the third epoch.
        training={"epochs": 4, "drop_last": False, "max_steps": 13},
    )
    losses, weights = linear_regression(ran, data)
    np.testing.assert_allclose(ran.losses, losses, rtol=1e-12)
    for tensor, expected in weights.items():
        np.testing.assert_allclose(ran.final[tensor], expected, rtol=1e-12, atol=1e-13)


@every_engine
def test_validation_in_the_middle_of_fit_leaves_training_alone(
    pool: WarmPool, tmp_path: Path, engine: str
) -> None:
    layers = [*HIDDEN, OUT]
    data = regression_data(tmp_path, (4,), layers)
    splits = {name: data.split(name, np.dtype("float64")) for name in ("train", "test")}
    pairs = {name: Split(arrays.inputs, arrays.targets) for name, arrays in splits.items()}
    nothing = Split(np.empty((0, 4)), np.empty((0, 3)))
    unseen = write_folder(tmp_path / "unseen", {**pairs, "val": nothing}, {"outputs": 3})
    runs = {
        (validated, each_step): Ran(
            pool,
            tmp_path,
            engine,
            layers,
            data if validated else unseen,
            optimizer=optimizer("adam"),
            training={"epochs": 3, "drop_last": False},
            step_losses=each_step,
        )
        for validated, each_step in itertools.product((True, False), repeat=2)
    }
    assert len({ran.record.digests["final_weights"] for ran in runs.values()}) == 1
    assert all("val/loss" in epoch for epoch in runs[True, True].record.history)
    assert not any("val/loss" in epoch for epoch in runs[False, True].record.history)
    # Keras's running mean of an epoch is the sample-weighted mean of the losses of its steps.
    means = [[e["train/loss"] for e in ran.record.history] for ran in runs.values()]
    np.testing.assert_allclose(means, means[:1] * 4, rtol=1e-14)


@every_engine
def test_native_semantics_keeps_keras_defaults(pool: WarmPool, tmp_path: Path, engine: str) -> None:
    layers = [{"name": "norm", "kind": "batch_norm", "momentum": 0.5, "epsilon": 0.1}]
    data = regression_data(tmp_path, (3,), layers)
    ran = Ran(pool, tmp_path, engine, layers, data, semantics="native", training=ONE_STEP)
    x = data.split("train", np.dtype("float64")).inputs
    order = Feed(len(x), 64, 1, ran.spec.seed, True).order(1)
    np.testing.assert_allclose(
        ran.final["norm/moving_mean"], 0.01 * x[order].mean(0), rtol=1e-6, atol=1e-9
    )


@every_engine
def test_dropout_follows_the_seed(pool: WarmPool, tmp_path: Path, engine: str) -> None:
    layers = [{"name": "drop", "kind": "dropout", "rate": 0.5}, OUT]
    data = regression_data(tmp_path, (8,), layers)
    ends = [
        Ran(pool, tmp_path, engine, layers, data, seed=seed).final["out/kernel"]
        for seed in (2**63 - 1, 2**63 - 1)
    ]
    np.testing.assert_array_equal(*ends)


@every_engine
def test_facts_name_what_auto_resolved_to(pool: WarmPool, tmp_path: Path, engine: str) -> None:
    data = regression_data(tmp_path, (3,), [OUT])
    facts = Ran(pool, tmp_path, engine, [OUT], data).record.facts
    expected = {"keras_tensorflow": "tf.function", "keras_jax": "jax.jit", "keras_torch": "eager"}
    assert facts["execution"] == expected[engine]
    assert facts["jit_compile"] == (engine == "keras_jax")
