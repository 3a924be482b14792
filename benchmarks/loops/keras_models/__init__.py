"""The models in Keras, for every engine that builds on it."""

from __future__ import annotations

import keras

from loops import Problem
from loops.keras_models import digits, resnet, text

MODELS = {
    "mlp": digits.mlp,
    "cnn": digits.cnn,
    "cnn_bn": digits.cnn,
    "resnet18": resnet.resnet18,
    "resnet50": resnet.resnet50,
    "lstm": text.classifier,
    "gru": text.classifier,
    "gpt_small": text.gpt,
}


def network(problem: Problem) -> keras.Model:
    """The model in Keras's functional form."""
    tokens = problem.tokens is not None
    source = keras.Input(problem.sample_shape, dtype="int32" if tokens else "float32")
    return keras.Model(source, MODELS[problem.model](problem, source))


def compiled(problem: Problem) -> keras.Model:
    """The model, compiled for ``fit`` with Keras's own loss and optimizer."""
    model = network(problem)
    model.compile(
        optimizer=keras.optimizers.Adam(problem.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.optimizer.build(model.trainable_variables)  # else the first step would make its slots
    return model
