"""Write docs/parity.md: the proof over layer kinds, optimizers and models, in every engine.

    .venv/bin/python benchmarks/parity.py

Takes a few minutes: warm workers carry it, one an environment.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from fwcompare.compose import compose
from fwcompare.launch import WarmPool
from fwcompare.parity.cases import layer_cases
from fwcompare.parity.prove import Proof, prove
from fwcompare.plugin import front, installed, versions
from fwcompare.spec import OPTIMIZERS, RunSpec
from fwcompare.testing import case_run

PAGE = Path(__file__).parents[1] / "docs" / "parity.md"
ENGINES = ("lightning", "tensorflow", "keras_tensorflow", "keras_jax", "keras_torch", "jax")
OTHER_MODELS = ("logistic", "cnn", "lenet5", "resnet_small", "article")

Row = tuple[str, Proof]


def experiment(model: str, optimizer: str, *more: str) -> RunSpec:
    """A shipped model on the digits; the small width keeps compilation short."""
    return (
        compose([f"model={model}", f"optimizer={optimizer}", "device.threads=1", *more]).plan().spec
    )


def rows(pool: WarmPool, root: Path, steps: int) -> Iterator[tuple[str, Iterator[Row]]]:
    """The sections of the page, each with its rows."""

    def proven(label: str, spec: RunSpec, most: int) -> Row:
        return label, prove(spec, ENGINES, steps=most, pool=pool)

    yield (
        "Every layer kind, trained with momentum",
        (proven(c.name, case_run(root, c, "pytorch"), c.steps) for c in layer_cases()),
    )
    for model in ("mlp", "cnn_bn"):
        yield (
            f"Every optimizer on `{model}`",
            (proven(name, experiment(model, name), steps) for name in OPTIMIZERS),
        )
    yield (
        "Every other model, with Adam",
        (proven(name, experiment(name, "adam"), steps) for name in OTHER_MODELS),
    )


def cell(proof: Proof, engine: str) -> str:
    """The largest difference of the loss curves, or what is wrong."""
    verdict = proof.of(engine)
    if verdict is None:
        return "–"
    if not verdict.proven:
        return f"**{verdict.state}**: {verdict.reason}"
    curves = next(rung for rung in verdict.rungs if rung.name == "P6")
    return f"{curves.difference:.0e}" if curves.difference else "0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30, help="steps of each proof (30)")
    arguments = parser.parse_args()
    console = Console()
    requirements = {name for engine in installed() for name in front(engine).requirements}
    shown = ", ".join(f"{k} {v}" for k, v in sorted(versions(tuple(requirements)).items()))
    lines = [
        "# Parity",
        "",
        "Every engine against `pytorch`, in float64, with the same weights and the same batches:",
        "the largest relative difference of the loss curves, training at each step and evaluation,",
        "where all seven rungs of the ladder hold. A rung that does not would stand here in bold,",
        "with its diagnosis. Made by `.venv/bin/python benchmarks/parity.py`; one experiment by",
        "hand: `fwcompare parity model=cnn_bn optimizer=adam`.",
        "",
        f"Versions: {shown}; Python {platform.python_version()}.",
    ]
    held = total = 0
    with tempfile.TemporaryDirectory(prefix="fwcompare-parity-") as root, WarmPool() as pool:
        for title, section in rows(pool, Path(root), arguments.steps):
            lines += ["", f"## {title}", ""]
            lines.append("| | steps | accepted | " + " | ".join(ENGINES) + " |")
            lines.append("|---|---:|---:|" + "---:|" * len(ENGINES))
            for label, proof in section:
                cells = [cell(proof, engine) for engine in ENGINES]
                accepted = f"{proof.tolerance:.0e}"
                lines.append(
                    f"| {label} | {proof.steps} | {accepted} | " + " | ".join(cells) + " |"
                )
                held += sum(verdict.proven for verdict in proof.verdicts)
                total += len(proof.verdicts)
                console.print(f"{title}: {label}: {'holds' if proof.holds else 'DOES NOT HOLD'}")
    lines[7:7] = [f"{held} of {total} proofs hold.", ""]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    console.print(f"{held} of {total} proofs hold; written to {PAGE}")


if __name__ == "__main__":
    main()
