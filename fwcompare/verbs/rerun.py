"""Run a run again, from the spec that it left in its folder.

fwcompare rerun RUN
fwcompare rerun outputs/sweeps/SWEEP/RUN tracking=none

Everything is as it was asked for then: layers, options, seed, threads, weights drawn or given. What
ran it may have changed since; afterwards `fwcompare diff` says what differs. Options of tracking
and paths may be given anew, and nothing else: another experiment is another run.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from rich.text import Text

from fwcompare.compose import compose
from fwcompare.config import Plan, missing_plugin
from fwcompare.data.prepare import prepare
from fwcompare.errors import RequestError, UnsupportedError
from fwcompare.folders import find_run
from fwcompare.graph import load
from fwcompare.graph.weights import digest
from fwcompare.plugin import distribution, front, installed, versions
from fwcompare.record import INITIAL_WEIGHTS, SPEC_FILE
from fwcompare.single import run_plan
from fwcompare.spec import RunSpec
from fwcompare.terminal import stderr

SUMMARY = "run a run again, from the spec that it left"

#: Options that may be given beside the run.
_ALLOWED = ("tracking", "paths.")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="name or folder of a run")
    parser.add_argument("overrides", nargs="*", help="options of tracking and paths")


def run(arguments: argparse.Namespace) -> int:
    for option in arguments.overrides:
        if not option.startswith(_ALLOWED):
            raise RequestError(
                f"A run is repeated as it was; '{option}' would make it another.",
                "Beside the run give tracking=... and paths.outputs=... alone.",
            )
    made = compose(arguments.overrides)
    folder = find_run(arguments.run, made.outputs)
    spec = refreshed(RunSpec.read(folder / SPEC_FILE), made.cache, made.offline)
    record = run_plan(Plan(spec, made.outputs, made.tracking))
    console = stderr()
    console.print(
        Text(f"What has changed: fwcompare diff {folder.name} {record.run}", style="dim"),
        soft_wrap=True,
    )
    return 0 if record.ok else 1


def refreshed(spec: RunSpec, cache: Path, offline: bool = False) -> RunSpec:
    """The spec with today's versions and its data in place, outside of any sweep.

    Raises:
        UnsupportedError: its engine is not installed, or cannot do it any more.
        RequestError: the dataset or the weights to begin with are gone, or others than they were.
    """
    name = spec.framework.name
    if name not in installed():
        raise missing_plugin(name) or UnsupportedError(f"The plugin for '{name}' is not installed.")
    engine = front(name)
    if reason := engine.supports(spec):
        raise UnsupportedError(f"{name} cannot do this: {reason}")
    data = prepare(spec.dataset.name, spec.dataset.params, spec.seed, cache, offline=offline)
    if data.meta["digest"] != spec.dataset.digest:
        raise RequestError(
            f"The dataset '{spec.dataset.name}' is another than that of the run: its digest is "
            f"{data.meta['digest'][:12]}, then it was {spec.dataset.digest[:12]}."
        )
    init = spec.init
    if init.source and init.digest not in (None, digest(load(Path(init.source), spec.model.graph))):
        raise RequestError(
            f"The weights in {init.source} are others than those that the run began with.",
            f"Those are in its folder: init.from=RUN_FOLDER/{INITIAL_WEIGHTS} begins with them.",
        )
    seen = versions(("fwcompare", distribution(name), *engine.requirements))
    dataset = replace(spec.dataset, folder=str(data.path))
    # What is imported is the installed plugin's own, whatever the folder says.
    framework = replace(spec.framework, trainer=engine.trainer, packages=tuple(engine.packages))
    return spec.but(
        versions=seen,
        dataset=dataset,
        framework=framework,
        training=replace(spec.training, resume=None),  # from the beginning, to the same end
        sweep=None,
        attempt=1,
    )
