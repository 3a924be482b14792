"""A table of words, and numbers as they stand in one."""

from __future__ import annotations

from dataclasses import dataclass

from fwcompare.metrics import is_share


@dataclass(frozen=True)
class Grid:
    """A table beside the main one: what is known of arms in one respect."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def number(value: float) -> str:
    """Three significant figures, thousands grouped; a word for what never comes."""
    if value in (float("inf"), float("-inf")):
        return "never"
    if value == 0:
        return "0"
    magnitude = abs(value)
    if magnitude >= 100:
        return f"{value:,.0f}"
    if magnitude >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if magnitude >= 0.1 else f"{value:.3g}"


def score(metric: str, value: float) -> str:
    """A share, such as accuracy, with four decimals; anything else like any number."""
    return f"{value:.4f}" if is_share(metric) else number(value)
