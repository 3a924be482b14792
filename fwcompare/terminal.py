"""Where text is shown: names come from whoever wrote a configuration, and stay text.

Rich would take ``[bold]`` in a name for a style, fail at ``[/x]``, and make a picture of
``:bug:``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

#: Control characters but for the tab and the end of a line, and marks that turn text around.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

#: Columns of a pipe: nobody folds it.
PIPE_WIDTH = 240


def stdout() -> Console:
    """Standard output; a pipe gets tables as wide as they are, unless COLUMNS says otherwise."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return plain()
    return plain(width=PIPE_WIDTH)


def stderr() -> Console:
    """Standard error."""
    # While Rich shows a bar, it stands before the stream; its own consoles write behind it, too.
    return plain(file=_Lenient(getattr(sys.stderr, "rich_proxied_file", sys.stderr)))


def plain(**options: Any) -> Console:
    """A console with Rich's options that takes text as it is."""
    return _Console(markup=False, emoji=False, **options)


def harmless(text: str) -> str:
    """Text with control characters spelled out, which would steer a terminal."""
    return _STEERING.sub(lambda match: repr(match[0])[1:-1], text)


class _Lenient:
    """A stream whose disk may be full or whose terminal may be gone: what it does not take costs
    no run."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Console(Console):
    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control is None and _STEERING.search(segment.text):
                yield Segment(harmless(segment.text), segment.style)
            else:
                yield segment
