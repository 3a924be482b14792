"""Inferences to verdicts in words, corrected for how many are made at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fwcompare.metrics import is_share
from fwcompare.stats.criteria import Criteria
from fwcompare.stats.holm import holm
from fwcompare.stats.inference import Inference

Name = TypeVar("Name", bound=Hashable)

#: Samples a second in steady training: the larger, the better.
THROUGHPUT = "perf/samples_per_s"

#: Kinds of verdict, besides a question's own two words for a difference.
BASELINE = "baseline"
CONTROL = "control"
EQUIVALENT = "equivalent"
NO_DIFFERENCE = "no difference shown"
NO_SPREAD = "no spread"
NOT_COMPARABLE = "not comparable"
NO_RESULT = "no result"
TOO_FEW = "too few seeds to say"


@dataclass(frozen=True)
class Question:
    """What is compared, on which scale, and the words for the answers.

    A logarithmic question is about the ratio of two values, any other about their difference.
    """

    metric: str
    logarithmic: bool
    #: Relative for a ratio, in the metric's own unit for a difference.
    margin: float
    #: What an arm is whose value is above the baseline's, and below it.
    larger: str
    smaller: str
    higher_is_better: bool
    #: How a ratio is written: 1.32x, or as a change of 32 %.
    as_factor: bool = False

    def scaled(self, value: float) -> float | None:
        """A value on the scale on which means are taken; None for one that has no place there."""
        if not math.isfinite(value):
            return None
        if not self.logarithmic:
            return value
        return math.log(value) if value > 0 else None

    def natural(self, value: float) -> float:
        """A mean, or an end of its interval, as a ratio or a difference."""
        return _exponential(value) if self.logarithmic else value

    @property
    def scaled_margin(self) -> float:
        return math.log1p(self.margin) if self.logarithmic else self.margin

    @property
    def unit(self) -> str:
        """Of relative differences, and of differences of shares."""
        return "%" if self.logarithmic else "points"

    @property
    def margin_words(self) -> str:
        """The margin as one says it: 2 %, 0.5 points."""
        return f"{100 * self.margin:g} {self.unit}"


def speed(criteria: Criteria) -> Question:
    """Throughput in training."""
    return Question(
        THROUGHPUT, True, criteria.speed_margin, "faster", "slower", True, as_factor=True
    )


def score(metric: str, criteria: Criteria) -> Question:
    """A metric of the task: shares by their difference in points, errors by their ratio."""
    share = is_share(metric)
    return Question(metric, not share, criteria.equivalence_margin, "higher", "lower", share)


def seconds(criteria: Criteria) -> Question:
    """Time until something is reached."""
    return Question(
        "time/wall_s", True, criteria.speed_margin, "later", "sooner", False, as_factor=True
    )


@dataclass(frozen=True)
class Estimate:
    """A ratio or a difference to the baseline, as figures.

    ``spread`` is the standard deviation of one pair, of its logarithm for a ratio. P-values of
    "no difference" as such and adjusted, and of "not equivalent", adjusted. None where there are
    too few pairs, or no spread among them.
    """

    value: float
    low: float | None
    high: float | None
    confidence: float
    pairs: int
    spread: float | None
    p_value: float | None
    p_adjusted: float | None
    p_equivalence: float | None
    method: str


@dataclass(frozen=True)
class Finding:
    """A verdict: its kind for programs, its words for people, and the figures behind it."""

    kind: str
    words: str
    #: The interval in the sense of the words; empty where there is none.
    interval: str = ""
    estimate: Estimate | None = None
    #: What else must be known to read it.
    remark: str = ""

    def __str__(self) -> str:
        return f"{self.words} {self.interval}".rstrip()


@dataclass(frozen=True)
class Case:
    """One comparison of a family: what was asked of it, and what was inferred."""

    question: Question
    #: None where one side has no values.
    inference: Inference | None
    #: What an A/A control reached on the scale of the means; no smaller difference is called one.
    floor: float = 0.0


def judge(
    question: Question,
    inferences: Mapping[str, Inference | None],
    criteria: Criteria,
    floor: float = 0.0,
) -> dict[str, Finding]:
    """The verdict of each comparison with one baseline, which together are a family."""
    cases = {label: Case(question, inference, floor) for label, inference in inferences.items()}
    return judge_family(cases, criteria)


def judge_family(cases: Mapping[Name, Case], criteria: Criteria) -> dict[Name, Finding]:
    """The verdict of each comparison of a family.

    The family has one chance of ``criteria.alpha`` for a false difference, and one for a false
    equivalence. A difference that is proven to be within the margin is called equivalent.
    """
    differences = _adjusted(cases, lambda _, inference: inference.p_difference())
    equivalences = _adjusted(cases, lambda asked, i: i.p_equivalence(asked.scaled_margin))
    return {
        name: _finding(
            case.question,
            case.inference,
            differences.get(name),
            equivalences.get(name),
            criteria,
            case.floor,
        )
        for name, case in cases.items()
    }


def _adjusted(
    cases: Mapping[Name, Case], p_value: Callable[[Question, Inference], float | None]
) -> dict[Name, float]:
    found = {
        name: p
        for name, case in cases.items()
        if case.inference is not None and (p := p_value(case.question, case.inference)) is not None
    }
    return dict(zip(found, holm(list(found.values())), strict=True))


def _finding(
    question: Question,
    inference: Inference | None,
    difference: float | None,
    equivalence: float | None,
    criteria: Criteria,
    floor: float,
) -> Finding:
    if inference is None:
        return Finding(NO_RESULT, "–")
    estimate = estimated(question, inference, criteria, difference, equivalence)
    if difference is None or equivalence is None:
        return _without_interval(question, inference, estimate)
    if equivalence < criteria.alpha:
        words = f"equivalent within {question.margin_words}"
        return Finding(EQUIVALENT, words, interval(question, estimate), estimate)
    if difference >= criteria.alpha or abs(inference.mean) <= floor:
        remark = ""
        if difference < criteria.alpha:
            remark = "within the noise floor of the A/A control"
        elif inference.p_difference() < criteria.alpha:  # type: ignore[operator]
            remark = (
                "shown by its own interval, but not among so many comparisons "
                f"(Holm-adjusted p = {difference:.2g})"
            )
        unit = "" if question.as_factor else f" {question.unit}"
        shown = interval(question, estimate) + unit
        return Finding(NO_DIFFERENCE, NO_DIFFERENCE, shown, estimate, remark)
    kind = question.larger if inference.mean > 0 else question.smaller
    return Finding(
        kind, f"{amount(question, estimate)} {kind}", _turned(question, estimate), estimate
    )


def control(question: Question, inference: Inference | None, criteria: Criteria) -> Finding:
    """What an A/A control shows: no claim, but how far equal arms come apart."""
    if inference is None:
        return Finding(NO_RESULT, "–")
    estimate = estimated(question, inference, criteria)
    p = inference.p_difference()
    if p is None:
        found = _without_interval(question, inference, estimate)
        return Finding(CONTROL, f"A/A {found.words}", found.interval, estimate)
    words, remark = "A/A", ""
    if question.as_factor:
        floor = question.natural(noise_floor(inference, criteria))
        words = f"A/A {_factors([estimate.value])[0]}x"
        remark = f"a difference within {_factors([floor])[0]}x, the noise floor, is not called one"
    if p < criteria.alpha:
        remark = (
            f"the A/A control itself shows a difference (p = {p:.2g}): to be expected in "
            f"{100 * criteria.alpha:.3g} % of sweeps; if it comes again, the measurement is biased"
        )
    return Finding(CONTROL, words, interval(question, estimate), estimate, remark)


def noise_floor(inference: Inference, criteria: Criteria) -> float:
    """What a difference must exceed: the end of the A/A interval that is farther from none."""
    ends = inference.interval(criteria.confidence)
    return max(map(abs, ends)) if ends else abs(inference.mean)


def _without_interval(question: Question, inference: Inference, estimate: Estimate) -> Finding:
    """What can be said of too few pairs, or of pairs that are all the same."""
    if abs(inference.mean) < 1e-12:
        said = "the same"
    else:
        kind = question.larger if inference.mean > 0 else question.smaller
        said = f"{amount(question, estimate)} {kind}"
    if inference.constant:
        remark = "" if said == "the same" else "without any spread there is no interval"
        return Finding(NO_SPREAD, said, f"in all {inference.count} seeds", estimate, remark)
    return Finding(TOO_FEW, TOO_FEW, f"({said})", estimate)


def estimated(
    question: Question,
    inference: Inference,
    criteria: Criteria,
    p_adjusted: float | None = None,
    p_equivalence: float | None = None,
) -> Estimate:
    """An inference in the metric's own terms."""
    ends = inference.interval(criteria.confidence)
    return Estimate(
        value=question.natural(inference.mean),
        low=question.natural(ends[0]) if ends else None,
        high=question.natural(ends[1]) if ends else None,
        confidence=criteria.confidence,
        pairs=inference.count,
        spread=inference.spread if math.isfinite(inference.spread) else None,
        p_value=inference.p_difference(),
        p_adjusted=p_adjusted,
        p_equivalence=p_equivalence,
        method=inference.method,
    )


