"""A text of one's own: a file that is cut, or files that are dealt out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwcompare.data.batches import SPLITS
from fwcompare.data.prepare import prepare
from fwcompare.data.tokenizers import from_table
from fwcompare.errors import RequestError

PARAMS: dict[str, Any] = {
    "steps": 8, "tokenizer": "bytes", "vocabulary": 30, "val_fraction": 0.1, "test_fraction": 0.2,
    "normalize": "none", "split_seed": 1,
}  # fmt: skip

LINES = "".join(f"Line {number} of a text.\n" for number in range(100))


def samples(folder: Path, given: Path, **options: Any) -> dict[str, list[str]]:
    """The text of every sample, split by split; targets are one token further on."""
    found = prepare("text", {**PARAMS, "folder": str(given), **options}, 0, folder / "cache")
    tokenizer = from_table(found.tokenizer or {})
    texts = {}
    for name in SPLITS:
        split = found.split(name, np.dtype("float32"))
        np.testing.assert_array_equal(split.inputs[:, 1:], split.targets[:, :-1])
        texts[name] = [tokenizer.decode(row) for row in split.inputs]
    return texts


def test_one_file_is_trained_on_from_its_beginning_and_tested_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "text.md"
    path.write_text(LINES)
    found = samples(tmp_path, path)
    count = len(LINES)
    test = count - round(0.2 * count)
    val = test - round(0.1 * count)
    for name, start, end in (("train", 0, val), ("val", val, test), ("test", test, count)):
        # A sample begins where the last one has ended, and the last token has none behind it.
        expected = [LINES[at : at + 8] for at in range(start, end - 8, 8)]
        assert sorted(found[name]) == sorted(expected)


def test_of_a_folder_each_file_is_in_one_split(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "more").mkdir(parents=True)
    for number in range(20):
        place = folder / ("more" if number % 3 else "") / f"{number}.txt"
        place.write_text(chr(ord("a") + number) * 40)
    (folder / "notes.md").write_text("z" * 400)
    letters = {name: set("".join(texts)) for name, texts in samples(tmp_path, folder).items()}
    assert [len(letters[name]) for name in SPLITS] == [14, 2, 4]
    assert len(set.union(*letters.values())) == 20


def test_the_vocabulary_of_words_is_that_of_the_training_split(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("one two three. " * 80 + "four five six. " * 20)
    found = samples(tmp_path, path, tokenizer="words", steps=4)
    assert "[?]" in "".join(found["test"])
    assert "[?]" not in "".join(found["train"])


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (None, {}, "There is no file or folder"),
        (b"", {}, "no document of the train split has 8 tokens"),
        (b"short", {}, "no document of the train split has 8 tokens"),
        (b"caf\xe9" * 100, {}, r"text\.txt is no text in UTF-8: .* at byte 3"),
        (LINES.encode(), {"folder": None}, "folder must be a text file"),
        (LINES.encode(), {"folder": "."}, "There is no text in"),
        (LINES.encode(), {"steps": 1}, "steps must be at least 2"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None,
    options: dict[str, Any], said: str,
) -> None:  # fmt: skip
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(RequestError, match=said):
        prepare("text", {**PARAMS, "folder": str(path), **options}, 0, tmp_path / "cache")
