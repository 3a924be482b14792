"""Built as wheels and used from any directory: configuration, model files and plugins are there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECTS = (".", "plugins/sweeper", "plugins/pytorch")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The wheels of the core, the sweeper and a plugin, unpacked into a folder."""
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("target")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    for project in PROJECTS:
        # Built from a copy: setuptools leaves a build folder behind in the tree.
        source = tmp_path_factory.mktemp("source")
        subprocess.run(["git", "-C", ROOT, "archive", "-o", source / "a.tar", "HEAD"], check=True)
        subprocess.run(["tar", "-xf", source / "a.tar", "-C", source], check=True)
        subprocess.run(
            [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, source / project],
            check=True,
        )
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--target", target, *wheels.glob("*.whl")],
        check=True,
    )
    return target


def fwcompare(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fwcompare.cli", *arguments],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )  # fmt: skip


def test_it_is_the_wheel_that_runs(installed, tmp_path):
    code = "import fwcompare, fwcompare.conf; print(fwcompare.__file__, fwcompare.conf.__file__)"
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(installed)},
    ).stdout  # fmt: skip
    assert all(path.startswith(str(installed)) for path in shown.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cfg", "job"], ["name: pytorch", "lr: 0.001"]),
        (["--help"], ["quickstart", "resnet_small"]),
        (["show", "resnet_small"], ["block3_add", "parameters"]),
        (["--info", "searchpath"], ["fwcompare.conf", "fwcompare_pytorch.conf"]),
    ],
)
def test_from_any_directory(installed, tmp_path, arguments, words):
    ended = fwcompare(installed, tmp_path, *arguments)
    assert ended.returncode == 0, ended.stderr
    for word in words:
        assert word in ended.stdout


def test_a_users_own_model(installed, tmp_path):
    """A model by --config-dir, as the README shows it."""
    folder = tmp_path / "my" / "model"
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text("name: tiny\ngraph: tiny.yml\nparams: {width: 5}\n")
    (folder / "tiny.yml").write_text(
        "layers:\n"
        "  - {name: flat, kind: flatten}\n"
        '  - {name: hidden, kind: dense, units: "${width * 2}"}\n'
        '  - {name: logits, kind: dense, units: "${outputs}"}\n'
    )
    shown = fwcompare(installed, tmp_path, "show", "tiny", "--config-dir", "my")
    assert shown.returncode == 0, shown.stderr
    assert f"{64 * 10 + 10 + 10 * 10 + 10:,} parameters" in shown.stdout
    ended = fwcompare(
        installed, tmp_path, "--config-dir", "my", "model=tiny", "model.params.width=7",
        "trainer.epochs=1", "tracking=none", "device.threads=1",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "test accuracy" in ended.stdout
