"""A worker in an interpreter that has NumPy, safetensors and the framework, and nothing of ours."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

#: What PyTorch itself imports, besides NumPy and safetensors.
PACKAGES = (
    "torch", "torchgen", "numpy", "numpy.libs", "safetensors", "typing_extensions.py", "sympy",
    "mpmath", "networkx", "jinja2", "markupsafe", "filelock", "fsspec",
)  # fmt: skip


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """A fresh environment with PyTorch linked in from this one."""
    folder = tmp_path_factory.mktemp("other") / "venv"
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    torch = importlib.util.find_spec("torch")
    assert torch and torch.submodule_search_locations
    source = Path(torch.submodule_search_locations[0]).parent
    for name in PACKAGES:
        if (source / name).exists():
            (site / name).symlink_to(source / name)
    return folder / "bin" / "python"


def test_it_has_nothing_of_ours(python, tmp_path):
    for module in ("fwcompare", "hydra", "mlflow", "yaml"):
        found = subprocess.run(
            [python, "-c", f"import {module}"], capture_output=True, check=False, cwd=tmp_path
        )
        assert found.returncode == 1, module


def test_it_runs_and_gives_the_same_numbers(cli, tmp_path, python):
    common = [
        "model=mlp", "trainer.epochs=2", "device.threads=1", "tracking=none", "precision=float64",
    ]  # fmt: skip
    for extra in ([], [f"framework.python={python}"]):
        ended = cli(*common, *extra)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    runs = sorted(tmp_path.glob("outputs/runs/*/record.json"))
    own, other = (json.loads(path.read_text()) for path in runs)
    assert Path(own["environment"]["executable"]).parent == Path(sys.executable).parent
    assert other["environment"]["executable"] == str(python)
    assert "torch" in other["versions"]
    assert [e["train/loss"] for e in own["history"]] == [e["train/loss"] for e in other["history"]]
    assert own["digests"] == other["digests"]
