"""In the worker: the rules of ``Probe`` and of the other methods of a ``Trainer``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest

import numpy as np

from fwcompare.conformance.bench import SAME, Bench, Breach, require_same, state
from fwcompare.plugin import Trainer

#: Mean loss of an epoch: a framework's own running mean against that of its steps.
MEAN_LOSS = 1e-9


def calls_in_turn(bench: Bench) -> None:
    """``epoch_begin``, one ``step`` a batch, ``epoch_end``, for each epoch of the feed in order."""
    feed = bench.job.feed
    found = bench.fit(bench.trainer()).calls
    wanted = []
    for epoch in feed.epochs:
        wanted += [("epoch_begin", epoch), *[("step", epoch)] * feed.steps(epoch)]
        wanted += [("epoch_end", epoch)]
    for position, (made, due) in enumerate(zip_longest(found, wanted), 1):
        if made != due:
            raise Breach(f"call {position} of the probe was {_call(made)}, due was {_call(due)}.")


def _call(call: tuple[str, int] | None) -> str:
    return f"{call[0]} in epoch {call[1]}" if call else "none"


def losses_are_of_steps(bench: Bench) -> None:
    """A loss a step where they are asked for; otherwise that or the epoch's mean, the same one."""
    feed = bench.job.feed
    means = []
    for asked in (True, False):
        measure = replace(bench.job.spec.measure, step_losses=asked)
        other = bench.but(spec=bench.job.spec.but(measure=measure))
        watch = other.fit(other.trainer())
        for epoch, given in zip(feed.epochs, watch.losses, strict=True):
            steps = feed.steps(epoch)
            if given.size != steps and (asked or given.size != 1):
                raise Breach(
                    f"epoch {epoch} has {steps} steps, and losses gave {given.size} numbers with "
                    f"step_losses={str(asked).lower()}."
                )
        means.append(
            {f"epoch {e['epoch']:g}": np.array(e["train/loss"]) for e in watch.observed.history}
        )
    require_same(means[0], means[1], "mean loss of the steps against that of the epoch", MEAN_LOSS)


def fit_goes_on(bench: Bench) -> None:
    """Training in two parts, the second from within an epoch, is training in one."""
    feed = bench.job.feed
    whole = bench.trainer()
    bench.fit(whole)
    wanted = state(whole)
    parts = bench.trainer()
    middle = feed.steps_per_epoch + 1
    bench.fit(parts, feed.part(0, middle))
    bench.fit(parts, feed.part(middle, feed.total_steps))
    require_same(wanted, state(parts), "fit called twice against fit called once")


def evaluation_leaves_training_alone(bench: Bench) -> None:
    """What the probe evaluates at the end of an epoch does not change the training that follows."""
    plain = bench.trainer()
    bench.fit(plain)
    wanted = state(plain)
    evaluated = bench.trainer()

    def evaluate() -> dict[str, float]:
        _look(bench, evaluated)
        return {}

    bench.fit(evaluated, evaluate=evaluate)
    require_same(wanted, state(evaluated), "training with evaluation against training without")


def looking_changes_nothing(bench: Bench) -> None:
    """``predict``, ``activations`` and ``gradients`` leave weights, statistics and slots alone."""
    trainer = bench.trainer()
    bench.fit(trainer, bench.job.feed.part(0, 1))
    inputs, targets = _batch(bench)
    looks: dict[str, Callable[[], object]] = {
        "predict": lambda: trainer.predict(inputs),
        "activations in evaluation mode": lambda: trainer.activations(inputs, training=False),
        "activations in training mode": lambda: trainer.activations(inputs, training=True),
        "gradients": lambda: trainer.gradients(inputs, targets),
    }
    for name, look in looks.items():
        before = state(trainer)
        look()
        require_same(before, state(trainer), f"state before and after {name}", 0.0)


def _batch(bench: Bench) -> tuple[np.ndarray, np.ndarray]:
    ids = bench.job.feed.batches(1)[0]
    train = bench.job.train
    return np.ascontiguousarray(train.inputs[ids]), np.ascontiguousarray(train.targets[ids])


def _look(bench: Bench, trainer: Trainer) -> None:
    inputs, targets = _batch(bench)
    trainer.predict(np.ascontiguousarray(bench.held_out))
    trainer.activations(inputs, training=True)
    trainer.gradients(inputs, targets)


