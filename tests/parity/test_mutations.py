"""Every deliberate error is caught by the ladder and named by the diagnosis."""

from __future__ import annotations

import pytest

from fwcompare.errors import RequestError
from fwcompare.parity.cases import Case
from fwcompare.parity.mutations import MUTATIONS, find
from fwcompare.testing import check_engine, check_mutation

#: Rungs that compare what is said of an experiment; the others compare numbers that came out.
FACTS = {"P0", "P5"}

#: The cases of all errors, one for each model and optimizer.
CASES: dict[str, Case] = {
    repr([m.case.layers, m.case.optimizer, m.case.task]): m.case for m in MUTATIONS.values()
}


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_an_error_is_caught_and_named(mutation, warm, tmp_path):
    verdict = check_mutation(mutation, tmp_path, warm)
    assert verdict.state == "failed", verdict.reason
    assert mutation.named_by(verdict.reason), verdict.reason
    broken = {rung.name for rung in verdict.rungs if not rung.holds}
    assert broken - FACTS, "seen in the facts alone"
    assert ("P5" in broken) == (mutation.name == "other_order")


@pytest.mark.parametrize("case", CASES.values(), ids=[case.name for case in CASES.values()])
def test_without_an_error_the_same_case_is_proven(case, warm, tmp_path):
    ((_, verdict),) = check_engine("jax", "pytorch", [case], tmp_path, warm)
    assert verdict.proven, f"{verdict.reason} {verdict.worst}"


def test_an_unknown_error_is_refused_with_the_choices(cli):
    done = cli("parity", "--mutate", "pytorch=gelu_tan", "model=mlp")
    assert done.returncode == 2
    assert "Did you mean 'gelu_tanh'?" in done.stderr


def test_a_patch_of_another_engine_is_refused():
    with pytest.raises(RequestError, match="'amsgrad' is made in pytorch alone"):
        find("amsgrad", "jax")
    with pytest.raises(RequestError) as refused:
        find("halved_loss", "pytorch")
    assert "amsgrad" in str(refused.value.hint) and "avg_pool" not in str(refused.value.hint)
