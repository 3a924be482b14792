"""Loss and accuracy from a model's outputs, in float64, once for every framework."""

from __future__ import annotations

import numpy as np

#: For each loss: whether targets are class labels.
LOSSES = {"cross_entropy": True, "mse": False}
METRICS = ("accuracy", "mae")


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean of ``logsumexp(logits) - logits[label]``; logits (n, classes), labels (n,)."""
    logits = logits.astype(np.float64)
    peak = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - peak).sum(axis=1)) + peak[:, 0]
    return float(np.mean(total - logits[np.arange(len(labels)), labels]))


def mse(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Mean of the squared differences over every element."""
    return float(np.mean((outputs.astype(np.float64) - targets.astype(np.float64)) ** 2))


def loss(name: str, outputs: np.ndarray, targets: np.ndarray) -> float:
    """The loss called ``name``."""
    return {"cross_entropy": cross_entropy, "mse": mse}[name](outputs, targets)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of samples whose largest logit is the label's."""
    return float(np.mean(logits.argmax(axis=1) == labels))


def mae(outputs: np.ndarray, targets: np.ndarray, scale: float = 1.0) -> float:
    """Mean absolute difference, times ``scale``: the target's own unit where it was normalised."""
    return float(np.mean(np.abs(outputs.astype(np.float64) - targets.astype(np.float64))) * scale)


def metric(name: str, outputs: np.ndarray, targets: np.ndarray, scale: float = 1.0) -> float:
    """The metric called ``name``."""
    if name == "accuracy":
        return accuracy(outputs, targets)
    return mae(outputs, targets, scale)
