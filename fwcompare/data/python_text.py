"""Text that comes with every Python: its language reference, and the source of its library.

Real text of half a megabyte and more, without a network. It is that of the Python which prepares
the dataset, so another release of Python makes another dataset.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fwcompare.data.batches import SPLITS
from fwcompare.data.raw import Raw, Split
from fwcompare.data.source import TokenSource, one_of, require, require_min_steps
from fwcompare.data.synthetic import between
from fwcompare.data.tokenizers import TOKENIZERS, Bytes, Tokenizer, Words
from fwcompare.errors import RequestError

if TYPE_CHECKING:
    from fwcompare.data.download import Downloads

#: Packages of the standard library, in the order of their labels. Each has some 200 kB or more.
PACKAGES = ("asyncio", "email", "importlib", "multiprocessing", "unittest", "xml")

_LICENCE = "PSF-2.0"


@dataclass(frozen=True)
class PythonText(TokenSource):
    """What both share. Documents, not samples, are dealt out to the splits."""

    #: Tokens of a sample; a document's rest that fills none is left out.
    steps: int
    tokenizer: str
    #: Ids of the words tokenizer, the most frequent in the training split; bytes are always 256.
    vocabulary: int

    def check(self) -> None:
        super().check()
        require(self.steps >= 2, "steps", self.steps, "at least 2")
        one_of("tokenizer", self.tokenizer, TOKENIZERS)
        require(self.vocabulary >= 2, "vocabulary", self.vocabulary, "at least 2")

    def tokenizer_of(self, texts: Sequence[str]) -> Tokenizer:
        """The tokenizer, its vocabulary taken from the texts to train on."""
        return Bytes() if self.tokenizer == "bytes" else Words.of(texts, self.vocabulary)

    def windows(self, ids: np.ndarray, beyond: int = 0) -> np.ndarray:
        """Ids side by side in samples (n, steps + beyond); each begins where the last has ended,
        and reaches over its end by ``beyond``."""
        count = max(len(ids) - beyond, 0) // self.steps
        starts = np.arange(count)[:, np.newaxis] * self.steps
        found: np.ndarray = ids[starts + np.arange(self.steps + beyond)]
        return found

    def filled(self, parts: Mapping[str, Split]) -> dict[str, Split]:
        """The same parts, in the order of splits. Raises ``RequestError`` if one is empty."""
        for name, (inputs, _) in parts.items():
            if not len(inputs) and (name != "val" or self.val_fraction):
                raise RequestError(
                    f"Dataset '{self.name}': no document of the {name} split has "
                    f"{self.steps} tokens.",
                    "Choose fewer dataset.params.steps, or a larger share for this split.",
                )
        return {name: parts[name] for name in SPLITS if len(parts[name].inputs)}


class PythonReference(PythonText):
    """The language reference that ``help()`` shows: about 80 topics in English, 0.5 MB.

    For language modelling: the target of each token is the one behind it.
    """

    name = "python_reference"

    def files(self) -> list[Path]:
        spec = importlib.util.find_spec("pydoc_data.topics")
        if spec is None or spec.origin is None:
            raise RequestError(
                "This Python has no pydoc_data.topics, which dataset=python_reference is made of.",
                "Install the whole standard library, or choose another dataset.",
            )
        return [Path(spec.origin)]

    def load(self, downloads: Downloads) -> Raw:
        from pydoc_data.topics import topics

        texts = [topics[name] for name in sorted(topics)]
        dealt = self.deal(len(texts), "documents")
        tokenizer = self.tokenizer_of([texts[i] for i in dealt["train"]])
        parts = {}
        for name, numbers in dealt.items():
            streams = [tokenizer.encode(texts[i]) for i in numbers]
            whole = np.concatenate([np.zeros(0, np.int32), *streams])
            samples = self.windows(whole, beyond=1)
            parts[name] = Split(samples[:, :-1], samples[:, 1:])
        return Raw(
            kind="language_modelling",
            parts=self.filled(parts),
            outputs=None,
            tokens=tokenizer.tokens,
            tokenizer=tokenizer.table,
            source="The Python Language Reference, as pydoc_data.topics has it",
            licence=_LICENCE,
        )


@dataclass(frozen=True)
class PythonPackages(PythonText):
    """Pieces of the standard library's source, 1.9 MB, by the package that they come from.

    The pieces of one file are all in one split, and each split has files of every package.
    """

    name = "python_packages"

    #: Fewest tokens of a sample: each has its own length up to steps, and padding behind it.
    #: None: every sample has steps.
    min_steps: int | None = None

    def check(self) -> None:
        super().check()
        require_min_steps(self.min_steps, self.steps)

    def samples(self, ids: np.ndarray, document: int, padding: int) -> np.ndarray:
        """The pieces of a document (n, steps), whatever rest is too short left out."""
        if self.min_steps is None:
            return self.windows(ids)
        count = len(ids) // self.min_steps + 1
        positions = np.arange(count) + document * 2**32
        ends = np.cumsum(between("piece", positions, self.min_steps, self.steps))
        starts = np.append(0, ends[:-1])
        lengths = np.minimum(ends, len(ids)) - starts
        kept = lengths >= self.min_steps
        starts, lengths = starts[kept, np.newaxis], lengths[kept, np.newaxis]
        steps = np.arange(self.steps)
        padded = np.append(ids, np.full(self.steps, padding, np.int32))
        return np.where(steps < lengths, padded[starts + steps], np.int32(padding))

    def files(self) -> list[Path]:
        return [path for paths in self._modules().values() for path in paths]

    def _modules(self) -> dict[str, list[Path]]:
        found = {}
        for package in PACKAGES:
            spec = importlib.util.find_spec(package)
            if spec is None or not spec.submodule_search_locations:
                raise RequestError(
                    f"This Python has no package '{package}', which dataset=python_packages needs.",
                    "Install the whole standard library, or choose another dataset.",
                )
            folder = Path(spec.submodule_search_locations[0])
            found[package] = [
                path
                for path in sorted(folder.rglob("*.py"))
                if "test" not in path.relative_to(folder).parts
            ]
        return found

    def load(self, downloads: Downloads) -> Raw:
        texts: dict[str, list[tuple[int, str]]] = {name: [] for name in SPLITS}
        for label, paths in enumerate(self._modules().values()):
            for name, numbers in self.deal(len(paths), "documents").items():
                texts[name] += [(label, paths[i].read_text(encoding="utf-8")) for i in numbers]
        tokenizer = self.tokenizer_of([text for _, text in texts["train"]])
        padding = None if self.min_steps is None else tokenizer.padding
        parts = {}
        for name, labelled in texts.items():
            samples = [
                self.samples(tokenizer.encode(text), document, tokenizer.padding)
                for document, (_, text) in enumerate(labelled)
            ]
            counts = [len(sample) for sample in samples]
            labels = np.array([label for label, _ in labelled], np.int32)
            none = np.zeros((0, self.steps), np.int32)
            parts[name] = Split(np.concatenate([none, *samples]), np.repeat(labels, counts))
        return Raw(
            kind="classification",
            parts=self.filled(parts),
            outputs=len(PACKAGES),
            classes=PACKAGES,
            tokens=tokenizer.tokens if padding is None else max(tokenizer.tokens, padding + 1),
            padding=padding,
            tokenizer=tokenizer.table,
            source="the standard library of Python: " + ", ".join(PACKAGES),
            licence=_LICENCE,
        )
