"""Epochs and time until an arm reaches the target, with failures as infinity."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fwcompare.arms import Run
from fwcompare.metrics import is_share
from fwcompare.stats.criteria import Criteria
from fwcompare.stats.holm import holm
from fwcompare.stats.inference import FEWEST, of_pairs
from fwcompare.stats.target import Arrival, arrival, p_sign
from fwcompare.verdict import (
    BASELINE,
    NO_DIFFERENCE,
    NO_RESULT,
    TOO_FEW,
    Estimate,
    Finding,
    control,
    judge,
    seconds,
)


@dataclass(frozen=True)
class Reached:
    """How an arm fared on its way to the target.

    The medians are over all runs that were started; infinite where half of them never arrived.
    """

    target: float
    reached: int
    runs: int
    epochs_median: float
    train_seconds_median: float
    #: Seconds of training to the target against the baseline's.
    finding: Finding


def reached(
    arms: Mapping[str, Sequence[Run]], base: str | None, metric: str, criteria: Criteria
) -> dict[str, Reached]:
    """What each arm needed to bring ``val/<metric>`` to the target; empty without a target.

    A run that failed, diverged or ran out of time or memory before it got there has not reached
    it. Refused and interrupted runs are left out.
    """
    target = criteria.target
    if target is None:
        return {}
    arrivals = {label: _arrivals(runs, metric, target) for label, runs in arms.items()}
    controls = {label for label, runs in arms.items() if runs[0].control}
    findings = _findings(arrivals, base, controls, criteria)
    return {
        label: Reached(
            target=target,
            reached=sum(a.reached for a in own.values()),
            runs=len(own),
            epochs_median=statistics.median(a.epochs for a in own.values()),
            train_seconds_median=statistics.median(a.train_seconds for a in own.values()),
            finding=findings[label],
        )
        for label, own in arrivals.items()
        if own
    }


def _arrivals(runs: Sequence[Run], metric: str, target: float) -> dict[int, Arrival]:
    higher = is_share(metric)
    found: dict[int, list[Arrival]] = defaultdict(list)
    for run in runs:
        if run.started:
            own = arrival(run.record.history, f"val/{metric}", target, higher)
            found[run.seed].append(own)
    return {
        seed: Arrival(
            statistics.fmean(a.epochs for a in own), statistics.fmean(a.train_seconds for a in own)
        )
        for seed, own in found.items()
    }


def _findings(
    arrivals: Mapping[str, Mapping[int, Arrival]],
    base: str | None,
    controls: set[str],
    criteria: Criteria,
) -> dict[str, Finding]:
    """Ratios where every run of both arms arrived, the sign test where some never did."""
    question = seconds(criteria)
    if base is None:
        return dict.fromkeys(arrivals, Finding(NO_RESULT, "–"))
    reference = arrivals[base]
    ratios, signs = {}, {}
    for label, own in arrivals.items():
        pairs = [
            (own[seed].train_seconds, reference[seed].train_seconds)
            for seed in sorted(own.keys() & reference.keys())
        ]
        if label == base or not pairs:
            continue
        if all(math.isfinite(t) and t > 0 for pair in pairs for t in pair):
            ratios[label] = of_pairs([math.log(a) - math.log(b) for a, b in pairs])
        else:
            signs[label] = pairs
    found = dict.fromkeys(arrivals, Finding(NO_RESULT, "–"))
    found[base] = Finding(BASELINE, "baseline")
    # The two tests share the table's chance of a false claim in halves.
    if ratios and signs:
        criteria = criteria.halved()
    for label in controls & ratios.keys():
        found[label] = control(question, ratios.pop(label), criteria)
    return found | judge(question, ratios, criteria) | _by_sign(signs, criteria)


def _by_sign(
    signs: Mapping[str, Sequence[tuple[float, float]]], criteria: Criteria
) -> dict[str, Finding]:
    p_values = [p_sign(pairs) for pairs in signs.values()]
    found = {}
    for (label, pairs), p, adjusted in zip(signs.items(), p_values, holm(p_values), strict=True):
        ratio = statistics.median(_ratio(own, base) for own, base in pairs)
        estimate = Estimate(
            ratio, None, None, criteria.confidence, len(pairs), None, p, adjusted, None, "sign test"
        )
        kind = NO_DIFFERENCE
        if adjusted < criteria.alpha:
            sooner = sum(own < base for own, base in pairs)
            later = sum(own > base for own, base in pairs)
            kind = "sooner" if sooner > later else "later"
        elif len(pairs) < FEWEST:
            kind = TOO_FEW
        found[label] = Finding(kind, kind, f"(sign test, p = {adjusted:.2g})", estimate)
    return found


def _ratio(own: float, base: float) -> float:
    """A ratio of times, either of which may be infinite; 1 where both are."""
    return 1.0 if own == base else own / base if math.isfinite(base) else 0.0
