"""From one step of one tensor to the error in the optimizer that explains it.

The first two steps are enough for almost every error. Weights and slots before the step are equal
in both engines; a slot tells which gradient entered it, and the change of the weights tells what
was made of it. Formulas are those of ``fwcompare.spec``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fwcompare.graph import Graph
from fwcompare.parity.hypotheses import explains
from fwcompare.parity.ladder import LEAST, relative_norm
from fwcompare.parity.trace import Trace
from fwcompare.spec import Adagrad, Adam, Momentum, RmsProp, RunSpec

_SLOTS: dict[type, tuple[str, ...]] = {
    Momentum: ("momentum",),
    Adam: ("first_moment", "second_moment"),
    RmsProp: ("second_moment",),
    Adagrad: ("accumulator",),
}


def cause(
    reference: Trace, other: Trace, graph: Graph, spec: RunSpec, tensor: str, point: int
) -> str | None:
    """What explains the state of a tensor after its first or second step; None if nothing known.

    ``point`` is the number of steps made; the state one step before must be in both traces.
    """
    if point not in (1, 2) or f"weights@{point - 1}:{tensor}" not in reference.arrays:
        return None
    step = _Step(reference, other, graph, spec, tensor, point)
    return next(step.causes(), None)


@dataclass(frozen=True)
class _Step:
    """One tensor's step in both engines."""

    reference: Trace
    other: Trace
    graph: Graph
    spec: RunSpec
    tensor: str
    point: int

    @property
    def options(self) -> Any:
        """The optimizer, whose class says which options it has."""
        return self.spec.optimizer

    @cached_property
    def rates(self) -> list[float]:
        return [float(rate) for rate in self.reference.facts["learning_rates"]]

    @property
    def rate(self) -> float:
        return self.rates[self.point - 1]

    @cached_property
    def decayed(self) -> bool:
        roles = {name: parameter.role for name, parameter in self.graph.parameters()}
        return bool(self.options.decays(roles[self.tensor]))

    @cached_property
    def before(self) -> np.ndarray:
        return self.reference.arrays[f"weights@{self.point - 1}:{self.tensor}"]

    def moved(self, trace: Trace) -> np.ndarray:
        """What the step took from the tensor."""
        return np.asarray(self.before - trace.arrays[f"weights@{self.point}:{self.tensor}"])

    def slot(self, trace: Trace, name: str, point: int | None = None) -> np.ndarray:
        """A slot after so many steps; before the first as it starts."""
        point = self.point if point is None else point
        start = self.options.initial_accumulator if name == "accumulator" else 0.0
        key = f"slots@{point}:{self.tensor}.{name}"
        return trace.arrays[key] if key in trace.arrays else np.full_like(self.before, start)

    @cached_property
    def slots(self) -> tuple[str, ...]:
        """Names of the optimizer's slots; a momentum of zero has none."""
        if isinstance(self.options, Momentum) and not self.options.momentum:
            return ()
        return _SLOTS.get(type(self.options), ())

    @cached_property
    def equal_slots(self) -> bool:
        return all(self._same_slot(name) for name in self.slots)

    def _same_slot(self, name: str) -> bool:
        expected, found = self.slot(self.reference, name), self.slot(self.other, name)
        return relative_norm(expected, found) <= LEAST[self.spec.precision][0]

    def causes(self) -> Iterator[str]:
        """Explanations, the likeliest first; each reproduces the numbers."""
        if not self.moved(self.other).any() and self.moved(self.reference).any():
            yield "it is not trained: the optimizer leaves it as it was"
        if not self.slots or not self.equal_slots:
            yield from self._hyper_parameters()
            yield from self._gradient()
        if self.equal_slots:
            yield from self._decoupled()
            yield from self._adaptive()
            yield from self._learning_rate()

    # What went into the slot.

    def _used(self, trace: Trace) -> np.ndarray:
        """The gradient, clipped and with L2 decay, that a step was made of."""
        o: Any = self.options
        taken = self.moved(trace) - self._decoupled_share
        if not self.slots:
            return np.asarray(taken / self.rate)
        name = self.slots[0]
        old, new = self.slot(self.reference, name, self.point - 1), self.slot(trace, name)
        if isinstance(o, Momentum):
            return np.asarray(new - o.momentum * old)
        if isinstance(o, Adam):
            return np.asarray((new - o.beta1 * old) / (1 - o.beta1))
        # A squared gradient; a step has its sign.
        square = new - old if isinstance(o, Adagrad) else (new - o.rho * old) / (1 - o.rho)
        return np.asarray(np.sign(taken) * np.sqrt(np.maximum(square, 0)))

    @cached_property
    def _decoupled_share(self) -> np.ndarray:
        """What decoupled decay takes in this step."""
        if not self.decayed or self.options.decay != "decoupled":
            return np.zeros_like(self.before)
        return np.asarray(self.rate * self.options.weight_decay * self.before)

    @cached_property
    def _raw(self) -> np.ndarray:
        """The gradient of the first batch."""
        return self.reference.arrays[f"gradient:{self.tensor}"]

    def _hyper_parameters(self) -> Iterator[str]:
        """Constants of the slots' own averages."""
        o = self.options
        if isinstance(o, Momentum):
            yield from self._momentum()
        if isinstance(o, Adam):
            yield from self._average("first_moment", "beta1", o.beta1, "second_moment")
            yield from self._average("second_moment", "beta2", o.beta2, "first_moment")
        if isinstance(o, RmsProp):
            yield from self._average("second_moment", "rho", o.rho)
        if isinstance(o, Adagrad):
            expected, found = (self.slot(t, "accumulator") for t in (self.reference, self.other))
            start = float(np.median(found - expected))
            if explains(expected + start, expected, found):
                yield f"the accumulator starts {start:.6g} higher"

    def _momentum(self) -> Iterator[str]:
        expected, found = (self.slot(t, "momentum") for t in (self.reference, self.other))
        if explains(self.rate * expected, expected, found):
            yield "the learning rate is inside the buffer"
        if self.point == 1:
            return
        old, new = self.slot(self.reference, "momentum", 1), self._used(self.reference)
        basis = np.stack([old.ravel(), new.ravel()], axis=1)
        kept, entering = np.linalg.lstsq(basis, found.ravel(), rcond=None)[0]
        if not explains(kept * old + entering * new, expected, found):
            return
        if abs(entering - 1) < 1e-6:
            yield f"momentum is {kept:.6g}, {self.options.momentum:g} is meant"
        else:
            yield f"dampening of {1 - entering:.6g}: so much of the gradient is kept out"

    def _average(self, slot: str, name: str, value: float, steady: str = "") -> Iterator[str]:
        """Another share of the new value, in the first step; ``steady`` is a slot that is right."""
        if self.point != 1:
            return
        if steady and not self._same_slot(steady):
            return
        expected, found = self.slot(self.reference, slot), self.slot(self.other, slot)
        ratio = _ratio(expected, found)
        if explains(ratio * expected, expected, found):
            yield f"{name} is {1 - ratio * (1 - value):.6g}, {value:g} is meant"

    def _gradient(self) -> Iterator[str]:
        """Clipping and L2 decay, from the gradient that was used in the first step."""
        if self.point != 1:
            return
        expected, found = self._used(self.reference), self._used(self.other)
        if self.options.clip_norm is not None:
            for words, hypothesis in self._clippings(self.options.clip_norm):
                if explains(hypothesis, expected, found):
                    yield words
        if not self.before.any():
            return
        added = self._l2
        seen = added + _share(self.before, found - expected)
        if not explains(expected + (seen - added) * self.before, expected, found):
            return
        if added and abs(seen) < 1e-6 * added:
            instead = self._instead(expected - added * self.before)
            yield f"L2 decay is missing in the gradient: {instead}"
        elif added:
            yield f"L2 decay of {seen:.6g}, {added:g} is meant"
        elif self._decoupled_share.any():
            yield f"L2 decay of {seen:.6g}, where decoupled decay is meant"
        else:
            yield f"L2 decay of {seen:.6g}, none is meant"

    @property
    def _l2(self) -> float:
        """The factor of the tensor that is added to its gradient."""
        return self.options.weight_decay if self.decayed and self.options.decay == "l2" else 0.0

    def _clippings(self, most: float) -> Iterator[tuple[str, np.ndarray]]:
        """The gradient of the first step under other ways to clip it."""
        o, raws = self.options, self.reference.of("gradient")
        own, whole = float(np.linalg.norm(self._raw)), _norm(raws.values())
        decay = self._l2 * self.before
        yield "the gradient is not clipped", self._raw + decay
        yield (
            "the gradient is clipped by norm + 1e-6",
            self._raw * min(1.0, most / (whole + 1e-6)) + decay,
        )
        yield (
            "each tensor is clipped by its own norm",
            self._raw * min(1.0, most / max(own, np.finfo(float).tiny)) + decay,
        )
        if o.decay == "l2":
            roles = {name: parameter.role for name, parameter in self.graph.parameters()}
            weights = self.reference.of("weights@0")
            sums = [
                raw + o.weight_decay * o.decays(roles[name]) * weights[name]
                for name, raw in raws.items()
            ]
            factor = min(1.0, most / _norm(sums))
            yield "clipping after L2 decay was added, not before", (self._raw + decay) * factor

    def _instead(self, gradient: np.ndarray) -> str:
        """What the first step did with the tensor in the place of L2 decay."""
        o = self.options
        moved, decay = self.moved(self.other), self.rate * self._l2 * self.before
        size = np.abs(gradient)
        if isinstance(o, Momentum):
            made = gradient * (1 + o.momentum if o.nesterov else 1)
        elif isinstance(o, Adam):
            made = gradient / (size + o.epsilon)
        elif isinstance(o, RmsProp):
            made = gradient / (np.sqrt(1 - o.rho) * size + o.epsilon)
        elif isinstance(o, Adagrad):
            made = gradient / (np.sqrt(o.initial_accumulator + size**2) + o.epsilon)
        else:
            made = gradient
        step = self.rate * made
        return "it is decoupled" if explains(step + decay, step, moved) else "it is left out"

    # What was made of it.

    def _decoupled(self) -> Iterator[str]:
        expected, found = self.moved(self.reference), self.moved(self.other)
        if not self.before.any():
            return
        extra = _share(self.before, found - expected)
        if explains(expected + extra * self.before, expected, found):
            meant = self.options.weight_decay if self._decoupled_share.any() else 0.0
            seen = meant + extra / self.rate
            seen = 0.0 if abs(seen) < 1e-6 * meant else seen
            yield f"decoupled decay of {seen:.6g}, {meant:g} is meant"

    def _learning_rate(self) -> Iterator[str]:
        expected, found = self.moved(self.reference), self.moved(self.other)
        ratio = _ratio(expected, found)
        if not explains(ratio * expected, expected, found):
            return
        following = self.rates[self.point] if self.point < len(self.rates) else self.rate
        single = float(np.float32(self.rate / self.options.lr)) * self.options.lr
        named = {
            "the learning rate of the next step": following,
            "the learning rate in float32": single,
            "the learning rate, also in float32": float(np.float32(self.rate)),
        }
        if isinstance(self.options, Momentum) and self.options.nesterov and self.point == 1:
            named["Nesterov's look-ahead is missing"] = self.rate / (1 + self.options.momentum)
        for words, rate in named.items():
            if rate != self.rate and explains(rate / self.rate * expected, expected, found):
                yield words
        if self.point == 1:
            yield f"the learning rate is {ratio * self.rate:.10g}, {self.rate:g} is meant"
        yield f"the learning rate is {ratio:.10g} times the one meant"

    def _adaptive(self) -> Iterator[str]:
        """Epsilon's value and place, and amsgrad."""
        o = self.options
        if not isinstance(o, Adam | RmsProp | Adagrad):
            return
        expected, found = self.moved(self.reference), self.moved(self.other)
        share = self._decoupled_share
        root, numerator = self._root_and_numerator()
        correction = 1 - o.beta2**self.point if isinstance(o, Adam) else 1.0

        def step(denominator: np.ndarray) -> np.ndarray:
            with np.errstate(divide="ignore", invalid="ignore"):
                made = self.rate * numerator / denominator
            return np.asarray(np.where(numerator == 0, 0.0, made) + share)

        if explains(step(np.sqrt(root**2 + o.epsilon)), expected, found):
            yield "epsilon is inside the root"
        if isinstance(o, Adam):
            first, second = (self.slot(self.reference, name) for name in self.slots)
            plain = self.rate * first / (np.sqrt(second) + o.epsilon)
            if explains(plain + share, expected, found):
                yield "the bias correction is missing"
        if explains(step(root + o.epsilon / np.sqrt(correction)), expected, found):
            yield "epsilon is added before the bias correction"
        if isinstance(o, Adam) and self.point == 2:
            largest = np.maximum(
                self.slot(self.reference, "second_moment", 1),
                self.slot(self.reference, "second_moment"),
            )
            if explains(step(np.sqrt(largest / correction) + o.epsilon), expected, found):
                yield "amsgrad: the root of the largest second moment so far"
        with np.errstate(divide="ignore", invalid="ignore"):
            solved = self.rate * numerator / (found - share) - root
        solved = solved[np.isfinite(solved)]
        epsilon = float(np.median(solved)) if solved.size else 0.0
        if epsilon > 0 and explains(step(root + epsilon), expected, found):
            yield f"epsilon is {epsilon:.4g}, {o.epsilon:g} is meant"

    def _root_and_numerator(self) -> tuple[np.ndarray, np.ndarray]:
        """The root that a step divides by, and what it divides."""
        o = self.options
        if isinstance(o, Adam):
            first, second = (self.slot(self.reference, name) for name in self.slots)
            root = np.sqrt(second / (1 - o.beta2**self.point))
            return root, first / (1 - o.beta1**self.point)
        return np.sqrt(self.slot(self.reference, self.slots[0])), self._used(self.reference)


def _norm(arrays: Iterable[np.ndarray]) -> float:
    """The global norm."""
    return float(np.sqrt(sum(float((array**2).sum()) for array in arrays)))


def _share(of: np.ndarray, array: np.ndarray) -> float:
    """The factor of ``of`` that comes nearest to ``array``."""
    return float((of * array).sum() / (of * of).sum())


def _ratio(expected: np.ndarray, found: np.ndarray) -> float:
    """The factor of all elements; one where nothing can be told."""
    return _share(expected, found) if expected.any() else 1.0
