"""The score of the ladder: every deliberate error, tried, with where it was caught and named.

    .venv/bin/python benchmarks/mutations.py > mutations.md

Exits with 1 if an error is not caught, or the diagnosis does not name its place and cause.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from fwcompare.parity.mutations import MUTATIONS, Mutation
from fwcompare.parity.prove import Verdict
from fwcompare.testing import WarmPool, check_mutation


def main(names: list[str]) -> int:
    """Write the table of all errors, or of those named."""
    os.environ["OMP_NUM_THREADS"] = "1"
    chosen = [MUTATIONS[name] for name in names] or list(MUTATIONS.values())
    print("| error | what is wrong | engine | caught by | first difference | diagnosis |")
    print("|---|---|---|---|---:|---|")
    caught = named = 0
    with tempfile.TemporaryDirectory() as folder, WarmPool() as pool:
        for mutation in chosen:
            verdict = check_mutation(mutation, Path(folder) / mutation.name, pool)
            print(row(mutation, verdict), flush=True)
            caught += verdict.state == "failed"
            named += mutation.named_by(verdict.reason)
    print(f"\n{caught} of {len(chosen)} caught, {named} named at the right place.")
    return 0 if caught == named == len(chosen) else 1


def row(mutation: Mutation, verdict: Verdict) -> str:
    """A line of the table."""
    failed = [rung for rung in verdict.rungs if not rung.holds]
    where = " ".join(rung.name for rung in failed) or "none"
    largest = f"{failed[0].difference:.1e}" if failed else ""
    diagnosis = verdict.reason.replace("|", r"\|").replace("\n", " ")
    if not mutation.named_by(verdict.reason):
        diagnosis += " **(not named)**"
    what = f"`{mutation.name}` | {mutation.error} | {mutation.engine}"
    return f"| {what} | {where} | {largest} | {diagnosis} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
