"""The few ways a run can fail, each with what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FwcompareError(Exception):
    """Base of every error that fwcompare raises on purpose.

    ``hint`` is the next step for the reader; it is printed under the message.
    """

    exit_code = 70

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class RequestError(FwcompareError):
    """What was asked for is wrong; nothing has been run."""

    exit_code = 2


class UnsupportedError(FwcompareError):
    """An engine cannot do this cell. In a sweep it becomes a row, not a failure."""

    exit_code = 2


class DivergedError(FwcompareError):
    """The training loss left the finite numbers."""

    exit_code = 1


class RunError(FwcompareError):
    """A run was started and did not end well."""

    exit_code = 1


def shown(text: str, most: int = 200) -> str:
    """Text of others as it stands in a message: of what is long the beginning."""
    return text if len(text) <= most else f"{text[:most]}..."


def choices(options: Iterable[str]) -> str:
    """The options as one readable list, sorted."""
    return ", ".join(sorted(options)) or "none"


def _beside(name: str, known: list[str]) -> list[str]:
    """Those that are alike in more than the group they share: 'trainer.x' is near no option."""
    group, _, own = name.rpartition(".")
    return [
        other
        for other in known
        if not group
        or not other.startswith(f"{group}.")
        or difflib.get_close_matches(own, [other.removeprefix(f"{group}.")], cutoff=0.6)
    ]


def unknown(what: str, name: object, options: Iterable[str]) -> RequestError:
    """An error for an unknown name: the near miss first, then every choice."""
    known = sorted(options)
    near = difflib.get_close_matches(str(name), _beside(str(name), known), n=1, cutoff=0.6)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return RequestError(
        f"Unknown {what} '{shown(str(name))}'.", f"{hint}Choose from: {choices(known)}."
    )
