"""The cures of the JAX engine, each against the mathematics in NumPy."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwcompare import metrics
from fwcompare.data.batches import DataFolder, Feed
from fwcompare.data.prepare import Split, write_folder
from fwcompare.graph.weights import Weights, load
from fwcompare.record import FINAL_WEIGHTS, INITIAL_WEIGHTS, RunRecord
from fwcompare.spec import Device, Optimizer, RunSpec, Scheduler
from fwcompare.testing import (
    OPTIMIZER_OPTIONS,
    WarmPool,
    make_run,
    optimizer,
    small_data,
)
from fwcompare_jax import FRONT

OUT = {"name": "out", "kind": "dense", "units": 2}
FLAT = {"name": "flat", "kind": "flatten"}


@pytest.fixture(scope="module")
def pool() -> Iterator[WarmPool]:
    with WarmPool() as made:
        yield made


class Ran:
    """A finished run with its spec and weights."""

    def __init__(self, pool: WarmPool, spec: RunSpec, folder: Path) -> None:
        self.spec = spec
        self.record: RunRecord = pool.run(spec, folder)
        assert self.record.ok, self.record.reason
        self.initial = load(folder / INITIAL_WEIGHTS, spec.model.graph)
        self.final = load(folder / FINAL_WEIGHTS, spec.model.graph)

    @property
    def losses(self) -> np.ndarray:
        return np.array(self.record.samples["step_losses"])


def ran(
    pool: WarmPool, root: Path, layers: list[dict[str, Any]], data: DataFolder, **options: Any
) -> Ran:
    options = {"optimizer": optimizer("sgd"), **options}
    return Ran(pool, *make_run(root / "runs", "jax", layers, data, **options))


def far_off_data(folder: Path) -> DataFolder:
    """Features with a mean of 3000 and a deviation of one."""
    random = np.random.default_rng(3)
    splits = {}
    for name, size in (("train", 64), ("val", 16), ("test", 16)):
        inputs = (3000 + random.normal(size=(size, 6))).astype(np.float32)
        splits[name] = Split(inputs, random.integers(0, 2, size).astype(np.int32))
    return write_folder(folder, splits, {"outputs": 2})


def test_the_front_imports_no_framework() -> None:
    code = "import sys, fwcompare_jax; sys.exit(bool({'jax', 'flax', 'optax'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_front_fixes_types_and_platform_and_refuses_eager(tmp_path: Path) -> None:
    data = small_data(tmp_path / "data", (6,), 2)
    spec, _ = make_run(tmp_path, "jax", [OUT], data, optimizer=optimizer("sgd"))
    single = spec.but(precision="float32", device=Device("cuda", 1), semantics="native")
    assert FRONT.environment(spec)["JAX_ENABLE_X64"] == "1"
    assert FRONT.environment(spec)["JAX_PLATFORMS"] == "cpu"
    assert FRONT.environment(spec)["JAX_DEFAULT_MATMUL_PRECISION"] == "highest"
    assert FRONT.environment(single)["JAX_ENABLE_X64"] == "0"
    assert FRONT.environment(single)["JAX_PLATFORMS"] == "cuda,cpu"
    assert FRONT.environment(single)["JAX_DEFAULT_MATMUL_PRECISION"] == "highest"
    assert FRONT.supports(spec) is None
    assert FRONT.supports(spec.but(execution="compiled")) is None
    assert "eager" in (FRONT.supports(spec.but(execution="eager")) or "")


def test_without_a_cuda_device_the_run_is_unsupported(tmp_path: Path, pool: WarmPool) -> None:
    data = small_data(tmp_path / "data", (6,), 2)
    spec, folder = make_run(tmp_path, "jax", [OUT], data, optimizer=optimizer("sgd"))
    record = pool.run(spec.but(device=Device("cuda", 1)), folder)
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        assert record.status == "unsupported"
        assert "cuda" in record.reason


@pytest.mark.parametrize("kind", ["batch_norm", "layer_norm"])
def test_norms_hold_far_from_zero(tmp_path: Path, pool: WarmPool, kind: str) -> None:
    data = far_off_data(tmp_path / "data")
    layers = [{"name": "norm", "kind": kind}, OUT]
    exact, cured, own = (
        ran(pool, tmp_path, layers, data, **options).losses[0]
        for options in (
            {"precision": "float64"},
            {"precision": "float32"},
            {"precision": "float32", "semantics": "native"},
        )
    )
    assert cured == pytest.approx(exact, rel=2e-4)
    assert own != pytest.approx(exact, rel=1e-2)


def test_moving_statistics_are_biased_and_in_float64(tmp_path: Path, pool: WarmPool) -> None:
    data = small_data(tmp_path / "data", (6,), 2)
    layers = [{"name": "norm", "kind": "batch_norm", "momentum": 0.8}, OUT]
    done = ran(pool, tmp_path, layers, data)
    inputs = data.split("train", np.dtype("float64")).inputs
    mean, variance = np.zeros(6), np.ones(6)
    for ids in feed_of(done.spec, data).all_batches():
        mean = 0.8 * mean + 0.2 * inputs[ids].mean(0)
        variance = 0.8 * variance + 0.2 * inputs[ids].var(0)
    np.testing.assert_allclose(done.final["norm/moving_mean"], mean, rtol=0, atol=1e-15)
    np.testing.assert_allclose(done.final["norm/moving_variance"], variance, rtol=0, atol=1e-15)


def gelu(x: np.ndarray) -> np.ndarray:
    root = np.vectorize(lambda value: math.erf(value / math.sqrt(2)))(x)
    return np.asarray(0.5 * x * (1 + root))


def padded_average(x: np.ndarray) -> np.ndarray:
    """Windows of 3 at stride 2 over 4 by 4: TensorFlow's SAME pads one cell behind."""
    cells = [slice(0, 3), slice(2, 4)]
    return np.stack([np.stack([x[:, i, j].mean((1, 2)) for j in cells], 1) for i in cells], 1)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ({"name": "own", "kind": "activation", "function": "gelu"}, gelu),
        (
            {"name": "own", "kind": "avg_pool2d", "pool_size": 3, "stride": 2, "padding": "same"},
            padded_average,
        ),
    ],
    ids=["gelu", "average"],
)
def test_layers_without_weights(
    tmp_path: Path, pool: WarmPool, layer: dict[str, Any], expected: Any
) -> None:
    data = small_data(tmp_path / "data", (4, 4, 3), 2)
    cured, own = (
        ran(pool, tmp_path, [layer, FLAT, OUT], data, training={"epochs": 0}, semantics=semantics)
        for semantics in ("aligned", "native")
    )
    test = data.split("test", np.dtype("float64"))
    features = expected(np.asarray(test.inputs)).reshape(len(test), -1)
    logits = features @ cured.initial["out/kernel"] + cured.initial["out/bias"]
    wanted = metrics.cross_entropy(logits, test.targets)
    assert cured.record.metrics["test/loss"] == pytest.approx(wanted, rel=1e-13)
    assert own.record.metrics["test/loss"] != pytest.approx(wanted, rel=1e-6)


