"""A disk without room, as a small file system in memory: what is said, and what is left of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.system
@pytest.mark.parametrize("samples", [1_000, 100_000], ids=["nearly", "by far"])
def test_a_dataset_for_which_there_is_no_room(cli, small_disk, tmp_path, samples):
    options = (
        "framework=jax", "model=mlp", "dataset=synthetic", "dataset.params.outputs=3",
        f"dataset.params.samples={samples}", "dataset.params.input_shape=[1024]",
        "dataset.params.split_seed=1", "device.threads=1", "tracking=none", "preflight.mode=off",
    )  # fmt: skip
    ended = cli(*options, f"paths.cache={small_disk}")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "needs" in ended.stderr and "are free" in ended.stderr
    assert "paths.cache=FOLDER" in ended.stderr
    assert "Traceback" not in ended.stderr
    left = [path for path in small_disk.rglob("*") if path.is_file() and path.stat().st_size]
    assert not left
    assert not list(tmp_path.glob("outputs/runs/*"))


@pytest.mark.system
def test_a_dataset_that_fits_after_one_that_did_not(cli, small_disk):
    options = (
        "framework=jax", "model=logistic", "dataset=synthetic", "dataset.params.outputs=3",
        "dataset.params.input_shape=[1024]", "dataset.params.split_seed=1", "trainer.epochs=1",
        "device.threads=1", "tracking=none", f"paths.cache={small_disk}",
    )  # fmt: skip
    assert cli(*options, "dataset.params.samples=5000").returncode == 2
    ended = cli(*options, "dataset.params.samples=200")
    assert ended.returncode == 0, ended.stderr
