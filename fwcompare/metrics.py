"""Loss and accuracy from a model's outputs, in float64, once for every framework."""

from __future__ import annotations

import numpy as np

#: For each loss the kinds of datasets that have targets for it.
LOSSES = {
    "cross_entropy": ("classification", "language_modelling"),
    "binary_cross_entropy": ("multi_label",),
    "mse": ("regression",),
}
#: For each metric likewise.
METRICS = {
    "accuracy": ("classification",),
    "micro_f1": ("multi_label",),
    "mae": ("regression",),
    "perplexity": ("language_modelling",),
}

#: Metrics from 0 to 1 of which more is better; of all others less is.
SHARES = ("accuracy", "micro_f1")


def is_share(key: str) -> bool:
    """Whether a metric, such as ``test/accuracy``, is a share that is better the larger it is."""
    return key.rpartition("/")[2] in SHARES


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean of ``logsumexp(logits) - logits[label]``; logits (..., classes), labels (...)."""
    logits = logits.astype(np.float64).reshape(-1, logits.shape[-1])
    labels = labels.reshape(-1)
    peak = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - peak).sum(axis=1)) + peak[:, 0]
    return float(np.mean(total - logits[np.arange(len(labels)), labels]))


def binary_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean over every element of the cross-entropy of ``sigmoid(logit)`` with a target of 0 or 1.

    As ``max(z, 0) - z * t + log(1 + exp(-|z|))``, which no logit makes overflow.
    """
    z, t = logits.astype(np.float64), targets.astype(np.float64)
    return float(np.mean(np.maximum(z, 0) - z * t + np.log1p(np.exp(-np.abs(z)))))


def mse(outputs: np.ndarray, targets: np.ndarray) -> float:
    """Mean of the squared differences over every element."""
    return float(np.mean((outputs.astype(np.float64) - targets.astype(np.float64)) ** 2))


def loss(name: str, outputs: np.ndarray, targets: np.ndarray) -> float:
    """The loss called ``name``."""
    known = {
        "cross_entropy": cross_entropy,
        "binary_cross_entropy": binary_cross_entropy,
        "mse": mse,
    }
    return known[name](outputs, targets)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of labels whose logit is the largest."""
    return float(np.mean(logits.argmax(axis=-1) == labels))


def micro_f1(logits: np.ndarray, targets: np.ndarray) -> float:
    """``2 TP / (2 TP + FP + FN)`` over every label of every sample; a label is given where its
    logit is above 0, a probability above one half.

    1 where no sample has a label and none is given: nothing was to be found, and nothing was.
    """
    given, wanted = logits > 0, targets > 0.5
    right, count = int(np.sum(given & wanted)), int(given.sum()) + int(wanted.sum())
    return 2 * right / count if count else 1.0


def perplexity(logits: np.ndarray, labels: np.ndarray) -> float:
    """``exp`` of the cross-entropy: among how many equally likely tokens a model is left to choose.

    Infinite where a model is so sure of another token that no float64 holds it.
    """
    with np.errstate(over="ignore"):
        return float(np.exp(cross_entropy(logits, labels)))


def mae(outputs: np.ndarray, targets: np.ndarray, scale: float = 1.0) -> float:
    """Mean absolute difference, times ``scale``: the target's own unit where it was normalised."""
    return float(np.mean(np.abs(outputs.astype(np.float64) - targets.astype(np.float64))) * scale)


def metric(name: str, outputs: np.ndarray, targets: np.ndarray, scale: float = 1.0) -> float:
    """The metric called ``name``."""
    if name == "accuracy":
        return accuracy(outputs, targets)
    if name == "micro_f1":
        return micro_f1(outputs, targets)
    if name == "perplexity":
        return perplexity(outputs, targets)
    return mae(outputs, targets, scale)
