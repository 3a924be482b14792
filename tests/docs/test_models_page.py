"""The page of models says what the configuration holds, and what was published of it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "benchmarks" / "models.py"))
ZOO = {entry.name: entry for entry in SCRIPT["entries"]()}


def test_the_page_is_as_its_command_writes_it():
    written = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert written == SCRIPT["page"](), "python benchmarks/models.py > docs/models.md"


@pytest.mark.parametrize("name", ZOO)
def test_every_model_says_what_it_is(name):
    assert ZOO[name].source.endswith(".")


@pytest.mark.parametrize("published", SCRIPT["PUBLISHED"], ids=lambda entry: entry.model)
def test_parameters_are_those_published(published):
    assert published.count == published.figure + sum(published.differences.values())


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
def test_a_standard_for_imagenet_is_met_as_it_is(name):
    (published,) = [entry for entry in SCRIPT["PUBLISHED"] if entry.model == name]
    assert (published.sample.shape, published.sample.outputs) == ((224, 224, 3), 1000)
    assert not published.differences and not published.params
    assert ZOO[name].graph.parameter_count == published.figure
