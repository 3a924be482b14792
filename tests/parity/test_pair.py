"""Two runs: found by folder or name, of one group, and proven by the command line."""

from __future__ import annotations

import json
import shutil

import pytest

from fwcompare.compose import compose
from fwcompare.errors import RequestError
from fwcompare.launch import prepare
from fwcompare.parity.pair import differences
from fwcompare.verbs.rerun import refreshed

OPTIONS = ["model=logistic", "device.threads=1", "trainer.max_steps=5", "tracking=none"]


@pytest.fixture
def run(tmp_path, cache):
    """Prepares a run folder under ``outputs`` without running it; returns its spec."""

    def make(name, *options):
        made = compose([*OPTIONS, f"paths.cache={cache}", *options])
        spec = made.plan().spec.but(run=name)
        prepare(spec, tmp_path / "outputs" / "runs" / name)
        return spec

    return make


def test_two_runs_of_one_group_are_proven(run, cli):
    run("a", "framework=pytorch", "seed=1")
    run("b", "framework=lightning", "seed=2")
    ended = cli("parity", "a", "outputs/runs/b", "--format", "json")
    assert ended.returncode == 0, ended.stderr
    (proof,) = json.loads(ended.stdout)
    assert [v["engine"] for v in proof["verdicts"]] == ["pytorch", "lightning"]
    assert {v["state"] for v in proof["verdicts"]} == {"proven"}
    assert proof["steps"] == 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["optimizer=sgd"], ["optimizer is adam and sgd"]),
        (["optimizer.lr=0.5"], ["optimizer.lr is 0.001 and 0.5"]),
        (["model=mlp"], ["model is logistic and mlp"]),
        (["scheduler=cosine"], ["scheduler is constant and cosine"]),
        (["trainer.batch_size=32"], ["trainer.batch_size is 64 and 32"]),
        (["init=zeros"], ["init is ", " and zeros"]),
        (["semantics=native"], ["semantics is aligned and native"]),
        (["optimizer.lr=0.5", "model=mlp"], ["model is", "optimizer.lr is"]),
        (["framework=jax", "seed=7", "execution=native", "precision=float64"], []),
    ],
)
def test_what_two_groups_do_not_share(run, changes, said):
    first, second = run("a"), run("b", *changes)
    found = differences(first, second)
    assert len(found) == (0 if not said else max(len(changes), 1))
    assert (first.group == second.group) == (not found)
    for words in said:
        assert words in "; ".join(found)


def test_given_weights_are_known_by_what_they_hold(run, tmp_path, cache):
    """Wherever they lie: they belong to the mathematics, and a file may be written anew."""
    drawn = run("a")
    kept = tmp_path / "outputs/runs/a/weights/initial.safetensors"
    copied = tmp_path / "copied.safetensors"
    shutil.copy(kept, copied)
    first, second = run("b", f"init.from={kept}"), run("c", f"init.from={copied}")
    assert first.group == second.group and first.cell == second.cell
    assert differences(first, second) == []
    assert refreshed(first, cache).init == first.init

    run("d", "seed=5")
    shutil.copy(tmp_path / "outputs/runs/d/weights/initial.safetensors", copied)
    third = run("e", f"init.from={copied}")
    assert third.group != second.group
    (found,) = differences(second, third)
    assert found.startswith("init.from is ")
    (found,) = differences(drawn, third)
    assert found.startswith("init is kaiming and from weights ")
    with pytest.raises(RequestError, match=r"copied\.safetensors are others than those"):
        refreshed(second, cache)


def test_params_and_layers_of_one_model(run):
    first, second = run("a", "model=mlp"), run("b", "model=mlp", "model.params.width=32")
    assert differences(first, second) == ["model.params.width is 256 and 32"]
    data = second.to_json()
    data["model"] |= {"params": first.model.params}
    assert differences(first, type(second).from_json(data)) == [
        "the layers of model mlp are others"
    ]


def test_what_cannot_be_proven(run, cli, tmp_path):
    run("a")
    run("b", "optimizer=sgd")
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "spec.json").touch()
    gone = run("gone").to_json()
    gone["dataset"]["folder"] = str(tmp_path / "nowhere")
    (tmp_path / "outputs/runs/gone/spec.json").write_text(json.dumps(gone))
    for arguments, words in (
        (["a", "b"], ["different experiments: optimizer is adam and sgd", "one group"]),
        (["a"], ["two of them", "RUN_A RUN_B"]),
        (["a", "nosuch"], ["no run 'nosuch'", "fwcompare runs", "key=value"]),
        (["a", "empty"], ["empty is no run", "spec.json"]),
        (["a", "broken"], ["broken is no run that this release can read", "fwcompare runs"]),
        (["a", "gone"], ["data of run gone are no longer in", "model=logistic"]),
        (["a", "b", "model=mlp"], ["by themselves", "parity.*"]),
        (["a", "b", "parity.reference=torch"], ["Unknown parity.reference 'torch'", "pytorch"]),
    ):
        ended = cli("parity", *arguments)
        assert ended.returncode == 2, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        for word in words:
            assert word in ended.stderr, ended.stderr
