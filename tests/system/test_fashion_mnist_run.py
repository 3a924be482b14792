"""The real Fashion-MNIST from Debian's package, through the command line."""

from __future__ import annotations

import pytest

FOLDER = "/usr/share/datasets/fashion-mnist"


@pytest.mark.system
def test_an_epoch_of_the_real_data(cli):
    ended = cli(
        "framework=pytorch", "model=cnn", "dataset=fashion_mnist",
        f"dataset.params.folder={FOLDER}", "trainer.epochs=1", "tracking=none", "device.threads=1",
        timeout=290,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    accuracy = float(ended.stdout.split("test accuracy")[1].split()[0])
    assert accuracy > 0.8
