"""In the worker: train, then leave predictions and weights for others to load."""

from __future__ import annotations

import numpy as np

from fwcompare.conformance.bench import Bench
from fwcompare.graph import weights as canonical
from fwcompare.record import FINAL_WEIGHTS

#: Predictions on the test split, in the run folder.
OUTPUTS_FILE = "outputs.npy"


def export(bench: Bench) -> None:
    """Train as the spec says, not at all with no epochs; write outputs and weights."""
    trainer = bench.trainer()
    if bench.job.feed.total_steps:
        bench.fit(trainer)
    np.save(bench.folder / OUTPUTS_FILE, trainer.predict(np.ascontiguousarray(bench.held_out)))
    canonical.save(trainer.weights(), bench.folder / FINAL_WEIGHTS)
