"""What the built modules and the built chain of transformations hold, in the contract's words.

Optax keeps an optimizer's numbers in the closures of its functions and nowhere else, so they are
read from there.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import optax
from flax import nnx

from fwcompare.audit.settings import Settings
from fwcompare.graph import Graph, Layer
from fwcompare.graph.convolutions import Conv2dTranspose
from fwcompare.graph.recurrent import Gru
from fwcompare.graph.windows import extent, padding_sides
from fwcompare_jax.layers import Restricted
from fwcompare_jax.recurrent import Recurrent

#: What Optax calls the contract's options, by a number that only that rule has.
_RULES: dict[str, dict[str, str]] = {
    "b1": {"b1": "beta1", "b2": "beta2", "eps": "epsilon"},
    "eps_in_sqrt": {"decay": "rho", "eps": "epsilon"},
    "initial_accumulator_value": {"initial_accumulator_value": "initial_accumulator",
                                  "eps": "epsilon"},
    "initial": {"initial": "initial_accumulator", "epsilon": "epsilon"},
    "nesterov": {"decay": "momentum", "nesterov": "nesterov"},
}  # fmt: skip


#: Flax's cells by the layer's kind.
_CELLS = {"lstm": "nnx.OptimizedLSTMCell", "gru": "nnx.GRUCell with a bias"}


def settings(
    graph: Graph,
    natives: Mapping[str, Any],
    optimizer: optax.GradientTransformation,
    learning_rate: float,
) -> Settings:
    """Values by layer and quantity, and those of the optimizer.

    ``learning_rate`` is that of the first step, for a chain that holds a schedule.
    """
    found = {"optimizer": {"class": "optax.chain", "lr": learning_rate, **_optimizer(optimizer)}}
    for name, native in natives.items():
        if values := dict(_layer(graph[name], native)):
            found[name] = values
    return found


def links(chain: optax.GradientTransformation) -> list[dict[str, Any]]:
    """The values that each transformation of a chain closed over, in the chain's order."""
    starts = inspect.getclosurevars(chain.init).nonlocals["init_fns"]
    steps = inspect.getclosurevars(chain.update).nonlocals["update_fns"]
    return [
        {**dict(_closed_over(start)), **dict(_closed_over(step))}
        for start, step in zip(starts, steps, strict=True)
    ]


def _closed_over(value: Any) -> Iterator[tuple[str, Any]]:
    """Values in the closure of a function, and of the functions that it closed over."""
    if isinstance(value, optax.GradientTransformation):
        yield from _closed_over(value.init)
        yield from _closed_over(value.update)
    if not inspect.isfunction(value):
        return
    for name, held in inspect.getclosurevars(value).nonlocals.items():
        if inspect.isfunction(held) or isinstance(held, optax.GradientTransformation):
            yield from _closed_over(held)
        else:
            yield name, held


def _optimizer(chain: optax.GradientTransformation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    decay: dict[str, Any] = {"decay": "none"}
    rule_passed = False
    for link in links(chain):
        if "max_norm" in link:
            found |= {"clip_norm": link["max_norm"], "clip_factor": "most / norm"}
        elif "weight_decay" in link:
            decay = {
                # Before the rule it is a part of the gradient, behind it a part of the step.
                "decay": "decoupled" if rule_passed else "l2",
                "weight_decay": link["weight_decay"],
                "decayed_tensors": sum(link["mask"]),
            }
        elif "step_size" in link:
            found["lr"] = -link["step_size"]
        else:
            found |= _rule(link)
            rule_passed = True
    return found | decay


def _rule(link: dict[str, Any]) -> dict[str, Any]:
    """The options of a rule; none for plain descent and for the learning rate."""
    for mark, options in _RULES.items():
        if mark in link:
            found = {name: link[key] for key, name in options.items()}
            break
    else:
        return {}
    if "momentum" in found:
        found["momentum_buffer"] = "without the learning rate"
    if "epsilon" in found:
        inside = link.get("eps_in_sqrt", "initial_accumulator_value" in link)
        place = "beside the corrected root" if "b1" in link else "beside the root"
        found["epsilon_place"] = "inside the root" if inside else place
    return found


def _layer(layer: Layer, native: Any) -> Iterator[tuple[str, Any]]:
    match native:
        case nnx.Linear():
            yield "class", "nnx.Linear"
            yield "bias", native.use_bias
        case nnx.Conv():
            yield "class", "nnx.Conv"
            yield "bias", native.use_bias
            yield "padding", _padding(native, layer)
        case nnx.ConvTranspose():
            yield "class", "nnx.ConvTranspose"
            yield "bias", native.use_bias
            yield "cut_off", _cut_off(native, layer.kind)
        case partial(func=nnx.avg_pool):
            counted = native.keywords.get("count_include_pad", True)
            yield "class", "nnx.avg_pool"
            yield "padded_cells", "counted as zeros" if counted else "left out"
        case nnx.BatchNorm():
            yield "class", "nnx.BatchNorm"
            yield "momentum", native.momentum
            yield "epsilon", native.epsilon
            yield "moving_variance", "biased"
        case nnx.LayerNorm() | nnx.GroupNorm() | nnx.RMSNorm():
            yield "class", f"nnx.{type(native).__name__}"
            yield "epsilon", native.epsilon
        case nnx.Embed():
            yield "class", "nnx.Embed"
        case Recurrent():
            yield "class", f"nnx.RNN({_CELLS[layer.kind.kind]})"
            if isinstance(layer.kind, Gru):
                yield "reset_gate", "after the product"
        case nnx.MultiHeadAttention() | Restricted():
            yield "class", "nnx.MultiHeadAttention"
            yield "causal", isinstance(native, Restricted) and native.causal
        case nnx.Dropout():
            yield "class", "nnx.Dropout"
            yield "rate", native.rate


def _padding(native: nnx.Conv, layer: Layer) -> list[list[int]] | str:
    """Cells (before, after) of each axis: Flax keeps the word, and XLA pads by this rule. Code of a
    user's own may give numbers, or a word that is not ours, which is told as it is."""
    sizes = layer.input_shapes[0][:-1]
    padding = native.padding
    if isinstance(padding, str):
        if (word := padding.lower()) not in ("same", "valid", "causal"):
            return word
        dilation, strides = (
            _by_axis(1 if given is None else given, len(sizes))
            for given in (native.kernel_dilation, native.strides)
        )
        windows = extent(tuple(native.kernel_size), dilation)
        return [list(side) for side in padding_sides(word, sizes, windows, strides)]
    return [
        [side, side] if isinstance(side, int) else list(side)
        for side in _by_axis(padding, len(sizes))
    ]


def _by_axis(given: Any, rank: int) -> tuple[Any, ...]:
    return (given,) * rank if isinstance(given, int) else tuple(given)


def _cut_off(native: nnx.ConvTranspose, kind: Conv2dTranspose) -> list[list[int]]:
    """Cells (before, after) of each axis that kernels write and that are cut off."""
    if native.padding == "VALID":
        return [[0, 0] for _ in kind.surplus]
    return [[surplus // 2, surplus - surplus // 2] for surplus in kind.surplus]
