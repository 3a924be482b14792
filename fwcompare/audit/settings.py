"""In the worker: the values that the built objects of one engine hold.

A trainer reads them from its native objects in the words of the contract, so that they can be laid
side by side: a momentum is always the share of the old average that is kept, whatever the framework
calls by that name. What no object tells is found by trying it: the form of an activation, the
reduction of the loss, and the initialiser from the weights that a new model draws.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fwcompare.audit.initialisers import describe
from fwcompare.graph import INPUT, Graph
from fwcompare.graph.kinds import Activation
from fwcompare.plugin import Trainer, load_trainer, open_job
from fwcompare.record import SPEC_FILE, write_json
from fwcompare.spec import RunSpec

AUDIT_FILE = "audit.json"

#: Values by subject (``optimizer``, ``loss``, ``initialiser`` or a layer's name) and quantity.
Settings = dict[str, dict[str, Any]]

Scalar = Callable[[float], float]


def _gelu(x: float) -> float:
    return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))


def _gelu_tanh(x: float) -> float:
    """Hendrycks and Gimpel (2016)."""
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


#: Forms of a function that share a name.
_FORMS: dict[str, dict[str, Scalar]] = {"gelu": {"exact": _gelu, "tanh": _gelu_tanh}}

#: Activations with a slope or scale below zero, and what an output there is divided by to find it.
_NEGATIVE_SIDES: dict[str, tuple[str, Scalar]] = {
    "leaky_relu": ("negative_slope", float),
    "elu": ("alpha", math.expm1),
}


def audit(folder: Path) -> Settings:
    """Build the engine of the spec in ``folder``, and write what it resolved there."""
    spec = RunSpec.read(folder / SPEC_FILE)
    job, _ = open_job(spec, folder)
    trainer = load_trainer(spec.framework.trainer)(job)
    count = min(len(job.train), spec.training.batch_size)
    inputs = np.ascontiguousarray(job.train.inputs[:count])
    targets = job.train.targets[:count]
    found = trainer.settings()
    for name, values in activations(job.graph, trainer, inputs).items():
        found.setdefault(name, {}).update(values)
    found["loss"] = {"reduction": reduction(trainer, inputs, targets)}
    found["initialiser"] = describe(trainer.draw(), job.graph)
    write_json(folder / AUDIT_FILE, found)
    return found


def read(folder: Path) -> Settings:
    """What ``audit`` wrote."""
    found: Settings = json.loads((folder / AUDIT_FILE).read_text(encoding="utf-8"))
    return found


def activations(graph: Graph, trainer: Trainer, inputs: np.ndarray) -> Settings:
    """The form of each activation that has more than one, from its inputs and outputs."""
    telling = [
        (layer.name, layer.inputs[0], layer.kind)
        for layer in graph.layers
        if isinstance(layer.kind, Activation)
        and (layer.kind.function in _FORMS or layer.kind.function in _NEGATIVE_SIDES)
    ]
    if not telling:
        return {}
    outputs = {INPUT: inputs, **trainer.activations(inputs, training=False)}
    found: Settings = {}
    for name, source, kind in telling:
        x = outputs[source].astype(np.float64).ravel()
        y = outputs[name].astype(np.float64).ravel()
        if quantity := _form(kind, x, y):
            found[name] = quantity
    return found


def _form(kind: Activation, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """The quantity that tells an activation's form; empty where no input lets it be seen."""
    if forms := _FORMS.get(kind.function):
        distances = {
            form: max(abs(function(float(a)) - float(b)) for a, b in zip(x, y, strict=True))
            for form, function in forms.items()
        }
        return {"form": min(distances, key=lambda form: distances[form])}
    quantity, unit = _NEGATIVE_SIDES[kind.function]
    below = np.flatnonzero(x < -0.1)
    if not len(below):
        return {}
    value = float(np.median([y[i] / unit(x[i]) for i in below[:100]]))
    return {quantity: float(f"{value:.6g}")}


def reduction(trainer: Trainer, inputs: np.ndarray, targets: np.ndarray) -> str:
    """``mean`` or ``sum`` over the batch: what the loss does when every sample comes twice.

    Dropout keeps the two from being exactly equal, or one exactly twice the other.
    """
    once, _ = trainer.gradients(inputs, targets)
    twice, _ = trainer.gradients(np.concatenate([inputs] * 2), np.concatenate([targets] * 2))
    return "mean" if twice < math.sqrt(2) * once else "sum"


def different(
    reference: Mapping[str, Mapping[str, Any]],
    other: Mapping[str, Mapping[str, Any]],
    precision: str,
) -> list[str]:
    """Names of the values that two engines resolved differently; names of classes aside."""
    found = []
    for subject in dict.fromkeys([*reference, *other]):
        a, b = reference.get(subject, {}), other.get(subject, {})
        for quantity in dict.fromkeys([*a, *b]):
            if quantity != "class" and not same(a.get(quantity), b.get(quantity), precision):
                found.append(f"{subject} {quantity}")
    return found


def same(a: Any, b: Any, precision: str = "float32") -> bool:
    """Whether two values agree; numbers to the digits that ``precision`` holds."""
    numbers = (int, float)
    if isinstance(a, numbers) and isinstance(b, numbers):
        tolerance = {"float64": 1e-12}.get(precision, 1e-6)
        return math.isclose(a, b, rel_tol=tolerance)
    return bool(a == b)