def feed_of(spec: RunSpec, data: DataFolder) -> Feed:
    training = spec.training
    return Feed(
        data.size("train"),
        training.batch_size,
        training.epochs,
        spec.seed,
        training.drop_last,
        training.max_steps,
    )


def update(rule: Optimizer, gradient: np.ndarray, slots: dict[str, Any], step: int) -> np.ndarray:
    """What the learning rate multiplies, by the formulas of ``fwcompare.spec``."""
    match rule.name:
        case "momentum" | "nesterov":
            slots["b"] = rule.momentum * slots.get("b", 0) + gradient
            return gradient + rule.momentum * slots["b"] if rule.nesterov else slots["b"]
        case "adam" | "adamw":
            slots["m"] = rule.beta1 * slots.get("m", 0) + (1 - rule.beta1) * gradient
            slots["v"] = rule.beta2 * slots.get("v", 0) + (1 - rule.beta2) * gradient**2
            root = np.sqrt(slots["v"] / (1 - rule.beta2**step))
            return slots["m"] / (1 - rule.beta1**step) / (root + rule.epsilon)
        case "rmsprop":
            slots["v"] = rule.rho * slots.get("v", 0) + (1 - rule.rho) * gradient**2
            return gradient / (np.sqrt(slots["v"]) + rule.epsilon)
        case "adagrad":
            slots["a"] = slots.get("a", rule.initial_accumulator) + gradient**2
            return gradient / (np.sqrt(slots["a"]) + rule.epsilon)
    return gradient


