"""The suite's own side: weights that come back, fronts, and the verb that runs it all."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fwcompare.conformance.bench import Bench, Breach
from fwcompare.conformance.checks import CHECKS
from fwcompare.conformance.suite import Check, Place, _RoundTrip, all_checks
from fwcompare.parity.cases import Case
from fwcompare.plugin import open_job

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from numpy_engine import NumpyTrainer

SQUARE = Case(
    "square",
    (3,),
    [{"name": "logits", "kind": "dense", "units": 3, "bias": False}],
    scheduler={"name": "constant"},
)


class InThisProcess:
    """What of a pool of warm workers the suite uses, with a given trainer for each engine."""

    def __init__(self, **trainers):
        self.trainers = trainers

    def check(self, spec, folder, name):
        job, data = open_job(spec, folder)
        held_out = data.split("test", spec.dtype).inputs
        try:
            CHECKS[name](Bench(self.trainers[spec.framework.name], job, held_out, folder))
        except Breach as breach:
            return {"status": "failed", "reason": str(breach)}
        return {"status": "ok", "reason": ""}


class TransposesOnExport(NumpyTrainer):
    def weights(self):
        return {name: array.T.copy() for name, array in self.tensors.items()}


class TransposesBothWays(TransposesOnExport):
    def __init__(self, job):
        super().__init__(job)
        self.tensors = {name: array.T.copy() for name, array in self.tensors.items()}


class RoundsOnExport(NumpyTrainer):
    def weights(self):
        return {name: array.astype("f4").astype("f8") for name, array in self.tensors.items()}


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        (NumpyTrainer, ""),
        (TransposesOnExport, "jax exports 'logits/kernel' otherwise than it was loaded"),
        (TransposesBothWays, "pytorch predicts otherwise from them"),
        (RoundsOnExport, "jax predicts otherwise from them"),
    ],
)
def test_weights_that_come_back(trainer, said, tmp_path):
    pool = InThisProcess(jax=trainer, pytorch=NumpyTrainer)
    wrong = _RoundTrip(SQUARE)(Place("jax", "pytorch", tmp_path, pool))
    assert wrong.startswith(said) and bool(wrong) == bool(said), wrong


FRONT = """
class Front:
    name, colour, requirements, packages = "leaky", "#123456", ("numpy",), ("leaky",)
    trainer, same_execution = "leaky:Trainer", {}

    def environment(self, spec):
        return {%(environment)s}

    def supports(self, spec):
        %(supports)s


FRONT = Front()
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Installs the engine ``leaky``, whose front is as asked."""
    info = tmp_path / "leaky-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[fwcompare.trainers]\nleaky = leaky:FRONT\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    )
    monkeypatch.delitem(sys.modules, "leaky", raising=False)

    def install(supports="return None", environment=""):
        text = FRONT % {"supports": supports, "environment": environment}
        (tmp_path / "leaky.py").write_text(text)

    return install


def front_check():
    (check,) = [c for c in all_checks("leaky", "pytorch") if c.part == "front"]
    return check


@pytest.mark.parametrize(
    ("front", "said"),
    [
        ({}, ""),
        ({"supports": "import scipy"}, "the front imports scipy"),
        ({"supports": "return False"}, "supports (native, float32) gave False"),
        ({"environment": "'THREADS': 1"}, "environment (native, float32) is not a mapping"),
        ({"supports": "raise KeyError('gpu')"}, "KeyError: 'gpu'"),
    ],
)
def test_a_front(plugin, tmp_path, front, said):
    plugin(**front)
    wrong = front_check().attempt(Place("leaky", "pytorch", tmp_path, InThisProcess()))
    assert said in wrong and bool(wrong) == bool(said), wrong


def test_the_verb_names_the_part_that_fails(plugin, cli):
    plugin(supports="import scipy")
    ended = cli("plugins", "check", "leaky", "--only", "front")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "front: imports and answers: the front imports scipy" in ended.stdout
    assert "0 of 1 checks hold against pytorch" in ended.stdout


def test_the_verb_runs_checks_in_a_worker(cli):
    ended = cli("plugins", "check", "pytorch", "--only", "dropout:")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "6 of 6 checks hold as the reference" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["jaxx"], "Did you mean 'jax'"),
        (["jax", "--reference", "torch"], "Unknown framework 'torch'"),
        (["jax", "--only", "droopout"], "layers, export, optimizers, trainer, dropout, front"),
        ([], "Which engine"),
    ],
)
def test_what_cannot_be_checked(cli, arguments, said):
    ended = cli("plugins", "check", *arguments)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert said in ended.stderr


def test_a_worker_that_is_gone_is_a_failed_check(tmp_path):
    from fwcompare.errors import RunError

    class Gone:
        def check(self, spec, folder, name):
            raise RunError("A warm worker ended before its reply.", "Segmentation fault")

    checks = [c for c in all_checks("jax", "pytorch") if c.part == "dropout"]
    check: Check = checks[0]
    assert "Segmentation fault" in check.attempt(Place("jax", "pytorch", tmp_path, Gone()))
