"""The ``Trainer`` protocol, and finding a plugin by entry point.

A plugin has two sides. Its front is import-free, so the parent may load it to learn an engine's
environment and limits. Its trainer imports the framework and is loaded in the worker alone.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fwcompare.data.augment import Epochs
from fwcompare.data.batches import Arrays, DataFolder, Feed
from fwcompare.data.stream import Stream, most_resident_bytes
from fwcompare.errors import RequestError, unknown
from fwcompare.footprint import PLAIN, Footprint
from fwcompare.graph import Graph, Weights, load
from fwcompare.probe import Probe
from fwcompare.ranks import Ranks
from fwcompare.record import INITIAL_WEIGHTS
from fwcompare.spec import NativeCode, RunSpec

#: Entry-point group of trainers: engine name to a ``Front``.
TRAINERS = "fwcompare.trainers"
#: Entry-point group of config packages that plugins add to Hydra's search path.
CONFIGS = "fwcompare.configs"


@dataclass(frozen=True)
class Job:
    """All that a trainer is built from."""

    spec: RunSpec
    graph: Graph
    #: Canonical initial weights, in the run's floating-point type.
    initial_weights: Weights
    #: The training split.
    train: Arrays
    feed: Feed
    #: The training images of each epoch, where they are changed anew; None: they are not.
    epochs: Epochs | None = None
    #: The processes that train together, of which this is one; None: it trains alone.
    ranks: Ranks | None = None

    def share(self, feed: Feed) -> Feed:
        """What this process trains on of a feed: its part of every batch, or all where it is
        alone."""
        return feed if self.ranks is None else feed.share(self.ranks.rank, self.ranks.count)

    @cached_property
    def stream(self) -> Stream | None:
        """What an engine is to be fed from batch by batch; None: from ``train``, at its best."""
        if self.epochs is None and self.train.resident:
            return None
        return Stream(self.train, self.epochs)

    @cached_property
    def learning_rates(self) -> np.ndarray:
        """The learning rate of every step, float64, shape (feed.total_steps,)."""
        factors = self.spec.scheduler.factors(self.feed.total_steps, self.feed.steps_per_epoch)
        return self.spec.optimizer.lr * factors

    @property
    def constant_learning_rate(self) -> bool:
        return self.spec.scheduler.name == "constant"


def open_job(spec: RunSpec, folder: Path) -> tuple[Job, DataFolder]:
    """The job of a prepared run folder, and the dataset it belongs to.

    Where the parent has started several processes for it, the job is that of this one.

    Raises:
        RequestError: the initial weights cannot be read or are of another model.
    """
    dtype = spec.dtype
    data = replace(
        DataFolder.open(Path(spec.dataset.folder), spec.task.reconstructs),
        most_resident_bytes=most_resident_bytes(spec.training.resident_mib),
    )
    graph = spec.model.graph
    initial = {
        name: array.astype(dtype, copy=False)
        for name, array in load(folder / INITIAL_WEIGHTS, graph).items()
    }
    training = spec.training
    feed = Feed(
        data.size("train"),
        training.batch_size,
        training.epochs,
        spec.seed,
        training.drop_last,
        training.max_steps,
    )
    train, epochs = data.split("train", dtype), None
    if spec.augment.active:
        fill = data.black or [0.0] * data.input_shape[-1]
        epochs = Epochs(train.inputs, spec.augment, spec.seed, fill, folder)
    return Job(spec, graph, initial, train, feed, epochs, Ranks.from_environment()), data


class Trainer(Protocol):
    """One engine. Built from a ``Job``; lives in the worker; is never told the time.

    Inputs and outputs of every method are NumPy arrays, channels last, in canonical layout.

    Where ``job.ranks`` is given, every process has a trainer and calls ``fit``, ``activations`` and
    ``gradients`` at the same time, with the same feeds and whole batches. It trains on
    ``job.share(feed)``; losses, gradients and weights are those of all. ``predict`` and ``weights``
    are called by one of them alone.
    """

    def __init__(self, job: Job) -> None:
        """Build model and optimizer, and import ``job.initial_weights``."""

    def fit(self, feed: Feed, probe: Probe) -> None:
        """Train over ``feed`` in the framework's own loop, telling ``probe`` of every step.

        Batches come from ``job.train``, or from ``job.stream`` where there is one.
        """

    def batches(self, feed: Feed) -> Iterator[Any]:
        """Every batch of ``feed`` in native form, as ``fit`` hands it to a step: the input pipeline
        alone. Nothing is done with them but for the time that it takes to have them."""

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs (n, outputs) of the model in evaluation mode for one batch."""

    def synchronize(self) -> None:
        """Return when all work given to the device is done."""

    def weights(self) -> Weights:
        """The present weights, by canonical name and in canonical layout."""

    def activations(self, inputs: np.ndarray, training: bool) -> dict[str, np.ndarray]:
        """The output of every layer for one batch, by layer name, channels last.

        Neither weights nor statistics change. In training mode normalisation uses the batch's own
        statistics.
        """

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Weights]:
        """Loss of one batch in training mode and its gradient for every trainable tensor.

        Neither weights nor statistics change; decay and clipping are not applied.
        """

    def slots(self) -> dict[str, Weights]:
        """The optimizer's state by slot (``momentum``, ``first_moment``, ``second_moment``,
        ``accumulator``), each by canonical name and in canonical layout."""

    def state(self) -> dict[str, np.ndarray]:
        """All that the rest of training depends on, as copies, between two calls of ``fit``.

        Weights and statistics, slots, the position in the schedule, the scale of the loss; and,
        under names that begin with ``random/``, what the next masks of dropout are drawn from. A
        framework that does not tell of that gives no such name, and the record says so. Names and
        layouts are the engine's own.
        """

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what ``state`` gave, in a new trainer of the same job: the next ``fit`` ends
        in the very weights that it would have had there, to the last bit."""

    def settings(self) -> dict[str, dict[str, Any]]:
        """The values that the built objects hold, by ``optimizer`` or layer name and by quantity.

        They are said in the words of the contract, such as ``momentum`` for the share of the old
        average that is kept; ``class`` names the native object. See ``fwcompare.audit``.
        """

    def draw(self) -> Weights:
        """Weights that a new model of the same layers has from the framework's initialisers."""

    def facts(self) -> dict[str, Any]:
        """What the engine resolved by itself: device, execution, precision; JSON-able.

        Where it compiles, ``compilations`` counts the programs so far and ``graph_breaks`` the
        returns to Python. The count is asked for within ``fit`` too, between blocks.
        """

    def peak_device_bytes(self) -> int | None:
        """Peak memory of an accelerator; None on a CPU."""


