"""Real engines that can be told to fail, how and where, as the stub engine is."""

from __future__ import annotations

import importlib
from pathlib import Path

from fwcompare.plugin import front

#: Where the trainers of the engines are.
TRAINERS = {
    "FaultyPytorchTrainer": ("fwcompare_pytorch.trainer", "PyTorchTrainer"),
    "FaultyJaxTrainer": ("fwcompare_jax.trainer", "JaxTrainer"),
}


def _faulty(trainer_class):
    from stub_engine import _reached  # its own faults begin when it is imported

    class Watched:
        """A probe that fails in its turn; all else is the probe's."""

        def __init__(self, probe, trainer):
            self._probe, self._trainer = probe, trainer
            self._epoch = self._step = 0

        def __getattr__(self, name):
            return getattr(self._probe, name)

        def epoch_begin(self, epoch):
            self._epoch, self._step = epoch, 0
            self._probe.epoch_begin(epoch)

        def step(self):
            if (self._epoch, self._step) == (1, 0):
                _reached("step")
            if (self._epoch, self._step) == (2, 1):
                _reached("middle")
            self._step += 1
            self._probe.step()

        def epoch_end(self, losses):
            self._trainer.phase = "between"
            self._probe.epoch_end(losses)

    class Faulty(trainer_class):
        phase = "eval"

        def __init__(self, job):
            _reached("build")
            super().__init__(job)

        def fit(self, feed, probe):
            super().fit(feed, Watched(probe, self))
            self.phase = "eval"

        def batches(self, feed):
            self.phase = "predict"
            return super().batches(feed)

        def predict(self, inputs):
            return super().predict(inputs) + _reached(self.phase)

        def weights(self):
            _reached("weights")
            return super().weights()

    return Faulty


def __getattr__(name):
    """A trainer, whose framework is imported when the worker asks for it."""
    if name not in TRAINERS:
        raise AttributeError(name)
    module, own = TRAINERS[name]
    return _faulty(getattr(importlib.import_module(module), own))


class FaultyFront:
    """The front of a real engine, but for its name and its trainer."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.name = f"faulty_{engine}"
        self.trainer = f"faulty_engine:Faulty{engine.capitalize()}Trainer"

    def __getattr__(self, name: str):
        return getattr(front(self.engine), name)

    def environment(self, spec):
        from stub_engine import StubFront

        return {
            **front(self.engine).environment(spec),
            **StubFront().environment(spec),
            "PYTHONPATH": str(Path(__file__).parent),
        }
