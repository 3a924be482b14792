"""In the worker: a run's weights as a file of the framework that this process has."""

from __future__ import annotations

from pathlib import Path

from fwcompare.graph import load
from fwcompare.plugin import load_exporter
from fwcompare.record import FINAL_WEIGHTS, SPEC_FILE
from fwcompare.spec import RunSpec

#: Beside the weights: how a user of the framework loads the file, in lines.
LOADING_FILE = "loading.txt"


def export(folder: Path, exporter: str, file: Path) -> None:
    """Write the weights of ``folder`` as ``file``, and how it is loaded beside the weights.

    Raises:
        RequestError: the weights are not those of the spec.
        UnsupportedError: the framework has no such file for this model.
    """
    spec = RunSpec.read(folder / SPEC_FILE)
    weights = load(folder / FINAL_WEIGHTS, spec.model.graph)
    lines = load_exporter(exporter)(spec, weights, file)
    (folder / LOADING_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
