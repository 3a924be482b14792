"""The parent imports no framework and, until a run has ended, no MLflow."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "pytorch_lightning", "tensorflow", "keras", "jax", "flax", "mlflow", "sklearn")


@pytest.mark.parametrize(
    "statement",
    [
        "from fwcompare.cli import main; main(['--cfg', 'job'])",
        "from fwcompare.cli import main; main(['--help'])",
        "from fwcompare.cli import main; main(['plugins'])",
        "import fwcompare.multirun, fwcompare.single, fwcompare.tracker, fwcompare.parity.prove",
        "from fwcompare.plugin import installed, front; [front(name) for name in installed()]",
    ],
)
def test_nothing_heavy_is_imported(statement, tmp_path):
    check = f"import sys; print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-c", f"{statement}\n{check}"],
        capture_output=True, text=True, cwd=tmp_path, check=True,
    )  # fmt: skip
    assert ended.stdout.strip().splitlines()[-1] == "HEAVY []"


def test_the_worker_needs_neither_hydra_nor_mlflow(tmp_path):
    """What travels to another interpreter imports with NumPy and safetensors alone."""
    from fwcompare.launch import _bundle

    bundle = _bundle(("fwcompare_pytorch",))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import fwcompare.worker, fwcompare.plugin, fwcompare.parity.trace, fwcompare.graph\n"
        "assert '.pyz' in fwcompare.worker.__file__, fwcompare.worker.__file__\n"
        "bad = [m for m in ('hydra', 'omegaconf', 'mlflow', 'rich', 'scipy', 'yaml', 'torch')"
        " if m in sys.modules]\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", code, str(bundle)], check=True, cwd=tmp_path)
