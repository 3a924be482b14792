"""Small experiments that together touch every layer kind, optimizer and schedule of the product."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fwcompare.graph.kinds import FUNCTIONS, KINDS
from fwcompare.spec import OPTIMIZERS

Layers = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    """One small experiment: a model, a rule to train it by, and how long."""

    name: str
    input_shape: tuple[int, ...]
    layers: Layers
    optimizer: str = "momentum"
    options: Mapping[str, Any] = field(default_factory=dict)
    scheduler: Mapping[str, Any] = field(default_factory=lambda: {"name": "constant"})
    task: str = "classification"
    steps: int = 3


def _conv(name: str = "conv", **options: Any) -> dict[str, Any]:
    return {"name": name, "kind": "conv2d", "filters": 4, "kernel_size": 3, **options}


def _dense(name: str, units: int, **options: Any) -> dict[str, Any]:
    return {"name": name, "kind": "dense", "units": units, **options}


#: Head of every image model: three classes.
_HEAD = ({"name": "flat", "kind": "flatten"}, _dense("logits", 3))

EVEN, ODD = (8, 6, 2), (7, 5, 2)


def _image(name: str, *layers: dict[str, Any], shape: tuple[int, ...] = EVEN) -> Case:
    return Case(name, shape, [*layers, *_HEAD])


def _side_by_side(name: str, shape: tuple[int, ...], branches: list[dict[str, Any]]) -> Case:
    """Layers that all take the input, flattened and joined: one graph to compile, not many."""
    layers: list[dict[str, Any]] = []
    for branch in branches:
        flat = f"{branch['name']}_flat"
        layers.append({**branch, "inputs": ["input"]})
        layers.append({"name": flat, "kind": "flatten"})
    joined = [f"{branch['name']}_flat" for branch in branches]
    layers.append({"name": "joined", "kind": "concat", "inputs": joined})
    return Case(name, shape, [*layers, _dense("logits", 3)])


def _convolutions(label: str, shape: tuple[int, ...]) -> Case:
    branches = [
        _conv(f"{padding}_stride{stride}_kernel{kernel}", padding=padding, stride=stride,
              kernel_size=kernel)
        for padding in ("same", "valid")
        for stride in (1, 2)
        for kernel in (2, 3)
    ]  # fmt: skip
    branches.append(_conv("kernel5x3_stride2x1", kernel_size=[5, 3], stride=[2, 1]))
    branches.append(_conv("groups", groups=2, bias=False))
    return _side_by_side(f"conv2d, {label} sizes", shape, branches)


def _pools(label: str, shape: tuple[int, ...]) -> Case:
    branches = [
        {"name": f"{kind}_{padding}_{size}", "kind": kind, "pool_size": size, "stride": 2,
         "padding": padding}
        for kind in ("max_pool2d", "avg_pool2d")
        for padding in ("same", "valid")
        for size in (2, 3)
    ]  # fmt: skip
    return _side_by_side(f"pooling, {label} sizes", shape, branches)


def layer_cases() -> Iterator[Case]:
    """Every layer kind with the options that make a difference; even, odd and unequal sizes."""
    for label, shape in (("even", EVEN), ("odd", ODD)):
        yield _convolutions(label, shape)
        yield _pools(label, shape)
    yield _image("conv2d, then flatten", _conv(padding="same", stride=2))
    yield Case(
        "dense, global pooling",
        EVEN,
        [
            _dense("everywhere", 4, bias=False),
            {"name": "mean", "kind": "global_avg_pool2d"},
            {"name": "peak", "kind": "global_max_pool2d", "inputs": ["everywhere"]},
            {"name": "both", "kind": "concat", "inputs": ["peak", "mean"]},
            _dense("logits", 3),
        ],
    )
    yield _image(
        "reshape, dropout of rate 0",
        {"name": "turn", "kind": "reshape", "shape": [6, 8, 2]},
        _conv(),
        {"name": "drop", "kind": "dropout", "rate": 0.0},
    )
    norm = {"momentum": 0.8, "epsilon": 1e-3}
    yield _image(
        "batch_norm on images",
        _conv(bias=False),
        {"name": "norm", "kind": "batch_norm", **norm},
    )
    yield Case(
        "batch_norm on features, behind a bias",
        (5,),
        [_dense("hidden", 4), {"name": "norm", "kind": "batch_norm", **norm}, _dense("logits", 3)],
    )
    yield _image("layer_norm", _conv(), {"name": "norm", "kind": "layer_norm", "epsilon": 1e-3})
    yield _image(
        "add, concat",
        _conv("a"),
        _conv("b", inputs=["input"]),
        {"name": "sum", "kind": "add", "inputs": ["a", "b", "a"]},
        {"name": "both", "kind": "concat", "inputs": ["b", "sum", "input"]},
        _conv("c"),
    )
    alphas = {"leaky_relu": 0.2, "elu": 0.7}
    yield _side_by_side(
        "activations",
        (7,),
        [
            {
                "name": function,
                "kind": "activation",
                "function": function,
                "alpha": alphas.get(function, 0.0),
            }
            for function in FUNCTIONS
        ],
    )
    yield Case("regression", (5,), [_dense("hidden", 4), _dense("out", 2)], task="regression")


#: The model on which optimizers are tried: a norm, a kernel, biases.
_TRIAL: Layers = (
    _dense("hidden", 6),
    {"name": "norm", "kind": "layer_norm", "epsilon": 1e-5},
    {"name": "act", "kind": "activation", "function": "tanh", "alpha": 0.0},
    _dense("logits", 3),
)

SCHEDULERS: tuple[dict[str, Any], ...] = (
    {"name": "constant"},
    {"name": "step", "step_epochs": 0.5, "gamma": 0.5},
    {"name": "cosine", "final_factor": 0.1},
    {"name": "warmup_cosine", "warmup_epochs": 0.75, "final_factor": 0.0},
)

_VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("plain", {"decay": "none", "weight_decay": 0.0}),
    ("l2", {"decay": "l2", "weight_decay": 0.05}),
    ("l2 on kernels", {"decay": "l2", "weight_decay": 0.05, "decay_scope": "kernels"}),
    ("decoupled", {"decay": "decoupled", "weight_decay": 0.05}),
    (
        "decoupled on kernels",
        {"decay": "decoupled", "weight_decay": 0.05, "decay_scope": "kernels"},
    ),
    ("clipped", {"decay": "none", "weight_decay": 0.0, "clip_norm": 0.05}),
    ("clipped l2", {"clip_norm": 0.05, "decay": "l2", "weight_decay": 0.05}),
)


def optimizer_cases() -> Iterator[Case]:
    """Every optimizer with every schedule, and with every kind of decay and clipping."""
    for optimizer in OPTIMIZERS:
        for position, (label, options) in enumerate(_VARIANTS):
            scheduler = SCHEDULERS[position % len(SCHEDULERS)]
            name = f"{optimizer}, {label}, {scheduler['name']}"
            yield Case(name, (5,), _TRIAL, optimizer, options, scheduler, steps=10)


def all_cases() -> list[Case]:
    """Every case, layers first."""
    cases = [*layer_cases(), *optimizer_cases()]
    touched = {layer["kind"] for case in cases for layer in case.layers}
    assert touched == set(KINDS), f"no case for {set(KINDS) - touched}"
    return cases
