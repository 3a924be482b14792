"""The models in Keras, for every engine that builds on it."""

from __future__ import annotations

import keras
from keras import layers

from loops import Problem


def network(problem: Problem) -> keras.Model:
    """The model as ``keras.Sequential``."""
    source = keras.Input(problem.images.shape[1:])
    if problem.model == "mlp":
        return keras.Sequential(
            [
                source,
                layers.Flatten(),
                layers.Dense(256, activation="relu"),
                layers.Dense(256, activation="relu"),
                layers.Dense(problem.classes),
            ]
        )
    return keras.Sequential(
        [
            source,
            *_convolution(32, problem.model == "cnn_bn"),
            *_convolution(64, problem.model == "cnn_bn"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(problem.classes),
        ]
    )


def _convolution(filters: int, norm: bool) -> list[layers.Layer]:
    if not norm:
        return [layers.Conv2D(filters, 3, padding="same", activation="relu")]
    return [
        layers.Conv2D(filters, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
    ]


def compiled(problem: Problem) -> keras.Model:
    """The model, compiled for ``fit`` with Keras's own loss and optimizer."""
    model = network(problem)
    model.compile(
        optimizer=keras.optimizers.Adam(problem.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model
