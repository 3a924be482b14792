"""Where text is shown: names come from whoever wrote a configuration, and stay text.

Rich would take ``[bold]`` in a name for a style, fail at ``[/x]``, and make a picture of
``:bug:``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from rich.console import Console

#: Columns of a pipe: nobody folds it.
PIPE_WIDTH = 240


def stdout() -> Console:
    """Standard output; a pipe gets tables as wide as they are, unless COLUMNS says otherwise."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return plain()
    return plain(width=PIPE_WIDTH)


def stderr() -> Console:
    """Standard error."""
    return plain(stderr=True)


def plain(**options: Any) -> Console:
    """A console with Rich's options that takes text as it is."""
    return Console(markup=False, emoji=False, **options)
