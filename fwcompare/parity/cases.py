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


def layer_cases() -> Iterator[Case]:
    """Every layer kind with the options that make a difference; even, odd and unequal sizes."""
    yield Case("dense", (5,), [_dense("hidden", 4), _dense("logits", 3)])
    yield Case("dense without bias", (5,), [_dense("hidden", 4, bias=False), _dense("logits", 3)])
    for label, shape in (("even", EVEN), ("odd", ODD)):
        for padding in ("same", "valid"):
            for stride in (1, 2):
                yield _image(
                    f"conv2d {padding} stride {stride} {label}",
                    _conv(padding=padding, stride=stride),
                    shape=shape,
                )
    yield _image("conv2d kernel 2 same", _conv(kernel_size=2))
    yield _image("conv2d kernel 5x3 stride 2x1", _conv(kernel_size=[5, 3], stride=[2, 1]))
    yield _image("conv2d groups", _conv(groups=2, bias=False))
    for kind in ("max_pool2d", "avg_pool2d"):
        for label, shape in (("even", EVEN), ("odd", ODD)):
            pool = {"name": "pool", "kind": kind, "pool_size": 3, "stride": 2}
            yield _image(f"{kind} same {label}", _conv(), {**pool, "padding": "same"}, shape=shape)
            yield _image(
                f"{kind} valid {label}", _conv(), {**pool, "padding": "valid"}, shape=shape
            )
    for kind in ("global_avg_pool2d", "global_max_pool2d"):
        yield Case(kind, EVEN, [_conv(), {"name": "pool", "kind": kind}, _dense("logits", 3)])
    yield _image("reshape", {"name": "turn", "kind": "reshape", "shape": [6, 8, 2]}, _conv())
    yield _image("dropout of rate 0", _conv(), {"name": "drop", "kind": "dropout", "rate": 0.0})
    norm = {"name": "norm", "momentum": 0.8, "epsilon": 1e-3}
    yield _image("batch_norm", _conv(bias=False), {**norm, "kind": "batch_norm"})
    yield _image("batch_norm after a bias", _conv(), {**norm, "kind": "batch_norm"})
    yield Case(
        "batch_norm on features",
        (5,),
        [_dense("hidden", 4, bias=False), {**norm, "kind": "batch_norm"}, _dense("logits", 3)],
    )
    layer_norm = {"name": "norm", "kind": "layer_norm", "epsilon": 1e-3}
    yield _image("layer_norm", _conv(), layer_norm)
    yield Case(
        "layer_norm on features", (5,), [_dense("hidden", 4), layer_norm, _dense("logits", 3)]
    )
    yield _image(
        "add", _conv("a"), _conv("b", inputs=["input"]),
        {"name": "sum", "kind": "add", "inputs": ["a", "b", "a"]},
    )  # fmt: skip
    yield _image(
        "concat", _conv("a"), _conv("b", filters=3, inputs=["input"]),
        {"name": "both", "kind": "concat", "inputs": ["b", "a", "input"]}, _conv("c"),
    )  # fmt: skip
    for function in FUNCTIONS:
        alpha = {"leaky_relu": 0.2, "elu": 0.7}.get(function, 0.0)
        activation = {"name": "act", "kind": "activation", "function": function, "alpha": alpha}
        yield Case(function, (5,), [_dense("hidden", 6), activation, _dense("logits", 3)])
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
    ("l2", {"decay": "l2", "weight_decay": 0.05}),
    ("l2 on kernels", {"decay": "l2", "weight_decay": 0.05, "decay_scope": "kernels"}),
    ("decoupled", {"decay": "decoupled", "weight_decay": 0.05}),
    (
        "decoupled on kernels",
        {"decay": "decoupled", "weight_decay": 0.05, "decay_scope": "kernels"},
    ),
    ("clipped", {"clip_norm": 0.05}),
    ("clipped with l2", {"clip_norm": 0.05, "decay": "l2", "weight_decay": 0.05}),
)


def optimizer_cases() -> Iterator[Case]:
    """Every optimizer with every schedule, every kind of decay, and clipping."""
    for optimizer in OPTIMIZERS:
        for scheduler in SCHEDULERS:
            yield Case(
                f"{optimizer} {scheduler['name']}",
                (5,), _TRIAL, optimizer, {}, scheduler, steps=10,
            )  # fmt: skip
        for label, options in _VARIANTS:
            yield Case(
                f"{optimizer} {label}", (5,), _TRIAL, optimizer, options, SCHEDULERS[2], steps=6
            )


def all_cases() -> list[Case]:
    """Every case, layers first."""
    cases = [*layer_cases(), *optimizer_cases()]
    touched = {layer["kind"] for case in cases for layer in case.layers}
    assert touched == set(KINDS), f"no case for {set(KINDS) - touched}"
    return cases
