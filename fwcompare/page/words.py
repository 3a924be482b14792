"""Verdicts as sentences: the answers that stand before every table and figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fwcompare.compare import Comparison, Row
from fwcompare.page.evidence import Evidence
from fwcompare.verdict import (
    BASELINE,
    CONTROL,
    EQUIVALENT,
    NO_DIFFERENCE,
    NO_RESULT,
    NOT_COMPARABLE,
    Finding,
)

#: Characters of a command or a reason that are shown; the sweep's folder has the whole.
_LONGEST_TEXT = 4000


def speeds(comparison: Comparison) -> Iterator[str]:
    """What was found of training speed, an arm a sentence."""
    base = comparison.baseline
    for row in comparison.rows:
        if row.speed.kind in ("faster", "slower"):
            yield f"{row.label} trains {row.speed.words} than {base} {row.speed.interval}."
        elif row.speed.kind == EQUIVALENT:
            yield f"{row.label} trains as fast as {base}: {row.speed}."
        elif said := _otherwise(row, row.speed, base, "speed"):
            yield said


def scores(comparison: Comparison) -> Iterator[str]:
    """What was found of the task's metric, an arm a sentence."""
    base, metric = comparison.baseline, comparison.metric.replace("/", " ")
    for row in comparison.rows:
        if row.score.kind in ("higher", "lower"):
            yield (
                f"{row.label}: {metric} {row.score.words} than that of {base} {row.score.interval}."
            )
        elif row.score.kind == EQUIVALENT:
            yield f"{row.label} and {base} reach the same {metric}: {row.score}."
        elif said := _otherwise(row, row.score, base, metric):
            yield said


def _otherwise(row: Row, finding: Finding, base: str | None, what: str) -> str:
    """A sentence for an arm of which no difference and no equivalence was found; empty for none."""
    if finding.kind == BASELINE:
        return ""
    if finding.kind == CONTROL:
        return f"{base} against itself, in {what}: {finding}."
    if finding.kind == NO_DIFFERENCE:
        return f"{row.label} and {base}: no difference in {what} shown {finding.interval}."
    if finding.kind == NOT_COMPARABLE:
        return f"{row.label} is not comparable: {row.standing.reason or 'its proof failed'}."
    if finding.kind == NO_RESULT:
        why = "; ".join(row.reasons) or ", ".join(sorted(row.statuses))
        return f"{row.label} has no result: {why}."
    return f"{row.label} against {base}, in {what}: {finding}."


def standings(comparison: Comparison) -> Iterator[str]:
    """Which arms are proven to be the same experiment, a standing a sentence."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in comparison.rows:
        found.setdefault((row.standing.state, row.standing.reason), []).append(row.label)
    for (state, reason), labels in found.items():
        told = "proven to be the same experiment" if state == "proven" else state
        yield f"{', '.join(labels)}: {told}" + (f" ({reason})." if reason else ".")


def progress(evidence: Evidence) -> Iterator[str]:
    """What is missing of a sweep; nothing where every run ended well."""
    ended = len(evidence.runs)
    if evidence.asked > ended:
        yield f"In progress: {evidence.asked - ended} of {evidence.asked} runs have not ended yet."
    statuses = [run.record.status for run in evidence.runs]
    bad = [status for status in statuses if status != "ok"]
    if bad:
        counts = ", ".join(f"{bad.count(status)} {status}" for status in dict.fromkeys(bad))
        yield f"{len(bad)} of {ended} runs did not end well: {counts}."


def listed(values: Iterable[str], most: int = 5) -> str:
    """Some values with commas; of many the first, and how many more."""
    known: Sequence[str] = sorted(set(values))
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more


def shortened(text: str) -> str:
    """A text that somebody else wrote, at a length that a page bears."""
    if len(text) <= _LONGEST_TEXT:
        return text
    return f"{text[:_LONGEST_TEXT]} … (cut; {len(text):,} characters)"
