"""The pages of proofs leave nothing out that there is now, and everything on them holds."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import yaml

from fwcompare.parity.cases import layer_cases
from fwcompare.parity.mutations import MUTATIONS

ROOT = Path(__file__).parents[2]
PARITY = runpy.run_path(str(ROOT / "benchmarks" / "parity.py"))


def rows(page: str) -> list[list[str]]:
    """The cells of each row of each table of a page, without heads."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    found = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in found]


def test_everything_is_proven_in_every_engine():
    wanted = [row.label for section in PARITY["sections"](30) for row in section.rows]
    found = [row for row in rows("parity.md") if row[0]]
    assert [row[0] for row in found] == wanted, "python benchmarks/parity.py"
    for label, steps, accepted, *differences in found:
        assert int(steps) >= PARITY["FEWEST_STEPS"], label
        assert len(differences) == len(PARITY["ENGINES"])
        for cell in differences:
            difference, _, most = cell.partition(" of ")
            assert float(difference) <= float(most or accepted) < 1e-6, label


def test_every_engine_model_and_layer_is_among_it():
    engines = yaml.safe_load((ROOT / "conf" / "engines.yml").read_text(encoding="utf-8"))
    assert {"pytorch", "keras", *PARITY["ENGINES"]} == set(engines)
    models = {path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")}
    labels = {row[0] for row in rows("parity.md")}
    assert models <= labels
    assert {case.name for case in layer_cases()} <= labels


def test_every_deliberate_error_is_caught():
    found = rows("mutations.md")[1:]
    assert [row[0].strip("`") for row in found] == list(MUTATIONS), "python benchmarks/mutations.py"
    text = (ROOT / "docs" / "mutations.md").read_text(encoding="utf-8")
    caught, total, named = map(int, re.findall(r"\d+", text.partition("|")[0])[:3])
    assert caught == total == named == len(MUTATIONS)
    assert "(not named)" not in text
