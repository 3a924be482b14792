"""Two traces compared rung by rung: pure functions.

Each rung states its largest difference and its tolerance. A difference of curves is relative to the
reference's value at that step; one of tensors is the relative L2 norm, tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fwcompare.audit.settings import Settings, different
from fwcompare.graph import Graph, Layer, Parameter
from fwcompare.graph.convolutions import Convolution, DepthwiseConv2d
from fwcompare.graph.windows import padding_sides
from fwcompare.parity.trace import Trace

#: Rungs in order, with what each compares.
RUNGS = {
    "P0": "shapes and hyper-parameters",
    "P1": "outputs, both modes",
    "P2": "loss",
    "P3": "gradients",
    "P4": "weights, slots, statistics",
    "P5": "batches",
    "P6": "loss curves",
}

#: Least tolerances by precision: (training, evaluation). The float64 ones lie far above what
#: rounding was seen to do in shallow models and well below the smallest real difference tried
#: (2e-10, a clipping formula after ten steps). In float32 constants alone are off by more than the
#: results: 1 - 0.999, with which Adam corrects its second moment, by 1.3e-5.
LEAST = {"float64": (1e-11, 3e-11), "float32": (2e-5, 2e-4)}

#: The reference's weights are moved by so many units in the last place, to see what comes of it,
#: and a tolerance is at least ``RESPONSE_FACTOR`` times that. In float64 the answer grows with the
#: change. In float32 it does so in leaps, as units of a ReLU and of a maximum switch over; so there
#: the weights are moved as far as another engine's rounding may carry them.
NUDGE_ULPS = {"float64": 1, "float32": 64}
RESPONSE_FACTOR = {"float64": 100.0, "float32": 4.0}

#: Steps that a proof in float32 covers at most: it is a smoke test, and behind them correct engines
#: have drifted apart.
SMOKE_STEPS = 10

#: A proof covers as many steps as keep its tolerance below this.
LARGEST = {"float64": 1e-10, "float32": 1e-4}

#: A gradient this much smaller than the largest one carries rounding noise alone.
NOISE = {"float64": 1e-13, "float32": 1e-5}


@dataclass(frozen=True)
class Rung:
    """One result: the largest difference, where it is, and what would have been accepted."""

    name: str
    difference: float
    tolerance: float
    where: str = ""
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the difference is accepted; an infinite one never is."""
        return bool(self.difference <= self.tolerance)


@dataclass(frozen=True)
class Tolerances:
    """What rounding alone may do here: from the reference's answer to a change of one ulp."""

    precision: str
    steps: int
    #: Accepted relative difference of the training loss at each step, shape (steps,).
    train: np.ndarray
    evaluation: np.ndarray
    outputs: float
    gradients: Mapping[str, float]
    state: Mapping[str, float]


def tolerances(reference: Trace, nudged: Trace, precision: str) -> Tolerances:
    """Tolerances from the reference and itself with weights moved by ``NUDGE_ULPS``.

    The number of steps is cut to those whose tolerance stays below ``LARGEST``.
    """
    least_train, least_eval = LEAST[precision]
    factor = RESPONSE_FACTOR[precision]
    response = _running(relative(reference.arrays["losses"], nudged.arrays["losses"]))
    train = np.maximum(least_train, factor * response)
    allowed = train <= LARGEST[precision]
    steps = len(train) if allowed.all() else int(np.argmin(allowed))
    response = _running(relative(reference.arrays["evaluations"], nudged.arrays["evaluations"]))
    evaluation = np.maximum(least_eval, factor * response)

    def by_tensor(kind: str) -> dict[str, float]:
        a, b = reference.of(kind), nudged.of(kind)
        found = {name: max(least_train, factor * relative_norm(a[name], b[name])) for name in a}
        if precision == "float64":
            return found
        # A unit that switches over may be of any layer, and of another one in each engine.
        return dict.fromkeys(found, max(found.values(), default=least_train))

    outputs = [max(by_tensor(kind).values(), default=least_train) for kind in ("eval", "train")]
    state: dict[str, float] = {}
    for point in reference.checkpoints:
        for kind in (f"weights@{point}", f"slots@{point}"):
            state |= {f"{kind}:{name}": value for name, value in by_tensor(kind).items()}
    return Tolerances(
        precision, steps, train, evaluation, max(outputs), by_tensor("gradient"), state
    )


def _running(values: np.ndarray) -> np.ndarray:
    """The largest value so far."""
    return np.maximum.accumulate(values) if len(values) else values


