"""A softmax regression in NumPy, as an engine that can be told to fail in a given phase."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np

#: ``PHASE:FAULT``; phases are import, build, step, predict and weights.
FAULT = os.environ.get("STUB_FAULT", "")


def _fail(phase: str) -> None:
    at, _, fault = FAULT.partition(":")
    if at != phase or fault == "diverge":
        return
    if fault == "raise":
        raise ValueError("the stub was told to raise\nwith a second line")
    if fault == "memory":
        raise MemoryError("the stub was told to run out of memory")
    if fault == "hang":
        time.sleep(600)
    if fault == "exit":
        os._exit(3)
    os.kill(os.getpid(), getattr(signal, fault))


_fail("import")


class StubTrainer:
    """``logits = inputs @ kernel + bias``, by gradient descent."""

    def __init__(self, job):
        _fail("build")
        self.job = job
        (name,) = [n for n in job.initial_weights if n.endswith("kernel")]
        self.layer = name.rpartition("/")[0]
        self._weights = {key: array.copy() for key, array in job.initial_weights.items()}

    def _flat(self, inputs):
        return np.asarray(inputs).reshape(len(inputs), -1)

    def fit(self, feed, probe):
        for epoch in feed.epochs:
            losses = []
            probe.epoch_begin(epoch)
            for ids in feed.batches(epoch):
                _fail("step")
                x, labels = self._flat(self.job.train.inputs[ids]), self.job.train.targets[ids]
                logits = self.predict(self.job.train.inputs[ids])
                shares = np.exp(logits - logits.max(1, keepdims=True))
                shares /= shares.sum(1, keepdims=True)
                losses.append(-np.log(shares[np.arange(len(ids)), labels]).mean())
                shares[np.arange(len(ids)), labels] -= 1
                rate = self.job.spec.optimizer.lr / len(ids)
                self._weights[f"{self.layer}/kernel"] -= rate * x.T @ shares
                self._weights[f"{self.layer}/bias"] -= rate * shares.sum(0)
                probe.step()
            if FAULT == "step:diverge":
                losses[0] = float("nan")
            probe.epoch_end(partial(np.array, losses))

    def batches(self, feed):
        return ((self.job.train.inputs[ids], ids) for ids in feed.all_batches())

    def predict(self, inputs):
        _fail("predict")
        weights = self._weights
        return self._flat(inputs) @ weights[f"{self.layer}/kernel"] + weights[f"{self.layer}/bias"]

    def synchronize(self):
        pass

    def weights(self):
        _fail("weights")
        return self._weights

    def facts(self):
        return {"device": "cpu", "execution": "numpy"}

    def peak_device_bytes(self):
        return None


class StubFront:
    """The front of the stub; ``fault`` is passed on to the worker."""

    name = "stub"
    trainer = "stub_engine:StubTrainer"
    packages = ()
    requirements = ("numpy",)
    colour = "#888888"
    same_execution = {}

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def environment(self, spec):
        return {"PYTHONPATH": str(Path(__file__).parent), "STUB_FAULT": self.fault}

    def supports(self, spec):
        return None


FRONT = StubFront()