@dataclass(frozen=True)
class Format:
    """A file of a framework's own, which a plugin can write from canonical weights."""

    #: ``module:function``, loaded in the worker: ``(spec, weights, path)`` writes the file and
    #: returns the lines that tell a user of the framework how to load it.
    exporter: str
    #: What a file name may end with, the usual one first.
    suffixes: tuple[str, ...]
    #: Whether the file holds the computation too, and not the weights alone.
    whole: bool = False


@dataclass(frozen=True)
class NativeSide:
    """How an engine takes a model of the user's own in the place of its layers."""

    #: Keys of ``model.native`` that it reads, the nearest first.
    keys: tuple[str, ...]
    #: ``module:function``, loaded in the worker: ``(spec)`` builds the code's model and returns the
    #: lines of a weight map for it.
    template: str


#: Writes one file, see ``Format.exporter``.
Exporter = Callable[[RunSpec, Weights, Path], Sequence[str]]


@runtime_checkable
class Front(Protocol):
    """The import-free side of an engine, safe to load in the parent.

    It may have a ``footprint`` besides: what the engine takes in memory and time, by which a run is
    judged before it is started; ``formats``, by name: the files that ``fwcompare export`` writes
    with it; ``native``, a ``NativeSide``, where it takes a model of the user's own; and
    ``meeting(ranks)``, the variables by which processes of the framework find each other, where
    several of them can train one model; and ``mirrors``, true where one process can train it on
    several devices, of which there are ``spec.distributed.replicas``.
    """

    #: Engine name: ``framework=<name>``, the tag in MLflow, the row in tables.
    name: str
    #: ``module:Class`` of the trainer.
    trainer: str
    #: Import packages of the plugin, and of plugins it builds on, that the trainer needs.
    packages: tuple[str, ...]
    #: Distributions of the framework whose versions are recorded, the main one first.
    requirements: tuple[str, ...]
    #: Colour of the engine in every figure, as ``#rrggbb``.
    colour: str
    #: Executions that are the very same as another, by name: one cell, not two.
    same_execution: Mapping[str, str]

    def environment(self, spec: RunSpec) -> Mapping[str, str]:
        """Environment variables that must be set before the framework is imported."""

    def supports(self, spec: RunSpec) -> str | None:
        """Why this engine cannot do this cell, in a sentence; None if it can."""


