"""The proof under ``execution=compiled``, and in float32."""

from __future__ import annotations

import pytest
from rich.console import Console

from fwcompare.compose import compose
from fwcompare.parity.cases import Case
from fwcompare.parity.ladder import RUNGS, Rung
from fwcompare.parity.mutations import find
from fwcompare.parity.prove import Proof, Verdict, prove
from fwcompare.testing import case_run
from fwcompare.verbs.parity import accepted, exit_code, markdown, show

SMALL = Case(
    "small",
    (5,),
    [
        {"name": "hidden", "kind": "dense", "units": 6},
        {"name": "act", "kind": "activation", "function": "tanh", "alpha": 0.0},
        {"name": "logits", "kind": "dense", "units": 3},
    ],
    optimizer="adam",
    steps=10,
)


def test_compiled_is_proven_against_native(warm, tmp_path):
    """The reference too: what is proven is the compiled trainer, not its name."""
    traced = []
    spec = case_run(tmp_path, SMALL, "pytorch", "compiled")
    engines = ["pytorch", "tensorflow"]
    proof = prove(spec, engines, pool=warm, progress=lambda name, _: traced.append(name))
    assert set(traced) == {"reference", "nudged", "pytorch", "tensorflow"}
    for verdict in proof.verdicts:
        assert verdict.proven and verdict.execution == "compiled", verdict.reason


def test_the_reference_in_its_own_execution_is_traced_once(warm, tmp_path):
    traced = []
    for execution in ("native", "eager"):  # the same in PyTorch
        spec = case_run(tmp_path, SMALL, "pytorch", execution)
        prove(spec, ["pytorch"], pool=warm, progress=lambda name, _: traced.append(name))
    assert "pytorch" not in traced


def test_an_engine_that_refuses_is_named_and_alone_leaves_nothing_proven(cli):
    ended = cli("parity", "--engines", "jax", "model=logistic", "execution=eager")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "unsupported" in ended.stdout and "jax has no execution=eager" in ended.stdout


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (["proven", "unsupported"], 0),
        (["unsupported", "unsupported"], 2),
        (["unsupported", "failed"], 1),
        (["proven", "error"], 1),
    ],
)
def test_exit_codes(states, code):
    verdicts = tuple(Verdict("jax", "native", state) for state in states)
    assert exit_code([Proof("pytorch", "float64", 10, 1e-11, verdicts)]) == code


def test_every_rung_is_shown_with_what_is_accepted(capsys):
    def verdict(engine, tolerance):
        rungs = tuple(
            Rung(name, 0.0 if name in ("P0", "P5") else 2e-14, 0.0 if name in ("P0", "P5") else t)
            for name, t in zip(RUNGS, [0, 1e-11, 1e-11, tolerance, 5e-11, 0, 1e-11], strict=True)
        )
        return Verdict(engine, "native", "proven", rungs)

    unsupported = Verdict("lightning", "native", "unsupported", (), "it cannot")
    verdicts = (verdict("jax", 2e-11), verdict("keras_jax", 3e-11), unsupported)
    proof = Proof("pytorch", "float64", 10, 1e-11, verdicts)
    least = ["0", "1.0e-11", "1.0e-11", "2.0e-11", "5.0e-11", "0", "1.0e-11"]
    assert accepted(proof) == least
    assert f"| accepted | {' | '.join(least)} | |" in markdown(proof)
    show(proof, Console(width=120))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "accepted " in line[:12]]
    assert line.split() == ["accepted", *least]
    alone = Proof("pytorch", "float64", 0, 0.0, (unsupported,))
    assert not accepted(alone) and "accepted |" not in markdown(alone)


@pytest.mark.parametrize("model", ["mlp", "cnn_bn"])
def test_float32_is_a_smoke_test_with_tolerances_of_its_own(model, warm, cache):
    plan = compose(
        [f"model={model}", "optimizer=adam", "device.threads=1", f"paths.cache={cache}"]
    ).plan()
    proof = prove(plan.spec, ["jax", "keras_torch"], precision="float32", pool=warm)
    assert proof.holds, [verdict.reason for verdict in proof.verdicts]
    assert 3 <= proof.steps <= proof.traced == 10
    assert any("smoke test" in note for note in proof.notes)


@pytest.mark.parametrize("error", ["gelu_tanh", "batch_norm_epsilon", "beta2"])
def test_float32_finds_what_is_plainly_wrong(error, warm, tmp_path):
    mutation = find(error, "pytorch")
    spec = case_run(tmp_path, mutation.case, "pytorch")
    steps = mutation.case.steps
    proof = prove(
        spec, ["pytorch"], "pytorch", "float32", steps, None, {"pytorch": error}, pool=warm
    )
    assert not proof.holds
