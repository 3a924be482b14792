"""A configuration is data: what would run code or read a secret is refused, by name."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fwcompare.compose import compose
from fwcompare.errors import RequestError

#: What a hostile command line, or a file that says the same, could try.
ATTACKS = [
    (["+hydra.callbacks.x._target_=os.system", "+hydra.callbacks.x.command=touch owned"],
     "hydra.callbacks"),
    (["+hydra.callbacks.x._target_=hydra.experimental.callbacks.PickleJobInfoCallback"],
     "hydra.callbacks"),
    (["+model.params.y.x._target_=os.system", "+hydra.callbacks.z=${model.params.y}"],
     "hydra.callbacks"),
    (["hydra.launcher._target_=os.system"], "hydra.launcher._target_"),
    (["hydra.launcher._target_=hydra_plugins.fwcompare_sweeper.FwcompareSweeper"],
     "hydra.launcher._target_"),
    (["hydra.sweeper._target_=subprocess.Popen"], "hydra.sweeper._target_"),
    (["+hydra.launcher.x._target_=os.system"], "hydra.launcher.x._target_"),
    (["+hydra.launcher.x=[{_target_: os.system}]"], "hydra.launcher.x"),
    (["+model.params.y._target_=os.system", "+hydra.launcher.x=${model.params.y}"],
     "hydra.launcher.x"),
    (["+hydra.launcher._args_=[1]"], "hydra.launcher._args_"),
    (["+hydra.job_logging.handlers.x={class: os.system, command: ls}"], "hydra.job_logging"),
    (["hydra/job_logging=default"], "hydra.job_logging"),
    (["+hydra.hydra_logging.handlers.x={class: logging.handlers.SocketHandler}"],
     "hydra.hydra_logging"),
    (["+hydra.job_logging.x='ext://os.environ'"], "hydra.job_logging"),
    (["+hydra.job.env_set.LD_PRELOAD=/tmp/evil.so"], "hydra.job.env_set"),
    (["hydra.job.env_copy=[HOME]"], "hydra.job.env_copy"),
    (["hydra.searchpath=[pkg://antigravity]"], "antigravity"),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "said"), ATTACKS, ids=[a[0][0] for a in ATTACKS])
def test_code_is_refused(overrides, said):
    with pytest.raises(RequestError) as refused:
        compose(overrides)
    assert said in refused.value.message


@pytest.mark.parametrize("flag", [[], ["-m"], ["--cfg", "job"]], ids=["run", "sweep", "show"])
def test_the_command_line_refuses_before_hydra_calls_anything(cli, tmp_path, flag):
    ended = cli(*flag, "+hydra.callbacks.x._target_=os.mkdir", "+hydra.callbacks.x.path=owned")
    assert ended.returncode == 2, ended.stderr
    assert "hydra.callbacks would run code" in ended.stderr and "Traceback" not in ended.stderr
    assert not (tmp_path / "owned").exists()


def test_a_file_of_somebody_else_is_refused_likewise(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/kind.yaml").write_text(
        "# @package _global_\nhydra:\n  callbacks:\n    x: {_target_: os.system, command: ls}\n"
    )
    with pytest.raises(RequestError, match=r"hydra\.callbacks would run code"):
        compose(["experiment=kind"], str(tmp_path))
    (tmp_path / "experiment/kind.yaml").write_text(
        "# @package _global_\nhydra:\n  job_logging:\n    handlers:\n"
        "      x: {'()': os.system, command: ls}\n"
    )
    with pytest.raises(RequestError, match=r"hydra\.job_logging.*a logger of its own"):
        compose(["experiment=kind"], str(tmp_path))


def test_a_launcher_that_is_installed_may_be_chosen():
    assert compose(["hydra/launcher=basic"]).engine == "pytorch"


@pytest.mark.parametrize(
    "name", ["AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "FWCOMPARE_TOKEN", "PATH"]
)
def test_a_secret_of_the_environment_is_not_read(name, monkeypatch):
    monkeypatch.setenv(name, "hunter2-hunter2")
    for override in (
        f"model.name=${{oc.env:{name}}}",
        f"+dataset.params.x=${{oc.decode:'${{oc.env:{name}}}'}}",
    ):
        with pytest.raises(RequestError) as refused:
            compose([override])
        assert name in refused.value.message and "hunter2" not in str(refused.value)


def test_what_is_no_secret_may_be_read(monkeypatch):
    monkeypatch.setenv("FWCOMPARE_DATA", "here")
    made = compose(["paths.outputs=${oc.env:FWCOMPARE_DATA}/runs"])
    assert made.outputs.parts[-2:] == ("here", "runs")
    assert compose(["model.name=${oc.env:FWCOMPARE_ABSENT,mlp}"]).section("model")["name"] == "mlp"


def test_another_hydra_application_of_the_process_is_left_alone(monkeypatch):
    from omegaconf import OmegaConf

    monkeypatch.setenv("SOME_TOKEN", "theirs")
    compose([])
    assert OmegaConf.create({"x": "${oc.env:SOME_TOKEN}"}).x == "theirs"


BOMBS = {
    "aliases": "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
    + "".join(f"{n}: &{n} [{','.join([f'*{chr(ord(n) - 1)}'] * 10)}]\n" for n in "bcdefghi"),
    "depth": "a: " + "[" * 5000 + "]" * 5000,
    "itself": "a: &a [*a]",
    "size": "a: " + "x" * 1_100_000,
    "a number": "a: " + "9" * 5000,
    "a number in other digits": "a: 0x" + "f" * 4000,
    "a date": "a: 2024-13-45",
    "bytes": "a: \x80",
    "a tag": "a: !!python/object/apply:os.system [ls]",
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
@pytest.mark.timeout(30)
def test_a_file_that_would_fill_memory_is_refused(tmp_path, content):
    (tmp_path / "model").mkdir()
    file = tmp_path / "model/own.yml"
    file.write_bytes(
        f"layers:\n- {{name: o, kind: dense, units: 10}}\n{content}\n".encode("latin1")
    )
    with pytest.raises(RequestError, match=r"own\.yml (?!holds 'a')"):
        compose([f"model.graph={file}"]).graph()
    (tmp_path / "model/own.yaml").write_bytes(content.encode("latin1"))
    if content != BOMBS["a date"]:  # OmegaConf knows no dates, and takes it for a word
        with pytest.raises(RequestError, match=r"own\.yaml"):
            compose(["model=own"], str(tmp_path))


def test_a_device_is_no_file():
    with pytest.raises(RequestError, match="no ordinary file"):
        compose(["model.graph=/dev/zero"]).graph()


@pytest.mark.parametrize("name", ["..", ".", "../x", "a/b", ".hidden", "x" * 300, "a\nb", ""])
def test_a_sweeps_name_is_that_of_a_folder(name):
    from fwcompare.config import require_name

    with pytest.raises(RequestError, match=r"sweep\.name"):
        require_name(name, "sweep.name")


def test_a_models_name_stays_in_its_folder():
    from fwcompare.config import new_run_id

    run = new_run_id("../../engine", "../../../etc/\x1b[31m" + "x" * 500, 0)
    assert "/" not in run and "\x1b" not in run and len(run) < 200


@pytest.mark.parametrize("verb", [["show"], ["diff", ".."], ["rerun"], ["report"], ["sync"]])
def test_a_name_that_leads_out_of_the_outputs_is_no_run(cli, tmp_path, verb):
    (tmp_path / "outputs/runs").mkdir(parents=True)
    ended = cli(*verb, "../../..")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_brackets_in_a_name_are_no_markup(cli, tmp_path):
    ended = cli("runs", "paths.outputs=/nowhere/[/red]:smile:")
    ended = cli("sync", "--folder", str(tmp_path / "[/red]"))
    assert ended.returncode == 2 and "[/red]" in ended.stderr, ended.stderr


def test_a_folder_cannot_choose_what_is_imported(cache):
    """``rerun`` takes the trainer from the installed plugin, whatever ``spec.json`` says."""
    from dataclasses import replace

    from fwcompare.plugin import front
    from fwcompare.verbs.rerun import refreshed

    spec = compose(["model=logistic", f"paths.cache={cache}"]).plan().spec
    evil = replace(spec.framework, trainer="os:system", packages=("antigravity",))
    made = refreshed(spec.but(framework=evil), cache)
    assert made.framework.trainer == front("pytorch").trainer
    assert "antigravity" not in made.framework.packages


def test_importing_the_guard_builds_nothing():
    code = "import sys, fwcompare.guard; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env=os.environ).returncode == 0
