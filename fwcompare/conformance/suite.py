"""The conformance suite by parts: what is checked of every engine, and how each check is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fwcompare.conformance import front as fronts
from fwcompare.conformance.bench import relative_difference
from fwcompare.conformance.export import OUTPUTS_FILE
from fwcompare.conformance.trial import case_run, make_run, optimizer, small_data
from fwcompare.errors import FwcompareError
from fwcompare.graph import Weights, load
from fwcompare.launch import WarmPool, prepare
from fwcompare.parity.cases import SCHEDULERS, Case, layer_cases, optimizer_cases
from fwcompare.parity.ladder import LEAST, RUNGS
from fwcompare.parity.prove import prove
from fwcompare.plugin import front
from fwcompare.record import FINAL_WEIGHTS, SPEC_FILE
from fwcompare.spec import RunSpec, Scheduler

#: The parts in order, with what each is about.
PARTS = {
    "layers": "forward, gradient and training of every layer kind, in float64",
    "export": "trained weights, loaded again here and in the reference, predict the same",
    "optimizers": "every optimizer with every schedule, decay and clipping",
    "trainer": "the probe's rules, and what the other methods promise",
    "dropout": "keep rate, scale and seeds, statistically",
    "front": "the parent's side imports no framework",
}

#: Dropout rates that are tried.
RATES = (0.1, 0.5)

#: Relative difference of predictions from the same weights, as the ladder accepts it in float64.
SAME_PREDICTIONS = LEAST["float64"][0]


@dataclass(frozen=True)
class Place:
    """Where checks run: an engine, what it is held against, warm workers, and the device."""

    engine: str
    reference: str
    root: Path
    pool: WarmPool
    device: str = "cpu"

    def case(self, case: Case, engine: str) -> RunSpec:
        """The run of a case in one engine, on the device."""
        return case_run(self.root, case, engine, device=self.device)


@dataclass(frozen=True)
class Check:
    """One check; ``attempt`` returns what is wrong, or an empty string."""

    part: str
    name: str
    attempt: Callable[[Place], str]

    def __str__(self) -> str:
        return f"{self.part}: {self.name}"


def all_checks(engine: str, reference: str) -> list[Check]:
    """Every check of an engine.

    The reference itself is what layers and optimizers are held against, so it has none of these.
    """
    return [
        check
        for check in _checks()
        if engine != reference or check.part not in ("layers", "optimizers")
    ]


def _checks() -> Iterator[Check]:
    for case in layer_cases():
        yield Check("layers", case.name, _Ladder(case))
    for case in layer_cases():
        yield Check("export", case.name, _RoundTrip(case))
    for case in optimizer_cases():
        yield Check("optimizers", case.name, _Ladder(case))
    for name in (
        "calls in turn",
        "losses of steps",
        "fit goes on",
        "evaluation leaves training alone",
        "looking changes nothing",
        "weights are canonical copies",
        "predictions by sample",
        "facts are plain",
        "settings are told",
        "batches are those of fit",
        "random state is given back",
    ):
        yield Check("trainer", name, _Conduct(name, _trained_twice))
    yield Check("trainer", "state is given back", _Conduct("state is given back", _without_dropout))
    for name in ("steps as they are done", "synchronize waits", "nothing between epochs"):
        yield Check("trainer", name, _Conduct(name, _long_steps))
    for rate in RATES:
        for name in ("masks", "masks of steps", "seeds"):
            yield Check("dropout", f"{name}, rate {rate:g}", _Conduct(name, _Dropped(rate)))
    yield Check("front", "imports and answers", _front)


@dataclass(frozen=True)
class _Ladder:
    """The proof of one case against the reference."""

    case: Case

    def __call__(self, place: Place) -> str:
        spec = place.case(self.case, place.reference)
        verdict = prove(
            spec, [place.engine], place.reference, "float64", self.case.steps, pool=place.pool
        ).verdicts[0]
        if verdict.proven:
            return ""
        worst = verdict.worst
        at = f" at {worst.name} ({RUNGS[worst.name]})" if worst else ""
        return f"{verdict.state}{at}: {verdict.reason}"


@dataclass(frozen=True)
class _RoundTrip:
    """Weights exported after training, loaded again into the engine and into the reference."""

    case: Case

    def __call__(self, place: Place) -> str:
        spec = place.case(self.case, place.engine)
        if wrong := ask(place, spec, "export"):
            return wrong
        folder = place.root / spec.run
        outputs, weights = _left(folder, spec)
        source = str(folder / FINAL_WEIGHTS)
        for engine in dict.fromkeys((place.engine, place.reference)):
            again = place.case(self.case, engine)
            again = again.but(
                init=replace(again.init, source=source), training=replace(again.training, epochs=0)
            )
            prepare(again, place.root / again.run)
            if wrong := ask(place, again, "export"):
                return f"{engine}, loading them: {wrong}"
            found, same = _left(place.root / again.run, again)
            for name, array in weights.items():
                if not np.array_equal(array, same[name]):
                    return f"{engine} exports '{name}' otherwise than it was loaded"
            if (difference := relative_difference(outputs, found)) > SAME_PREDICTIONS:
                return f"{engine} predicts otherwise from them: {difference:.2g} (relative)"
        return ""


def _left(folder: Path, spec: RunSpec) -> tuple[np.ndarray, Weights]:
    """Predictions and weights that an export left."""
    return np.load(folder / OUTPUTS_FILE, allow_pickle=False), load(
        folder / FINAL_WEIGHTS, spec.model.graph
    )


def ask(place: Place, spec: RunSpec, check: str) -> str:
    """Have a worker try one check on a prepared run; what is wrong, or an empty string."""
    if reason := front(spec.framework.name).supports(spec):
        return f"unsupported: {reason}"
    try:
        reply = place.pool.check(spec, place.root / spec.run, check)
    except FwcompareError as error:
        return str(error)
    return "" if reply["status"] == "ok" else reply["reason"]


@dataclass(frozen=True)
class _Conduct:
    """One of the worker's checks, on an experiment made for it."""

    check: str
    experiment: Callable[[Place], RunSpec]

    def __call__(self, place: Place) -> str:
        return ask(place, self.experiment(place), self.check)


