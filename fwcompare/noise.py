"""From records to a verdict on the noise in them: what size of difference may be believed.

A pure function over runs that should have taken equal times: those of one arm.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fwcompare.machine import FOREIGN_CORES, QUOTA_SHARE, STEAL_SHARE
from fwcompare.record import RunRecord
from fwcompare.summary import steady, step_seconds

QUIET, SOME, NOISY, UNKNOWN = "quiet", "some noise", "noisy", "unknown"

#: From the median absolute deviation to the standard deviation of a normal distribution.
_MAD_TO_SD = 1.4826

#: Fewest values of which a spread is made.
_FEWEST = 3

#: Fewest runs, of arms with several, over which a drift is looked for: any two points make a line.
_FEWEST_FOR_DRIFT = 6


@dataclass(frozen=True)
class Level:
    """Where a figure begins to matter, and where it ruins a comparison."""

    some: float
    noisy: float


#: Spread of step times over the runs of an arm. With five seeds a paired test finds a difference of
#: 5 % in two cases of three at a spread of 2 %, in one of three at 3 %; at 10 % even differences of
#: 20 % come by chance.
RUN_SPREAD = Level(0.03, 0.10)

#: Spread of the blocks within a run. A median over dozens of blocks is several times as sure as one
#: block, so more can be borne than between runs.
BLOCK_SPREAD = Level(0.05, 0.15)

#: Change of step times from the first run to the last. Random order within a seed spreads it over
#: all engines alike, so half of a difference worth reporting can be borne.
DRIFT = Level(0.05, 0.15)

#: What a control of two equal arms shows: the farthest that their ratio may be from 1.
CONTROL = Level(0.03, 0.10)

#: The first is reached by any one run, the second by half of them: one disturbed run is outvoted by
#: the others' median.
STEAL = Level(STEAL_SHARE, 0.05)
FOREIGN = Level(FOREIGN_CORES, 0.25)
QUOTA = Level(QUOTA_SHARE, 0.10)


@dataclass(frozen=True)
class Noise:
    """A verdict (``quiet``, ``some noise``, ``noisy``; ``unknown`` where nothing could be
    measured), why in plain words, and the figures behind it."""

    verdict: str
    reasons: tuple[str, ...]
    figures: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        told = {
            QUIET: "quiet: nothing disturbed these runs noticeably",
            UNKNOWN: "unknown: too few or too short runs to tell",
        }
        if self.verdict in told:
            return told[self.verdict]
        return f"{self.verdict}: {'; '.join(self.reasons)}"


@dataclass(frozen=True)
class Crowd:
    """Runs that went on at the same time on one machine."""

    #: The most at a time, of those that ran beside others.
    most: int = 1
    #: How many of them shared cores or a GPU.
    sharing: int = 0


def crowding(records: Iterable[RunRecord]) -> Crowd:
    """Which runs went on beside others, by their times, cores and GPUs.

    Those of which it is not known where they ran count as alone.
    """
    most, sharing = 1, set()
    beside: dict[str, list[RunRecord]] = {}
    for record in sorted(records, key=lambda record: record.started_ms):
        if not (host := record.environment.get("host")):
            continue
        going_on = [other for other in beside.get(host, []) if other.ended_ms > record.started_ms]
        own = _works_on(record)
        for other in going_on:
            if own & _works_on(other):
                sharing |= {record.run, other.run}
        beside[host] = [*going_on, record]
        most = max(most, len(beside[host]))
    return Crowd(most, len(sharing))


def _works_on(record: RunRecord) -> set[Any]:
    """What a run was given of its machine: cores by number, a GPU by its identity."""
    device = (record.environment.get("gpu") or {}).get("uuid")
    return {*(record.environment.get("cores") or ()), *([device] if device else [])}


def noise(
    arms: Mapping[str, Sequence[RunRecord]],
    control: float | None = None,
    crowd: Crowd | None = None,
) -> Noise:
    """Judge the good runs of a sweep, given by arm.

    ``control`` is what two equal arms of the same sweep showed: the farther end of the interval of
    their ratio, less 1. It measures the very thing in question, so where it is given it makes the
    verdict, and all else only explains it. ``crowd`` is what all runs of the sweep had beside them.
    """
    good = {arm: [r for r in records if r.ok] for arm, records in arms.items()}
    records = [record for own in good.values() for record in own]
    judged = _Judgement()
    if control is not None:
        judged.figures["control"] = control
        judged.settle(control, CONTROL, f"two equal arms differ by up to {abs(control):.1%}")
    _spreads(good, judged)
    _drift(good, judged)
    _disturbances(records, judged)
    if crowd is None or crowd.most == 1:
        _cores(records, judged)
    else:
        _crowd(crowd, judged)
    return judged.noise()


class _Judgement:
    """Collects figures and reasons; the worst reason makes the verdict unless a control settled
    it."""

    def __init__(self) -> None:
        self.figures: dict[str, float] = {}
        self._reasons: list[tuple[str, str]] = []
        self._settled: str | None = None

    def weigh(self, value: float, level: Level, reason: str) -> None:
        """Take a reason into account if its figure reaches a level."""
        grade = _grade(value, level)
        if grade != QUIET:
            self.add(grade, reason)

    def add(self, grade: str, reason: str) -> None:
        self._reasons.append((grade, reason))

    def settle(self, value: float, level: Level, reason: str) -> None:
        """Take a figure that decides by itself."""
        self._settled = _grade(abs(value), level)
        self._reasons.append((self._settled, reason))

    def noise(self) -> Noise:
        grades = [grade for grade, _ in self._reasons]
        verdict = self._settled
        if verdict is None:
            verdict = NOISY if NOISY in grades else SOME if SOME in grades else QUIET
            if not self.figures:
                verdict = UNKNOWN
        return Noise(verdict, tuple(reason for _, reason in self._reasons), self.figures)


def _grade(value: float, level: Level) -> str:
    if value > level.noisy:
        return NOISY
    return SOME if value > level.some else QUIET


def spread(values: Sequence[float]) -> float:
    """Relative spread: the median absolute deviation as a standard deviation, over the median."""
    middle = statistics.median(values)
    deviation = statistics.median(abs(value - middle) for value in values)
    return _MAD_TO_SD * deviation / middle if middle else 0.0


def _step_time(record: RunRecord) -> float | None:
    return record.metrics.get("perf/step_ms_median")


def _spreads(arms: Mapping[str, Sequence[RunRecord]], judged: _Judgement) -> None:
    within = [
        spread(times.tolist())
        for records in arms.values()
        for record in records
        if len(times := step_seconds(steady(record.blocks))) >= _FEWEST
    ]
    if within:
        value = judged.figures["block_spread"] = statistics.median(within)
        judged.weigh(value, BLOCK_SPREAD, f"step times vary by {value:.1%} within a run")
    between = []
    for records in arms.values():
        runs = [time for record in records if (time := _step_time(record)) is not None]
        if len(runs) >= _FEWEST:
            between.append(spread(runs))
    if between:
        value = judged.figures["run_spread"] = statistics.median(between)
        judged.weigh(value, RUN_SPREAD, f"equal runs differ by {value:.1%}")


def _drift(arms: Mapping[str, Sequence[RunRecord]], judged: _Judgement) -> None:
    """A line through step times, each over its arm's median, by Theil and Sen's estimator."""
    points: list[tuple[float, float]] = []
    for records in arms.values():
        timed = [(r.started_ms / 1e3, t) for r in records if (t := _step_time(r)) is not None]
        if len(timed) > 1:
            middle = statistics.median(time for _, time in timed)
            points += [(started, time / middle) for started, time in timed]
    span = max((p[0] for p in points), default=0.0) - min((p[0] for p in points), default=0.0)
    if len(points) < _FEWEST_FOR_DRIFT or not span:
        return
    slopes = [
        (second[1] - first[1]) / (second[0] - first[0])
        for first, second in itertools.combinations(points, 2)
        if first[0] != second[0]
    ]
    value = judged.figures["drift"] = float(np.median(slopes)) * span
    grew = "longer" if value > 0 else "shorter"
    judged.weigh(abs(value), DRIFT, f"steps took {abs(value):.1%} {grew} by the end of the sweep")


def _disturbances(records: Sequence[RunRecord], judged: _Judgement) -> None:
    for name, level, told in (
        ("foreign_cores", FOREIGN, "other processes worked on the runs' cores: {}"),
        ("steal_share", STEAL, "the hypervisor took {} of the runs' CPU time"),
        ("quota_share", QUOTA, "a CPU quota held the runs back for {} of their time"),
    ):
        _disturbance(records, name, level, judged, told)
    hot = sum(bool(value) for value in _conditions(records, "thermal_throttles"))
    if hot:
        judged.figures["hot_runs"] = hot
        judged.add(SOME, f"the CPU slowed down from heat in {hot} of {len(records)} runs")


def _conditions(records: Iterable[RunRecord], name: str) -> list[float]:
    found = (record.environment.get("conditions", {}).get(name) for record in records)
    return [value for value in found if value is not None]


def _disturbance(
    records: Sequence[RunRecord], name: str, level: Level, judged: _Judgement, told: str
) -> None:
    values = _conditions(records, name)
    if not values:
        return
    middle, most = statistics.median(values), max(values)
    judged.figures[name] = middle
    judged.figures[f"{name}_worst"] = most

    def shown(value: float) -> str:
        return f"{value:.2f} cores' worth" if name == "foreign_cores" else f"{value:.1%}"

    amount = shown(middle)
    if shown(most) != amount:
        amount += f" (worst run: {shown(most)})"
    reason = told.format(amount)
    if middle > level.noisy:
        judged.add(NOISY, reason)
    elif most > level.some:
        judged.add(SOME, reason)


def _crowd(crowd: Crowd, judged: _Judgement) -> None:
    """Caches and memory are shared even by runs on cores of their own."""
    judged.figures["runs_at_once"] = crowd.most
    if crowd.sharing:
        judged.figures["runs_sharing_cores"] = crowd.sharing
        judged.add(NOISY, f"{crowd.sharing} runs shared their cores or GPU with others")
    else:
        judged.add(SOME, f"up to {crowd.most} runs went on at a time, each on cores of its own")


def _cores(records: Iterable[RunRecord], judged: _Judgement) -> None:
    """As many cores are to be the same cores for all."""
    by_count: dict[int, set[tuple[int, ...]]] = {}
    for record in records:
        if cores := record.environment.get("cores"):
            by_count.setdefault(len(cores), set()).add(tuple(cores))
    if any(len(found) > 1 for found in by_count.values()):
        judged.add(SOME, "runs were given different cores")
