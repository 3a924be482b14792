"""What a trained language model writes: the same procedure, and the same chances, in every engine.

An engine only predicts. The core draws each token, so that equal outputs give equal text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fwcompare.data.batches import Arrays, mixed
from fwcompare.data.tokenizers import from_table

#: Outputs (n, steps, tokens) for token ids (n, steps).
Predict = Callable[[np.ndarray], np.ndarray]


def written(
    predict: Predict,
    split: Arrays,
    table: Mapping[str, Any],
    *,
    samples: int,
    tokens: int,
    temperature: float,
    seed: int,
) -> str:
    """Samples of a split, spread evenly over it, and how the model goes on with each.

    ``table`` is the dataset's tokenizer. The text holds no control characters but line breaks and
    tabs; everything else in it may be whatever the model has come up with.
    """
    chosen = np.linspace(0, len(split) - 1, samples).round().astype(np.int64)
    given = np.ascontiguousarray(split.inputs[chosen])
    found = continued(predict, given, tokens, temperature, seed)
    tokenizer = from_table(table)
    parts = []
    for number, (before, after) in enumerate(zip(given, found, strict=True), 1):
        parts += [
            f"=== {number} of {samples}: given {len(before)} tokens of the test split",
            tokenizer.decode(before),
            f"=== {number} of {samples}: written by the model",
            tokenizer.decode(after),
        ]
    return "\n".join(parts) + "\n"


def continued(
    predict: Predict, given: np.ndarray, tokens: int, temperature: float, seed: int
) -> np.ndarray:
    """The tokens that follow those ``given`` (n, steps), shape (n, tokens), in int32.

    The model always sees the last ``steps`` tokens, as many as in training, and the output at the
    last of them decides: the largest at a temperature of 0, else a draw with probabilities
    ``softmax(outputs / temperature)``. Where outputs are no numbers the first token is taken.
    """
    window, found = given.copy(), np.empty((len(given), tokens), np.int32)
    for position in range(tokens):
        outputs = np.asarray(predict(window)[:, -1], np.float64)
        if temperature:
            found[:, position] = _drawn(outputs / temperature, seed, position)
        else:
            found[:, position] = outputs.argmax(axis=-1)
        window = np.concatenate([window[:, 1:], found[:, position : position + 1]], axis=1)
    return found


def _drawn(logits: np.ndarray, seed: int, position: int) -> np.ndarray:
    """A token for each row of logits (n, tokens), by inverting the cumulative distribution."""
    chances = np.exp(logits - logits.max(axis=-1, keepdims=True))
    cumulative = np.cumsum(chances, axis=-1)
    rows = np.arange(len(logits)) + position * len(logits)
    level = _uniform(seed, rows)[:, np.newaxis] * cumulative[:, -1:]
    # A level may be rounded up to the whole, behind the last token.
    found: np.ndarray = np.minimum((cumulative <= level).sum(axis=-1), logits.shape[-1] - 1)
    return found


def _uniform(seed: int, positions: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1), float64: a hash of the position, the same in every release of NumPy."""
    key = hashlib.sha256(f"{seed}/samples".encode()).digest()[:8]
    bits = mixed(int.from_bytes(key, "little"), positions)
    return np.asarray((bits >> np.uint64(11)) * 2.0**-53)