def amount(question: Question, estimate: Estimate) -> str:
    """The size of a difference without its sign: 1.32x, 0.8 points, 3.1 %."""
    if not question.as_factor:
        size = abs(estimate.value - (1 if question.logarithmic else 0))
        return f"{_percent(size)} {question.unit}"
    factors = [estimate.value, estimate.low or estimate.value, estimate.high or estimate.value]
    if estimate.value < 1:
        factors = [_inverse(factor) for factor in factors]
    return f"{_factors(factors)[0]}x"


def interval(question: Question, estimate: Estimate) -> str:
    """The interval as it stands: ratios to the baseline, or differences with their sign."""
    if estimate.low is None or estimate.high is None:
        return ""
    if question.as_factor:
        low, high = _factors([estimate.low, estimate.high])
        return f"[{low}, {high}]"
    zero = 1 if question.logarithmic else 0
    ends = [f"{_percent(end - zero, sign=True)}" for end in (estimate.low, estimate.high)]
    return f"[{', '.join(ends)}]"


def _turned(question: Question, estimate: Estimate) -> str:
    """The interval of a difference in the sense of its word: above 1, or above 0."""
    low, high = estimate.low, estimate.high
    if low is None or high is None:
        return ""
    if question.as_factor:
        value = estimate.value
        ends = [low, high] if value >= 1 else [_inverse(high), _inverse(low)]
        _, first, second = _factors([max(value, _inverse(value)), *ends])
        return f"[{first}, {second}]"
    zero = 1 if question.logarithmic else 0
    ends = [low - zero, high - zero]
    if estimate.value < zero:
        ends = [-ends[1], -ends[0]]
    return f"[{', '.join(map(_percent, ends))}]"


def _exponential(value: float) -> float:
    """A logarithm's number; infinite where it is too large for one, as of a run gone wild."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _inverse(factor: float) -> float:
    return 1 / factor if factor else math.inf


def _factors(values: Sequence[float]) -> list[str]:
    """Factors with two decimals, or with three where two would make a 1 of what is none."""
    decimals = 3 if any(round(v, 2) == 1 != v for v in values) else 2
    return [f"{v:,.{decimals if v < 10 else int(v < 100)}f}" for v in values]


def _percent(share: float, sign: bool = False) -> str:
    """A share in hundredths, with one decimal or two figures."""
    value = 100 * share
    text = f"{value:.1f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"
    return f"+{text}" if sign and value > 0 else text
