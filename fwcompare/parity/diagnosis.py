"""Where two engines first depart, and what usually causes just that."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fwcompare.graph import Graph, Layer
from fwcompare.parity.ladder import (
    LEAST,
    NOISE,
    Tolerances,
    relative,
    relative_norm,
    without_gradient,
)
from fwcompare.parity.trace import Trace
from fwcompare.spec import RunSpec

#: What commonly goes wrong in a kind of layer, forward.
_FORWARD_CAUSES = {
    "conv2d": "asymmetric 'same' padding, height and width swapped, or the kernel's layout",
    "max_pool2d": "the padding's side, or padding that counts as zero",
    "avg_pool2d": "padding counted in the mean, or its side",
    "flatten": "the order of axes: height, width, channel is meant",
    "reshape": "the order of axes: height, width, channel is meant",
    "batch_norm": "epsilon, biased against unbiased batch variance, or swapped gamma and beta",
    "layer_norm": "epsilon, its place, or the axes",
    "dense": "the kernel's orientation, or a missing bias",
    "activation": "another form of the function, such as tanh for erf in gelu, or another slope",
}

#: Known ratios of an observed quantity to the expected one.
_SLOT_CAUSES = {
    "momentum": "the learning rate inside the buffer, dampening, or another momentum",
    "first_moment": "another beta1, or decay mixed into the gradient",
    "second_moment": "another beta2 or rho, or decay mixed into the gradient",
    "accumulator": "another initial accumulator",
}


def diagnose(
    reference: Trace, other: Trace, graph: Graph, allowed: Tolerances, spec: RunSpec
) -> str:
    """The first departure, in the order in which a step computes, with likely causes."""
    for found in _departures(reference, other, graph, allowed, spec):
        return found
    return "the traces differ, but no layer, gradient or slot departs by itself"


def _departures(
    reference: Trace, other: Trace, graph: Graph, allowed: Tolerances, spec: RunSpec
) -> Iterator[str]:
    yield from _facts(reference, other)
    for mode in ("eval", "train"):
        yield from _forward(reference, other, graph, allowed, mode)
    yield from _loss(reference, other, allowed)
    yield from _backward(reference, other, graph, allowed)
    yield from _state(reference, other, graph, allowed, spec)
    yield from _evaluation(reference, other, allowed)


def _facts(reference: Trace, other: Trace) -> Iterator[str]:
    expected, found = reference.facts["shapes"], other.facts["shapes"]
    for name in expected.keys() | found.keys():
        if expected.get(name) != found.get(name):
            yield f"`{name}` has shape {found.get(name)}, the reference {expected.get(name)}"
    if reference.facts["batches"] != other.facts["batches"]:
        yield "the batches differ: another order, or other samples"
    for key, value in reference.facts["optimizer"].items():
        if other.facts["optimizer"].get(key) != value:
            yield f"optimizer.{key} is {other.facts['optimizer'].get(key)}, the reference's {value}"
    if reference.facts["learning_rates"] != other.facts["learning_rates"]:
        yield "the learning rates differ: the schedule, or its first step"


def _forward(
    reference: Trace, other: Trace, graph: Graph, allowed: Tolerances, mode: str
) -> Iterator[str]:
    expected, found = reference.of(mode), other.of(mode)
    for layer in graph.layers:
        if layer.name not in found:
            yield f"`{layer.name}`: the engine gave no output for this layer"
            continue
        difference = relative_norm(expected[layer.name], found[layer.name])
        if not difference <= allowed.outputs:
            yield (
                f"`{layer.name}` ({layer.kind.kind}), forward in {mode} mode: "
                f"relative difference {difference:.2g}; "
                f"likely {_forward_cause(layer, expected[layer.name], found[layer.name])}"
            )


def _forward_cause(layer: Layer, expected: np.ndarray, found: np.ndarray) -> str:
    if expected.shape != found.shape:
        return f"a shape of {list(found.shape)} for {list(expected.shape)}"
    if np.allclose(np.sort(expected, axis=None), np.sort(found, axis=None), rtol=1e-9, atol=0):
        return "the same numbers in another order: the order of axes"
    return _FORWARD_CAUSES.get(layer.kind.kind, "another definition of this layer")


def _loss(reference: Trace, other: Trace, allowed: Tolerances) -> Iterator[str]:
    expected, found = float(reference.arrays["loss"][0]), float(other.arrays["loss"][0])
    least = LEAST[allowed.precision][0]
    difference = abs(found - expected) / max(abs(expected), np.finfo(float).tiny)
    if not difference <= max(least, float(allowed.train[0]) if len(allowed.train) else least):
        yield (
            f"the loss, from equal outputs: ratio {found / expected:.6g}; "
            "likely another reduction, probabilities taken for logits, or a penalty in the loss"
        )


def _backward(reference: Trace, other: Trace, graph: Graph, allowed: Tolerances) -> Iterator[str]:
    """Backward order: the last layer's gradient is computed first."""
    expected, found = reference.of("gradient"), other.of("gradient")
    skipped = set(without_gradient(graph))
    largest = max((float(np.abs(array).max()) for array in expected.values()), default=0.0)
    for layer in reversed(graph.layers):
        for parameter in layer.parameters:
            name = f"{layer.name}/{parameter.name}"
            if name not in expected or name in skipped:
                continue
            if float(np.abs(expected[name]).max()) <= NOISE[allowed.precision] * largest:
                continue
            if name not in found:
                yield f"`{name}`: the engine gave no gradient"
                continue
            difference = relative_norm(expected[name], found[name])
            if not difference <= allowed.gradients[name]:
                yield (
                    f"`{name}`, gradient: relative difference {difference:.2g}"
                    f"{_ratio(expected[name], found[name])}; "
                    f"likely in `{layer.name}` ({layer.kind.kind}) or the layer behind it"
                )