def installed() -> dict[str, importlib.metadata.EntryPoint]:
    """Entry points of every installed engine, by name; nothing is imported."""
    return dict(_installed(tuple(map(_dated, sys.path))))


@functools.lru_cache(maxsize=8)
def _installed(_: tuple[tuple[str, int], ...]) -> dict[str, importlib.metadata.EntryPoint]:
    """Reads a file of every distribution, which a sweep would do dozens of times a cell."""
    return {point.name: point for point in importlib.metadata.entry_points(group=TRAINERS)}


def _dated(folder: str) -> tuple[str, int]:
    """A folder of Python's path, and when something was last installed there."""
    try:
        return folder, Path(folder or ".").stat().st_mtime_ns
    except OSError:
        return folder, 0


def front(name: str) -> Front:
    """The front of an engine.

    Raises:
        RequestError: no installed plugin has this engine, or the plugin is broken.
    """
    points = installed()
    if name not in points:
        raise unknown("framework", name, points)
    try:
        loaded = points[name].load()
    except Exception as error:
        raise RequestError(
            f"The plugin for '{name}' cannot be loaded: {error!r}.",
            f"Install it again: pip install --force-reinstall {distribution(name)}",
        ) from error
    if not isinstance(loaded, Front):
        raise RequestError(
            f"The entry point of '{name}' is not an engine front.",
            "See the page on adding a framework: docs/how-to/add-a-framework.md",
        )
    return loaded


def footprint(engine: Front) -> Footprint:
    """What an engine takes beyond the mathematics: its own word, or that of a plain one."""
    stated: Footprint = getattr(engine, "footprint", PLAIN)
    return stated


def distribution(name: str) -> str:
    """The distribution that provides an installed engine."""
    found = installed()[name].dist
    return found.name if found else name


def versions(names: tuple[str, ...]) -> dict[str, str]:
    """Installed versions of distributions, without importing them; absent ones are left out."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def missing(engine: Front) -> list[str]:
    """Distributions that the engine needs and that are not installed here."""
    return [name for name in engine.requirements if not versions((name,))]


def missing_engines() -> set[str]:
    """Installed engines whose framework is not."""
    return {name for name in installed() if missing(front(name))}


def meeting(engine: Front) -> Callable[[Ranks], Mapping[str, str]] | None:
    """What tells processes of the engine how to meet; None where each can only train alone."""
    found: Callable[[Ranks], Mapping[str, str]] | None = getattr(engine, "meeting", None)
    return found


def mirrors(engine: Front) -> bool:
    """Whether one process of the engine trains copies of a model on several devices."""
    return bool(getattr(engine, "mirrors", False))


def refusal(engine: Front, spec: RunSpec) -> str | None:
    """Why an engine cannot do this cell, in a sentence; None if it can."""
    if spec.distributed.name == "mirrored" and not mirrors(engine):
        able = ", ".join(name for name in sorted(installed()) if mirrors(front(name)))
        return (
            "distributed=mirrored is for engines that drive several devices of one process. "
            f"Choose distributed=none{f', or an engine that does: {able}' if able else ''}."
        )
    if reason := engine.supports(spec):
        return reason
    if spec.distributed.meets and meeting(engine) is None:
        return f"{engine.name} trains in one process alone. Choose distributed=none."
    return None


def formats(engine: Front) -> Mapping[str, Format]:
    """The files that the engine's plugin writes, by name; a front need not have any."""
    found: Mapping[str, Format] = getattr(engine, "formats", {})
    return found


def native_keys(engine: Front) -> tuple[str, ...]:
    """The keys of ``model.native`` that an engine reads, the nearest first."""
    native: NativeSide | None = getattr(engine, "native", None)
    return native.keys if native else ()


def own_code(engine: Front, declared: Mapping[str, NativeCode]) -> NativeCode | None:
    """The code that stands for the layers in this engine; None where it builds them itself."""
    return next((declared[key] for key in native_keys(engine) if key in declared), None)


def load_trainer(path: str) -> type[Trainer]:
    """Import ``module:Class``; this is where a framework is imported, in the worker."""
    loaded: type[Trainer] = _load(path)
    return loaded


def load_exporter(path: str) -> Exporter:
    """Import ``module:function``; with it a framework, in the worker."""
    loaded: Exporter = _load(path)
    return loaded


def load_template(path: str) -> Callable[[RunSpec], Sequence[str]]:
    """Import ``module:function``; with it a framework, in the worker."""
    loaded: Callable[[RunSpec], Sequence[str]] = _load(path)
    return loaded


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
