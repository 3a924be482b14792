"""Small models of dense layers and convolutions."""

from __future__ import annotations

from typing import Any

from keras import layers

from loops import Problem


def mlp(problem: Problem, x: Any) -> Any:
    x = layers.Flatten()(x)
    x = layers.Dense(256, activation="relu")(x)
    x = layers.Dense(256, activation="relu")(x)
    return layers.Dense(problem.outputs)(x)


def cnn(problem: Problem, x: Any) -> Any:
    for filters in (32, 64):
        if problem.model == "cnn_bn":
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization()(x)
            x = layers.ReLU()(x)
        else:
            x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(x)
    x = layers.Dense(128, activation="relu")(x)
    return layers.Dense(problem.outputs)(x)
