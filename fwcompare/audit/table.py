"""An audit for the terminal and in Markdown: what differs first, with who resolved it how."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fwcompare.audit.collect import Audit
from fwcompare.audit.lines import Line
from fwcompare.audit.settings import same
from fwcompare.report import colour


def show(audit: Audit, console: Console, everything: bool = True) -> None:
    """Print an audit; without ``everything`` only what differs."""
    for heading, chosen in _parts(audit, everything):
        if not chosen:
            continue
        table = Table(
            title=heading,
            title_style="bold",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        table.add_column("of")
        table.add_column("what")
        table.add_column("value")
        table.add_column("engines", overflow="fold")
        for line in chosen:
            for position, (value, engines) in enumerate(by_value(line)):
                first = position == 0
                table.add_row(
                    line.subject if first else "",
                    _words(line.quantity) if first else "",
                    in_words(value),
                    _names(engines, audit),
                )
        console.print(table)
    for remark in remarks(audit):
        console.print(Text(remark, style="dim"))


def markdown(audit: Audit) -> str:
    """The same in Markdown."""
    parts = []
    for heading, chosen in _parts(audit, everything=True):
        if not chosen:
            continue
        rows = [
            f"| {line.subject} | {_words(line.quantity)} | {in_words(value)} | "
            f"{'all' if len(engines) == len(audit.engines) else ', '.join(engines)} |"
            for line in chosen
            for value, engines in by_value(line)
        ]
        head = ["| of | what | value | engines |", "|---|---|---|---|"]
        parts.append("\n".join([f"### {heading}", "", *head, *rows]))
    parts.append("\n".join(f"- {line}" for line in remarks(audit)))
    return "\n\n".join(parts) + "\n"


def remarks(audit: Audit) -> Iterator[str]:
    """What must be known to read the table."""
    if not audit.differing:
        yield "The engines resolved everything alike."
    yield (
        "Read from the built objects; activations, reduction and initialiser from what they do. "
        "Every run starts from weights that are given to it, so the initialiser is what a "
        "framework would have drawn by itself. A momentum is the share of the old average kept."
    )
    for engine, reason in audit.refused.items():
        yield f"{engine}: {reason}"


def by_value(line: Line) -> list[tuple[Any, list[str]]]:
    """The distinct values of a line, each with its engines, in the engines' order."""
    found: list[tuple[Any, list[str]]] = []
    for engine, value in line.values.items():
        for known, engines in found:
            if same(known, value):
                engines.append(engine)
                break
        else:
            found.append((value, [engine]))
    return found


def _parts(audit: Audit, everything: bool) -> Iterator[tuple[str, list[Line]]]:
    what = f"{audit.model}, {audit.optimizer}, {audit.semantics} semantics"
    yield f"Resolved differently ({what})", audit.differing
    if everything:
        yield f"Resolved alike ({what})", [line for line in audit.lines if not line.differs]


def _names(engines: list[str], audit: Audit) -> Text:
    if len(engines) == len(audit.engines) > 1:
        return Text("all", style="dim")
    return Text(", ").join(Text(engine, style=colour(engine)) for engine in engines)


def _words(quantity: str) -> str:
    return quantity.replace("_", " ")


def in_words(value: Any) -> str:
    """A value as a reader would write it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):  # padding: cells before and after, for height and for width
        return " × ".join("+".join(map(str, pair)) for pair in value)
    return str(value)
