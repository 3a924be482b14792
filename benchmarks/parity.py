"""Write docs/parity.md: the proof over layer kinds, optimizers and models, in every engine.

    .venv/bin/python benchmarks/parity.py

Exits with 1 if a proof does not hold, or one that holds covers too few steps. Takes about a quarter
of an hour: warm workers carry it, one an environment.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from fwcompare.compose import compose
from fwcompare.launch import WarmPool
from fwcompare.parity.cases import layer_cases
from fwcompare.parity.prove import Proof, Verdict, prove
from fwcompare.plugin import front, installed, versions
from fwcompare.spec import OPTIMIZERS, RunSpec
from fwcompare.testing import case_run

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "parity.md"
ENGINES = ("lightning", "tensorflow", "keras_tensorflow", "keras_jax", "keras_torch", "jax")

#: Every model, reduced, with a task and a dataset that fit it.
ZOO = sorted(path.stem for path in (ROOT / "conf" / "zoo").glob("*.yaml"))
#: Those that can leave padding out.
MASKED = ("lstm", "gru", "transformer_encoder")

#: Steps that a proof must cover at least, however fast rounding grows in a model.
FEWEST_STEPS = 3

TEXT = """\
# Parity

Every engine against `pytorch`, in float64, with the same weights and the same batches: the
largest relative difference of the loss curves, training at each step and evaluation, where
all seven rungs of the ladder hold. A rung that does not hold would stand here in bold, with
its diagnosis. Made by `.venv/bin/python benchmarks/parity.py`; one experiment by hand:
`fwcompare parity zoo=gpt_small`.

{held} of {total} proofs hold.

`accepted` is how far the training loss may be apart at the last step. Where the evaluation, whose
moving statistics rounding moves too, is farther apart than that, what it may be stands behind it
(`of`): always a hundred times what rounding alone does, told from the reference with its weights
moved in the last place. `steps` are those that a proof covers; where rounding alone would grow
too large, they are fewer than were trained: {steps}, or 3 for a layer kind.

Versions: {versions}; Python {python}.
{sections}"""


@dataclass(frozen=True)
class Row:
    """One experiment that is proven: what it is called, its spec, the steps to train."""

    label: str
    spec: Callable[[Path], RunSpec]
    steps: int


@dataclass(frozen=True)
class Section:
    """Rows under one title."""

    title: str
    rows: tuple[Row, ...]


def composed(label: str, steps: int, *overrides: str) -> Row:
    """A shipped experiment; small batches, so that small datasets have enough of them."""
    given = [*overrides, "device.threads=1", "trainer.batch_size=16"]
    return Row(label, lambda _: compose(given).plan().spec, steps)


def sections(steps: int) -> Iterator[Section]:
    """All that is proven."""
    layers = (
        Row(case.name, lambda root, case=case: case_run(root, case, "pytorch"), case.steps)
        for case in layer_cases()
    )
    yield Section("Every layer kind", tuple(layers))
    for model in ("mlp", "cnn_bn"):
        rows = (composed(name, steps, f"model={model}", f"optimizer={name}") for name in OPTIMIZERS)
        yield Section(f"Every optimizer on `{model}`", tuple(rows))
    yield Section(
        "Every model at reduced width, `zoo=NAME`, with Adam",
        tuple(composed(name, steps, f"zoo={name}", "optimizer=adam") for name in ZOO),
    )
    ragged = ("model.params.mask=true", "dataset.params.min_steps=4")
    yield Section(
        "Samples of several lengths, `model.params.mask=true`, with Adam",
        tuple(composed(name, steps, f"zoo={name}", "optimizer=adam", *ragged) for name in MASKED),
    )


def good(proof: Proof, verdict: Verdict) -> bool:
    """Whether an engine is proven over enough steps."""
    return verdict.proven and proof.steps >= FEWEST_STEPS


def cell(proof: Proof, engine: str) -> str:
    """The largest difference of the loss curves, or what is wrong."""
    verdict = proof.of(engine)
    if verdict is None:
        return "–"
    if not verdict.proven:
        reason = verdict.reason.replace("|", r"\|").replace("\n", " ")
        return f"**{verdict.state}**: {reason}"
    if not good(proof, verdict):
        return f"**{proof.steps} steps**"
    curves = next(rung for rung in verdict.rungs if rung.name == "P6")
    if curves.difference > proof.tolerance:  # in evaluation, where rounding alone does more
        return f"{curves.difference:.0e} of {curves.tolerance:.0e}"
    return f"{curves.difference:.0e}" if curves.difference else "0"


def table(proofs: dict[str, Proof]) -> str:
    """The proofs of a section, a row each."""
    lines = [
        "| | steps | accepted | " + " | ".join(ENGINES) + " |",
        "|---|---:|---:|" + "---:|" * len(ENGINES),
    ]
    for label, proof in proofs.items():
        cells = " | ".join(cell(proof, engine) for engine in ENGINES)
        lines.append(f"| {label} | {proof.steps} | {proof.tolerance:.0e} | {cells} |")
    return "\n".join(lines)


def main() -> int:
    """Prove everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30, help="steps of each proof (30)")
    parser.add_argument("--only", help="rows whose label holds this; the page is not written")
    given = parser.parse_args()
    console = Console()
    requirements = {name for engine in installed() for name in front(engine).requirements}
    shown = ", ".join(f"{k} {v}" for k, v in sorted(versions(tuple(requirements)).items()))
    held = total = 0
    text = ""
    with tempfile.TemporaryDirectory(prefix="fwcompare-parity-") as root, WarmPool() as pool:
        for section in sections(given.steps):
            proofs = {}
            for row in section.rows:
                if given.only and given.only not in row.label:
                    continue
                proof = prove(row.spec(Path(root)), ENGINES, steps=row.steps, pool=pool)
                proofs[row.label] = proof
                enough = sum(good(proof, verdict) for verdict in proof.verdicts)
                held, total = held + enough, total + len(ENGINES)
                said = "holds" if enough == len(ENGINES) else "DOES NOT HOLD"
                console.print(
                    f"{section.title}: {row.label}: {said} over {proof.steps} of {proof.traced}"
                )
            text += f"\n## {section.title}\n\n{table(proofs)}\n"
    page = TEXT.format(
        held=held,
        total=total,
        steps=given.steps,
        versions=shown,
        python=platform.python_version(),
        sections=text,
    )
    if given.only:
        console.print(page, markup=False)
    else:
        PAGE.write_text(page, encoding="utf-8")
    console.print(f"{held} of {total} proofs hold.")
    return 0 if held == total else 1


if __name__ == "__main__":
    sys.exit(main())
