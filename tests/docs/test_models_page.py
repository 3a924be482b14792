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


@pytest.mark.parametrize(
    ("name", "parameters"),
    # Of the papers' networks for 224x224x3 and 1000 classes, as PyTorch's torchvision counts them.
    [("resnet18", 11_689_512), ("resnet50", 25_557_032), ("mobilenet_v2", 3_504_872)],
)
def test_parameters_are_those_published(name, parameters):
    entry = ZOO[name]
    assert (entry.sample.shape, entry.sample.outputs) == ((224, 224, 3), 1000)
    assert entry.graph.parameter_count == parameters
