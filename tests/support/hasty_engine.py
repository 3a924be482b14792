"""Engines that do not wait for their device: what the self-test of completion must catch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fwcompare.plugin import front


def _hasty(trainer_class: type) -> type:
    """The same trainer with a ``synchronize`` that returns at once."""
    return type(f"Hasty{trainer_class.__name__}", (trainer_class,), {"synchronize": lambda _: None})


def __getattr__(name: str) -> type:
    """A trainer, whose framework is imported when the worker asks for it."""
    if name == "HastyJaxTrainer":
        from fwcompare_jax.trainer import JaxTrainer

        return _hasty(JaxTrainer)
    if name == "HastyKerasTrainer":
        from fwcompare_keras.trainer import KerasTrainer

        return _hasty(KerasTrainer)
    raise AttributeError(name)


@dataclass(frozen=True)
class HastyFront:
    """The front of a real engine, but for its trainer."""

    name: str
    trainer: str

    def __getattr__(self, name: str):
        return getattr(front(self.name), name)

    def environment(self, spec):
        return {**front(self.name).environment(spec), "PYTHONPATH": str(Path(__file__).parent)}
