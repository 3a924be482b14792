"""Text of one's own for language modelling, and the reviews of IMDB for classification."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fwcompare.data import archive, published
from fwcompare.data.batches import SPLITS, permutation
from fwcompare.data.published import MIRRORS
from fwcompare.data.python_text import PythonText
from fwcompare.data.raw import Raw, Split
from fwcompare.data.source import Source, one_of, require
from fwcompare.data.tokenizers import TOKENIZERS, Bytes, Tokenizer, Words
from fwcompare.errors import RequestError
from fwcompare.limits import user_path

if TYPE_CHECKING:
    from fwcompare.data.download import Downloads


@dataclass(frozen=True)
class Text(PythonText):
    """A text of one's own: a file, or a folder of ``.txt`` files, in UTF-8.

    For language modelling: the target of each token is the one behind it. Of several files each is
    in one split. One file is cut: its beginning is trained on, its end is the test.
    """

    name = "text"

    #: A file of text, or a folder of .txt files.
    folder: str | None

    def check(self) -> None:
        super().check()
        require(self.folder is not None, "folder", self.folder, "a text file, or a folder of them")

    @property
    def _place(self) -> Path:
        return user_path(str(self.folder)).absolute()

    def files(self) -> list[Path]:
        if self._place.is_file():
            return [self._place]
        found = sorted(path for path in self._place.rglob("*.txt") if path.is_file())
        if not found:
            raise RequestError(
                f"There is no text in {self._place}."
                if self._place.is_dir()
                else f"There is no file or folder {self._place}.",
                "dataset.params.folder must be a text file, or a folder that holds .txt files.",
            )
        return found

    def load(self, downloads: Downloads) -> Raw:
        texts = self._texts()
        tokenizer = self.tokenizer_of(texts["train"])
        parts = {}
        for name in SPLITS:
            streams = [tokenizer.encode(text) for text in texts[name]]
            samples = self.windows(np.concatenate([np.zeros(0, np.int32), *streams]), beyond=1)
            parts[name] = Split(samples[:, :-1], samples[:, 1:])
        return Raw(
            kind="language_modelling",
            parts=self.filled(parts),
            outputs=None,
            tokens=tokenizer.tokens,
            tokenizer=tokenizer.table,
            source=self._place.name,
            licence="not stated",
        )

    def _texts(self) -> dict[str, list[str]]:
        texts = [read(path) for path in self.files()]
        if len(texts) > 1:
            dealt = self.deal(len(texts), "documents")
            return {name: [texts[i] for i in dealt[name]] for name in SPLITS}
        whole = texts[0]
        test = len(whole) - round(self.test_fraction * len(whole))
        val = test - round(self.val_fraction * len(whole))
        return {"train": [whole[:val]], "val": [whole[val:test]], "test": [whole[test:]]}


def read(path: Path) -> str:
    """A file's text. Raises ``RequestError`` if it is none in UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{path} is no text in UTF-8: {error.reason} at byte {error.start}.",
            "Save it as UTF-8.",
        ) from error
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from error


#: Where reviews stand in the archive: the part, the class, and a name of any kind.
_REVIEW = re.compile(r"(?:.*/)?aclImdb/(train|test)/(neg|pos)/[^/]+\.txt")

#: A break in the HTML that the reviews come from.
_BREAK = re.compile(r"(?:<br\s*/?>\s*)+")

#: What the archive holds, with much to spare.
_MOST_BYTES = 2**30

_CLASSES = ("neg", "pos")

Review = tuple[str, int, str]


