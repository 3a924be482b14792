"""All that a page is made of: the comparison of a sweep, and what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fwcompare.arms import SWEEP_FILE, Run, read_listing
from fwcompare.audit.collect import Audit, kept_audits
from fwcompare.compare import Comparison
from fwcompare.parity.standing import ArmProof, kept_proofs
from fwcompare.plan import Plan
from fwcompare.record import SAMPLES_FILE
from fwcompare.regression import Change
from fwcompare.roofline import Peak, read_peaks


@dataclass(frozen=True)
class Evidence:
    """A sweep with its comparisons; the runs are those that have ended."""

    name: str
    runs: tuple[Run, ...]
    comparisons: tuple[Comparison, ...]
    #: Runs that were asked for; more than have ended while a sweep is in progress.
    asked: int
    #: The command line of the sweep; empty where an older release did not keep it.
    command: str = ""
    peaks: tuple[Peak, ...] = ()
    proofs: tuple[ArmProof, ...] = ()
    audits: tuple[Audit, ...] = ()
    plans: tuple[Plan, ...] = ()
    changes: tuple[Change, ...] = ()
    #: What language models wrote, by the name of the run.
    samples: Mapping[str, str] = field(default_factory=dict)

    def arms(self, comparison: Comparison) -> dict[str, list[Run]]:
        """The runs of a comparison by the label of their row, in the order of the rows."""
        by_name = {run.record.run: run for run in self.runs}
        return {row.label: [by_name[name] for name in row.runs] for row in comparison.rows}


def gather(
    folder: Path,
    runs: Sequence[Run],
    comparisons: Sequence[Comparison],
    plans: Sequence[Plan] = (),
    changes: Sequence[Change] = (),
) -> Evidence:
    """A sweep's comparisons together with what its folder keeps.

    Raises:
        RequestError: the folder is no sweep.
    """
    listing = read_listing(folder)
    return Evidence(
        name=folder.name,
        runs=tuple(runs),
        comparisons=tuple(comparisons),
        asked=len(listing["cells"]),
        command=str(listing.get("command", "")),
        peaks=read_peaks(folder / SWEEP_FILE),
        proofs=tuple(kept_proofs(folder)),
        audits=tuple(kept_audits(folder)),
        plans=tuple(plans),
        changes=tuple(changes),
        samples={
            run.record.run: path.read_text(encoding="utf-8", errors="replace")
            for run in runs
            if (path := folder / run.record.run / SAMPLES_FILE).is_file()
        },
    )
