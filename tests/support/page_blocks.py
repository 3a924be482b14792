"""The code blocks of a page, and what the page says of them to the tests.

A directive is an HTML comment on a line of its own, above the block:

    <!-- test: skip, REASON -->     the block is not run; REASONS lists what counts
    <!-- test: first, COMMAND -->   a shell command, run before the block
    <!-- test: exit 0 or 1 -->      exit codes that are right, where 0 alone is not
    <!-- test: with, OLD => NEW --> the block is run with this replaced, to take seconds for minutes
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Why a command of the docs need not be run by the tests of the docs.
REASONS = (
    "it installs packages",
    "it runs until it is stopped",
    "it takes minutes",
    "it needs a server",
    "it needs several machines",
    "it needs a GPU",
    "it needs another interpreter",
)

_DIRECTIVE = re.compile(r"<!-- test: (skip|first|exit|with),? (.*) -->")
_FILE = re.compile(r"# ([\w./-]+\.(?:ya?ml|py))\b")


class BadDirective(ValueError):
    """A directive that means nothing."""


@dataclass(frozen=True)
class Block:
    """A code block: its language, its text, and the directives above it."""

    line: int
    language: str
    text: str
    skip: str = ""
    first: str = ""
    exits: tuple[int, ...] = (0,)
    #: What a reader would run, made shorter.
    short: str = ""

    @property
    def file(self) -> str:
        """The file that the block is to be written to, as its first lines say; empty if none."""
        for line in self.text.splitlines()[:2]:
            if match := _FILE.match(line):
                return match[1]
        return ""

    @property
    def is_command(self) -> bool:
        """Whether a reader would run it: shell, and Python that stands for itself."""
        if self.language == "python":
            return bool(re.search(r"^import ", self.text, re.MULTILINE)) and not self.file
        return self.language == "bash"


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page in order.

    Raises:
        BadDirective: a directive is not understood, or stands above no block.
    """
    said: dict[str, str] = {}
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), 1))
    for number, line in lines:
        if match := _DIRECTIVE.fullmatch(line.strip()):
            said[match[1]] = match[2]
        elif line.startswith("<!-- test:"):
            raise BadDirective(f"{page}:{number}: {line}")
        elif line.startswith("```"):
            text = []
            for _, inside in lines:
                if inside.startswith("```"):
                    break
                text.append(inside)
            yield _block(page, number, line[3:].strip(), "\n".join(text) + "\n", said)
            said = {}
        elif line.strip() and said:
            raise BadDirective(f"{page}:{number}: the directive above it belongs to no block")


def _block(page: Path, line: int, language: str, text: str, said: dict[str, str]) -> Block:
    reason = said.get("skip", "")
    if reason and reason not in REASONS:
        raise BadDirective(f"{page}:{line}: '{reason}' is no reason; choose from {REASONS}")
    exits = tuple(int(code) for code in said.get("exit", "0").split(" or "))
    old, _, new = said.get("with", "").partition(" => ")
    if "with" in said and not (old and new and old in text):
        raise BadDirective(f"{page}:{line}: there is nothing to replace by {said['with']!r}")
    short = text.replace(old, new) if old else text
    return Block(line, language, text, reason, said.get("first", ""), exits, short)
