"""The zoo's smoke experiment: every model in every engine is asked for, and two cells are run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from fwcompare import verbs
from fwcompare.arms import load_runs
from fwcompare.compose import compose
from fwcompare.errors import RequestError
from fwcompare.record import SAMPLES_FILE

CONF = Path(__file__).parents[1] / "conf"
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
ENGINES = sorted(yaml.safe_load((CONF / "engines.yml").read_text(encoding="utf-8")))


def test_every_model_is_asked_for_in_every_engine():
    text = (CONF / "experiment" / "zoo_smoke.yaml").read_text(encoding="utf-8")
    swept = yaml.safe_load(text)["hydra"]["sweeper"]["params"]
    asked = {name: sorted(part.strip() for part in swept[name].split(",")) for name in swept}
    assert asked == {"zoo": MODELS, "framework": [e for e in ENGINES if e != "keras"]}


@pytest.mark.parametrize("name", MODELS)
def test_a_choice_of_the_zoo_is_that_model_made_small(name, cache):
    plan = compose([f"zoo={name}", f"paths.cache={cache}", "trainer.batch_size=16"]).plan()
    assert plan.spec.model.name == name
    assert plan.spec.model.graph.parameter_count < 200_000


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_shown_by_its_name_alone(name, cache, monkeypatch, capsys):
    monkeypatch.setenv("FWCOMPARE_CACHE", str(cache))
    assert verbs.call("show", [name]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{name} on ") and "parameters" in shown


def test_a_model_that_does_not_fit_what_was_asked_for_is_not_shown_on_something_else(cache):
    with pytest.raises(RequestError, match="it takes token ids"):
        verbs.call("show", ["lstm", "dataset=digits", f"paths.cache={cache}"])


def test_every_task_is_in_the_zoo():
    tasks = {compose([f"zoo={name}"]).section("task")["name"] for name in MODELS}
    assert tasks == {path.stem for path in (CONF / "task").glob("*.yaml")}


def test_two_cells_are_two_workloads_with_a_page(cli, tmp_path):
    ended = cli(
        "experiment=zoo_smoke", "zoo=logistic,gpt_small", "framework=pytorch", "sweep.name=zoo",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    folder = tmp_path / "outputs/sweeps/zoo"
    runs = {run.spec.model.name: run for run in load_runs(folder) if run.spec}
    assert set(runs) == {"logistic", "gpt_small"}
    assert all(run.record.ok for run in runs.values())
    assert all(name in run.record.run for name, run in runs.items())
    comparisons = json.loads((folder / "comparison.json").read_text())["comparisons"]
    assert {c["metric"] for c in comparisons} == {"test/accuracy", "test/perplexity"}

    text = (folder / runs["gpt_small"].record.run / SAMPLES_FILE).read_text(encoding="utf-8")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "What do they write?" in page and "given 32 tokens of the test split" in page
    assert tracked(tmp_path / "outputs", runs["gpt_small"].record.run) == text


def tracked(outputs: Path, run: str) -> str:
    """The samples of a run as MLflow has them."""
    import mlflow

    store = mlflow.MlflowClient(f"sqlite:///{outputs / 'mlflow.db'}")
    (experiment,) = store.search_experiments(filter_string="name = 'fwcompare'")
    wanted = f"tags.`fwcompare.run` = '{run}'"
    (found,) = store.search_runs([experiment.experiment_id], wanted)
    path = store.download_artifacts(found.info.run_id, SAMPLES_FILE, str(outputs))
    assert found.data.metrics["test/perplexity"] > 1
    return Path(path).read_text(encoding="utf-8")
