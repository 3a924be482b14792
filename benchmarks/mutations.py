"""Write docs/mutations.md: the score of the ladder, every deliberate error tried.

    .venv/bin/python benchmarks/mutations.py

Exits with 1 if an error is not caught, or the diagnosis does not name its place and cause.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from fwcompare.parity.mutations import MUTATIONS, Mutation
from fwcompare.parity.prove import Verdict
from fwcompare.testing import WarmPool, check_mutation

PAGE = Path(__file__).parents[1] / "docs" / "mutations.md"

TEXT = """\
# Mutations

Deliberate errors, each switched on in one engine, and what the ladder says of them: {caught} of
{total} are caught, {named} of them named at the right place. P0 sees what built objects give away;
no error is seen there alone. Made by `.venv/bin/python benchmarks/mutations.py`; one by hand:
`fwcompare parity model=cnn_bn --mutate pytorch=height_for_width`.

| error | what is wrong | engine | caught by | first difference | diagnosis |
|---|---|---|---|---:|---|
{rows}
"""


def main() -> int:
    """Try every error and write the page."""
    os.environ["OMP_NUM_THREADS"] = "1"
    console = Console(stderr=True)
    rows, caught, named = [], 0, 0
    with tempfile.TemporaryDirectory() as folder, WarmPool() as pool:
        for mutation in MUTATIONS.values():
            verdict = check_mutation(mutation, Path(folder) / mutation.name, pool)
            rows.append(row(mutation, verdict))
            caught += verdict.state == "failed"
            named += mutation.named_by(verdict.reason)
            console.print(f"{mutation.name}: {verdict.state}", style="dim")
    total = len(MUTATIONS)
    text = TEXT.format(caught=caught, total=total, named=named, rows="\n".join(rows))
    PAGE.write_text(text, encoding="utf-8")
    console.print(f"{PAGE}: {caught} of {total} caught, {named} named at the right place.")
    return 0 if caught == named == total else 1


def row(mutation: Mutation, verdict: Verdict) -> str:
    """A line of the table."""
    failed = [rung for rung in verdict.rungs if not rung.holds]
    where = " ".join(rung.name for rung in failed) or "none"
    numbers = [rung for rung in failed if rung.name not in ("P0", "P5")]
    largest = f"{numbers[0].difference:.1e}" if numbers else ""
    diagnosis = verdict.reason.replace("|", r"\|").replace("\n", " ")
    if not mutation.named_by(verdict.reason):
        diagnosis += " **(not named)**"
    what = f"`{mutation.name}` | {mutation.error} | {mutation.engine}"
    return f"| {what} | {where} | {largest} | {diagnosis} |"


if __name__ == "__main__":
    sys.exit(main())
