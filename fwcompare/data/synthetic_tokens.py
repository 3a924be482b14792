"""Made-up token ids that a model can learn from, each made when it is asked for.

Every class has an order of its own in which tokens like to follow one another. How often a token
comes tells nothing of the class, so that a model has to look at neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fwcompare.data.synthetic import between, uniform

#: How often the next token is the one that the class has behind the present one; it is any token
#: otherwise.
FOLLOWS = 0.5


@dataclass(frozen=True)
class Chains:
    """Sequences of ``steps`` token ids from 0 to ``tokens - 1``, each from the chain of its class.

    ``noise`` is the share of labels that are drawn anew, so that no model can be right more often
    than ``1 - noise * (1 - 1 / classes)``. With ``min_steps``, samples have from so many to
    ``steps`` tokens, every length alike, and the id ``tokens`` behind them.
    """

    samples: int
    steps: int
    tokens: int
    classes: int
    noise: float
    min_steps: int | None = None

    def inputs(self, ids: np.ndarray) -> np.ndarray:
        """Token ids, int32, shape (len(ids), steps)."""
        positions = ids[:, np.newaxis].astype(np.uint64) * np.uint64(self.steps) + np.arange(
            self.steps, dtype=np.uint64
        )
        found = (uniform("any token", positions) * self.tokens).astype(np.int32)
        follows = uniform("follows", positions) < FOLLOWS
        behind = self._behind[self._true(ids)]
        rows = np.arange(len(ids))
        for step in range(1, self.steps):
            next_tokens = behind[rows, found[:, step - 1]]
            found[:, step] = np.where(follows[:, step], next_tokens, found[:, step])
        if self.min_steps is not None:
            lengths = between("length", ids, self.min_steps, self.steps)
            found[np.arange(self.steps) >= lengths[:, np.newaxis]] = self.tokens
        return found

    @cached_property
    def _behind(self) -> np.ndarray:
        """The token that each class has behind each token: a permutation, (classes, tokens)."""
        positions = np.arange(self.classes * self.tokens).reshape(self.classes, self.tokens)
        order: np.ndarray = np.argsort(uniform("behind", positions), axis=1, kind="stable")
        return order.astype(np.int32)

    def targets(self, ids: np.ndarray) -> np.ndarray:
        """Labels, int32."""
        drawn = (uniform("other label", ids) * self.classes).astype(np.int32)
        return np.where(uniform("flip", ids) < self.noise, drawn, self._true(ids))

    def _true(self, ids: np.ndarray) -> np.ndarray:
        return (uniform("label", ids) * self.classes).astype(np.int32)


@dataclass(frozen=True)
class Inputs:
    """The inputs of the chains as rows."""

    rule: Chains

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int32)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rule.samples, self.rule.steps)

    def __getitem__(self, ids: np.ndarray) -> np.ndarray:
        return self.rule.inputs(ids)


@dataclass(frozen=True)
class Targets:
    """The labels of the chains as rows."""

    rule: Chains

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int32)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rule.samples,)

    def __getitem__(self, ids: np.ndarray) -> np.ndarray:
        return self.rule.targets(ids)