def relative(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Element-wise ``|other - reference| / |reference|``; 0 where equal, infinite for NaN."""
    difference = np.abs(other - reference)
    scale = np.maximum(np.abs(reference), np.finfo(np.float64).tiny)
    return np.nan_to_num(np.where(difference == 0, 0.0, difference / scale), nan=np.inf)


def relative_norm(reference: np.ndarray, other: np.ndarray) -> float:
    """``|other - reference| / |reference|`` in the L2 norm; infinite for NaN or another shape."""
    if reference.shape != other.shape:
        return float("inf")
    difference = float(np.linalg.norm((other - reference).ravel()))
    if difference != difference:
        return float("inf")
    if difference == 0:
        return 0.0
    return difference / max(float(np.linalg.norm(reference.ravel())), np.finfo(np.float64).tiny)


#: Kinds that pass a constant added to a channel on as a constant: what they do is linear, or picks.
_PASS_CONSTANTS = {
    "dense", "add", "concat", "flatten", "dropout", "avg_pool1d", "max_pool1d", "avg_pool2d",
    "max_pool2d", "global_avg_pool1d", "global_max_pool1d", "global_avg_pool2d",
    "global_max_pool2d", "upsample2d", "scale", "position_embedding", "sinusoidal_position",
}  # fmt: skip


def _convolves_unpadded(layer: Layer) -> bool:
    """Whether a layer is a convolution that passes such constants on: one that pads nothing."""
    kind = layer.kind
    if not isinstance(kind, Convolution | DepthwiseConv2d):
        return False
    sizes = layer.input_shapes[0][:-1]
    sides = padding_sides(kind.padding, sizes, kind.extent, kind.stride)
    return not any(cells for side in sides for cells in side)


def _norms_behind(graph: Graph, start: str) -> set[str] | None:
    """The norms that all ways from a layer end in and that take a constant on a channel away: those
    over the batch, and over single channels. None if one way ends elsewhere.

    Only layers that turn a constant on a channel into another constant may lie between; a
    convolution does so without padding.
    """
    found: set[str] = set()
    ahead = [start]
    while ahead:
        name = ahead.pop()
        behind = [layer for layer in graph.layers if name in layer.inputs]
        if not behind:
            return None
        for layer in behind:
            kind, options = layer.kind.kind, layer.kind.options()
            linear = kind == "activation" and options["function"] == "linear"
            passes = kind in _PASS_CONSTANTS or linear or _convolves_unpadded(layer)
            per_channel = kind == "group_norm" and options["groups"] == layer.shape[-1]
            if kind == "batch_norm" or per_channel:
                found.add(layer.name)
            elif passes:
                ahead.append(layer.name)
            else:
                return None
    return found


def _adds_a_constant(layer: Layer, parameter: Parameter) -> bool:
    """Whether a tensor does no more than add a constant to each channel that the layer gives."""
    if layer.kind.kind in ("lstm", "gru"):
        return False
    return parameter.role in ("bias", "beta") and parameter.name != "query/bias"


def without_gradient(graph: Graph) -> list[str]:
    """Tensors whose true gradient is zero by rule.

    They are a bias that a norm behind it takes away, and that of attention's keys, which adds to
    all scores of a step alike.

    Rounding noise there is all there is, and Adam would turn it into whole steps.
    """
    return [
        f"{layer.name}/{parameter.name}"
        for layer in graph.layers
        for parameter in layer.parameters
        if parameter.name == "key/bias"
        or (_adds_a_constant(layer, parameter) and _norms_behind(graph, layer.name) is not None)
    ]


def depends_on(graph: Graph, excluded: Iterable[str]) -> list[str]:
    """Statistics that an excluded bias shifts: the moving means of the norms behind it."""
    norms: set[str] = set()
    for name in excluded:
        norms |= _norms_behind(graph, graph.owner(name).name) or set()
    return sorted(
        f"{norm}/{parameter.name}"
        for norm in norms
        for parameter in graph[norm].parameters
        if parameter.role == "moving_mean"
    )


def climb(reference: Trace, other: Trace, graph: Graph, allowed: Tolerances) -> list[Rung]:
    """All rungs for one engine against the reference."""
    excluded = without_gradient(graph)
    skipped = {*excluded, *depends_on(graph, excluded)}
    return [
        _facts_rung(reference, other),
        _outputs_rung(reference, other, graph, allowed),
        _loss_rung(reference, other, allowed),
        _gradient_rung(reference, other, allowed, skipped),
        _state_rung(reference, other, allowed, skipped),
        _batches_rung(reference, other),
        _curves_rung(reference, other, allowed),
    ]


def _facts_rung(reference: Trace, other: Trace) -> Rung:
    wrong = []
    for key in ("shapes", "optimizer", "learning_rates"):
        if reference.facts[key] != other.facts[key]:
            wrong.append(key.replace("_", " "))
    expected, found = reference.facts["settings"], other.facts["settings"]
    if of_own_code(reference, other):
        expected, found = _common(expected, found)
    wrong += different(expected, found, reference.facts["precision"])
    return Rung("P0", float(len(wrong)), 0.0, ", ".join(wrong))


def of_own_code(*traces: Trace) -> bool:
    """Whether one of these models is the user's own, so that not every layer of it is known."""
    return any(trace.facts.get("own_code") for trace in traces)


def _common(*found: Settings) -> Iterator[Settings]:
    """The values that both have, of the subjects that both have."""
    subjects = [subject for subject in found[0] if all(subject in each for each in found)]
    shared = {s: set.intersection(*(set(each[s]) for each in found)) for s in subjects}
    for each in found:
        yield {s: {key: each[s][key] for key in each[s] if key in shared[s]} for s in subjects}


def _outputs_rung(reference: Trace, other: Trace, graph: Graph, allowed: Tolerances) -> Rung:
    last = graph.layers[-1].name
    worst, where = 0.0, ""
    for mode in ("eval", "train"):
        found = relative_norm(reference.of(mode)[last], other.of(mode)[last])
        if found > worst:
            worst, where = found, f"{mode} mode"
    return Rung("P1", worst, allowed.outputs, where)


def _loss_rung(reference: Trace, other: Trace, allowed: Tolerances) -> Rung:
    difference = float(relative(reference.arrays["loss"], other.arrays["loss"])[0])
    least = LEAST[allowed.precision][0]
    tolerance = max(least, float(allowed.train[0]) if len(allowed.train) else least)
    return Rung("P2", difference, tolerance)


def _gradient_rung(reference: Trace, other: Trace, allowed: Tolerances, skipped: set[str]) -> Rung:
    expected, found = reference.of("gradient"), other.of("gradient")
    floor = NOISE[allowed.precision] * max(
        (float(np.abs(array).max()) for array in expected.values()), default=0.0
    )
    pairs = {
        name: (array, found.get(name), allowed.gradients[name])
        for name, array in expected.items()
        if name not in skipped and float(np.abs(array).max()) > floor
    }
    return _tensor_rung("P3", pairs, skipped & set(expected))


def _state_rung(reference: Trace, other: Trace, allowed: Tolerances, skipped: set[str]) -> Rung:
    pairs: dict[str, tuple[np.ndarray, np.ndarray | None, float]] = {}
    left_out = set()
    for point in reference.checkpoints:
        if point > allowed.steps:
            continue
        for kind in (f"weights@{point}", f"slots@{point}"):
            found = other.of(kind)
            for name, array in reference.of(kind).items():
                if name.partition(".")[0] in skipped:
                    left_out.add(name)
                    continue
                label = f"{name} after {point} step{'s' if point > 1 else ''}"
                pairs[label] = (array, found.get(name), allowed.state[f"{kind}:{name}"])
    return _tensor_rung("P4", pairs, left_out)


def _tensor_rung(
    name: str,
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray | None, float]],
    left_out: Iterable[str],
) -> Rung:
    """The tensor that exceeds its tolerance most, or comes nearest to it."""
    worst, difference, tolerance, where = -1.0, 0.0, LEAST["float64"][0], ""
    for label, (expected, found, accepted) in pairs.items():
        own = relative_norm(expected, found) if found is not None else float("inf")
        share = own / accepted
        if share > worst:
            worst, difference, tolerance, where = share, own, accepted, label
    note = f"left out, true gradient zero: {', '.join(sorted(left_out))}" if left_out else ""
    return Rung(name, difference, tolerance, where, note)


