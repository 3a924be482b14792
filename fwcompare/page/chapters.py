"""The questions of the page in their order, each with its answer, tables and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from fwcompare import report
from fwcompare.arms import Run
from fwcompare.audit.collect import Audit
from fwcompare.audit.table import by_value, in_words, remarks
from fwcompare.compare import Comparison, profile
from fwcompare.grid import Grid
from fwcompare.page import bars, circumstances, curves, intervals, profiles, roof, words
from fwcompare.page.evidence import Evidence
from fwcompare.page.outline import Chapter, Question, Table
from fwcompare.page.palette import Mark
from fwcompare.parity.ladder import RUNGS, Rung
from fwcompare.parity.standing import ArmProof

#: Workloads with figures, and arms of them all together: more would be a page that nobody reads and
#: no phone holds. The verdicts of the others stand in one table.
_MOST_WORKLOADS = 40
_MOST_ARMS = 200

#: Characters of an arm's samples.
_MOST_CHARACTERS = 2000

#: Rank of the columns that questions of their own are about.
_OWN_QUESTION = 5


def chapters(evidence: Evidence, marks: Mapping[str, Mark]) -> list[Chapter]:
    """A chapter for each comparison, and one for what they share."""
    count = _with_figures(evidence.comparisons)
    shown, rest = evidence.comparisons[:count], evidence.comparisons[count:]
    points = curves.points_each(sum(len(comparison.rows) for comparison in shown))
    found = [_workload(evidence, comparison, marks, points) for comparison in shown]
    if rest:
        found.append(_others(rest, count))
    return [*found, Chapter("The whole sweep", tuple(_shared(evidence, shown, marks)))]


def _with_figures(comparisons: Sequence[Comparison]) -> int:
    """How many workloads have figures, from the first on."""
    arms = list(accumulate(len(comparison.rows) for comparison in comparisons))
    fitting = sum(total <= _MOST_ARMS for total in arms)
    return min(max(fitting, 1), _MOST_WORKLOADS, len(comparisons))


def _others(comparisons: Sequence[Comparison], before: int) -> Chapter:
    """The verdicts on workloads without figures."""
    rows = tuple(
        (
            row.label,
            comparison.title,
            comparison.metric.replace("/", " "),
            str(row.score),
            str(row.speed),
            row.standing.state,
        )
        for comparison in comparisons
        for row in comparison.rows
    )
    headings = ("engine", "workload", "metric", "against baseline", "speed", "proof")
    said = (
        f"The first {before} workloads have figures. These are the verdicts on the others; the "
        "report in the formats csv and json has all their numbers."
    )
    table = Table(Grid("Verdicts", headings, rows), words=True)
    title = f"{len(comparisons)} more workloads"
    return Chapter(title, (Question("What was found elsewhere?", (said,), (table,)),))


def _workload(
    evidence: Evidence, comparison: Comparison, marks: Mapping[str, Mark], points: int
) -> Chapter:
    arms = evidence.arms(comparison)
    questions = (
        _faster(comparison, marks),
        _learned(comparison, arms, marks, points),
        *_written(evidence, arms),
        Question(
            "Where did the time go?",
            tuple(f"{report.break_even(entry)}." for entry in comparison.break_even),
            figures=tuple(bars.times(arms)),
        ),
        Question("How much memory?", figures=tuple(bars.memory(comparison, marks))),
        Question("How fast does it predict?", figures=tuple(bars.inference(comparison, marks))),
        _peak(evidence, arms, marks),
        _same(evidence, comparison, arms),
    )
    labels = tuple(row.label for row in comparison.rows)
    return Chapter(comparison.title, tuple(map(_answered, questions)), labels)


def _answered(question: Question) -> Question:
    """A question that nothing answers says so."""
    if question.answers or question.figures or question.tables:
        return question
    return Question(question.heading, ("No run has shown it.",))


def _faster(comparison: Comparison, marks: Mapping[str, Mark]) -> Question:
    chosen = [c for c in report.columns(comparison, folded=True) if c.rank < _OWN_QUESTION]
    table = Grid(
        "Verdicts",
        tuple(column.heading for column in chosen),
        tuple(
            (row.label, *(column.cell(row).replace(" [", "\n[") for column in chosen[1:]))
            for row in comparison.rows
        ),
        tuple(report.footnotes(comparison)),
    )
    figure = intervals.of_speed(comparison, marks)
    return Question(
        "Which is faster?",
        tuple(words.speeds(comparison)) or comparison.notes[:1],
        (Table(table), *(Table(grid) for grid in report.beside(comparison))),
        (figure,) if figure else (),
    )


def _learned(
    comparison: Comparison,
    arms: Mapping[str, Sequence[Run]],
    marks: Mapping[str, Mark],
    points: int,
) -> Question:
    figure = intervals.of_score(comparison, marks)
    learning = curves.figures(arms, comparison.metric.split("/")[-1], marks, points)
    return Question(
        "Did they learn the same?",
        tuple(words.scores(comparison)),
        figures=(*((figure,) if figure else ()), *learning),
        legend=True,
    )


def _written(evidence: Evidence, arms: Mapping[str, Sequence[Run]]) -> Iterator[Question]:
    """What each arm's first run wrote; nothing for what is no language model."""
    authors: dict[str, list[str]] = {}
    for label, runs in arms.items():
        if text := next(filter(None, (evidence.samples.get(r.record.run) for r in runs)), ""):
            authors.setdefault(text, []).append(label)
    rows = tuple(
        (", ".join(labels), text[:_MOST_CHARACTERS] + " ..." * (len(text) > _MOST_CHARACTERS))
        for text, labels in authors.items()
    )
    if rows:
        said = "Each engine's first seed. The core draws the tokens: equal outputs give equal text."
        table = Table(Grid("Written after training", ("engines", "text"), rows), words=True)
        yield Question("What do they write?", (said,), (table,))


