"""The cures of the PyTorch engine, each against the mathematics in NumPy."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwcompare.data.batches import Arrays, DataFolder
from fwcompare.graph import Graph, Weights, load
from fwcompare.graph.windows import same_padding
from fwcompare.record import FINAL_WEIGHTS, INITIAL_WEIGHTS, RunRecord
from fwcompare.spec import Scheduler
from fwcompare.testing import WarmPool, make_run, optimizer, small_data
from fwcompare_pytorch import FRONT

FLAT = {"name": "flat", "kind": "flatten"}
NO_TRAINING = {"epochs": 0}
#: One step over all samples.
ONE_STEP = {"batch_size": 64}
EXACT = {"rtol": 1e-13, "atol": 1e-14}


@pytest.fixture(scope="module")
def pool() -> Iterator[WarmPool]:
    """Warm workers: importing torch takes seconds."""
    with WarmPool() as made:
        yield made


class Ran:
    """A finished run with its data and weights."""

    def __init__(
        self,
        pool: WarmPool,
        root: Path,
        layers: list[dict[str, Any]],
        data: DataFolder,
        **options: Any,
    ) -> None:
        options = {"optimizer": optimizer("sgd"), "task": "regression", **options}
        spec, folder = make_run(root / "runs", "pytorch", layers, data, **options)
        self.record: RunRecord = pool.run(spec, folder)
        assert self.record.ok, self.record.reason
        self.initial: Weights = load(folder / INITIAL_WEIGHTS, spec.model.graph)
        self.final: Weights = load(folder / FINAL_WEIGHTS, spec.model.graph)
        self.train: Arrays = data.split("train", np.dtype("float64"))
        self.test: Arrays = data.split("test", np.dtype("float64"))

    def test_loss_of(self, outputs: np.ndarray) -> float:
        return float(np.mean((outputs - self.test.targets) ** 2))

    @property
    def test_loss(self) -> float:
        return self.record.metrics["test/loss"]


def regression_data(root: Path, shape: tuple[int, ...], layers: list[dict[str, Any]]) -> DataFolder:
    """Random data with as many targets as the model has outputs."""
    outputs = Graph.from_layers(shape, layers).output_shape[0]
    return small_data(root / "data", shape, outputs, task="regression")


def windows(
    x: np.ndarray, size: int, stride: int, fill: float, sides: Any = same_padding
) -> np.ndarray:
    """Every window of ``same`` padded images: (n, rows, columns, size, size, channels)."""
    padding = [sides(length, size, stride) for length in x.shape[1:3]]
    padded = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=fill)
    rows, columns = (-(-length // stride) for length in x.shape[1:3])
    found = np.empty((len(x), rows, columns, size, size, x.shape[3]))
    for i, j in itertools.product(range(rows), range(columns)):
        top, left = i * stride, j * stride
        found[:, i, j] = padded[:, top : top + size, left : left + size]
    return found


def test_the_front_does_not_import_torch() -> None:
    code = "import sys, fwcompare_pytorch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_compilation_without_a_compiler_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = regression_data(tmp_path, (3,), [FLAT])
    spec, _ = make_run(tmp_path, "pytorch", [FLAT], data, optimizer=optimizer("sgd"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert FRONT.supports(spec) is None
    assert "no-such-compiler" in str(FRONT.supports(spec.but(execution="compiled")))


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_is_tensorflows(
    pool: WarmPool, tmp_path: Path, size: int, stride: int
) -> None:
    window = {"pool_size": size, "stride": stride, "padding": "same"}
    layers = [
        {"name": "conv", "kind": "conv2d", "filters": 3, "kernel_size": size, "stride": stride},
        {"name": "max", "kind": "max_pool2d", "inputs": ["input"], **window},
        {"name": "mean", "kind": "avg_pool2d", "inputs": ["input"], **window},
        {"name": "all", "kind": "concat", "inputs": ["conv", "max", "mean"]},
        FLAT,
    ]
    data = regression_data(tmp_path, (8, 7, 2), layers)
    ran = Ran(pool, tmp_path, layers, data, training=NO_TRAINING)
    x, kernel = ran.test.inputs, ran.initial["conv/kernel"]
    convolved = np.einsum("nijabc,abco->nijo", windows(x, size, stride, 0), kernel)
    largest = windows(x, size, stride, -np.inf).max((3, 4))
    mean = np.nanmean(windows(x, size, stride, np.nan), (3, 4))
    outputs = np.concatenate([convolved, largest, mean], -1).reshape(len(x), -1)
    np.testing.assert_allclose(ran.test_loss, ran.test_loss_of(outputs), **EXACT)


def test_native_semantics_pads_both_sides_alike(pool: WarmPool, tmp_path: Path) -> None:
    layers = [
        {"name": "conv", "kind": "conv2d", "filters": 3, "kernel_size": 3, "stride": 2},
        FLAT,
    ]
    data = regression_data(tmp_path, (8, 8, 2), layers)
    ran = Ran(pool, tmp_path, layers, data, training=NO_TRAINING, semantics="native")
    patches = windows(ran.test.inputs, 3, 2, 0, sides=lambda *_: (1, 1))
    outputs = np.einsum("nijabc,abco->nijo", patches, ran.initial["conv/kernel"])
    expected = ran.test_loss_of(outputs.reshape(len(outputs), -1))
    np.testing.assert_allclose(ran.test_loss, expected, **EXACT)


def test_softplus_is_exact_between_20_and_40(pool: WarmPool, tmp_path: Path) -> None:
    layers = [
        {"name": "twelvefold", "kind": "add", "inputs": ["input"] * 12},
        {"name": "out", "kind": "activation", "function": "softplus"},
    ]
    data = regression_data(tmp_path, (50,), layers)
    ran = Ran(pool, tmp_path, layers, data, training=NO_TRAINING)
    values = 12 * ran.test.inputs
    assert ((values > 20) & (values < 40)).any()
    np.testing.assert_allclose(ran.test_loss, ran.test_loss_of(np.logaddexp(0, values)), **EXACT)


@pytest.mark.parametrize("shape", [(6,), (5, 6), (4, 3, 6)])
def test_the_moving_variance_is_the_biased_one(
    pool: WarmPool, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    layers = [{"name": "bn", "kind": "batch_norm", "momentum": 0.8, "epsilon": 0.01}, FLAT]
    data = regression_data(tmp_path, shape, layers)
    ran = Ran(pool, tmp_path, layers, data, training=ONE_STEP)
    x = ran.train.inputs.reshape(-1, 6)
    np.testing.assert_allclose(ran.final["bn/moving_mean"], 0.2 * x.mean(0), **EXACT)
    np.testing.assert_allclose(ran.final["bn/moving_variance"], 0.8 + 0.2 * x.var(0), **EXACT)
    shown = (ran.test.inputs - ran.final["bn/moving_mean"]) / np.sqrt(
        ran.final["bn/moving_variance"] + 0.01
    )
    outputs = shown * ran.final["bn/gamma"] + ran.final["bn/beta"]
    expected = ran.test_loss_of(outputs.reshape(len(outputs), -1))
    np.testing.assert_allclose(ran.test_loss, expected, **EXACT)


def test_a_batch_of_one_row_is_refused_by_name(pool: WarmPool, tmp_path: Path) -> None:
    layers = [{"name": "bn", "kind": "batch_norm"}, FLAT]
    data = regression_data(tmp_path, (6,), layers)
    spec, folder = make_run(
        tmp_path, "pytorch", layers, data, optimizer=optimizer("sgd"), task="regression",
        training={"batch_size": 63, "drop_last": False},
    )  # fmt: skip
    record = pool.run(spec, folder)
    assert record.status == "unsupported"
    assert "'bn'" in record.reason


def linear_gradients(ran: Ran) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of kernel and bias of a lone dense layer at the initial weights."""
    x, y = ran.train.inputs, ran.train.targets
    error = 2 * (x @ ran.initial["out/kernel"] + ran.initial["out/bias"] - y) / y.size
    return x.T @ error, error.sum(0)


