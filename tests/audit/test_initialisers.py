"""An initialiser is told from the numbers that it draws."""

from __future__ import annotations

import numpy as np
import pytest

from fwcompare.audit.initialisers import fans, in_words

SHAPES = ((3, 3, 4, 16), (256, 64), (64, 10))


def _truncated(random, deviation, shape):
    values = random.normal(size=shape)
    while (wild := np.abs(values) > 2).any():
        values[wild] = random.normal(size=int(wild.sum()))
    return values / values.std() * deviation


def _uniform(random, deviation, shape):
    return random.uniform(-1, 1, shape) * deviation * np.sqrt(3)


def _normal(random, deviation, shape):
    return random.normal(size=shape) * deviation


DRAWS = {"uniform": _uniform, "truncated normal": _truncated, "normal": _normal}


@pytest.mark.parametrize("distribution", DRAWS)
@pytest.mark.parametrize(
    ("scale", "fan", "words"),
    [(1 / 3, "fan_in", "1/(3 fan_in)"), (1.0, "fan_in", "1/fan_in"),
     (2.0, "fan_in", "2/fan_in"), (1.0, "fan_avg", "1/fan_avg")],
)  # fmt: skip
def test_distribution_and_variance_are_told(distribution, scale, fan, words):
    random = np.random.default_rng(3)
    drawn = [
        (DRAWS[distribution](random, np.sqrt(scale / fans(shape)[fan]), shape), fans(shape))
        for shape in SHAPES
    ]
    assert in_words(drawn) == f"{distribution}, variance {words}"


def test_a_variance_that_no_scheme_has_is_given_as_it_is():
    random = np.random.default_rng(3)
    drawn = [(random.normal(size=shape) * 0.02, fans(shape)) for shape in SHAPES]
    assert in_words(drawn) == "normal, standard deviation 0.02"


def test_constants():
    assert in_words([(np.zeros(5), fans((4, 5)))]) == "zeros"
    assert in_words([(np.full(5, 0.5), fans((4, 5)))]) == "constant 0.5"


def test_fans_of_a_convolution():
    assert fans((3, 3, 4, 16)) == {"fan_in": 36, "fan_out": 144, "fan_avg": 90}
