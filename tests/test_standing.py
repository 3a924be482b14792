"""What a real sweep says of engines that are the same experiment, and of one that is not."""

from __future__ import annotations

import json

import pytest

from fwcompare.testing import write_plugin

#: A plugin whose engine is PyTorch's with a learning rate that is off by a thousandth.
CROOKED = """
from fwcompare.plugin import front


def __getattr__(name):
    if name != "CrookedTrainer":
        raise AttributeError(name)
    from fwcompare_pytorch.trainer import PyTorchTrainer

    class CrookedTrainer(PyTorchTrainer):
        def __init__(self, job):
            super().__init__(job)
            for group in self.update.optimizer.param_groups:
                group["lr"] *= 1.001

    return CrookedTrainer


class Front:
    name, trainer, packages = "crooked", "crooked:CrookedTrainer", ("crooked",)

    def __getattr__(self, name):
        return getattr(front("pytorch"), name)


FRONT = Front()
"""
SMALL = ["model=logistic", "trainer.epochs=1", "device.threads=1", "seed=0,1,2"]


@pytest.fixture
def site(tmp_path):
    write_plugin(tmp_path / "site", "crooked", CROOKED)
    return str(tmp_path / "site")


def test_an_engine_that_does_something_else_is_not_comparable(cli, tmp_path, site):
    ended = cli(
        "-m", "framework=pytorch,jax,crooked", *SMALL, "sweep.name=s", PYTHONPATH=site
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (comparison,) = json.loads((tmp_path / "outputs/sweeps/s/comparison.json").read_text())[
        "comparisons"
    ]
    states = {row["label"]: row["standing"]["state"] for row in comparison["rows"]}
    assert states == {"pytorch": "proven", "jax": "proven", "crooked": "not comparable"}
    (row,) = [row for row in comparison["rows"] if row["label"] == "crooked"]
    assert row["speed"]["kind"] == "not comparable", "no verdict on another experiment"
    assert "learning rate" in row["standing"]["reason"]
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith(" crooked")]
    assert "not comparable" in line
    assert row["standing"]["reason"][:40] in ended.stdout

    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/outputs/mlflow.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == "fwcompare")
    runs = client.search_runs([experiment.experiment_id], "tags.`fwcompare.kind` = 'run'")
    tags = {run.data.tags["fwcompare.framework"]: run.data.tags for run in runs}
    assert tags["crooked"]["fwcompare.comparable"] == "not_comparable"
    assert "learning rate" in tags["crooked"]["fwcompare.reason"]
    assert tags["jax"]["fwcompare.comparable"] == "proven"
    assert "fwcompare.reason" not in tags["jax"]

    # What they would have done by themselves: on the page, and not in the terminal's way.
    assert "Resolved differently" not in ended.stdout
    page = (tmp_path / "outputs/sweeps/s/report.html").read_text(encoding="utf-8")
    assert "These are what they would have been" in page
    assert "truncated normal, variance 1/fan_in" in page


def test_native_semantics_end_in_the_audit(cli, tmp_path):
    ended = cli(
        "-m", "framework=pytorch,jax", "semantics=native", "optimizer=adagrad", *SMALL,
        "sweep.name=n", "tracking=none",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Resolved differently" in ended.stdout
    assert "initial accumulator" in ended.stdout
    assert "Resolved alike" not in ended.stdout
    (audit,) = json.loads((tmp_path / "outputs/sweeps/n/audits.json").read_text())
    differing = {line["quantity"] for line in audit["lines"] if line["differs"]}
    assert {"initial_accumulator", "epsilon", "epsilon_place", "kernel"} <= differing
