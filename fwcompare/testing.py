"""The conformance suite that every plugin runs, and what plugin tests are built from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fwcompare.conformance.suite import Check, Place, all_checks
from fwcompare.conformance.trial import (
    OPTIMIZER_OPTIONS,
    case_run,
    make_run,
    optimizer,
    small_data,
)
from fwcompare.launch import WarmPool
from fwcompare.parity.cases import Case
from fwcompare.parity.mutations import Mutation
from fwcompare.parity.prove import Verdict, prove

__all__ = [
    "OPTIMIZER_OPTIONS",
    "WarmPool",
    "case_run",
    "check_engine",
    "check_mutation",
    "conformance",
    "make_run",
    "optimizer",
    "small_data",
]


def check_engine(
    engine: str,
    reference: str,
    cases: Iterable[Case],
    root: Path,
    pool: WarmPool,
    execution: str = "native",
) -> Iterator[tuple[Case, Verdict]]:
    """Climb the ladder with one engine on each case; warm workers carry it all."""
    for case in cases:
        spec = case_run(root, case, reference, execution)
        proof = prove(spec, [engine], reference, "float64", case.steps, pool=pool)
        yield case, proof.verdicts[0]


def check_mutation(mutation: Mutation, root: Path, pool: WarmPool) -> Verdict:
    """Climb the ladder with a deliberate error in one engine, against PyTorch."""
    spec = case_run(root, mutation.case, "pytorch")
    mutations = {mutation.engine: mutation.name}
    steps = mutation.case.steps
    proof = prove(spec, [mutation.engine], "pytorch", "float64", steps, None, mutations, pool=pool)
    return proof.verdicts[0]


def conformance(engine: str, reference: str = "pytorch") -> Callable[..., None]:
    """The conformance suite as one pytest function: ``test_conformance = conformance("jax")``.

    It asks for the fixture ``warm``, a ``WarmPool``.
    """
    import pytest

    checks = all_checks(engine, reference)

    @pytest.mark.parametrize("check", checks, ids=map(str, checks))
    def test_conformance(check: Check, warm: WarmPool, tmp_path: Path) -> None:
        wrong = check.attempt(Place(engine, reference, tmp_path, warm))
        assert not wrong, wrong

    return test_conformance
