"""Records to a ``Comparison``: pure functions."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fwcompare import arms as by
from fwcompare.arms import Run
from fwcompare.errors import RequestError, unknown
from fwcompare.grid import Grid
from fwcompare.noise import Noise
from fwcompare.reached import Reached, reached
from fwcompare.spec import RunSpec
from fwcompare.stats.break_even import break_even_steps
from fwcompare.stats.criteria import Criteria
from fwcompare.stats.inference import FEWEST, Inference, of_pairs
from fwcompare.stats.outliers import outliers
from fwcompare.stats.profile import Profile, performance_profile
from fwcompare.verdict import (
    BASELINE,
    NO_RESULT,
    NOT_COMPARABLE,
    THROUGHPUT,
    Finding,
    Question,
    control,
    judge,
    noise_floor,
    score,
    speed,
)

_NO_RESULT = Finding(NO_RESULT, "–")

#: Standing of an arm at the point that a search found best for it.
TUNED = "tuned"


@dataclass(frozen=True)
class Spread:
    """Median and range over the runs of one arm; infinite for what never came."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """The spread of some values; None for none."""
        if not values:
            return None
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True)
class Standing:
    """Whether an arm was proven to be the same experiment as the reference."""

    #: ``proven``, ``not comparable``, ``unproven``, or ``tuned`` where each arm has options of its
    #: own, and nothing is to be proven.
    state: str
    #: Why it is not proven, or what the proof does not say.
    reason: str = ""


#: The standing of each (group, engine, execution, device).
Standings = Mapping[tuple[str, str, str, str], Standing]


@dataclass(frozen=True)
class Row:
    """One arm of a comparison."""

    label: str
    engine: str
    #: Whether it repeats the baseline.
    control: bool
    standing: Standing
    #: Ids of the runs.
    runs: tuple[str, ...]
    statuses: dict[str, int]
    #: Spread of every final metric over the good runs, without what is no finite number.
    metrics: dict[str, Spread]
    #: Throughput against the baseline's.
    speed: Finding
    #: The task's metric against the baseline's.
    score: Finding
    #: When the target was reached; None without a target.
    reached: Reached | None = None
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    #: What the statistics have to say of its runs, such as outliers and values left out.
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class BreakEven:
    """Steps after which an execution that starts slower but steps faster has caught up.

    The spread is over seeds; infinite where it never does.
    """

    label: str
    plain: str
    steps: Spread


@dataclass(frozen=True)
class Comparison:
    """Arms that did the same mathematics, side by side."""

    name: str
    title: str
    #: The metric that users quote, such as ``test/accuracy``.
    metric: str
    baseline: str | None
    rows: tuple[Row, ...]
    criteria: Criteria = field(default_factory=Criteria)
    break_even: tuple[BreakEven, ...] = ()
    #: How noisy the measurement was, where that was judged.
    noise: Noise | None = None
    #: What a reader must know before trusting the rows; ``noted`` adds to them.
    notes: tuple[str, ...] = ()
    #: Tables that belong to it, such as those of a search.
    tables: tuple[Grid, ...] = ()

    def noted(self, *notes: str) -> Comparison:
        """The same comparison with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    def to_json(self) -> dict[str, Any]:
        """Plain data: an infinite number is the word "inf", and what is no number is null."""
        return dict(jsonable(asdict(self)))