def _state(
    reference: Trace, other: Trace, graph: Graph, allowed: Tolerances, spec: RunSpec
) -> Iterator[str]:
    skipped = set(without_gradient(graph))
    for point in reference.checkpoints:
        after = f"after {point} step{'s' if point > 1 else ''}"
        yield from _statistics(reference, other, graph, allowed, point, after, spec)
        for kind in (f"slots@{point}", f"weights@{point}"):
            expected, found = reference.of(kind), other.of(kind)
            for name, array in expected.items():
                tensor, _, slot = name.partition(".")
                if tensor in skipped or "moving_" in tensor:
                    continue
                if name not in found:
                    yield f"`{name}` {after}: the engine has no such state"
                    continue
                difference = relative_norm(array, found[name])
                if difference <= allowed.state[f"{kind}:{name}"]:
                    continue
                ratio = _ratio(array, found[name])
                cause = _SLOT_CAUSES.get(slot) or _update_cause(
                    reference, other, spec, tensor, point, difference
                )
                what = f"optimizer slot `{slot}` of `{tensor}`" if slot else f"`{tensor}`"
                yield f"{what} {after}: relative difference {difference:.2g}{ratio}; likely {cause}"


def _statistics(
    reference: Trace,
    other: Trace,
    graph: Graph,
    allowed: Tolerances,
    point: int,
    after: str,
    spec: RunSpec,
) -> Iterator[str]:
    expected, found = reference.of(f"weights@{point}"), other.of(f"weights@{point}")
    for layer in graph.layers:
        if layer.kind.kind != "batch_norm":
            continue
        for statistic in ("moving_mean", "moving_variance"):
            name = f"{layer.name}/{statistic}"
            difference = relative_norm(expected[name], found[name])
            if difference <= allowed.state[f"weights@{point}:{name}"]:
                continue
            yield (
                f"`{layer.name}` {statistic.replace('_', ' ')} {after}: "
                f"{_statistic_cause(layer, statistic, expected[name], found[name], point, spec)}"
            )


def _statistic_cause(
    layer: Layer,
    statistic: str,
    expected: np.ndarray,
    found: np.ndarray,
    point: int,
    spec: RunSpec,
) -> str:
    momentum = float(layer.kind.options()["momentum"])
    start = 1.0 if statistic == "moving_variance" else 0.0
    if point != 1:
        return f"relative difference {relative_norm(expected, found):.2g}"
    # After one step: new = momentum * start + (1 - momentum) * batch statistic.
    batch = (expected - momentum * start) / (1 - momentum)
    seen = (found - momentum * start) / (1 - momentum)
    usable = np.abs(batch) > 1e-12
    ratio = float(np.median(seen[usable] / batch[usable])) if usable.any() else float("nan")
    n = spec.training.batch_size * int(np.prod(layer.shape[:-1]))
    if statistic == "moving_variance" and abs(ratio - n / (n - 1)) < 1e-6:
        return (
            f"the batch's share has ratio {ratio:.6g} = n/(n-1) with n={n}: unbiased against biased"
        )
    shares = (found - start) / np.where(batch == start, np.nan, batch - start)
    share = float(np.nanmedian(shares)) if np.isfinite(shares).any() else float("nan")
    return f"moved by a share of {share:.6g} of the batch, {1 - momentum:.6g} is meant: momentum"


def _update_cause(
    reference: Trace, other: Trace, spec: RunSpec, tensor: str, point: int, difference: float
) -> str:
    """From the change of a tensor's weights, with all its slots equal."""
    expected = reference.of(f"weights@{point}")[tensor]
    found = other.of(f"weights@{point}")[tensor]
    before_expected = reference.of("weights@1").get(tensor) if point > 1 else None
    hints = []
    if spec.optimizer.weight_decay and spec.optimizer.decay != "none":
        hints.append("the kind of decay, or which tensors decay")
    if spec.optimizer.clip_norm:
        hints.append("the clipping formula, or clipping by tensor")
    if spec.scheduler.name != "constant" and before_expected is not None:
        hints.append("the schedule by one step")
    if spec.optimizer.name in ("adam", "adamw", "rmsprop", "adagrad"):
        hints.append("epsilon, or its place")
    if spec.optimizer.name == "nesterov":
        hints.append("the form of Nesterov's step")
    if np.allclose(expected, found, rtol=1e-4, atol=0):
        hints.append("the learning rate")
    return ", ".join(hints) or "the update rule"


def _evaluation(reference: Trace, other: Trace, allowed: Tolerances) -> Iterator[str]:
    points = [0, *reference.checkpoints]
    differences = relative(
        reference.arrays["evaluations"], other.arrays["evaluations"][: len(points)]
    )
    for point, difference, accepted in zip(points, differences, allowed.evaluation, strict=False):
        if not difference <= accepted:
            yield (
                f"the evaluation loss after {point} steps: relative difference {difference:.2g}, "
                "with equal weights and statistics"
            )


def _ratio(expected: np.ndarray, found: np.ndarray) -> str:
    """A common ratio of all elements, where there is one."""
    if expected.shape != found.shape:
        return ""
    usable = np.abs(expected) > 1e-12 * max(float(np.abs(expected).max()), 1e-300)
    if not usable.any():
        return ""
    ratios = found[usable] / expected[usable]
    middle = float(np.median(ratios))
    if not np.isfinite(middle) or abs(middle - 1) < 1e-12:
        return ""
    even = np.abs(ratios - middle) <= 1e-6 * max(abs(middle), 1e-300)
    return f", ratio {middle:.6g} throughout" if even.all() else ""
