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
    Case,
    Finding,
    Question,
    judge_family,
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


@dataclass(frozen=True)
class _Pair:
    """One arm of one experiment, in both sweeps."""

    group: str
    title: str
    label: str
    now: Sequence[Run]
    before: Sequence[Run]
    speed: Question
    score: Question
    #: What the A/A controls of the sweeps showed, the larger of both.
    floor: float

    @property
    def name(self) -> tuple[str, str]:
        return self.group, self.label


def changes(
    now: Sequence[Run], before: Sequence[Run], titles: Mapping[str, str], criteria: Criteria
) -> tuple[Change, ...]:
    """Each arm that both sweeps have, in every group that both have.

    Arms are matched by their label, which is made in each sweep for itself, so that an interpreter
    of its own in one of them does no harm. ``titles`` names the groups. The speeds of all arms of
    all groups are one family, and their scores another: what is asked is whether anything at all
    has become worse.

    Raises:
        RequestError: the sweeps have no group or no arm in common.
    """
    groups, earlier = by.by_group(now), by.by_group(before)
    keys, earlier_keys = by.varying(now), by.varying(before)
    pairs: list[_Pair] = []
    for group in groups.keys() & earlier.keys():
        own, other = by.by_arm(groups[group], keys), by.by_arm(earlier[group], earlier_keys)
        pairs += _pairs(group, titles.get(group, group), own, other, criteria)
    if not pairs:
        raise RequestError(
            "The two sweeps have no arm of the same experiment in common.",
            "Model, data, optimizer, schedule, batch, epochs, init and semantics must be the same.",
        )
    machines = {pair.name: _other_machine(pair.now, pair.before) for pair in pairs}
    data = {pair.name: by.difference(pair.now, pair.before) for pair in pairs}
    speeds = _findings(
        {p.name: Case(p.speed, _inference(p.now, p.before, p.speed), p.floor) for p in pairs},
        machines,
        criteria,
    )
    scores = _findings(
        {p.name: Case(p.score, _inference(p.now, p.before, p.score)) for p in pairs}, data, criteria
    )
    found = (
        _change(pair, speeds[pair.name], scores[pair.name], machines[pair.name], data[pair.name])
        for pair in pairs
    )
    return tuple(sorted(found, key=lambda change: (change.title, change.label)))


def _pairs(
    group: str,
    title: str,
    now: Mapping[str, Sequence[Run]],
    before: Mapping[str, Sequence[Run]],
    criteria: Criteria,
) -> list[_Pair]:
    spec = next((run.spec for runs in now.values() for run in runs if run.spec), None)
    metric = f"test/{spec.task.metric}" if spec else "test/accuracy"
    fast, good = speed(criteria), score(metric, criteria)
    floor = max(_floor(now, fast, criteria), _floor(before, fast, criteria))
    return [
        _Pair(group, title, label, runs, before[label], fast, good, floor)
        for label, runs in now.items()
        if label in before and not runs[0].control
    ]


def _findings(
    cases: Mapping[tuple[str, str], Case],
    against: Mapping[tuple[str, str], str],
    criteria: Criteria,
) -> dict[tuple[str, str], Finding]:
    """What is found of each pair, but for those that something speaks ``against``."""
    asked = {name: case for name, case in cases.items() if not against[name]}
    refused = dict.fromkeys(cases, Finding(NOT_COMPARABLE, NOT_COMPARABLE))
    return refused | judge_family(asked, criteria)


def _change(pair: _Pair, fast: Finding, good: Finding, machine: str, data: str) -> Change:
    return Change(
        pair.title, pair.label, pair.score.metric,
        _throughput(pair.before, pair.speed), _throughput(pair.now, pair.speed),
        fast, good, _versions(pair.now, pair.before),
        _regression(pair.now, pair.before, (pair.speed, fast), (pair.score, good)),
        tuple(filter(None, (machine, data, fast.remark))),
    )  # fmt: skip


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
