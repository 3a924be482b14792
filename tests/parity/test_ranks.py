"""Several processes, or devices of one, against one: the same gradients, weights, statistics."""

from __future__ import annotations

import pytest

from fwcompare.errors import RequestError
from fwcompare.parity.cases import Case
from fwcompare.parity.prove import Proof, prove
from fwcompare.spec import Distributed
from fwcompare.testing import case_run

#: Normalisation over the batch between what it moves, with clipping by the norm of all gradients.
NORMALISED = Case(
    "normalised",
    (6, 6, 2),
    [
        {"name": "conv", "kind": "conv2d", "filters": 4, "kernel_size": 3, "bias": False},
        {"name": "norm", "kind": "batch_norm"},
        {"name": "act", "kind": "activation", "function": "relu", "alpha": 0.0},
        {"name": "flat", "kind": "flatten"},
        {"name": "logits", "kind": "dense", "units": 3},
    ],
    optimizer="momentum",
    options={"clip_norm": 0.5},
    scheduler={"name": "cosine", "final_factor": 0.1},
    steps=12,
)


def proof_of(warm, tmp_path, engine: str, processes: int = 2, batch_norm: str = "synchronised"):
    work = Distributed("data_parallel", processes, batch_norm)
    spec = case_run(tmp_path, NORMALISED, "pytorch").but(distributed=work)
    return prove(spec, [engine], pool=warm)


def require_proven(proof: Proof) -> None:
    (verdict,) = proof.verdicts
    assert verdict.proven, (verdict.reason, verdict.rungs)
    # Another order of summation is another rounding: had a single process been traced, or none of
    # its sums been over others, all would be equal to the last bit.
    assert 0 < verdict.rungs[3].difference < 1e-12
    assert proof.steps == NORMALISED.steps


def test_two_processes_are_proven_equal_to_one(warm, tmp_path):
    require_proven(proof_of(warm, tmp_path, "pytorch"))


def test_statistics_of_shares_are_another_experiment(warm, tmp_path):
    proof = proof_of(warm, tmp_path, "pytorch", batch_norm="local")
    (verdict,) = proof.verdicts
    assert verdict.state == "failed" and not verdict.rungs[3].holds
    assert any("batch_norm=local" in note for note in proof.notes)


def test_deliberate_errors_are_for_one_process(warm, tmp_path):
    work = Distributed("data_parallel", 2)
    spec = case_run(tmp_path, NORMALISED, "pytorch").but(distributed=work)
    with pytest.raises(RequestError, match="in one process"):
        prove(spec, ["pytorch"], pool=warm, mutations={"pytorch": "any"})


@pytest.mark.parametrize(
    "batch_norm", ["synchronised", pytest.param("local", marks=pytest.mark.slow)]
)
def test_two_devices_of_a_process_are_held_against_one(warm, tmp_path, batch_norm):
    work = Distributed("mirrored", replicas=2, batch_norm=batch_norm)
    spec = case_run(tmp_path, NORMALISED, "tensorflow").but(distributed=work)
    proof = prove(spec, ["tensorflow"], reference="tensorflow", pool=warm)
    if batch_norm == "synchronised":
        require_proven(proof)
        assert proof.notes == ("2 replicas against one process",)
    else:
        assert proof.verdicts[0].state == "failed" and not proof.verdicts[0].rungs[3].holds


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("engine", ["pytorch", "lightning", "jax", "tensorflow", "keras_jax"])
def test_every_engine_is_proven_equal_to_one_process(warm, tmp_path, engine, processes):
    proof = proof_of(warm, tmp_path, engine, processes)
    if processes == 1:
        assert proof.verdicts[0].proven, proof.verdicts[0].reason
    else:
        require_proven(proof)
