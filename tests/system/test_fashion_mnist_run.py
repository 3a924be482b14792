"""The real Fashion-MNIST from Debian's package, through the command line."""

from __future__ import annotations

import json

import pytest

FOLDER = "/usr/share/datasets/fashion-mnist"

#: Two of the seven: their figures and those of the others stand in docs/results.md.
ENGINES = ("pytorch", "jax")


@pytest.mark.system
@pytest.mark.timeout(1200)
def test_cnn_reaches_ninety_percent_on_the_real_data(cli, tmp_path):
    ended = cli(
        "-m", f"framework={','.join(ENGINES)}", "model=cnn", "dataset=fashion_mnist",
        f"dataset.params.folder={FOLDER}", "trainer.epochs=2", "scheduler=cosine",
        "device.threads=2", "tracking=none", "parity.in_sweep=false", "sweep.name=fashion",
        timeout=1180,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    records = [
        json.loads(p.read_text()) for p in tmp_path.glob("outputs/sweeps/fashion/*/record.json")
    ]
    assert len(records) == len(ENGINES)
    for record in records:
        assert record["status"] == "ok", record["reason"]
        assert record["metrics"]["test/accuracy"] >= 0.90, record["run"]
