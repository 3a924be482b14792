"""Runs by the end of their name, and their list in narrow terminals."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from fwcompare.config import Configuration
from fwcompare.errors import RequestError
from fwcompare.folders import all_runs, find_run
from fwcompare.verbs.runs import _fitting

NAMES = ("20261124-042741-jax-cnn-s1-feb613", "20261124-042741-keras_jax-cnn-s1-d4211c")


@pytest.fixture
def outputs(tmp_path):
    for place, name in zip(("runs", "sweeps/one"), NAMES, strict=True):
        folder = tmp_path / place / name
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("ending", ["feb613", "s1-feb613", "jax-cnn-s1-feb613", NAMES[0]])
def test_an_ending_that_only_one_has(outputs, ending):
    assert find_run(ending, outputs).name == NAMES[0]


@pytest.mark.parametrize("ending", ["613", "", "-feb613", "s1"])
def test_an_ending_of_part_of_a_word_or_of_none(outputs, ending):
    with pytest.raises(RequestError, match=r"There is no run|is no run"):
        find_run(ending, outputs)


def test_an_ending_that_several_have(outputs):
    (outputs / "runs" / "20261125-010000-jax-cnn-s1-feb613").mkdir()
    with pytest.raises(RequestError, match="2 runs have names that end in 'feb613'") as caught:
        find_run("feb613", outputs)
    assert "20261125" in caught.value.hint


def test_weights_of_a_run_are_found_in_the_same_way(outputs):
    made = Configuration({"paths": {"outputs": str(outputs)}}, [])
    with pytest.raises(RequestError, match=f"{NAMES[0]} has left no trained weights") as caught:
        made.find_weights("feb613")
    assert "weights/initial.safetensors" in caught.value.hint
    weights = outputs / "sweeps" / "one" / NAMES[1] / "weights" / "final.safetensors"
    weights.parent.mkdir()
    weights.touch()
    for given in ("d4211c", NAMES[1], str(weights), str(weights.parents[1])):
        assert made.find_weights(given) == weights


@pytest.mark.parametrize(
    ("width", "headings"),
    [(30, {"run", "status"}), (65, {"run", "status", "score"}), (200, None)],
)
def test_a_narrow_terminal_leaves_columns_out_and_cuts_no_name(width, headings):
    columns = ("run", "engine", "model", "seed", "status", "when", "score", "samples/s")
    cells = dict.fromkeys(columns, Text("something"))
    rows = [cells | {"run": Text(name)} for name in NAMES]
    told = Console(file=io.StringIO(), width=width)
    told.print(_fitting(rows, width))
    lines = told.file.getvalue().splitlines()
    assert set(lines[0].split()) == (headings or set(columns))
    assert all(len(line) <= width for line in lines)
    text = "".join(line.replace("something", "").rstrip() for line in lines).replace(" ", "")
    assert all(name in text for name in NAMES)


@pytest.mark.parametrize("name", ["**x", "[", "[a-z]*", "?", "*", "**"])
def test_a_name_is_no_pattern(outputs, name):
    with pytest.raises(RequestError, match="There is no run"):
        find_run(name, outputs)
    assert list(all_runs(outputs, name)) == []