def linear_regression(done: Ran, data: DataFolder) -> tuple[list[float], Weights]:
    """The same run of one dense layer and the mean squared error, in NumPy."""
    spec, train = done.spec, data.split("train", np.dtype("float64"))
    rule, feed = spec.optimizer, feed_of(spec, data)
    rates = rule.lr * spec.scheduler.factors(feed.total_steps, feed.steps_per_epoch)
    weights: Weights = {name.partition("/")[2]: array for name, array in done.initial.items()}
    slots: dict[str, dict[str, Any]] = {name: {} for name in weights}
    losses = []
    for step, (ids, rate) in enumerate(zip(feed.all_batches(), rates, strict=True), 1):
        inputs = train.inputs[ids]
        error = inputs @ weights["kernel"] + weights["bias"] - train.targets[ids]
        losses.append(float((error**2).mean()))
        slope = 2 * error / error.size
        gradients = {"kernel": inputs.T @ slope, "bias": slope.sum(0)}
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
        for role, weight in weights.items():
            gradient = gradients[role]
            if rule.clip_norm is not None:
                gradient = gradient * min(1.0, rule.clip_norm / norm)
            decayed = rule.weight_decay * weight if rule.decays(role) else 0.0
            if rule.decay == "l2":
                gradient = gradient + decayed
            change = rate * update(rule, gradient, slots[role], step)
            if rule.decay == "decoupled":
                change = change + rate * decayed
            weights[role] = weight - change
    return losses, weights


@pytest.mark.parametrize("decay", ["l2", "decoupled"])
@pytest.mark.parametrize("name", sorted(OPTIMIZER_OPTIONS))
def test_optimizers_follow_their_formulas(
    tmp_path: Path, pool: WarmPool, name: str, decay: str
) -> None:
    data = small_data(tmp_path / "data", (5,), 2, task="regression")
    rule = optimizer(name, decay=decay, weight_decay=0.1, decay_scope="kernels", clip_norm=0.5)
    done = ran(
        pool,
        tmp_path,
        [OUT],
        data,
        optimizer=rule,
        scheduler=Scheduler("warmup_cosine", warmup_epochs=1.5, final_factor=0.1),
        task="regression",
        training={"epochs": 5},
    )
    losses, weights = linear_regression(done, data)
    np.testing.assert_allclose(done.losses, losses, rtol=1e-13)
    for role, weight in weights.items():
        np.testing.assert_allclose(done.final[f"out/{role}"], weight, rtol=0, atol=1e-14)


def test_native_rules_are_optax_defaults(tmp_path: Path, pool: WarmPool) -> None:
    data = small_data(tmp_path / "data", (5,), 2, task="regression")
    for name in ("rmsprop", "adagrad"):
        done = ran(
            pool,
            tmp_path,
            [OUT],
            data,
            optimizer=optimizer(name),
            task="regression",
            semantics="native",
        )
        losses, _ = linear_regression(done, data)
        assert done.losses[0] == pytest.approx(losses[0], rel=1e-13)
        assert done.losses[-1] != pytest.approx(losses[-1], rel=1e-6)


def test_a_smaller_last_batch_is_compiled_once_more(tmp_path: Path, pool: WarmPool) -> None:
    data = small_data(tmp_path / "data", (6,), 2)
    training = {"epochs": 2, "batch_size": 24}
    whole = ran(pool, tmp_path, [OUT], data, training={**training, "drop_last": True})
    ragged = ran(pool, tmp_path, [OUT], data, training={**training, "drop_last": False})
    assert whole.record.facts["recompilations"] == 0
    assert ragged.record.facts["recompilations"] == 1
    assert len(ragged.losses) == 6


def test_dropout_follows_the_seed_and_rests_in_evaluation(tmp_path: Path, pool: WarmPool) -> None:
    data = small_data(tmp_path / "data", (6,), 2)

    def train(rate: float, **options: Any) -> Ran:
        drop = {"name": "drop", "kind": "dropout", "rate": rate}
        return ran(pool, tmp_path, [drop, OUT], data, **options)

    once, again, without = train(0.5), train(0.5), train(0.0)
    np.testing.assert_array_equal(once.losses, again.losses)
    assert abs(once.losses[0] - without.losses[0]) > 1e-6
    untrained = {"training": {"epochs": 0}}
    assert train(0.5, **untrained).record.metrics["test/loss"] == pytest.approx(
        train(0.0, **untrained).record.metrics["test/loss"], rel=1e-15
    )
