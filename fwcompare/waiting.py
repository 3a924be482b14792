"""What is said while something takes seconds: a spinner in a terminal, a line in a notebook."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from rich.console import Console


def waiting(console: Console, words: str) -> AbstractContextManager[object]:
    """Show ``words`` until the context ends. A pipe gets nothing; rich's spinner needs widgets that
    a notebook may not have."""
    if console.is_jupyter:
        console.print(words, style="dim")
        return nullcontext()
    return console.status(words)