def jsonable(value: Any) -> Any:
    """Plain data as JSON has them, which knows neither infinity nor NaN."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def compare(
    runs: Sequence[Run],
    name: str = "",
    baseline: str | None = None,
    standings: Standings | None = None,
    criteria: Criteria | None = None,
) -> tuple[Comparison, ...]:
    """One comparison for each group (the same mathematics), in order of appearance.

    ``baseline`` names an engine or the label of an arm; None takes the first engine that has a good
    run. An arm without a standing counts as unproven.

    Raises:
        RequestError: there are no runs, or the baseline is not among them.
    """
    if not runs:
        raise RequestError("There are no runs to compare.")
    keys = by.varying(runs)
    known = {run.engine for run in runs} | set(by.by_arm(runs, keys))
    if baseline is not None and baseline not in known:
        raise unknown("baseline", baseline, known)
    found = []
    for own in by.by_group(runs).values():
        arms = by.by_arm(own, keys)
        base = arms.get(by.baseline(arms, baseline) or "", ())
        held = {label: _standing(runs, base, standings or {}) for label, runs in arms.items()}
        found.append(_compare_group(name, arms, baseline, held, criteria or Criteria()))
    return tuple(found)


def compare_tuned(
    runs: Sequence[Run],
    points: Mapping[str, str],
    name: str = "",
    baseline: str | None = None,
    criteria: Criteria | None = None,
) -> Comparison:
    """Arms side by side, each at the point that was found best for it.

    What they did is not the same mathematics, and title and standing say so: verdicts are on tuned
    arms. ``points`` tells the point of each arm by its label.

    Raises:
        RequestError: there are no runs.
    """
    if not runs:
        raise RequestError("There are no runs to compare.")
    arms = by.by_arm(runs, by.varying(runs))
    held = {label: Standing(TUNED, f"at {points.get(label, 'no point')}") for label in arms}
    made = _compare_group(name, arms, baseline, held, criteria or Criteria())
    spec = next((run.spec for run in runs if run.spec is not None), None)
    what = f": {spec.model.name} on {spec.dataset.name}" if spec else ""
    return replace(made, title=f"Tuned, not the same experiment{what}")


def _compare_group(
    name: str,
    arms: Mapping[str, Sequence[Run]],
    wanted: str | None,
    held: Mapping[str, Standing],
    criteria: Criteria,
) -> Comparison:
    runs = [run for own in arms.values() for run in own]
    spec = next((run.spec for run in runs if run.spec is not None), None)
    metric = f"test/{spec.task.metric}" if spec else "test/accuracy"
    base = by.baseline(arms, wanted)
    questions = speed(criteria), score(metric, criteria)
    speeds, scores = (_findings(q, arms, base, held, criteria) for q in questions)
    asked = [(q, found) for q, found in zip(questions, (speeds, scores), strict=True)
             if criteria.timed or q.metric != THROUGHPUT]  # fmt: skip
    arrivals = reached(arms, base, spec.task.metric if spec else "accuracy", criteria)
    rows = [
        Row(
            label=label,
            engine=own[0].engine,
            control=own[0].control,
            standing=held[label],
            runs=tuple(run.record.run for run in own),
            statuses=dict(Counter(run.record.status for run in own)),
            metrics=_spreads(own),
            speed=speeds[label],
            score=scores[label],
            reached=arrivals.get(label),
            reasons=tuple(dict.fromkeys(run.record.reason for run in own if run.record.reason)),
            warnings=tuple(dict.fromkeys(w for r in own if r.record.ok for w in r.record.warnings)),
            remarks=tuple(_remarks(own, [(q, found[label]) for q, found in asked])),
        )
        for label, own in arms.items()
    ]
    return Comparison(
        name, _title(spec), metric, base, _in_order(rows), criteria,
        tuple(_break_evens(arms)), notes=tuple(_notes(arms, base)),
    )  # fmt: skip


def _standing(runs: Sequence[Run], base: Sequence[Run], standings: Standings) -> Standing:
    """The proof's word, unless the runs themselves show that they did something else."""
    if reason := by.difference(runs, base):
        return Standing(NOT_COMPARABLE, reason)
    spec = runs[0].spec
    if spec is None:
        return Standing("unproven")
    if spec.framework.python is not None:
        return Standing("unproven", "an interpreter of its own")
    unproven = Standing("unproven")
    key = (spec.group, spec.framework.name, spec.execution, spec.place)
    found = standings.get(key, unproven)
    if spec.mixed and found.state == "proven":
        # Which operations a framework rounds to the half type is its own policy.
        remark = f"as mathematics; each framework rounds {spec.precision} in its own way"
        return Standing("proven", remark)
    return found


def _findings(
    question: Question,
    arms: Mapping[str, Sequence[Run]],
    base: str | None,
    held: Mapping[str, Standing],
    criteria: Criteria,
) -> dict[str, Finding]:
    """What is found for each arm against the baseline; the control sets the noise floor."""
    if base is None:
        return dict.fromkeys(arms, _NO_RESULT)
    reference = by.by_seed(arms[base], question)
    found: dict[str, Finding] = {base: Finding(BASELINE, "baseline")}
    asked: dict[str, Inference | None] = {}
    floor = 0.0
    for label, runs in arms.items():
        inference = paired(by.by_seed(runs, question), reference)
        if label == base:
            continue
        if held[label].state == NOT_COMPARABLE:
            found[label] = Finding(NOT_COMPARABLE, NOT_COMPARABLE)
        elif runs[0].control:
            found[label] = control(question, inference, criteria)
            if inference is not None and question.metric == THROUGHPUT:
                floor = noise_floor(inference, criteria)
        else:
            asked[label] = inference
    return found | judge(question, asked, criteria, floor)


def paired(own: Mapping[int, float], base: Mapping[int, float]) -> Inference | None:
    """The difference of two arms on the scale of a question, by seed; None without a common one."""
    common = sorted(own.keys() & base.keys())
    return of_pairs([own[seed] - base[seed] for seed in common]) if common else None


def _spreads(runs: Sequence[Run]) -> dict[str, Spread]:
    values: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        if run.record.ok:
            for key, value in run.record.metrics.items():
                if math.isfinite(value):
                    values[key].append(value)
    return {key: spread for key, own in sorted(values.items()) if (spread := Spread.of(own))}


