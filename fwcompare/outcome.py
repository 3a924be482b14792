"""What a sweep has come to, from its folder and without training: runs and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fwcompare.arms import SWEEP_FILE, Run, by_group, load_runs, read_listing
from fwcompare.compare import Comparison, compare
from fwcompare.errors import RequestError
from fwcompare.parity.standing import kept_standings
from fwcompare.roofline import read_peaks
from fwcompare.search.best import tuned
from fwcompare.search.result import Searched
from fwcompare.stats.criteria import Criteria
from fwcompare.trust import weighed, with_peak_shares
from fwcompare.typed import build


@dataclass(frozen=True)
class Outcome:
    """A sweep as its folder tells it."""

    folder: Path
    #: Those that have ended, in the order of the sweep.
    runs: tuple[Run, ...]
    #: One for each group, in order of appearance.
    comparisons: tuple[Comparison, ...]
    criteria: Criteria
    #: Runs that were asked for and have not ended.
    missing: int
    #: Whether it was a search, whose points are different experiments.
    searched: bool = False

    @property
    def titles(self) -> dict[str, str]:
        """The title of each group's comparison."""
        groups = by_group(self.runs)
        if len(groups) != len(self.comparisons):  # of a search, whose points stand in one
            return dict.fromkeys(groups, self.comparisons[0].title)
        pairs = zip(groups, self.comparisons, strict=True)
        return {group: comparison.title for group, comparison in pairs}


def outcome(folder: Path, baseline: str | None = None, target: float | None = None) -> Outcome:
    """Compare the runs of a sweep folder by what the sweep was begun with.

    Args:
        baseline: an engine or the label of an arm, instead of the sweep's own.
        target: a value of the validation metric, instead of the sweep's own.

    Raises:
        RequestError: the folder is no sweep, none of its runs has ended, or there is no such
            baseline.
    """
    listing, peaks = read_listing(folder), read_peaks(folder / SWEEP_FILE)
    runs = with_peak_shares(ended_runs(folder), peaks)
    criteria = _criteria(listing, target)
    if baseline is None and listing.get("baseline") in {r.engine for r in runs if r.record.ok}:
        baseline = listing["baseline"]
    if searched := Searched.read(folder):
        comparisons: tuple[Comparison, ...] = (
            tuned(searched, runs, folder.name, baseline, criteria),
        )
    else:
        comparisons = compare(runs, folder.name, baseline, kept_standings(folder), criteria)
    comparisons = weighed(comparisons, runs, peaks)
    missing = len(listing["cells"]) - len(runs)
    return Outcome(folder, tuple(runs), comparisons, criteria, missing, searched is not None)


def ended_runs(folder: Path) -> Sequence[Run]:
    """The runs of a sweep folder. Raises ``RequestError`` if none has ended."""
    runs = load_runs(folder)
    if not runs:
        raise RequestError(f"No run of the sweep {folder.name} has ended yet.")
    return runs


def _criteria(listing: Mapping[str, Any], target: float | None) -> Criteria:
    """Those that the sweep was begun with; defaults for a sweep of an older release."""
    criteria = build(Criteria, listing.get("compare", {}), "compare")
    return criteria if target is None else replace(criteria, target=target)