OUT = {"name": "out", "kind": "dense", "units": 2}


def test_clipping_is_exact_and_precedes_l2_decay(pool: WarmPool, tmp_path: Path) -> None:
    options = {"clip_norm": 0.1, "decay": "l2", "weight_decay": 0.5, "decay_scope": "kernels"}
    chosen = optimizer("sgd", lr=0.3, **options)
    data = regression_data(tmp_path, (4,), [OUT])
    ran = Ran(pool, tmp_path, [OUT], data, training=ONE_STEP, optimizer=chosen)
    kernel, bias = linear_gradients(ran)
    norm = np.sqrt((kernel**2).sum() + (bias**2).sum())
    assert norm > 0.1
    before = ran.initial["out/kernel"]
    after = before - 0.3 * (kernel * 0.1 / norm + 0.5 * before)
    np.testing.assert_allclose(ran.final["out/kernel"], after, **EXACT)
    np.testing.assert_allclose(ran.final["out/bias"], -0.3 * bias * 0.1 / norm, **EXACT)


def test_small_gradients_are_not_clipped(pool: WarmPool, tmp_path: Path) -> None:
    data = regression_data(tmp_path, (4,), [OUT])
    chosen = optimizer("sgd", lr=0.3, clip_norm=1e3)
    ran = Ran(pool, tmp_path, [OUT], data, training=ONE_STEP, optimizer=chosen)
    kernel, _ = linear_gradients(ran)
    after = ran.initial["out/kernel"] - 0.3 * kernel
    np.testing.assert_allclose(ran.final["out/kernel"], after, **EXACT)


