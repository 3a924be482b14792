"""The suite leaves nothing of the product out."""

from __future__ import annotations

from itertools import product

from fwcompare.conformance.suite import PARTS, RATES, all_checks
from fwcompare.graph.kinds import FUNCTIONS, KINDS
from fwcompare.parity.cases import SCHEDULERS, layer_cases, optimizer_cases
from fwcompare.spec import DECAY_SCOPES, DECAYS, OPTIMIZERS, Scheduler


def windows(kind):
    """Height and width, window, stride and padding of every layer of a kind."""
    for case in layer_cases():
        for layer in case.layers:
            if layer["kind"] == kind:
                size = layer.get("kernel_size", layer.get("pool_size"))
                stride, padding = layer.get("stride", 1), layer.get("padding", "valid")
                yield case.input_shape[:2], str(size), str(stride), padding


def test_every_layer_kind_and_function():
    layers = [layer for case in layer_cases() for layer in case.layers]
    assert {layer["kind"] for layer in layers} == set(KINDS)
    assert {layer["function"] for layer in layers if layer["kind"] == "activation"} == set(
        FUNCTIONS
    )


def test_odd_and_even_sizes_with_both_paddings_and_strides():
    assert set(product(((8, 6), (7, 5)), "23", "12", ("same", "valid"))) <= set(windows("conv2d"))
    for kind in ("max_pool2d", "avg_pool2d"):
        wanted = set(product(((8, 6), (7, 5)), "23", "2", ("same", "valid")))
        assert wanted <= set(windows(kind))


def test_every_optimizer_with_every_schedule_and_every_decay():
    found = list(optimizer_cases())
    pairs = {(case.optimizer, case.scheduler["name"]) for case in found}
    assert pairs == set(product(OPTIMIZERS, (s["name"] for s in SCHEDULERS)))
    decays = {
        (case.optimizer, case.options["decay"], case.options.get("decay_scope", "all"))
        for case in found
    }
    wanted = {(d, s) for d, s in product(DECAYS, DECAY_SCOPES) if d != "none" or s == "all"}
    assert decays == {(optimizer, *decay) for optimizer, decay in product(OPTIMIZERS, wanted)}
    clipped = {case.optimizer for case in found if case.options.get("clip_norm")}
    assert clipped == set(OPTIMIZERS)


def test_a_schedule_changes_within_its_case():
    for case in optimizer_cases():
        factors = Scheduler(**case.scheduler).factors(case.steps, 4)
        assert (len(set(factors)) > 1) == (case.scheduler["name"] != "constant"), case.name


def test_parts():
    checks = all_checks("jax", "pytorch")
    assert list(dict.fromkeys(check.part for check in checks)) == list(PARTS)
    names = [str(check) for check in checks]
    assert len(names) == len(set(names))
    kinds = {
        layer["kind"]
        for check in checks
        if check.part == "export"
        for layer in check.attempt.case.layers
    }
    assert kinds == set(KINDS), "every layer kind leaves an engine and comes back"
    for rate in RATES:
        assert f"dropout: masks, rate {rate:g}" in names


def test_the_reference_is_not_held_against_itself():
    parts = {check.part for check in all_checks("pytorch", "pytorch")}
    assert parts == set(PARTS) - {"layers", "optimizers"}
