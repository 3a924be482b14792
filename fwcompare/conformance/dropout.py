"""In the worker: dropout's keep rate and scale, statistically.

The proofs set the rate to zero, since no two engines draw the same masks; so the masks themselves
are looked at here. On inputs of one a layer of rate r must give 0 with probability r and 1/(1 - r)
otherwise, each element by itself. Bounds are five standard deviations of what is counted: a right
engine fails one of a million times, and with a fixed seed always or never.
"""

from __future__ import annotations

import math

import numpy as np

from fwcompare.conformance.bench import SAME, Bench, Breach, relative_difference
from fwcompare.data.batches import Arrays

#: Standard deviations that a count may lie off its expectation.
DEVIATIONS = 5.0


def _rate(bench: Bench) -> tuple[float, list[str]]:
    """The rate of the dropout layers, and their names."""
    layers = [layer for layer in bench.job.graph.layers if layer.kind.kind == "dropout"]
    return float(layers[0].kind.options()["rate"]), [layer.name for layer in layers]


def _on_ones(bench: Bench, seed: int | None = None) -> Bench:
    """Inputs and targets of one, and a last layer that takes a weighted mean of its inputs.

    The error of an output is then that of the weight kept, and its square is the loss. The weights
    are all different: were they equal, the loss would tell how many inputs were dropped and not
    which, and those of two steps would often be the same.
    """
    job = bench.job
    given = job.train
    train = Arrays(
        np.ones(given.inputs.shape, given.inputs.dtype),
        np.ones(given.targets.shape, given.targets.dtype),
    )
    weights = {name: _shares(array) for name, array in job.initial_weights.items()}
    spec = job.spec if seed is None else job.spec.but(seed=seed)
    return bench.but(spec=spec, train=train, initial_weights=weights)


def _shares(array: np.ndarray) -> np.ndarray:
    """Positive numbers of the array's shape that all differ and add up to one."""
    random = np.random.default_rng(0).uniform(0.5, 1.5, array.shape)
    shares: np.ndarray = (random / random.sum()).astype(array.dtype)
    return shares


def _require_near(what: str, found: float, expected: float, deviation: float) -> None:
    off = abs(found - expected) / deviation
    if not off <= DEVIATIONS:
        raise Breach(
            f"{what} is {found:.5g}, expected {expected:.5g}: {off:.1f} standard deviations off."
        )


def masks(bench: Bench) -> None:
    """Share kept, scale, independence of rows and of layers, and evaluation mode."""
    rate, names = _rate(bench)
    bench = _on_ones(bench)
    inputs = np.array(bench.job.train.inputs)
    trainer = bench.trainer()
    dropped = trainer.activations(inputs, training=True)
    whole = trainer.activations(inputs, training=False)
    kept = []
    for name in names:
        output = dropped[name]
        kept.append(output != 0)
        for what, axis in (("samples", 0), ("features", 1)):
            if len(np.unique(kept[-1], axis=axis)) == 1:
                raise Breach(f"'{name}': all {what} have the same mask.")
        share = float(kept[-1].mean())
        _require_near(
            f"'{name}': share kept at rate {rate:g}",
            share,
            1 - rate,
            math.sqrt(rate * (1 - rate) / output.size),
        )
        values = output[kept[-1]]
        scale = relative_difference(np.full_like(values, 1 / (1 - rate)), values)
        if scale > SAME:
            raise Breach(
                f"'{name}': what is kept is scaled by {values.mean():.6g}, "
                f"expected 1/(1 - {rate:g}) = {1 / (1 - rate):.6g}."
            )
        if not np.array_equal(whole[name], inputs):
            raise Breach(f"'{name}' is not the identity in evaluation mode.")
    both = (1 - rate) ** 2
    _require_near(
        f"share kept by both of {' and '.join(names)}",
        float((kept[0] & kept[1]).mean()),
        both,
        math.sqrt(both * (1 - both) / kept[0].size),
    )


def _losses(bench: Bench) -> np.ndarray:
    """The loss of every step; the learning rate is too small to change a weight."""
    trainer = bench.trainer()
    found = np.concatenate(bench.fit(trainer).losses)
    outputs = trainer.predict(np.array(bench.job.train.inputs[:4]))
    if relative_difference(np.ones_like(outputs), outputs) > 10 * SAME:
        raise Breach(
            f"outputs after training are {outputs.ravel()[:2]}, without dropout they are 1."
        )
    return found


def steps(bench: Bench) -> None:
    """Training itself: the expected loss, and a new mask at every step.

    The output is the sum of masked and scaled weights w, so its variance, which is the expected
    loss, is r / (1 - r) times the sum of w squared; the mean of m squared errors is off by
    sqrt(2 / m) of it.
    """
    rate, _ = _rate(bench)
    bench = _on_ones(bench)
    found = _losses(bench)
    if len(np.unique(found.round(14))) < len(found):
        raise Breach("two steps of training have the same loss: a mask was used again.")
    (shares,) = bench.job.initial_weights.values()
    expected = rate / (1 - rate) * float((shares**2).sum())
    errors = sum(sum(bench.job.feed.batch_sizes(epoch)) for epoch in bench.job.feed.epochs)
    _require_near(
        f"mean squared error under dropout of rate {rate:g}",
        float(found.mean()),
        expected,
        expected * math.sqrt(2 / errors),
    )


def seeds(bench: Bench) -> None:
    """The same seed gives the same masks, another seed others."""
    seed = bench.job.spec.seed
    first, again, other = (_losses(_on_ones(bench, s)) for s in (seed, seed, seed + 1))
    if relative_difference(first, again) > SAME:
        raise Breach("the same seed gave other masks.")
    if np.isclose(first, other, rtol=1e-9, atol=0).any():
        raise Breach("another seed gave the same masks.")
