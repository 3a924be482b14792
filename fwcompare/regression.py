"""One sweep against an earlier one: has anything become slower, worse, or broken?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fwcompare import arms as by
from fwcompare.arms import Run
from fwcompare.compare import Spread, jsonable, paired
from fwcompare.errors import RequestError
from fwcompare.stats.criteria import Criteria
from fwcompare.stats.inference import FEWEST, Inference, of_two_samples
from fwcompare.verdict import (
    NO_SPREAD,
    NOT_COMPARABLE,
    Finding,
    Question,
    judge,
    noise_floor,
    score,
    speed,
)


@dataclass(frozen=True)
class Change:
    """One arm, before and now."""

    title: str
    label: str
    metric: str
    #: Throughput in training, in samples a second.
    speed_before: Spread | None
    speed_now: Spread | None
    speed: Finding
    score: Finding
    #: Packages whose release differs, as ``name before → now``.
    versions: tuple[str, ...]
    #: Why this is a regression; empty if it is none.
    regression: str = ""
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data, as ``Comparison.to_json``."""
        return dict(jsonable(asdict(self)))


def changes(
    now: Sequence[Run], before: Sequence[Run], titles: Mapping[str, str], criteria: Criteria
) -> tuple[Change, ...]:
    """Each arm that both sweeps have, in every group that both have.

    Arms are matched by their label, which is made in each sweep for itself, so that an interpreter
    of its own in one of them does no harm. ``titles`` names the groups.

    Raises:
        RequestError: the sweeps have no group or no arm in common.
    """
    groups, earlier = by.by_group(now), by.by_group(before)
    keys, earlier_keys = by.varying(now), by.varying(before)
    found: list[Change] = []
    for group in groups.keys() & earlier.keys():
        found += _group(
            titles.get(group, group),
            by.by_arm(groups[group], keys),
            by.by_arm(earlier[group], earlier_keys),
            criteria,
        )
    if not found:
        raise RequestError(
            "The two sweeps have no arm of the same experiment in common.",
            "Model, data, optimizer, schedule, batch, epochs, init and semantics must be the same.",
        )
    return tuple(sorted(found, key=lambda change: (change.title, change.label)))


def _group(
    title: str,
    now: Mapping[str, Sequence[Run]],
    before: Mapping[str, Sequence[Run]],
    criteria: Criteria,
) -> list[Change]:
    labels = [label for label, runs in now.items() if label in before and not runs[0].control]
    spec = next((run.spec for runs in now.values() for run in runs if run.spec), None)
    metric = f"test/{spec.task.metric}" if spec else "test/accuracy"
    fast, good = speed(criteria), score(metric, criteria)
    floor = max(_floor(now, fast, criteria), _floor(before, fast, criteria))
    other_machine = {label: _other_machine(now[label], before[label]) for label in labels}
    other_data = {label: by.difference(now[label], before[label]) for label in labels}
    speeds = _findings(fast, now, before, other_machine, criteria, floor)
    scores = _findings(good, now, before, other_data, criteria)
    return [
        Change(
            title, label, metric,
            _throughput(before[label], fast), _throughput(now[label], fast),
            speeds[label], scores[label],
            _versions(now[label], before[label]),
            _regression(now[label], before[label], (fast, speeds[label]), (good, scores[label])),
            tuple(filter(None, (other_machine[label], other_data[label], speeds[label].remark))),
        )
        for label in labels
    ]  # fmt: skip


def _findings(
    question: Question,
    now: Mapping[str, Sequence[Run]],
    before: Mapping[str, Sequence[Run]],
    against: Mapping[str, str],
    criteria: Criteria,
    floor: float = 0.0,
) -> dict[str, Finding]:
    """What is found for each arm, but for those that something speaks ``against``."""
    asked = {
        label: _inference(now[label], before[label], question)
        for label, reason in against.items()
        if not reason
    }
    refused = dict.fromkeys(against, Finding(NOT_COMPARABLE, NOT_COMPARABLE))
    return refused | judge(question, asked, criteria, floor)


def _inference(now: Sequence[Run], before: Sequence[Run], question: Question) -> Inference | None:
    """Paired by seed where the sweeps share enough of them, else two independent samples."""
    own, base = by.by_seed(now, question), by.by_seed(before, question)
    if not own or not base:
        return None
    if len(own.keys() & base.keys()) >= FEWEST:
        return paired(own, base)
    return of_two_samples(list(own.values()), list(base.values()))


def _floor(arms: Mapping[str, Sequence[Run]], question: Question, criteria: Criteria) -> float:
    """The noise floor of a sweep's A/A control; zero where it has none."""
    for runs in arms.values():
        if not runs[0].control:
            continue
        repeated = [
            run
            for own in arms.values()
            for run in own
            if not run.control and (run.engine, run.variant) == (runs[0].engine, runs[0].variant)
        ]
        inference = paired(by.by_seed(runs, question), by.by_seed(repeated, question))
        return noise_floor(inference, criteria) if inference else 0.0
    return 0.0


def _other_machine(now: Sequence[Run], before: Sequence[Run]) -> str:
    """Why speeds of two sweeps cannot be compared; empty if they can."""

    def cpus(runs: Sequence[Run]) -> set[str]:
        return {str(cpu) for run in runs if (cpu := run.record.environment.get("cpu"))}

    own, other = cpus(now), cpus(before)
    if own and other and own != other:
        return f"another processor: {', '.join(sorted(other))} before, {', '.join(sorted(own))} now"
    return ""


def _regression(
    now: Sequence[Run],
    before: Sequence[Run],
    *findings: tuple[Question, Finding],
) -> str:
    """Why an arm got worse, in words; empty if that is not shown."""
    if any(r.record.ok for r in before) and not any(r.record.ok for r in now):
        return f"it ran before, and now ends as {now[0].record.status}"
    reasons = []
    for question, finding in findings:
        worse = question.smaller if question.higher_is_better else question.larger
        if finding.kind == worse or _worse_in_every_seed(question, finding):
            reasons.append(f"{question.metric}: {finding}")
    return "; ".join(reasons)


def _worse_in_every_seed(question: Question, finding: Finding) -> bool:
    """Worse by one and the same amount, beyond the margin: exact, though it has no interval."""
    if finding.kind != NO_SPREAD or finding.estimate is None:
        return False
    change = question.scaled(finding.estimate.value)
    lost = -(change or 0.0) if question.higher_is_better else change or 0.0
    return lost > question.scaled_margin


def _throughput(runs: Sequence[Run], question: Question) -> Spread | None:
    return Spread.of(
        [
            run.record.metrics[question.metric]
            for run in runs
            if run.record.ok and question.metric in run.record.metrics
        ]
    )


def _versions(now: Sequence[Run], before: Sequence[Run]) -> tuple[str, ...]:
    def versions(runs: Sequence[Run]) -> dict[str, str]:
        return {name: v for run in runs if run.record.ok for name, v in run.record.versions.items()}

    own, other = versions(now), versions(before)
    return tuple(
        f"{name} {other[name]} → {own[name]}"
        for name in sorted(own.keys() & other.keys())
        if own[name] != other[name]
    )
