"""Losses and metrics of several labels, against formulas written another way."""

from __future__ import annotations

import numpy as np
import pytest

from fwcompare import metrics
from fwcompare.parity.hypotheses import explain_loss

LOGITS = np.random.default_rng(0).normal(size=(40, 5))
TARGETS = (np.random.default_rng(1).random((40, 5)) < 0.3).astype(np.float32)


def test_binary_cross_entropy_is_the_mean_over_every_label():
    p = 1 / (1 + np.exp(-LOGITS))
    wanted = -np.mean(TARGETS * np.log(p) + (1 - TARGETS) * np.log(1 - p))
    assert metrics.loss("binary_cross_entropy", LOGITS, TARGETS) == pytest.approx(wanted, rel=1e-12)


def test_no_logit_makes_it_overflow():
    logits, targets = np.array([[1e5, -1e5, 1e5]]), np.array([[1, 0, 0]])
    assert metrics.binary_cross_entropy(logits, targets) == pytest.approx(1e5 / 3)


def test_micro_f1_is_that_of_scikit_learn():
    from sklearn.metrics import f1_score

    wanted = f1_score(TARGETS, LOGITS > 0, average="micro")
    assert metrics.metric("micro_f1", LOGITS, TARGETS) == pytest.approx(wanted)
    assert metrics.micro_f1(TARGETS - 0.5, TARGETS) == 1


def test_micro_f1_without_labels():
    none = np.zeros((3, 2))
    assert metrics.micro_f1(none - 1, none) == 1, "nothing to be found, nothing found"
    assert metrics.micro_f1(none + 1, none) == 0
    assert metrics.micro_f1(none, none + 1) == 0, "a logit of 0 gives no label"


@pytest.mark.parametrize(
    ("key", "share"),
    [("test/accuracy", True), ("micro_f1", True), ("val/perplexity", False), ("test/mae", False)],
)
def test_shares_are_better_the_larger(key, share):
    assert metrics.is_share(key) == share


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("binary_cross_entropy", lambda loss, z, t: 40 * loss(z, t), "sum over the batch"),
        ("binary_cross_entropy", lambda loss, z, t: 5 * loss(z, t), "sum over labels,"),
        ("binary_cross_entropy", lambda loss, z, t: 200 * loss(z, t), "labels and the batch"),
        (
            "binary_cross_entropy",
            lambda loss, z, t: loss(1 / (1 + np.exp(-z)), t),
            "probabilities taken for logits",
        ),
        ("mse", lambda loss, z, t: loss(z, t) / 2, "half the squared error"),
        ("binary_cross_entropy", lambda loss, z, t: 1.01 * loss(z, t), None),
    ],
)
def test_an_error_of_a_loss_is_named(name, error, said):
    def loss(outputs, targets):
        return metrics.loss(name, outputs, targets)

    wrong = error(loss, LOGITS, TARGETS)
    found = explain_loss(name, LOGITS, TARGETS, loss(LOGITS, TARGETS), wrong)
    assert found is None if said is None else said in str(found)
