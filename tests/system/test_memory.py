"""Data beyond a set memory limit: what training takes above the same training on little data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

LIMIT_MIB = 100
#: Most that a dataset three times the limit may take above the framework's own baseline.
MOST_ABOVE_MIB = 300

ENGINES = (
    "pytorch", "lightning", "tensorflow", "keras_tensorflow", "keras_jax", "keras_torch", "jax",
)  # fmt: skip


@pytest.fixture(scope="module")
def arrays(tmp_path_factory) -> dict[str, Path]:
    """32 by 32 pixels in colour: 1,000 of them, and as many as fill the limit three times."""
    found = {}
    for name, training in (("small", 1000), ("large", 3 * LIMIT_MIB * 2**20 // (32 * 32 * 3 * 4))):
        samples = round(training / 0.7) + 10
        found[name] = tmp_path_factory.mktemp(name)
        pixels = np.random.default_rng(1).integers(0, 256, (samples, 32, 32, 3), dtype=np.uint8)
        np.save(found[name] / "x.npy", pixels)
        np.save(found[name] / "y.npy", np.arange(samples) % 10)
    return found


@pytest.mark.system
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_dataset_three_times_the_limit(cli, tmp_path, arrays, engine):
    found = {}
    for name, folder in arrays.items():
        ended = cli(
            f"framework={engine}", "model=mlp", "dataset=npy", f"dataset.params.folder={folder}",
            "dataset.params.split_seed=1", "dataset.params.normalize=unit", "trainer.epochs=1",
            f"trainer.resident_mib={LIMIT_MIB}", "tracking=none", "device.threads=1",
            f"paths.outputs={name}",
            timeout=290,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        (record,) = tmp_path.glob(f"{name}/runs/*/record.json")
        found[name] = json.loads(record.read_text())
        record.unlink()
    assert found["small"]["facts"]["training_data"] == "in memory"
    assert found["large"]["facts"]["training_data"] == "batch by batch"
    for key in ("memory/peak_rss_mib_train", "memory/peak_rss_mib"):
        small, large = (found[name]["metrics"][key] for name in ("small", "large"))
        print(f"{engine} {key}: {small:.0f} MiB, {large:.0f} MiB")
        assert large - small < MOST_ABOVE_MIB
