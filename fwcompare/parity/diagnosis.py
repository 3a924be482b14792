"""Where two engines first depart, and what causes just that.

A place is looked for in the order in which a step computes. A cause is tried out: the known errors
of a layer or an optimizer are computed from the reference's trace, and the one that reproduces the
other trace is named. Where none does, the usual suspects are listed as such.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fwcompare.graph import Graph, Layer
from fwcompare.parity import hypotheses, updates
from fwcompare.parity.ladder import (
    LEAST,
    NOISE,
    Tolerances,
    depends_on,
    of_own_code,
    relative,
    relative_norm,
    without_gradient,
)
from fwcompare.parity.trace import Trace
from fwcompare.spec import RunSpec

#: What commonly goes wrong in a kind of layer, forward, beyond what can be tried out.
_FORWARD_SUSPECTS = {
    "conv1d": "the padding, or the kernel's layout",
    "conv2d": "the padding, or the kernel's layout",
    "depthwise_conv2d": "the padding, or the order of channels and multiplier in the kernel",
    "conv2d_transpose": "what is cut off, or the kernel's layout",
    "max_pool1d": "the padding's side, or padding that counts as zero",
    "avg_pool1d": "padding counted in the mean, or its side",
    "max_pool2d": "the padding's side, or padding that counts as zero",
    "avg_pool2d": "padding counted in the mean, or its side",
    "flatten": "the order of axes: height, width, channel is meant",
    "reshape": "the order of axes: height, width, channel is meant",
    "batch_norm": "epsilon, the batch's variance, or gamma and beta",
    "layer_norm": "epsilon, its place, or the axes",
    "group_norm": "epsilon, or which channels are a group",
    "rms_norm": "epsilon, its place, or a mean that is taken away",
    "zero_pad2d": "the side of the border",
    "upsample2d": "another interpolation",
    "softmax": "the axis",
    "dense": "the kernel's orientation, or a missing bias",
    "embedding": "other rows: ids that are shifted, wrapped or clamped",
    "lstm": "the order of gates i, f, g, o, a missing bias, or the direction's end",
    "gru": "the order of gates r, z, n, a reset gate before the product, or a missing bias",
    "multi_head_attention": "the scale, the sense of the mask, or the layout of heads",
    "activation": "another form of the function",
}

#: What commonly goes wrong in a slot.
_SLOT_SUSPECTS = {
    "momentum": "the learning rate inside the buffer, dampening, or another momentum",
    "first_moment": "another beta1, or decay mixed into the gradient",
    "second_moment": "another beta2 or rho, or decay mixed into the gradient",
    "accumulator": "another initial accumulator",
}


def diagnose(
    reference: Trace, other: Trace, graph: Graph, allowed: Tolerances, spec: RunSpec
) -> str:
    """The first departure, in the order in which a step computes, with its cause."""
    for found in _departures(reference, other, graph, allowed, spec):
        return found
    return "the traces differ, but no layer, gradient or slot departs by itself"


def _departures(
    reference: Trace, other: Trace, graph: Graph, allowed: Tolerances, spec: RunSpec
) -> Iterator[str]:
    yield from _facts(reference, other)
    yield from _imported(reference, other)
    for mode in ("eval", "train"):
        yield from _forward(reference, other, graph, allowed, mode)
    yield from _loss(reference, other, graph, allowed, spec)
    yield from _backward(reference, other, graph, allowed)
    yield from _first_step(reference, other, allowed)
    for point in reference.checkpoints:
        # Later than two steps a statistic may differ because the weights do.
        first, second = _statistics, _state
        if point > 2:
            first, second = second, first
        yield from first(reference, other, graph, allowed, point, spec)
        yield from second(reference, other, graph, allowed, point, spec)
    yield from _evaluation(reference, other, allowed)


def _facts(reference: Trace, other: Trace) -> Iterator[str]:
    expected, found = reference.facts["shapes"], other.facts["shapes"]
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield f"`{name}` is missing: the engine has no such tensor"
        elif expected.get(name) != found[name]:
            yield f"`{name}` has shape {found[name]}, the reference {expected.get(name)}"
    if reference.facts["batches"] != other.facts["batches"]:
        yield "the batches differ: another order, or other samples"
    for key, value in reference.facts["optimizer"].items():
        if other.facts["optimizer"].get(key) != value:
            yield f"optimizer.{key} is {other.facts['optimizer'].get(key)}, the reference's {value}"
    if reference.facts["learning_rates"] != other.facts["learning_rates"]:
        yield "the learning rates differ: the schedule, or its first step"


def _imported(reference: Trace, other: Trace) -> Iterator[str]:
    """Weights before any step are copies, so that they are equal to the last bit."""
    expected, found = reference.of("weights@0"), other.of("weights@0")
    for name, array in expected.items():
        if name in found and not np.array_equal(array, found[name]):
            cause = hypotheses.imported(name, expected, found) or "the import of initial weights"
            yield f"`{name}` before the first step: {cause}"


def _forward(
    reference: Trace, other: Trace, graph: Graph, allowed: Tolerances, mode: str
) -> Iterator[str]:
    expected, found = reference.of(mode), other.of(mode)
    for layer in graph.layers:
        if of_own_code(reference, other) and not (layer.name in expected and layer.name in found):
            continue
        if layer.name not in found:
            yield f"`{layer.name}`: the engine gave no output for this layer"
            continue
        difference = relative_norm(expected[layer.name], found[layer.name])
        if not difference <= allowed.outputs:
            yield (
                f"`{layer.name}` ({layer.kind.kind}), forward in {mode} mode: "
                f"relative difference {difference:.2g}; "
                f"{_forward_cause(reference, layer, mode, found[layer.name])}"
            )


def _forward_cause(reference: Trace, layer: Layer, mode: str, found: np.ndarray) -> str:
    outputs = reference.of(mode)
    expected = outputs[layer.name]
    if expected.shape != found.shape:
        return f"a shape of {list(found.shape)} for {list(expected.shape)}"
    values = {**reference.of("given"), **outputs}
    inputs = [values[source] for source in layer.inputs if source in values]
    weights = reference.of("weights@0")
    own = {
        parameter.name: weights[f"{layer.name}/{parameter.name}"]
        for parameter in layer.parameters
        if f"{layer.name}/{parameter.name}" in weights
    }
    if len(inputs) == len(layer.inputs) and len(own) == len(layer.parameters):
        cause = hypotheses.explain(layer, inputs, own, expected, found, mode == "train")
        if cause:
            return cause
    if np.allclose(np.sort(expected, axis=None), np.sort(found, axis=None), rtol=1e-9, atol=0):
        return "the same numbers in another order: the order of axes"
    return f"likely {_FORWARD_SUSPECTS.get(layer.kind.kind, 'another definition of this layer')}"


def _loss(
    reference: Trace, other: Trace, graph: Graph, allowed: Tolerances, spec: RunSpec
) -> Iterator[str]:
    expected, found = float(reference.arrays["loss"][0]), float(other.arrays["loss"][0])
    least = LEAST[allowed.precision][0]
    difference = abs(found - expected) / max(abs(expected), np.finfo(float).tiny)
    if difference <= max(least, float(allowed.train[0]) if len(allowed.train) else least):
        return
    cause = "likely another reduction, probabilities taken for logits, or a penalty in the loss"
    ratio = found / expected if expected else float("inf")
    outputs = reference.of("train").get(graph.layers[-1].name)
    if outputs is not None and "targets" in reference.arrays:
        targets = reference.arrays["targets"]
        cause = hypotheses.explain_loss(spec.task.loss, outputs, targets, expected, found) or cause
    penalty = _penalty(reference, graph, spec)
    if penalty and np.isclose(found - expected, penalty, rtol=1e-6):
        cause = f"the L2 penalty of {penalty:.6g} is in the loss"
    yield f"the loss, from equal outputs: ratio {ratio:.6g}; {cause}"


def _penalty(reference: Trace, graph: Graph, spec: RunSpec) -> float:
    """Half the decay times the squared norm of what decays, before the first step."""
    weights = reference.of("weights@0")
    squares = [
        float((weights[name] ** 2).sum())
        for name, parameter in graph.parameters()
        if parameter.trainable and spec.optimizer.decays(parameter.role) and name in weights
    ]
    return spec.optimizer.weight_decay / 2 * sum(squares)


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
                cause = f"likely {_backward_suspects(graph, layer)}"
                if not found[name].any():
                    cause = f"it is zero: stopped in {_backward_suspects(graph, layer)}"
                yield (
                    f"`{name}`, gradient: relative difference {difference:.2g}"
                    f"{_ratio(expected[name], found[name])}; {cause}"
                )


def _backward_suspects(graph: Graph, layer: Layer) -> str:
    """The layer itself, and those up to the next one whose own gradient was found to be right."""
    names, behind = [f"`{layer.name}` ({layer.kind.kind})"], [layer.name]
    for later in graph.layers:
        if set(later.inputs) & set(behind) and later.name not in behind:
            names.append(f"`{later.name}` ({later.kind.kind})")
            if not later.parameters:
                behind.append(later.name)
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _first_step(reference: Trace, other: Trace, allowed: Tolerances) -> Iterator[str]:
    """The first step trains on the batch whose loss was compared already."""
    if not len(allowed.train):
        return
    expected, found = reference.arrays["losses"][:1], other.arrays["losses"][:1]
    difference = float(relative(expected, found)[0]) if len(found) else float("inf")
    if difference <= float(allowed.train[0]):
        return
    equal = [
        relative_norm(array, other.of("weights@1").get(name, np.empty(0)))
        <= allowed.state[f"weights@1:{name}"]
        for name, array in reference.of("weights@1").items()
    ]
    cause = "training is fed other targets or samples, or runs another forward pass"
    if equal and all(equal):
        cause = "only the number is another one: the step itself is equal"
    yield (
        f"the loss of the first step: relative difference {difference:.2g}, where the same batch "
        f"gave an equal loss before; {cause}"
    )


def _after(point: int) -> str:
    return f"after {point} step{'s' if point > 1 else ''}"


def _state(
    reference: Trace, other: Trace, graph: Graph, allowed: Tolerances, point: int, spec: RunSpec
) -> Iterator[str]:
    """Slots, then weights, in the order of the graph."""
    skipped = set(without_gradient(graph))
    tensors = [
        name
        for name, parameter in graph.parameters()
        if parameter.trainable and name not in skipped
    ]
    for kind in (f"slots@{point}", f"weights@{point}"):
        expected, found = reference.of(kind), other.of(kind)
        for tensor in tensors:
            for name in expected:
                if name.partition(".")[0] != tensor:
                    continue
                what = f"optimizer slot `{name.partition('.')[2]}` of `{tensor}`"
                what = what if "." in name else f"`{tensor}`"
                if name not in found:
                    yield f"{what} {_after(point)}: the engine has no such state"
                    continue
                difference = relative_norm(expected[name], found[name])
                if difference <= allowed.state[f"{kind}:{name}"]:
                    continue
                cause = updates.cause(reference, other, graph, spec, tensor, point)
                if cause is None:
                    suspects = _SLOT_SUSPECTS.get(name.partition(".")[2])
                    cause = f"likely {suspects or _update_suspects(spec)}"
                    cause = f"{cause}{_ratio(expected[name], found[name])}"
                yield f"{what} {_after(point)}: relative difference {difference:.2g}; {cause}"


def _statistics(
    reference: Trace, other: Trace, graph: Graph, allowed: Tolerances, point: int, spec: RunSpec
) -> Iterator[str]:
    expected, found = reference.of(f"weights@{point}"), other.of(f"weights@{point}")
    shifted = set(depends_on(graph, without_gradient(graph)))
    for layer in graph.layers:
        if layer.kind.kind != "batch_norm":
            continue
        for statistic in ("moving_mean", "moving_variance"):
            name = f"{layer.name}/{statistic}"
            difference = relative_norm(expected[name], found[name])
            if name in shifted or difference <= allowed.state[f"weights@{point}:{name}"]:
                continue
            yield (
                f"`{layer.name}` {statistic.replace('_', ' ')} {_after(point)}: "
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


def _update_suspects(spec: RunSpec) -> str:
    """What may go wrong in an update of this kind."""
    suspects = []
    if spec.optimizer.weight_decay and spec.optimizer.decay != "none":
        suspects.append("the kind of decay, or which tensors decay")
    if spec.optimizer.clip_norm:
        suspects.append("the clipping formula")
    if spec.scheduler.name != "constant":
        suspects.append("the schedule")
    if spec.optimizer.name in ("adam", "adamw", "rmsprop", "adagrad"):
        suspects.append("epsilon, or its place")
    return ", ".join([*suspects, "the update rule"])


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