def weights_are_canonical_copies(bench: Bench) -> None:
    """Names, shapes and type of the graph; not the memory that training goes on in."""
    graph, dtype = bench.job.graph, bench.job.spec.dtype
    given = {name: array.copy() for name, array in bench.job.initial_weights.items()}
    trainer = bench.trainer()
    found = trainer.weights()
    wanted = dict(graph.parameters())
    if set(found) != set(wanted):
        names = ", ".join(sorted(set(found) ^ set(wanted)))
        raise Breach(f"weights() and the graph do not have the same names: {names}.")
    for name, parameter in wanted.items():
        if found[name].shape != parameter.shape or found[name].dtype != dtype:
            raise Breach(
                f"weights(): '{name}' is {found[name].dtype} {list(found[name].shape)}, "
                f"the contract is {dtype} {list(parameter.shape)}."
            )
    require_same(given, found, "initial weights given and exported", 0.0)
    bench.fit(trainer)
    require_same(given, found, "exported weights before and after training", 0.0)
    require_same(given, bench.job.initial_weights, "the job's weights after training", 0.0)


def predictions_are_by_sample(bench: Bench) -> None:
    """Any number of samples, and each by itself what it is among others."""
    trainer = bench.trainer()
    bench.fit(trainer)
    inputs = np.ascontiguousarray(bench.held_out)
    whole = trainer.predict(inputs)
    shape = (len(inputs), *bench.job.graph.output_shape)
    if whole.shape != shape or whole.dtype != bench.job.spec.dtype:
        raise Breach(
            f"predict gave {whole.dtype} {list(whole.shape)}, "
            f"the contract is {bench.job.spec.precision} {list(shape)}."
        )
    alone = np.concatenate([trainer.predict(inputs[:1]), trainer.predict(inputs[1:])])
    require_same(
        {"outputs": whole}, {"outputs": alone}, "predictions together and one by one", 10 * SAME
    )


def facts_are_plain(bench: Bench) -> None:
    """``facts`` is a JSON-able mapping before and after training; memory is None or bytes."""
    trainer = bench.trainer()
    for trained in (False, True):
        if trained:
            bench.fit(trainer)
        when = f"{'after' if trained else 'before'} training"
        facts = trainer.facts()
        try:
            back = json.loads(json.dumps(facts))
        except (TypeError, ValueError) as error:
            raise Breach(f"facts() {when} is not JSON-able: {error}.") from error
        if back != facts or not isinstance(facts, dict):
            raise Breach(f"facts() {when} is not what JSON gives back: {facts!r}.")
        for name in ("device", "execution"):
            if not isinstance(facts.get(name), str):
                raise Breach(f"facts() {when} does not say '{name}'.")
        peak = trainer.peak_device_bytes()
        if peak is not None and (not isinstance(peak, int) or peak < 0):
            raise Breach(f"peak_device_bytes() {when} is {peak!r}, neither None nor bytes.")


def settings_are_told(bench: Bench) -> None:
    """``settings`` names the learning rate and layers of the graph, and ``draw`` every tensor."""
    trainer = bench.trainer()
    before = state(trainer)
    settings = trainer.settings()
    try:
        back = json.loads(json.dumps(settings))
    except (TypeError, ValueError) as error:
        raise Breach(f"settings() is not JSON-able: {error}.") from error
    if back != settings:
        raise Breach("settings() is not what JSON gives back.")
    subjects = {"optimizer", *(layer.name for layer in bench.job.graph.layers)}
    if strangers := sorted(set(settings) - subjects):
        raise Breach(f"settings() speaks of {', '.join(strangers)}, which no layer is called.")
    told, asked = settings.get("optimizer", {}).get("lr"), bench.job.learning_rates[0]
    if told is None or not math.isclose(told, asked, rel_tol=1e-6):
        raise Breach(f"settings() gives the learning rate as {told}, the first step has {asked:g}.")
    drawn = trainer.draw()
    for name, parameter in bench.job.graph.parameters():
        shape = drawn[name].shape if name in drawn else None
        if shape != parameter.shape:
            raise Breach(f"draw(): '{name}' is {shape}, the contract is {parameter.shape}.")
    require_same(before, state(trainer), "state before and after settings and draw", 0.0)


def batches_are_those_of_fit(bench: Bench) -> None:
    """``batches`` gives one thing a step and leaves the training that follows alone."""
    feed = bench.job.feed
    plain = bench.trainer()
    bench.fit(plain)
    trainer = bench.trainer()
    count = sum(1 for _ in trainer.batches(feed))
    if count != feed.step_count:
        raise Breach(f"batches() gave {count} batches of a feed of {feed.step_count} steps.")
    bench.fit(trainer)
    require_same(state(plain), state(trainer), "training behind batches against training alone")
