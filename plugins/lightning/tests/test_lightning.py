"""Lightning's loop computes what the plain loop does, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwcompare import launch
from fwcompare.graph import Weights, load
from fwcompare.record import FINAL_WEIGHTS, LOG_FILE, RunRecord
from fwcompare.spec import Scheduler
from fwcompare.testing import WarmPool, make_run, optimizer, small_data

LAYERS: list[dict[str, Any]] = [
    {"name": "conv", "kind": "conv2d", "filters": 4, "kernel_size": 3, "stride": 2},
    {"name": "bn", "kind": "batch_norm"},
    {"name": "relu", "kind": "activation", "function": "relu"},
    {"name": "flat", "kind": "flatten"},
    {"name": "drop", "kind": "dropout", "rate": 0.3},
    {"name": "out", "kind": "dense", "units": 3},
]

#: A smaller last batch, several epochs, and an end in mid-epoch.
TRAINING = {"epochs": 4, "batch_size": 16, "drop_last": False, "max_steps": 14}


@pytest.fixture(scope="module")
def pool() -> Iterator[WarmPool]:
    """Warm workers: importing Lightning takes seconds."""
    with WarmPool() as made:
        yield made


def result(pool: WarmPool, root: Path, engine: str, **options: Any) -> tuple[RunRecord, Weights]:
    data = small_data(root / f"data-{engine}", (8, 8, 2), 3, samples=70)
    options = {"optimizer": optimizer("adam"), "training": TRAINING, **options}
    spec, folder = make_run(root / "runs", engine, LAYERS, data, **options)
    record = pool.run(spec, folder)
    assert record.ok, record.reason
    return record, load(folder / FINAL_WEIGHTS, spec.model.graph)


@pytest.mark.parametrize("semantics", ["aligned", "native"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": optimizer("nesterov", clip_norm=0.05)},
        {
            "optimizer": optimizer("rmsprop", decay="decoupled", weight_decay=0.1),
            "scheduler": Scheduler("warmup_cosine", warmup_epochs=1, final_factor=0.1),
        },
    ],
    ids=["plain", "clipped", "scheduled and decayed"],
)
def test_the_numbers_are_those_of_pytorch(
    pool: WarmPool, tmp_path: Path, options: dict[str, Any], semantics: str
) -> None:
    """Bit by bit, dropout and evaluation between epochs included."""
    plain, plain_weights = result(pool, tmp_path, "pytorch", semantics=semantics, **options)
    record, weights = result(pool, tmp_path, "lightning", semantics=semantics, **options)
    assert len(record.samples["step_losses"]) == TRAINING["max_steps"]
    assert record.samples["step_losses"] == plain.samples["step_losses"]
    assert record.metrics["test/loss"] == plain.metrics["test/loss"]
    for name, array in plain_weights.items():
        np.testing.assert_array_equal(weights[name], array, err_msg=name)


def test_a_run_leaves_only_its_own_files_and_an_empty_log(tmp_path: Path) -> None:
    data = small_data(tmp_path / "data", (8, 8, 2), 3)
    spec, folder = make_run(tmp_path, "lightning", LAYERS, data, optimizer=optimizer("sgd"))
    record = launch.run(spec, folder)
    assert record.ok, record.reason
    expected = {"spec.json", "events.jsonl", "record.json", LOG_FILE, "weights"}
    assert {path.name for path in folder.iterdir()} == expected
    assert (folder / LOG_FILE).read_text() == ""


def test_what_was_used_is_on_record(pool: WarmPool, tmp_path: Path) -> None:
    record, _ = result(pool, tmp_path, "lightning")
    assert record.facts["loop"] == "Trainer.fit"
    assert record.facts["optimizer"] == "torch.optim.Adam(fused=True)"
    assert record.versions["pytorch_lightning"]
