"""What a language model writes: its window, its chances, and that text cannot do harm."""

from __future__ import annotations

import numpy as np
import pytest

from fwcompare.data.batches import Arrays
from fwcompare.data.tokenizers import Bytes, Words, from_table
from fwcompare.samples import continued, written

TOKENS = 7


class NextToken:
    """A model that is sure of the token one above the last, and keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        self.seen.append(ids.copy())
        return 20.0 * np.eye(TOKENS)[(ids + 1) % TOKENS]


class Undecided:
    """A model with the chances 1/2, 1/4, 1/8 ... whatever it is shown."""

    logits = -np.log(2) * np.arange(TOKENS)

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self.logits, (*ids.shape, TOKENS))


GIVEN = np.array([[0, 1, 2], [4, 5, 6]], np.int32)


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_the_window_moves_by_a_token_and_keeps_its_length(temperature):
    model = NextToken()
    found = continued(model, GIVEN, 4, temperature, seed=0)
    assert found.tolist() == [[3, 4, 5, 6], [0, 1, 2, 3]] and found.dtype == np.int32
    assert [ids[0].tolist() for ids in model.seen] == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]
    assert all(ids.dtype == np.int32 for ids in model.seen)
    assert GIVEN.tolist() == [[0, 1, 2], [4, 5, 6]], "what was given is left as it is"


def test_chances_are_those_of_the_model():
    rows = np.zeros((400, 3), np.int32)
    share = np.bincount(continued(Undecided(), rows, 20, 1.0, 5).ravel(), minlength=7) / 8000
    wanted = np.exp(Undecided.logits) / np.exp(Undecided.logits).sum()
    assert np.abs(share - wanted).max() < 0.02
    colder = np.bincount(continued(Undecided(), rows, 20, 0.5, 5).ravel(), minlength=7) / 8000
    assert colder[0] == pytest.approx(0.75, abs=0.02), "squared chances, normalised"


def test_the_seed_decides_the_draws():
    same, again, other = (continued(Undecided(), GIVEN, 30, 1.0, seed) for seed in (1, 1, 2))
    assert np.array_equal(same, again) and not np.array_equal(same, other)
    assert not np.array_equal(same[0], same[1]), "each text has draws of its own"


def test_outputs_that_are_no_numbers_end_nothing():
    found = continued(lambda ids: np.full((*ids.shape, TOKENS), np.nan), GIVEN, 3, 1.0, 0)
    assert found.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_the_text_says_what_was_given_and_what_was_written():
    inputs = np.frombuffer(b"abcdefghi", np.uint8).astype(np.int32).reshape(3, 3)
    text = written(
        lambda ids: 9.0 * np.eye(256)[(ids + 1) % 256],
        Arrays(inputs, inputs),
        Bytes().table,
        samples=2,
        tokens=4,
        temperature=0.0,
        seed=0,
    )
    assert text.splitlines() == [
        "=== 1 of 2: given 3 tokens of the test split", "abc",
        "=== 1 of 2: written by the model", "defg",
        "=== 2 of 2: given 3 tokens of the test split", "ghi",
        "=== 2 of 2: written by the model", "jklm",
    ]  # fmt: skip


@pytest.mark.parametrize("tokenizer", [Bytes(), Words(("if", "x", "(", ")", ":", "é"))])
def test_a_table_makes_the_tokenizer_again(tokenizer):
    again = from_table(tokenizer.table)
    ids = tokenizer.encode("if ( x ) : é")
    assert again.tokens == tokenizer.tokens
    assert again.decode(ids) == tokenizer.decode(ids)


def test_words_read_as_text():
    words = Words(("if", "x", "(", ")", ":", "é"))
    assert words.decode(words.encode("if (x): é unknown")) == "if ( x): é [?]"


@pytest.mark.parametrize("steering", ["\x1b[2J", "\r", "\x00", "\u202e", "\x9b31m"])
def test_text_steers_no_terminal(steering):
    shown = Bytes().decode(Bytes().encode(f"a{steering}b\n\tc"))
    assert steering[0] not in shown and shown.startswith("a\N{REPLACEMENT CHARACTER}")
    assert shown.endswith("b\n\tc")
    assert steering[0] not in Words((f"w{steering}",)).decode(np.array([1]))
