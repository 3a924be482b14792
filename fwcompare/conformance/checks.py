"""In the worker: the checks of a trainer by name, each on a prepared run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fwcompare.conformance import dropout, export, pace, probing, resumption
from fwcompare.conformance.bench import Bench
from fwcompare.errors import unknown
from fwcompare.plugin import load_trainer, open_job
from fwcompare.record import SPEC_FILE
from fwcompare.spec import RunSpec

#: Each raises ``Breach`` where the engine does not keep the contract.
CHECKS: dict[str, Callable[[Bench], None]] = {
    "export": export.export,
    "calls in turn": probing.calls_in_turn,
    "losses of steps": probing.losses_are_of_steps,
    "fit goes on": probing.fit_goes_on,
    "evaluation leaves training alone": probing.evaluation_leaves_training_alone,
    "looking changes nothing": probing.looking_changes_nothing,
    "weights are canonical copies": probing.weights_are_canonical_copies,
    "predictions by sample": probing.predictions_are_by_sample,
    "facts are plain": probing.facts_are_plain,
    "state is given back": resumption.state_is_given_back,
    "random state is given back": resumption.random_state_is_given_back,
    "settings are told": probing.settings_are_told,
    "batches are those of fit": probing.batches_are_those_of_fit,
    "steps as they are done": pace.steps_as_they_are_done,
    "synchronize waits": pace.synchronize_waits,
    "nothing between epochs": pace.nothing_between,
    "masks": dropout.masks,
    "masks of steps": dropout.steps,
    "seeds": dropout.seeds,
}


def check(folder: Path, name: str) -> None:
    """Try one check on the engine and experiment of a run folder.

    Raises:
        Breach: it does not hold.
        RequestError: there is no such check, or the folder is not prepared.
    """
    if name not in CHECKS:
        raise unknown("check", name, CHECKS)
    spec = RunSpec.read(folder / SPEC_FILE)
    job, data = open_job(spec, folder)
    held_out = data.split("test", spec.dtype).inputs
    CHECKS[name](Bench(load_trainer(spec.framework.trainer), job, held_out, folder))
