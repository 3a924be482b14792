"""The port to Keras: every layer has the name that it has in PyTorch, and its shape."""

import keras
from keras import layers


def build(filters, hidden, outputs):
    return network(filters, hidden, outputs, norm=layers.LayerNormalization(name="norm"))


def build_mended(filters, hidden, outputs):
    # PyTorch's LayerNorm adds 1e-5 to the variance, Keras's 1e-3.
    norm = layers.LayerNormalization(epsilon=1e-5, name="norm")
    return network(filters, hidden, outputs, norm)


def network(filters, hidden, outputs, norm):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(filters, 3, padding="same", name="conv"),
            layers.ReLU(),
            layers.MaxPooling2D(2, name="pool"),
            layers.Flatten(),
            layers.Dense(hidden, name="dense"),
            norm,
            layers.ReLU(),
            layers.Dense(outputs, name="logits"),
        ]
    )
