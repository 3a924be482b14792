"""How often Keras traces a model's steps: the programs that it has compiled.

No backend tells what ``model.fit`` compiled. A step that is compiled runs in Python once a program,
when it is traced; so a step of one's own, which Keras's guides suggest for other purposes, counts.
"""

from __future__ import annotations

from typing import Any

import keras


class TracedModel(keras.Model):
    """Counts how often its steps run in Python, and leaves them as they are."""

    traces = 0

    def train_step(self, *arguments: Any) -> Any:
        self.traces += 1
        return super().train_step(*arguments)

    def predict_step(self, *arguments: Any) -> Any:
        self.traces += 1
        return super().predict_step(*arguments)


def model_class() -> type[keras.Model]:
    """The class of a model to be trained; on PyTorch TorchDynamo keeps count itself."""
    return keras.Model if keras.config.backend() == "torch" else TracedModel
