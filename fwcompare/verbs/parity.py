"""Prove that engines run the same mathematics, or name the first place where they do not.

  fwcompare parity model=cnn_bn optimizer=adam
  fwcompare parity --engines pytorch,jax model=mlp execution=compiled
  fwcompare parity model=cnn parity.precision=float32 parity.steps=10

Each engine gets the same weights and the same batches in float64 and is compared with the reference
rung by rung: P0 shapes and hyper-parameters, P1 outputs in both modes, P2 the loss, P3 every
gradient, P4 weights, optimizer slots and statistics after 1, 2, 10 and all steps, P5 the batches,
P6 the loss curves. Exits with 1 if a rung does not hold.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fwcompare.compose import compose
from fwcompare.config import Configuration
from fwcompare.errors import unknown
from fwcompare.parity.ladder import RUNGS
from fwcompare.parity.mutations import find
from fwcompare.parity.prove import Proof, choose_engines, prove
from fwcompare.plugin import installed, missing_engines
from fwcompare.report import colour, stdout

SUMMARY = "the proof that engines run the same mathematics"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help="options, such as model=cnn_bn")
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
    made = compose(_with_reference(arguments.overrides), arguments.config_dir)
    available = [name for name in installed() if name not in missing_engines()]
    wanted = arguments.engines.split(",") if arguments.engines else None
    engines = choose_engines(wanted, available)
    mutations = {}
    if arguments.mutate:
        engine, _, mutation = arguments.mutate.partition("=")
        engines = choose_engines([engine], available)
        mutations = {engine: find(mutation, engine).name}
    proof = prove_configuration(made, engines, mutations, again=arguments.again)
    if arguments.format == "json":
        sys.stdout.write(json.dumps(proof.to_json(), indent=1) + "\n")
    elif arguments.format == "markdown":
        sys.stdout.write(markdown(proof))
    else:
        show(proof, stdout())
    return 0 if proof.holds else 1


def _with_reference(overrides: list[str]) -> list[str]:
    """The reference is the engine that the configuration is made for, so that it is checked."""
    given = dict(o.split("=", 1) for o in overrides if "=" in o)
    reference = given.get("parity.reference", "pytorch")
    if reference not in installed():
        raise unknown("parity.reference", reference, installed())
    return [*(o for o in overrides if not o.startswith("framework=")), f"framework={reference}"]


def prove_configuration(
    made: Configuration,
    engines: list[str],
    mutations: dict[str, str] | None = None,
    again: bool = False,
) -> Proof:
    """Prove the experiment of a configuration, with progress on the terminal."""
    console = Console(stderr=True)
    plan = made.plan()
    options = made.parity
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
    console.print(table)
    for line in notes(proof):
        console.print(Text(line, style="dim"))
    for verdict in proof.verdicts:
        if verdict.state != "proven":
            worst = verdict.worst
            console.print(Text(f"{verdict.engine}: ", style="bold") + Text(verdict.reason))
            if worst:
                where = f" at {worst.where}" if worst.where else ""
                console.print(
                    f"  {worst.name} ({RUNGS[worst.name]}){where}: {worst.difference:.3g}, "
                    f"accepted {worst.tolerance:.3g}"
                )


def _title(proof: Proof) -> str:
    return f"Against {proof.reference} in {proof.precision}, {proof.steps} steps"


def notes(proof: Proof) -> Iterator[str]:
    """What the table leaves out."""
    yield ", ".join(f"{name} {what}" for name, what in RUNGS.items()) + "."
    yield "Largest difference of each rung: relative L2 a tensor, relative a point of a curve."
    yield (
        f"Accepted for the training loss at the last step: {proof.tolerance:.2g}, from the "
        "reference's own answer to a change of its weights by one unit in the last place."
    )
    if proof.steps < 3:
        yield "Fewer than 3 steps could be covered: rounding grows too fast here for a proof."
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
    return "\n".join([*lines, "", *(f"- {line}" for line in notes(proof))]) + "\n"
