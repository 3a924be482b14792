"""What a page consists of: chapters with questions, and all that answers them."""

from __future__ import annotations

from dataclasses import dataclass

from fwcompare.grid import Grid
from fwcompare.page.figure import Figure


@dataclass(frozen=True)
class Table:
    """A grid, and how it is shown."""

    grid: Grid
    #: Whether its cells are words, which read from the left.
    words: bool = False
    #: Whether it is opened by a click.
    folded: bool = False


@dataclass(frozen=True)
class Question:
    """A question that a reader has, and all that answers it."""

    heading: str
    #: Sentences, a paragraph or a list item each.
    answers: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    #: What must be known to read the tables.
    notes: tuple[str, ...] = ()
    #: Whether the figures need the legend of the arms: their axes do not name them.
    legend: bool = False
    #: Command lines to copy.
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chapter:
    """Questions about one workload, or about the whole sweep."""

    title: str
    questions: tuple[Question, ...]
    #: The arms that its figures show.
    labels: tuple[str, ...] = ()
