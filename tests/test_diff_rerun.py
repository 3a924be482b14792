"""`fwcompare diff` and `fwcompare rerun` on real runs."""

from __future__ import annotations

import json
import shutil

import pytest

SMALL = ["model=logistic", "trainer.epochs=1", "device.threads=1", "tracking=none"]


@pytest.fixture
def runs(cli, tmp_path):
    """Two runs that differ in their learning rate."""
    for lr in ("0.01", "0.1"):
        ended = cli(*SMALL, "optimizer=sgd", f"optimizer.lr={lr}", "seed=3")
        assert ended.returncode == 0, ended.stderr
    return sorted(path.name for path in (tmp_path / "outputs" / "runs").iterdir())


def test_diff_shows_what_was_asked_and_what_came_out(cli, runs):
    shown = cli("diff", *runs)
    assert shown.returncode == 0, shown.stderr
    assert "optimizer.lr" in shown.stdout
    assert "optimizer.decay" not in shown.stdout
    found = json.loads(cli("diff", *runs, "--format", "json").stdout)
    by_name = {entry["name"]: entry for entry in found}
    assert (by_name["optimizer.lr"]["first"], by_name["optimizer.lr"]["second"]) == (0.01, 0.1)
    assert by_name["final logits/kernel"]["second"] > 0
    assert "initial logits/kernel" not in by_name
    assert "initial_weights" not in by_name and "final_weights" in by_name


def test_a_run_is_found_by_the_end_of_its_name(cli, runs):
    ends = [name.rpartition("-")[2] for name in runs]
    by_end = cli("diff", *ends, "--format", "json")
    assert by_end.stdout == cli("diff", *runs, "--format", "json").stdout
    with_dashes = cli("diff", runs[0], f"s3-{ends[1]}", "--format", "json")
    assert with_dashes.stdout == by_end.stdout


def test_rerun_repeats_a_run_bit_by_bit(cli, runs, tmp_path, cache):
    first = runs[0]
    ended = cli("rerun", first, "tracking=none")
    assert ended.returncode == 0, ended.stderr
    again = max((tmp_path / "outputs" / "runs").iterdir(), key=lambda path: path.stat().st_mtime)
    assert again.name not in runs
    found = json.loads(cli("diff", first, again.name, "--format", "json").stdout)
    assert {entry["section"] for entry in found} == {"metrics"}
    names = {entry["name"] for entry in found}
    assert not names & {"test/loss", "train/loss", "val/loss", "status"}


def test_rerun_prepares_data_that_are_gone(cli, runs, tmp_path):
    spec = json.loads((tmp_path / "outputs" / "runs" / runs[0] / "spec.json").read_text())
    shutil.rmtree(spec["dataset"]["folder"])
    ended = cli("rerun", runs[0], "tracking=none")
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rerun", "nosuch"], "There is no run 'nosuch'"),
        (["diff", "nosuch", "other"], "There is no run 'nosuch'"),
        (["diff", "outputs", "outputs"], "is no run: there is no spec.json in it"),
    ],
)
def test_what_is_no_run_is_refused(cli, runs, arguments, said):
    ended = cli(*arguments)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_near_name_is_suggested(cli, runs):
    ended = cli("rerun", runs[0][:-1])
    assert f"Did you mean '{runs[0]}'" in ended.stderr


def test_rerun_takes_no_other_experiment(cli, runs):
    ended = cli("rerun", runs[0], "seed=4")
    assert ended.returncode == 2
    assert "'seed=4' would make it another" in ended.stderr