def _dense(name: str, units: int, **options: Any) -> dict[str, Any]:
    return {"name": name, "kind": "dense", "units": units, **options}


def _trained_twice(place: Place) -> RunSpec:
    """All that has a state: statistics, two slots, a schedule, dropout; and uneven batches.

    Three epochs of 24, 24 and 16 samples, the last of them cut short.
    """
    layers = [
        _dense("hidden", 6),
        {"name": "norm", "kind": "batch_norm", "momentum": 0.8, "epsilon": 1e-3},
        {"name": "drop", "kind": "dropout", "rate": 0.25},
        _dense("logits", 3),
    ]
    return _trained(place, layers)


def _without_dropout(place: Place) -> RunSpec:
    """The same, but for what is random."""
    layers = [
        _dense("hidden", 6),
        {"name": "norm", "kind": "batch_norm", "momentum": 0.8, "epsilon": 1e-3},
        _dense("logits", 3),
    ]
    return _trained(place, layers)


def _trained(place: Place, layers: list[dict[str, Any]]) -> RunSpec:
    return make_run(
        place.root,
        place.engine,
        layers,
        small_data(place.root / "data" / "trained", (5,), 3),
        optimizer=optimizer("adam"),
        scheduler=Scheduler(**SCHEDULERS[-1]),
        training={"epochs": 3, "batch_size": 24, "drop_last": False, "max_steps": 8},
        device=place.device,
    )[0]


def _long_steps(place: Place) -> RunSpec:
    """Steps of milliseconds, beside which the cost of a call does not show; as runs are timed."""
    layers = [_dense("first", 512), _dense("second", 512), _dense("logits", 3)]
    return make_run(
        place.root,
        place.engine,
        layers,
        small_data(place.root / "data" / "long", (256,), 3, samples=512),
        optimizer=optimizer("sgd", lr=1e-3),
        training={"epochs": 5, "batch_size": 64},
        step_losses=False,
        device=place.device,
    )[0]


@dataclass(frozen=True)
class _Dropped:
    """Two dropout layers of one rate on the same input, and the mean of what they let through."""

    rate: float

    def __call__(self, place: Place) -> RunSpec:
        layers: list[dict[str, Any]] = [
            {"name": "one", "kind": "dropout", "rate": self.rate, "inputs": ["input"]},
            {"name": "two", "kind": "dropout", "rate": self.rate, "inputs": ["input"]},
            {"name": "both", "kind": "concat", "inputs": ["one", "two"]},
            _dense("mean", 1, bias=False),
        ]
        return make_run(
            place.root,
            place.engine,
            layers,
            small_data(place.root / "data" / "ones", (400,), 1, task="regression"),
            optimizer=optimizer("sgd", lr=1e-30),
            training={"epochs": 24, "batch_size": 64},
            task="regression",
            device=place.device,
        )[0]


def _front(place: Place) -> str:
    return fronts.tried(place.engine, place.root / _trained_twice(place).run / SPEC_FILE)
