"""Prove that engines run the same mathematics, or name the first place where they do not.

  fwcompare parity model=cnn_bn optimizer=adam
  fwcompare parity --engines pytorch,jax model=mlp execution=compiled
  fwcompare parity model=cnn parity.precision=float32
  fwcompare parity RUN_A RUN_B

Each engine gets the same weights and the same batches in float64 and is compared with the reference
rung by rung: P0 shapes and hyper-parameters, P1 outputs in both modes, P2 the loss, P3 every
gradient, P4 weights, optimizer slots and statistics after 1, 2, 10 and all steps, P5 the batches,
P6 the loss curves. Exits with 1 if a rung does not hold.

Two runs, by folder or by name, are proven to be the same experiment: their engines, on the first
one's spec. Runs of different experiments are refused, with what differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fwcompare.compose import compose
from fwcompare.config import Parity, Plan, known_engines, missing_plugin
from fwcompare.errors import RequestError, unknown
from fwcompare.parity.ladder import LARGEST, NUDGE_ULPS, RUNGS
from fwcompare.parity.mutations import find
from fwcompare.parity.pair import Pair
from fwcompare.parity.prove import Proof, choose_engines, prove, refuse_framework
from fwcompare.plugin import installed, missing_engines
from fwcompare.report import colour
from fwcompare.terminal import stderr, stdout

SUMMARY = "the proof that engines run the same mathematics"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="option | run",
        help="options, such as model=cnn_bn; or two runs, by folder or name",
    )
    parser.add_argument("--engines", help="engines to prove, with commas (all that are installed)")
    parser.add_argument("--config-dir", help="folder with your own configuration groups")
    parser.add_argument("--format", choices=("table", "markdown", "json"), default="table")
    parser.add_argument("--again", action="store_true", help="do not use a proof that was kept")
    parser.add_argument(
        "--mutate",
        metavar="ENGINE=ERROR",
        help="switch a deliberate error on in one engine, to see it found",
    )


def run(arguments: argparse.Namespace) -> int:
    runs = [given for given in arguments.overrides if "=" not in given and given[:1] != "~"]
    proofs = list(_of_runs(arguments, runs) if runs else [_of_options(arguments)])
    if arguments.format == "json":
        whole = [proof.to_json() for proof in proofs]
        sys.stdout.write(json.dumps(whole if runs else whole[0], indent=1) + "\n")
    for proof in proofs:
        if arguments.format == "markdown":
            sys.stdout.write(markdown(proof))
        elif arguments.format == "table":
            show(proof, stdout())
    return exit_code(proofs)


def exit_code(proofs: Sequence[Proof]) -> int:
    """0 where all holds, 1 where a proof does not, 2 where no engine could be asked at all."""
    if not all(proof.holds for proof in proofs):
        return 1
    states = {verdict.state for proof in proofs for verdict in proof.verdicts}
    return 2 if states == {"unsupported"} else 0


def _of_options(arguments: argparse.Namespace) -> Proof:
    """The proof of the experiment that the options describe."""
    made = compose(_with_reference(arguments.overrides), arguments.config_dir)
    available = [name for name in installed() if name not in missing_engines()]
    wanted = arguments.engines.split(",") if arguments.engines else None
    engines = choose_engines(wanted, available)
    mutations = {}
    if arguments.mutate:
        engine, _, mutation = arguments.mutate.partition("=")
        engines = choose_engines([engine], available)
        mutations = {engine: find(mutation, engine).name}
    plan = made.plan(alone=True)
    return prove_spec(plan, made.parity, engines, mutations, again=arguments.again)


def _of_runs(arguments: argparse.Namespace, runs: list[str]) -> Iterator[Proof]:
    """The proofs of two runs: one, or two where their executions are different."""
    options = [given for given in arguments.overrides if given not in runs]
    own = ("parity.", "paths.")
    if arguments.engines or arguments.mutate or any(not o.startswith(own) for o in options):
        raise RequestError(
            "Two runs say by themselves which experiment and which engines are proven.",
            "Beside runs give parity.* and paths.* alone.",
        )
    made = compose(_with_reference(options), arguments.config_dir)
    pair = Pair.read(runs, made.outputs)
    available = [name for name in installed() if name not in missing_engines()]
    for execution, engines in pair.engines.items():
        plan = Plan(pair.first.but(execution=execution), made.outputs, made.tracking)
        yield prove_spec(
            plan, made.parity, choose_engines(engines, available), {}, again=arguments.again
        )


def _with_reference(overrides: list[str]) -> list[str]:
    """The reference is the engine that the configuration is made for, so that it is checked."""
    given = dict(o.split("=", 1) for o in overrides if "=" in o)
    refuse_framework(overrides)
    reference = given.get("parity.reference", "pytorch")
    if reference not in installed():
        raise missing_plugin(reference) or unknown("parity.reference", reference, known_engines())
    return [*overrides, f"framework={reference}"]


def prove_spec(
    plan: Plan,
    options: Parity,
    engines: list[str],
    mutations: dict[str, str],
    again: bool = False,
) -> Proof:
    """Prove the experiment of a plan, with progress on the terminal."""
    console = stderr()
    cache = None if again else plan.outputs / "proofs"
    with console.status("Proving ...") as status:
        done: list[str] = []

        def progress(engine: str, what: str) -> None:
            if what == "traced":
                done.append(engine)
            status.update(f"Proving: {len(done)} of {len(engines) + 2} traced, last {engine}")

        return prove(
            plan.spec,
            engines,
            options.reference,
            options.precision,
            options.steps,
            cache,
            mutations,
            progress,
        )


def show(proof: Proof, console: Console) -> None:
    """The ladder as a table, then notes and diagnoses."""
    table = Table(
        title=_title(proof),
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("engine", no_wrap=True)
    for name in RUNGS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for verdict in proof.verdicts:
        cells = [
            Text(
                f"{rung.difference:.1e}" if rung.difference else "0",
                style="" if rung.holds else "bold red",
            )
            for rung in verdict.rungs
        ]
        cells += [Text("–")] * (len(RUNGS) - len(cells))
        style = {"proven": "green", "unsupported": "yellow"}.get(verdict.state, "bold red")
        engine = Text(verdict.engine, style=colour(verdict.engine))
        table.add_row(engine, *cells, Text(verdict.state, style=style))
    if found := accepted(proof):
        table.add_section()
        table.add_row("accepted", *found, style="dim")
    console.print(table)
    for line in notes(proof):
        console.print(Text(line, style="dim"))
    for verdict in proof.verdicts:
        if verdict.state != "proven":
            worst = verdict.worst
            who = "" if verdict.reason.startswith(verdict.engine) else f"{verdict.engine}: "
            console.print(Text(who, style="bold") + Text(verdict.reason))
            if worst:
                where = f" at {worst.where}" if worst.where else ""
                console.print(
                    f"  {worst.name} ({RUNGS[worst.name]}){where}: {worst.difference:.3g}, "
                    f"accepted {worst.tolerance:.3g}"
                )


def accepted(proof: Proof) -> list[str]:
    """The tolerance of each rung; none where no engine was compared.

    A rung has one for each tensor or step, and its verdict is about what comes nearest to its own:
    of those, the least.
    """
    compared = [verdict.rungs for verdict in proof.verdicts if verdict.rungs]
    least = [min(rung.tolerance for rung in same) for same in zip(*compared, strict=True)]
    return [f"{tolerance:.1e}" if tolerance else "0" for tolerance in least]


def _title(proof: Proof) -> str:
    return f"Against {proof.reference} in {proof.precision}, {proof.steps} steps"


def notes(proof: Proof) -> Iterator[str]:
    """What the table leaves out."""
    yield ", ".join(f"{name} {what}" for name, what in RUNGS.items()) + "."
    yield (
        "Largest difference of each rung, and what is accepted there: relative L2 a tensor, "
        "relative a point of a curve."
    )
    if proof.steps:
        ulps = NUDGE_ULPS[proof.precision]
        yield (
            f"Accepted for the training loss at the last step: {proof.tolerance:.2g}, from the "
            f"reference's own answer to a change of its weights by {ulps} ulp."
        )
    if proof.steps < proof.traced:
        yield (
            f"{proof.steps} of {proof.traced} steps are covered: behind them rounding alone may "
            f"exceed {LARGEST[proof.precision]:g}."
        )
    yield from proof.notes
    yield from dict.fromkeys(
        rung.note for verdict in proof.verdicts for rung in verdict.rungs if rung.note
    )


def markdown(proof: Proof) -> str:
    """The ladder as a Markdown table."""
    lines = [f"{_title(proof)}:", ""]
    lines.append("| engine | " + " | ".join(RUNGS) + " | verdict |")
    lines.append("|---|" + "---:|" * len(RUNGS) + "---|")
    for verdict in proof.verdicts:
        cells = [f"{rung.difference:.1e}" if rung.difference else "0" for rung in verdict.rungs]
        cells += ["–"] * (len(RUNGS) - len(cells))
        reason = f": {verdict.reason}" if verdict.reason else ""
        lines.append(f"| {verdict.engine} | " + " | ".join(cells) + f" | {verdict.state}{reason} |")
    if found := accepted(proof):
        lines.append("| accepted | " + " | ".join(found) + " | |")
    return "\n".join([*lines, "", *(f"- {line}" for line in notes(proof))]) + "\n"