def _batches_rung(reference: Trace, other: Trace) -> Rung:
    same = reference.facts["batches"] == other.facts["batches"]
    return Rung("P5", 0.0 if same else 1.0, 0.0)


def _curves_rung(reference: Trace, other: Trace, allowed: Tolerances) -> Rung:
    steps = allowed.steps
    worst, difference, tolerance, where = -1.0, 0.0, LEAST[allowed.precision][0], ""
    points = [0, *(point for point in reference.checkpoints if point <= steps)]
    series = (
        ("train", reference.arrays["losses"][:steps], other.arrays["losses"], allowed.train),
        (
            "evaluation",
            reference.arrays["evaluations"][: len(points)],
            other.arrays["evaluations"],
            allowed.evaluation,
        ),
    )
    for kind, expected, found, accepted in series:
        if len(found) < len(expected):
            return Rung("P6", float("inf"), tolerance, f"{kind}: {len(found)} values")
        differences = relative(expected, found[: len(expected)])
        for position, own in enumerate(differences):
            share = own / accepted[position]
            if share > worst:
                worst, difference, tolerance = float(share), float(own), float(accepted[position])
                step = position + 1 if kind == "train" else points[position]
                where = f"{kind} loss, step {step}"
    note = "fewer than 3 steps: too few for a proof of training" if steps < 3 else ""
    return Rung("P6", difference, tolerance, where, note)