def _remarks(runs: Sequence[Run], found: Iterable[tuple[Question, Finding]]) -> Iterable[str]:
    """What the statistics say of the runs of one arm."""
    started = [run for run in runs if run.started]
    good = [run for run in started if run.record.ok]
    if good and len(good) < len(started):
        yield (
            f"{len(started) - len(good)} of {len(started)} runs failed: what is said of it holds "
            "for those that ended well"
        )
    for question, finding in found:
        if text := by.left_out(runs, question):
            yield text
        if finding.remark:
            yield f"{question.metric}: {finding.remark}"
        usable = [
            (run, value)
            for run in good
            if (value := question.scaled(run.record.metrics.get(question.metric, math.nan)))
            is not None
        ]
        for position in outliers([value for _, value in usable]):
            run = usable[position][0]
            yield (
                f"outlier, kept: {question.metric} {run.record.metrics[question.metric]:.4g} "
                f"in seed {run.seed}"
            )


def _break_evens(arms: Mapping[str, Sequence[Run]]) -> Iterable[BreakEven]:
    """For every two executions of one engine: from when on the one that compiles more pays."""
    for label, own in arms.items():
        for other, theirs in arms.items():
            if not _executions_of_one(own[0], theirs[0]):
                continue
            steps = _steps_by_seed(own, theirs)
            if steps is not None:
                yield BreakEven(label, other, steps)


def _executions_of_one(run: Run, plain: Run) -> bool:
    """Whether ``run`` differs from ``plain`` in the execution alone, and compiles more by name."""
    own, other = dict(run.variant), dict(plain.variant)
    order = ("eager", "native", "compiled")
    executions = own.pop("execution", None), other.pop("execution", None)
    if run.engine != plain.engine or own != other or run.control or plain.control:
        return False
    if executions[0] not in order or executions[1] not in order:
        return False
    return order.index(executions[0]) > order.index(executions[1])


def _steps_by_seed(own: Sequence[Run], plain: Sequence[Run]) -> Spread | None:
    def costs(runs: Sequence[Run]) -> dict[int, tuple[float, float]]:
        return {
            run.seed: (m["time/compile_s"], m["perf/step_ms_median"] / 1e3)
            for run in runs
            if run.record.ok
            and {"time/compile_s", "perf/step_ms_median"} <= (m := run.record.metrics).keys()
        }

    first, second = costs(own), costs(plain)
    return Spread.of(
        [break_even_steps(*first[s], *second[s]) for s in sorted(first.keys() & second.keys())]
    )


def profile(comparisons: Sequence[Comparison]) -> Profile | None:
    """How close each arm comes to the fastest over all groups; None for a single group.

    An arm that has no throughput in a group, or is not comparable there, counts as failed there. A
    control is no arm of its own.
    """
    if len(comparisons) < 2:
        return None
    costs: dict[str, dict[str, float]] = defaultdict(dict)
    for number, comparison in enumerate(comparisons):
        for row in comparison.rows:
            if row.control:
                continue
            own = costs[row.label]
            throughput = row.metrics.get(THROUGHPUT)
            if throughput and throughput.median > 0 and row.standing.state != NOT_COMPARABLE:
                own[str(number)] = 1 / throughput.median
    return performance_profile(costs)


def _in_order(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Fastest first; rows without a throughput last."""

    def key(row: Row) -> tuple[bool, float, str]:
        spread = row.metrics.get(THROUGHPUT)
        return (spread is None, -(spread.median if spread else 0.0), row.label)

    return tuple(sorted(rows, key=key))


def _title(spec: RunSpec | None) -> str:
    if spec is None:
        return "no run was started"
    training = spec.training
    epochs = f"{training.epochs} epoch{'s' if training.epochs != 1 else ''}"
    return (
        f"{spec.model.name} on {spec.dataset.name}, {spec.optimizer.name} "
        f"lr={spec.optimizer.lr:g}, batch {training.batch_size}, {epochs}, "
        f"{spec.semantics} semantics"
    )


def _notes(arms: Mapping[str, Sequence[Run]], base: str | None) -> Iterable[str]:
    """What a reader must know before trusting the rows."""
    if base is None:
        yield "No arm has a good run: nothing can be concluded."
        return
    others = [label for label in arms if label != base]
    if not others:
        yield "Only one arm: there is nothing to compare it with."
        return
    seeds = {run.seed for own in arms.values() for run in own if run.record.ok}
    if len(seeds) < FEWEST:
        yield f"Only {len(seeds)} seed(s): an interval needs at least {FEWEST}."
    cpus = {
        str(cpu)
        for own in arms.values()
        for run in own
        if run.record.ok and (cpu := run.record.environment.get("cpu"))
    }
    if len(cpus) > 1:
        yield f"Runs were made on different processors ({', '.join(sorted(cpus))}): speeds mix."