@dataclass(frozen=True)
class Imdb(Source):
    """50,000 film reviews, half of them good and half bad, with a test split of their own."""

    name = "imdb"

    #: Folder of aclImdb_v1.tar.gz, or of the folder aclImdb out of it; None: fetched once (84 MB).
    folder: str | None
    #: Tokens of a sample: a longer review is cut behind them, a shorter one is filled up.
    steps: int
    tokenizer: str
    #: Ids of the words tokenizer, the most frequent in the training split; bytes are always 256.
    vocabulary: int

    def check(self) -> None:
        super().check()
        require(self.normalize == "none", "normalize", self.normalize, "none for token ids")
        require(self.steps >= 2, "steps", self.steps, "at least 2")
        one_of("tokenizer", self.tokenizer, TOKENIZERS)
        require(self.vocabulary >= 2, "vocabulary", self.vocabulary, "at least 2")

    @property
    def _folder(self) -> Path | None:
        return None if self.folder is None else user_path(self.folder).absolute()

    @property
    def _extracted(self) -> Path | None:
        """The user's folder aclImdb, where there is one."""
        if self._folder is None:
            return None
        for place in (self._folder, self._folder / "aclImdb"):
            if place.name == "aclImdb" and place.is_dir():
                return place
        return None

    def files(self) -> list[Path]:
        if self._folder is None:
            return []
        if self._extracted is None:
            return [published.IMDB.find(self._folder)]
        found = [self._extracted / part / kind for part in ("train", "test") for kind in _CLASSES]
        if absent := [path for path in found if not path.is_dir()]:
            raise RequestError(
                f"There is no folder {absent[0]}.",
                "dataset.params.folder must hold aclImdb_v1.tar.gz, or all of its folder aclImdb.",
            )
        return found

    def load(self, downloads: Downloads) -> Raw:
        reviews = sorted(self._reviews(downloads))
        texts = {part: [(label, text) for p, label, text in reviews if p == part]
                 for part in ("train", "test")}  # fmt: skip
        for part, found in texts.items():
            if not found:
                raise RequestError(f"Dataset 'imdb' has no review in its {part} part.")
        order = permutation(len(texts["train"]), int(self.split_seed or 0), "documents")
        count = round(self.val_fraction * len(order))
        if self.val_fraction and not 0 < count < len(order):
            raise RequestError(
                f"dataset.params.val_fraction={self.val_fraction:g} of {len(order)} reviews leaves "
                "a split empty."
            )
        dealt = {
            "train": [texts["train"][i] for i in np.sort(order[count:])],
            "val": [texts["train"][i] for i in np.sort(order[:count])],
            "test": texts["test"],
        }
        tokenizer: Tokenizer = Bytes()
        if self.tokenizer == "words":
            tokenizer = Words.of((text for _, text in dealt["train"]), self.vocabulary)
        return Raw(
            kind="classification",
            parts={
                part: Split(
                    self._samples([text for _, text in found], tokenizer),
                    np.array([label for label, _ in found], np.int32),
                )
                for part, found in dealt.items()
                if found
            },
            outputs=len(_CLASSES),
            classes=("negative", "positive"),
            tokens=max(tokenizer.tokens, tokenizer.padding + 1),
            padding=tokenizer.padding,
            tokenizer=tokenizer.table,
            source="Maas and others (2011), Learning Word Vectors for Sentiment Analysis, "
            "https://ai.stanford.edu/~amaas/data/sentiment/",
            licence="not stated by the authors",
        )

    def _samples(self, texts: list[str], tokenizer: Tokenizer) -> np.ndarray:
        """The first tokens of each text, padding behind them."""
        found = np.full((len(texts), self.steps), tokenizer.padding, np.int32)
        for row, text in zip(found, texts, strict=True):
            ids = tokenizer.encode(text)[: self.steps]
            row[: len(ids)] = ids
        return found

    def _reviews(self, downloads: Downloads) -> Iterator[Review]:
        """Part, label and text of every review."""
        for name, content in self._contents(downloads):
            if match := _REVIEW.fullmatch(name):
                text = _BREAK.sub("\n", content.decode("utf-8", "replace")).strip()
                yield match[1], _CLASSES.index(match[2]), text

    def _contents(self, downloads: Downloads) -> Iterator[tuple[str, bytes]]:
        if self._extracted is None:
            path = published.IMDB.get(self._folder, MIRRORS[self.name], downloads / self.name)
            yield from archive.files(path, lambda name: bool(_REVIEW.fullmatch(name)), _MOST_BYTES)
            return
        for folder in self.files():
            for path in folder.glob("*.txt"):
                yield f"aclImdb/{path.relative_to(self._extracted).as_posix()}", path.read_bytes()
