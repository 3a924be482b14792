"""A run between two epochs, as a file from which it goes on: arrays, and what was observed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fwcompare.data.batches import Feed
from fwcompare.errors import RequestError
from fwcompare.graph.weights import write_arrays
from fwcompare.spec import RunSpec

#: The newest checkpoint of a run, in its folder.
CHECKPOINT_FILE = "checkpoint.safetensors"

FORMAT_VERSION = "1"

#: How names of random states begin in what a trainer gives as its state.
RANDOM = "random/"

#: What a user sees of a trainer that gives no random state.
NO_RANDOM_STATE = (
    "the engine does not give its random state back: after a checkpoint dropout draws other masks "
    "than it would have without one"
)


@dataclass(frozen=True)
class Checkpoint:
    """A run that has come to the end of an epoch."""

    run: str
    #: Epochs and steps that are done.
    epoch: int
    step: int
    #: What a run must have in common with this one to go on from it, by option.
    asked: dict[str, Any]
    versions: dict[str, str]
    #: What the probe had observed; see ``Probe.observations``.
    observed: dict[str, Any]


def parts(feed: Feed, first_step: int, every: int) -> Iterator[Feed]:
    """The feed from a step on, whole or, where checkpoints are asked for, in parts between them."""
    if not every and not first_step:
        yield feed
        return
    portion = every * feed.steps_per_epoch or feed.total_steps
    while first_step < feed.total_steps:
        end = min((first_step // portion + 1) * portion, feed.total_steps)
        yield feed.part(first_step, end)
        first_step = end


def write(
    path: Path,
    spec: RunSpec,
    done: Feed,
    state: Mapping[str, np.ndarray],
    observed: Mapping[str, Any],
) -> None:
    """Write a checkpoint in place of the one before. Raises ``OSError`` where that fails."""
    found = Checkpoint(
        spec.run, done.epochs[-1], done.total_steps, asked(spec), spec.versions, dict(observed)
    )
    header = {"format_version": FORMAT_VERSION, "checkpoint": json.dumps(asdict(found))}
    write_arrays(state, path, header)


def asked(spec: RunSpec) -> dict[str, Any]:
    """The parts of an experiment that a run must share to go on from another's checkpoint.

    A run may go on for more epochs than were asked for first, but not where the learning rate
    depends on how many there are.
    """
    training = spec.training
    found: dict[str, Any] = {
        "framework": spec.framework.name,
        "model": spec.model.digest,
        "task": asdict(spec.task),
        "dataset": spec.dataset.digest,
        "augment": asdict(spec.augment),
        "optimizer": asdict(spec.optimizer),
        "scheduler": asdict(spec.scheduler),
        "precision": spec.precision,
        "semantics": spec.semantics,
        "seed": spec.seed,
        "trainer.batch_size": training.batch_size,
        "trainer.drop_last": training.drop_last,
    }
    if spec.scheduler.name not in ("constant", "step"):
        found |= {"trainer.epochs": training.epochs, "trainer.max_steps": training.max_steps}
    return json.loads(json.dumps(found))  # type: ignore[no-any-return] # as it is read again


def read_header(path: Path) -> Checkpoint:
    """What a checkpoint says of itself.

    Raises:
        RequestError: the file is missing, damaged, or none of this release.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
        if header.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"its format is {header.get('format_version')!r}")
        return Checkpoint(**json.loads(header["checkpoint"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"{path} cannot be read as a checkpoint: {error}.",
            f"Give a run that was made with trainer.checkpoint_epochs, or its {CHECKPOINT_FILE}.",
        ) from error


def read(path: Path) -> tuple[Checkpoint, dict[str, np.ndarray]]:
    """A checkpoint with its arrays. Raises as ``read_header`` does."""
    from safetensors import safe_open

    found = read_header(path)
    with safe_open(path, framework="numpy") as file:
        return found, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def require_fitting(found: Checkpoint, spec: RunSpec) -> None:
    """Raise ``RequestError`` where a run asks for another experiment than the checkpoint's."""
    ours = asked(spec)
    other = sorted(key for key in ours if found.asked.get(key) != ours[key])
    if other:
        raise RequestError(
            f"trainer.resume: the checkpoint of {found.run} belongs to another experiment; "
            f"other are {', '.join(other)}.",
            "Ask for what it was made with, or leave trainer.resume out.",
        )
    if found.epoch > spec.training.epochs:
        raise RequestError(
            f"trainer.resume: the checkpoint of {found.run} has {found.epoch} epochs behind it, "
            f"trainer.epochs is {spec.training.epochs}.",
            "Ask for as many epochs or more.",
        )
