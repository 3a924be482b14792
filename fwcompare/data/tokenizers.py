"""From text to token ids, and back."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

TOKENIZERS = ("bytes", "words")

#: A word, or a mark by itself.
_WORD = re.compile(r"\w+|[^\w\s]")


#: Marks that stand against the word before them.
_CLOSING = re.compile(r" (?=[.,;:!?)\]}])")

#: What stands for a word outside of the vocabulary, and for what cannot be shown.
UNKNOWN, UNSHOWN = "[?]", "\N{REPLACEMENT CHARACTER}"


class Tokenizer(Protocol):
    """Text to ids from 0 to ``tokens - 1``, and back."""

    @property
    def tokens(self) -> int: ...

    @property
    def padding(self) -> int:
        """An id that no text is encoded to, with which samples may be filled up."""

    def encode(self, text: str) -> np.ndarray:
        """Token ids, int32, of any number."""

    def decode(self, ids: np.ndarray) -> str:
        """Text without control characters but line breaks and tabs: it can be printed."""

    @property
    def table(self) -> dict[str, Any]:
        """What ``from_table`` makes it from again, JSON-able."""


def from_table(table: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that a prepared dataset was made with."""
    return Bytes() if table["name"] == "bytes" else Words(tuple(table["vocabulary"]))


def printable(text: str) -> str:
    """Text in which nothing steers a terminal or turns the direction of writing."""
    return "".join(
        UNSHOWN if unicodedata.category(c).startswith("C") and c not in "\n\t" else c for c in text
    )


class Bytes:
    """The bytes of UTF-8: 256 tokens, every text, no vocabulary.

    NUL is for padding: no text has it, and Python refuses source code with it.
    """

    tokens = 256
    padding = 0

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32)

    def decode(self, ids: np.ndarray) -> str:
        return printable(ids.astype(np.uint8).tobytes().decode(errors="replace"))

    @property
    def table(self) -> dict[str, Any]:
        return {"name": "bytes"}


@dataclass(frozen=True)
class Words:
    """Words and marks of a vocabulary, numbered from 1; 0 stands for all others."""

    vocabulary: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str], tokens: int) -> Words:
        """The most frequent ones, so that there are ``tokens`` ids with that of all others.

        Among equally frequent ones the alphabet decides.
        """
        counts = Counter(word for text in texts for word in _WORD.findall(text))
        order = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(tuple(order[: tokens - 1]))

    @property
    def tokens(self) -> int:
        return len(self.vocabulary) + 1

    @property
    def padding(self) -> int:
        """One id more, behind those of words."""
        return self.tokens

    def encode(self, text: str) -> np.ndarray:
        ids = self._ids
        return np.array([ids.get(word, 0) for word in _WORD.findall(text)], np.int32)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.vocabulary, 1)}

    def decode(self, ids: np.ndarray) -> str:
        words = (UNKNOWN, *self.vocabulary)
        return printable(_CLOSING.sub("", " ".join(words[number] for number in ids)))

    @property
    def table(self) -> dict[str, Any]:
        return {"name": "words", "vocabulary": list(self.vocabulary)}