def _peak(
    evidence: Evidence, arms: Mapping[str, Sequence[Run]], marks: Mapping[str, Mark]
) -> Question:
    heading = "How close to the machine's peak?"
    figure = roof.figure(arms, evidence.peaks, marks)
    if figure is None:
        why = "There is no measured peak for these runs: an accelerator, or another machine."
        return Question(heading, (why,))
    return Question(heading, (figure.says,), figures=(figure,), legend=True)


def _same(
    evidence: Evidence, comparison: Comparison, arms: Mapping[str, Sequence[Run]]
) -> Question:
    proofs = {proof.key: proof for proof in evidence.proofs}
    climbed: dict[str, ArmProof] = {}
    for label, runs in arms.items():
        spec = runs[0].spec
        proof = None
        if spec:
            key = (spec.group, runs[0].engine, spec.execution, spec.place)
            proof = proofs.get(key)
        if proof is not None and proof.rungs:
            climbed[label] = proof
    tables = (Table(_ladder(climbed)),) if climbed else ()
    return Question("Is it the same experiment?", tuple(words.standings(comparison)), tables)


def _ladder(climbed: Mapping[str, ArmProof]) -> Grid:
    any_proof = next(iter(climbed.values()))
    return Grid(
        f"Largest difference from {any_proof.reference}, and what is accepted",
        ("engine", *(f"{name}\n{what}" for name, what in RUNGS.items())),
        tuple(
            (label, *(_rung(rungs.get(name)) for name in RUNGS))
            for label, proof in climbed.items()
            if (rungs := {rung.name: rung for rung in proof.rungs})
        ),
        (
            f"Traced in {any_proof.precision} over {any_proof.steps} steps from the same weights "
            "and batches. Differences are relative; P0 and P5 count what differs.",
            *(
                f"{label}: {rung.name} fails at {rung.where or 'the whole'}"
                for label, proof in climbed.items()
                for rung in proof.rungs
                if not rung.holds
            ),
        ),
    )


def _rung(rung: Rung | None) -> str:
    if rung is None:
        return "–"
    said = "holds" if rung.holds else "FAILS"
    if rung.tolerance == 0:
        return said if rung.holds else f"{said}\n{rung.difference:g}"
    difference = f"{rung.difference:.1e}" if rung.difference else "0"
    return f"{said}\n{difference} (≤ {rung.tolerance:.0e})"


def _shared(
    evidence: Evidence, shown: Sequence[Comparison], marks: Mapping[str, Mark]
) -> Iterator[Question]:
    grids = list(report.over_all(evidence.comparisons, evidence.plans, evidence.changes))
    profiled = profile(evidence.comparisons)
    if profiled is not None and profiled.workloads:
        figure = profiles.figure(profiled, grids.pop(0), marks)
        yield Question("Who is close to the best everywhere?", figures=(figure,), legend=True)
    if grids:
        heading = "Has it changed, and how many seeds are needed?"
        yield Question(heading, tables=tuple(map(Table, grids)))
    yield _defaults(evidence)
    yield _machine(evidence, shown)
    yield _again(evidence)


def _defaults(evidence: Evidence) -> Question:
    heading = "What would the frameworks have done by themselves?"
    facts = circumstances.facts(evidence)
    tables = [Table(_audit(audit), words=True) for audit in evidence.audits]
    if facts.rows:
        tables.append(Table(facts, words=True, folded=True))
    if any(run.spec is not None and not run.spec.aligned for run in evidence.runs):
        if evidence.audits:
            return Question(heading, tables=tuple(tables))
        said = "The defaults were not read. The verb audit reads them: fwcompare audit."
    else:
        said = (
            "Semantics were aligned: every engine was given the same settings, and its own "
            "defaults played no part. "
        )
        said += (
            "These are what they would have been; semantics=native trains with them."
            if evidence.audits
            else "The verb audit shows them; semantics=native trains with them."
        )
    return Question(heading, (said,), tuple(tables))


def _audit(audit: Audit) -> Grid:
    everyone = len(audit.engines)
    return Grid(
        f"Resolved differently ({audit.model}, {audit.optimizer}, {audit.semantics} semantics)",
        ("of", "what", "value", "engines"),
        tuple(
            (
                line.subject,
                line.quantity.replace("_", " "),
                in_words(value),
                "all" if len(engines) == everyone > 1 else ", ".join(engines),
            )
            for line in audit.differing
            for value, engines in by_value(line)
        ),
        tuple(remarks(audit)),
    )


def _machine(evidence: Evidence, shown: Sequence[Comparison]) -> Question:
    noise = [
        f"Noise of the measurement, {comparison.title}: {comparison.noise}."
        for comparison in shown
        if comparison.noise is not None and comparison.rows
    ]
    grids = (circumstances.machine(evidence), circumstances.versions(evidence))
    tables = tuple(Table(grid, words=True) for grid in grids if grid.rows)
    return Question("On what machine?", tuple(noise), tables)


def _again(evidence: Evidence) -> Question:
    commands = [f"fwcompare report {evidence.name}"]
    answers = ["The report again, from the records and without training, is the last command."]
    if evidence.command:
        commands.insert(0, words.shortened(evidence.command))
        answers.insert(
            0,
            "The first command runs the sweep anew, with the versions above. Weights and batches "
            "follow from the seeds, the order of the runs from sweep.name.",
        )
    return Question(
        "How to reproduce it?",
        tuple(answers),
        (Table(circumstances.runs(evidence), words=True, folded=True),),
        commands=tuple(commands),
    )