def test_native_clipping_is_pytorchs(pool: WarmPool, tmp_path: Path) -> None:
    data = regression_data(tmp_path, (4,), [OUT])
    chosen = optimizer("sgd", lr=0.3, clip_norm=0.1)
    options = {"training": ONE_STEP, "optimizer": chosen, "semantics": "native"}
    ran = Ran(pool, tmp_path, [OUT], data, **options)
    kernel, bias = linear_gradients(ran)
    norm = np.sqrt((kernel**2).sum() + (bias**2).sum())
    after = ran.initial["out/kernel"] - 0.3 * kernel * 0.1 / (norm + 1e-6)
    np.testing.assert_allclose(ran.final["out/kernel"], after, **EXACT)


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_decoupled_decay_follows_the_schedule(pool: WarmPool, tmp_path: Path, name: str) -> None:
    """With two steps and gradients of nearly nothing, only decay moves the kernel."""
    layers = [{**OUT, "bias": False}]
    decay = {"decay": "decoupled", "weight_decay": 0.1}
    small = {"epsilon": 1e30} if name != "sgd" else {"clip_norm": 1e-300}
    ran = Ran(
        pool, tmp_path, layers, regression_data(tmp_path, (4,), layers),
        optimizer=optimizer(name, **{**decay, **small, "lr": 0.5}),
        scheduler=Scheduler("step", step_epochs=1, gamma=0.2),
        training={"batch_size": 64, "epochs": 2},
    )  # fmt: skip
    after = ran.initial["out/kernel"] * (1 - 0.5 * 0.1) * (1 - 0.1 * 0.1)
    np.testing.assert_allclose(ran.final["out/kernel"], after, **EXACT)


NET = [
    {"name": "hidden", "kind": "dense", "units": 3, "bias": False},
    {"name": "bn", "kind": "batch_norm"},
    OUT,
]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_is_eager(pool: WarmPool, tmp_path: Path) -> None:
    data = regression_data(tmp_path, (4,), NET)
    chosen = optimizer("adam", clip_norm=0.1)
    eager, compiled = (
        Ran(pool, tmp_path, NET, data, optimizer=chosen, execution=execution)
        for execution in ("eager", "compiled")
    )
    assert compiled.record.facts["execution"] == "torch.compile"
    for name, array in eager.final.items():
        np.testing.assert_allclose(compiled.final[name], array, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(compiled.test_loss, eager.test_loss, rtol=1e-12)


def test_what_was_used_is_on_record(pool: WarmPool, tmp_path: Path) -> None:
    data = regression_data(tmp_path, (4,), NET)
    facts = Ran(pool, tmp_path, NET, data, optimizer=optimizer("adamw")).record.facts
    assert facts["optimizer"] == "torch.optim.AdamW(fused=True)"
    assert facts["device"] == "cpu"
    assert facts["execution"] == "eager"
    assert facts["threads"] == 1


def test_a_model_to_be_filled_draws_nothing_and_keeps_its_constants() -> None:
    import torch
    from torch import nn

    from fwcompare_pytorch.drawing import Undrawn

    before = torch.get_rng_state()
    with Undrawn():
        nn.Conv2d(3, 4, 3)
        nn.ConvTranspose2d(3, 4, 3)
        nn.Linear(3, 4)
        nn.Embedding(3, 4)
        nn.LSTM(3, 4)
        norm = nn.BatchNorm2d(3)
        bias = nn.init.zeros_(nn.Parameter(torch.full((3,), 7.0)))
    assert torch.equal(torch.get_rng_state(), before), "numbers were drawn"
    assert norm.weight.tolist() == [1, 1, 1] and bias.tolist() == [0, 0, 0]
    nn.Linear(3, 4)
    assert not torch.equal(torch.get_rng_state(), before), "outside of it they are"
