"""The conformance suite that every plugin runs, and what plugin tests are built from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
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
from fwcompare.plugin import CONFIGS, TRAINERS

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
    "write_plugin",
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


def conformance(
    engine: str, reference: str = "pytorch", slow: Collection[str] = ("export",)
) -> Callable[..., None]:
    """The conformance suite as one pytest function: ``test_conformance = conformance("jax")``.

    It asks for the fixture ``warm``, a ``WarmPool``, and runs on the device that pytest was given
    as ``--fwcompare-device``, or else on the CPU. Parts named in ``slow`` are marked so: that on
    exported weights takes nearly half of all the time, and an engine whose layers are another's
    need not prove them as often.
    """
    import pytest

    checks = [
        pytest.param(check, id=str(check), marks=[pytest.mark.slow] * (check.part in slow))
        for check in all_checks(engine, reference)
    ]

    @pytest.mark.parametrize("check", checks)
    def test_conformance(
        check: Check, warm: WarmPool, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        device = request.config.getoption("--fwcompare-device")
        wrong = check.attempt(Place(engine, reference, tmp_path, warm, device))
        assert not wrong, wrong

    return test_conformance


def write_plugin(site: Path, engine: str, code: str) -> None:
    """Write a whole plugin into a folder that a test puts on Python's path, as if installed there.

    ``code`` is the module ``<engine>.py``, which has the front as ``FRONT``.
    """
    files = {
        f"{engine}.py": code,
        f"{engine}_conf/__init__.py": "",
        f"{engine}_conf/framework/{engine}.yaml": f"name: {engine}\npython: null\n",
        f"{engine}-0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {engine}\nVersion: 0\n",
        f"{engine}-0.dist-info/entry_points.txt": (
            f"[{TRAINERS}]\n{engine} = {engine}:FRONT\n\n[{CONFIGS}]\n{engine} = {engine}_conf\n"
        ),
    }
    for name, text in files.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
