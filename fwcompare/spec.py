"""What was asked: a frozen, JSON-able ``RunSpec`` that says everything about one run."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fwcompare.atomic import write_text
from fwcompare.errors import RequestError, shown, unknown
from fwcompare.graph import VALUES, Graph
from fwcompare.graph.weights import DISTRIBUTIONS, SCHEMES
from fwcompare.limits import read_json
from fwcompare.typed import build

SCHEMA_VERSION = 1

#: What a run may be placed on; ``auto`` is resolved before a spec is made.
DEVICES = ("cpu", "cuda")
#: Names as Keras has them. In a mixed precision weights, statistics, data and the loss are float32,
#: while products and convolutions compute in the half type.
PRECISIONS = ("float32", "float64", "mixed_bfloat16", "mixed_float16")
#: Those in which two engines can be compared digit by digit.
PROOF_PRECISIONS = ("float32", "float64")
EXECUTIONS = ("native", "eager", "compiled")
SEMANTICS = ("aligned", "native")
#: How several processes may train one model.
DISTRIBUTIONS_OF_WORK = ("none", "data_parallel", "mirrored")
#: Whose samples normalise a batch where several processes share it.
BATCH_NORMS = ("synchronised", "local")
DECAYS = ("none", "l2", "decoupled")
DECAY_SCOPES = ("all", "kernels")


def _require(holds: bool, option: str, value: object, wanted: str) -> None:
    if not holds:
        raise RequestError(f"{option} must be {wanted}, got {shown(repr(value))}.")


def _one_of(option: str, value: object, options: tuple[str, ...]) -> None:
    if value not in options:
        error = unknown(option, value, options)
        raise RequestError(error.message, error.hint)


def _finite(option: str, value: float, least: float, *, strict: bool = False) -> None:
    bound = f"{'more than' if strict else 'at least'} {least:g}"
    holds = math.isfinite(value) and (value > least if strict else value >= least)
    _require(holds, option, value, f"a finite number, {bound}")


@dataclass(frozen=True)
class NativeCode:
    """A model of the user's own: a function in a Python file, and where its tensors are."""

    #: Absolute path of the file.
    file: str
    function: str
    #: Of the file: with another content it is another arm.
    sha256: str
    #: The weight map's part for it, as ``fwcompare.native.mapping`` reads it.
    map: dict[str, Any]

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits over the code and its map, wherever they lie."""
        return _key(self.sha256, self.function, self.map)

    @property
    def shown(self) -> str:
        return f"{Path(self.file).name}:{self.function}"


@dataclass(frozen=True)
class Framework:
    """The engine, and where its trainer is found."""

    name: str
    #: ``module:Class`` of the trainer, imported in the worker alone.
    trainer: str = ""
    #: Import packages of the plugin that travel to a foreign interpreter.
    packages: tuple[str, ...] = ()
    #: Interpreter that runs the worker; None means the one that runs the command line.
    python: str | None = None
    #: What builds the model in the place of the engine's own layers.
    code: NativeCode | None = None


@dataclass(frozen=True)
class Model:
    """A model as data: every layer with every option, and the sample's shape."""

    name: str
    params: dict[str, Any]
    input_shape: tuple[int, ...]
    layers: tuple[dict[str, Any], ...]
    digest: str
    #: What a sample holds: numbers, or token ids.
    input_type: str = VALUES
    #: Code of the user's own that stands for the layers, by the name that engines know it by.
    native: dict[str, NativeCode] = field(default_factory=dict)

    @cached_property
    def graph(self) -> Graph:
        return Graph.from_layers(self.input_shape, self.layers, self.input_type)


#: What a model's outputs are held against.
TARGETS = ("given", "inputs")


@dataclass(frozen=True)
class Task:
    """What the output means, the loss, and the metric that users quote."""

    name: str
    #: What training minimises: the mean over the batch, from logits for cross-entropy.
    loss: str
    #: What is measured after each epoch and on the test split, besides the loss.
    metric: str
    #: ``given`` by the dataset, or the ``inputs`` themselves.
    targets: str = "given"

    def __post_init__(self) -> None:
        if self.targets not in TARGETS:
            raise unknown("task.targets", self.targets, TARGETS)

    @property
    def reconstructs(self) -> bool:
        """Whether the model is to give back its input."""
        return self.targets == "inputs"


@dataclass(frozen=True)
class Dataset:
    """Arrays on disk, ready for the worker, and where they come from."""

    name: str
    params: dict[str, Any]
    #: Folder of ``.npy`` arrays and ``meta.json``, written by the parent.
    folder: str
    digest: str


@dataclass(frozen=True)
class Augment:
    """How training images are changed anew in every epoch, drawn by the core from the seed.

    Evaluation sees them as they are. Images are padded and cropped first, then flipped.
    """

    #: Flip each image left to right, or not, with even chances.
    flip: bool = False
    #: Black pixels put around an image, from which a crop of its own size is taken; 0: none.
    crop: int = 0

    def __post_init__(self) -> None:
        _require(self.crop >= 0, "augment.crop", self.crop, "at least 0")

    @property
    def active(self) -> bool:
        return self.flip or self.crop > 0


@dataclass(frozen=True)
class Optimizer:
    """Options that every optimizer has. ``weight_decay`` acts as ``decay`` says.

    ``l2`` adds ``weight_decay * p`` to the gradient of p (the penalty weight_decay/2 * |p|**2);
    ``decoupled`` takes ``lr * weight_decay * p`` from p (Loshchilov and Hutter, 2019). Clipping is
    by the global norm: gradients times ``min(1, clip_norm / norm)``, before L2 decay is added.
    """

    name: str
    #: Learning rate, before the scheduler's factor.
    lr: float
    #: How weight_decay acts.
    decay: str
    #: Strength of the decay.
    weight_decay: float
    #: Which parameters are decayed: all, or the kernels without biases and norms.
    decay_scope: str
    #: Largest global norm of the gradients; None: no clipping.
    clip_norm: float | None

    def __post_init__(self) -> None:
        _finite("optimizer.lr", self.lr, 0, strict=True)
        _finite("optimizer.weight_decay", self.weight_decay, 0)
        _one_of("optimizer.decay", self.decay, DECAYS)
        _one_of("optimizer.decay_scope", self.decay_scope, DECAY_SCOPES)
        if self.clip_norm is not None:
            _finite("optimizer.clip_norm", self.clip_norm, 0, strict=True)
        if self.weight_decay and self.decay == "none":
            raise RequestError(
                f"optimizer.weight_decay={self.weight_decay:g} has no effect with decay=none.",
                "Say which one: optimizer.decay=l2 or optimizer.decay=decoupled.",
            )

    def decays(self, role: str) -> bool:
        """Whether a parameter of this role is decayed at all."""
        if self.decay == "none" or not self.weight_decay:
            return False
        return self.decay_scope == "all" or role == "kernel"


@dataclass(frozen=True)
class Sgd(Optimizer):
    """``p -= lr * g``"""


@dataclass(frozen=True)
class Momentum(Optimizer):
    """``b = momentum * b + g; p -= lr * b``; with nesterov ``p -= lr * (g + momentum * b)``."""

    #: Share of the buffer that is kept at each step.
    momentum: float
    #: Whether the step looks ahead along the buffer.
    nesterov: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "in [0, 1)")


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015): epsilon is added to the bias-corrected root."""

    #: Share of the first moment that is kept at each step.
    beta1: float
    #: Share of the second moment that is kept at each step.
    beta2: float
    #: Added to the root of the corrected second moment.
    epsilon: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(0 <= self.beta1 < 1, "optimizer.beta1", self.beta1, "in [0, 1)")
        _require(0 <= self.beta2 < 1, "optimizer.beta2", self.beta2, "in [0, 1)")
        _finite("optimizer.epsilon", self.epsilon, 0, strict=True)


@dataclass(frozen=True)
class RmsProp(Optimizer):
    """``v = rho * v + (1 - rho) * g**2; p -= lr * g / (sqrt(v) + epsilon)``"""

    #: Share of the mean square that is kept at each step.
    rho: float
    #: Added to the root of the mean square.
    epsilon: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(0 <= self.rho < 1, "optimizer.rho", self.rho, "in [0, 1)")
        _finite("optimizer.epsilon", self.epsilon, 0, strict=True)


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """``a += g**2; p -= lr * g / (sqrt(a) + epsilon)``, a starting at ``initial_accumulator``."""

    #: Where the sum of squares begins.
    initial_accumulator: float
    #: Added to the root of the sum of squares.
    epsilon: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _finite("optimizer.initial_accumulator", self.initial_accumulator, 0)
        _finite("optimizer.epsilon", self.epsilon, 0, strict=True)


#: Optimizer names to their options. momentum and nesterov are one rule; so are adam and adamw.
OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": Sgd,
    "momentum": Momentum,
    "nesterov": Momentum,
    "adam": Adam,
    "adamw": Adam,
    "rmsprop": RmsProp,
    "adagrad": Adagrad,
}


@dataclass(frozen=True)
class Scheduler:
    """The learning rate as a factor of ``optimizer.lr``, by step.

    ``step``: times ``gamma`` after every ``step_epochs`` epochs. ``cosine``: down to
    ``final_factor`` at the last step. ``warmup_cosine``: a linear rise over ``warmup_epochs``
    (the first step has a factor above zero), then the cosine.
    """

    name: str
    #: Epochs between two steps down.
    step_epochs: float = 1.0
    #: What a step down multiplies by.
    gamma: float = 1.0
    #: Epochs of the rise.
    warmup_epochs: float = 0.0
    #: Share of optimizer.lr that is left at the last step.
    final_factor: float = 1.0

    def __post_init__(self) -> None:
        _one_of("scheduler", self.name, ("constant", "step", "cosine", "warmup_cosine"))
        _finite("scheduler.step_epochs", self.step_epochs, 0, strict=True)
        _finite("scheduler.gamma", self.gamma, 0)
        _finite("scheduler.warmup_epochs", self.warmup_epochs, 0)
        _finite("scheduler.final_factor", self.final_factor, 0)

    def factors(self, total_steps: int, steps_per_epoch: int) -> np.ndarray:
        """The factor of each step, float64, shape (total_steps,)."""
        steps = np.arange(total_steps, dtype=np.float64)
        if self.name == "step":
            span = max(round(self.step_epochs * steps_per_epoch), 1)
            return self.gamma ** (steps // span)
        if self.name == "constant":
            return np.ones(total_steps)
        warmup = 0
        if self.name == "warmup_cosine":
            warmup = min(round(self.warmup_epochs * steps_per_epoch), total_steps)
        progress = np.clip((steps - warmup) / max(total_steps - warmup, 1), 0, 1)
        cosine = self.final_factor + (1 - self.final_factor) * 0.5 * (1 + np.cos(np.pi * progress))
        return np.where(steps < warmup, (steps + 1) / max(warmup, 1), cosine)


@dataclass(frozen=True)
class Device:
    """``threads`` cores are given to the worker, and no more."""

    name: str
    threads: int

    def __post_init__(self) -> None:
        _one_of("device", self.name, DEVICES)
        _require(self.threads >= 1, "device.threads", self.threads, "at least 1")


@dataclass(frozen=True)
class Distributed:
    """``none`` trains in one process. In ``data_parallel`` each of several trains on its share of
    every batch, a contiguous part of it, and all make one step with the mean of their gradients.
    ``mirrored`` is the same with several devices of one process, each with a copy of the model."""

    name: str = "none"
    #: Processes that share every batch; each has `device.threads` cores.
    processes: int = 1
    #: Whether batch normalisation sees the whole batch, as one process does (`synchronised`), or
    #: each process its own share (`local`), which is another experiment.
    batch_norm: str = "synchronised"
    #: Addresses of the machines, each with as many of the processes; null: this one alone.
    hosts: tuple[str, ...] | None = None
    #: Which of the hosts this machine is, from 0, whose processes alone the command starts.
    host: int = 0
    #: First of the TCP ports at which processes meet, one and one more for each of them; null:
    #: any that are free, on a single machine.
    port: int | None = None
    #: Seconds in which all processes must have met.
    meet_s: float = 60.0
    #: Devices of the one process that share every batch: GPUs, or as many parts of a CPU, which
    #: together have `device.threads` cores.
    replicas: int = 1

    def __post_init__(self) -> None:
        _one_of("distributed", self.name, DISTRIBUTIONS_OF_WORK)
        _require(self.processes >= 1, "distributed.processes", self.processes, "at least 1")
        _require(self.replicas >= 1, "distributed.replicas", self.replicas, "at least 1")
        for name, count, way in (
            ("processes", self.processes, "data_parallel"),
            ("replicas", self.replicas, "mirrored"),
        ):
            if count > 1 and self.name != way:
                raise RequestError(
                    f"distributed.{name}={count} is for distributed={way}, not for {self.name}."
                )
        _one_of("distributed.batch_norm", self.batch_norm, BATCH_NORMS)
        _finite("distributed.meet_s", self.meet_s, 0, strict=True)
        if self.port is not None:
            _require(0 < self.port < 2**16, "distributed.port", self.port, "from 1 to 65535")
        hosts = len(self.hosts or "?")
        wanted = "the number of one of distributed.hosts, counted from 0"
        _require(0 <= self.host < hosts, "distributed.host", self.host, wanted)
        if self.processes % hosts:
            raise RequestError(
                f"distributed.processes={self.processes} do not split evenly over the {hosts} "
                "machines of distributed.hosts."
            )

    @property
    def active(self) -> bool:
        """Whether a batch is split, be it by a single process or device."""
        return self.name != "none"

    @property
    def meets(self) -> bool:
        """Whether there are processes that must meet."""
        return self.name == "data_parallel"

    @property
    def shares(self) -> int:
        """In how many parts a batch is split."""
        return self.processes * self.replicas

    @property
    def option(self) -> str:
        """The option that says how many parts there are."""
        return "distributed.processes" if self.meets else "distributed.replicas"

    @property
    def words(self) -> str:
        """What shares a batch, as in ``2 processes``."""
        noun = ("process", "processes") if self.meets else ("replica", "replicas")
        return f"{self.shares} {noun[self.shares > 1]}"

    @property
    def local_ranks(self) -> range:
        """The processes of this machine, by rank."""
        each = self.processes // len(self.hosts or "?")
        return range(self.host * each, (self.host + 1) * each)


@dataclass(frozen=True)
class Init:
    """Where the initial weights come from: a scheme, or ``source``, a file or another run."""

    name: str
    distribution: str
    gain: float
    source: str | None = None
    #: SHA-256 of the weights in ``source``, since a file may be written anew.
    digest: str | None = None

    def __post_init__(self) -> None:
        _one_of("init", self.name, SCHEMES)
        _one_of("init.distribution", self.distribution, DISTRIBUTIONS)
        _finite("init.gain", self.gain, 0, strict=True)

    @property
    def mathematics(self) -> dict[str, Any]:
        """What decides the initial weights besides the seed: a scheme, or the weights themselves,
        wherever they lie."""
        if self.source:
            return {"from": self.digest or self.source}
        return {"name": self.name, "distribution": self.distribution, "gain": self.gain}


@dataclass(frozen=True)
class Training:
    """How long and in what portions. ``max_steps`` ends training early; None means never."""

    epochs: int
    batch_size: int
    max_steps: int | None
    drop_last: bool
    timeout_s: float
    #: Epochs from one checkpoint to the next; 0: none.
    checkpoint_epochs: int = 0
    #: The checkpoint from which training goes on: a run with one, or the file itself; None: the
    #: initial weights.
    resume: str | None = None
    #: Texts that a language model writes after training; None: 2 where its dataset is text.
    samples: int | None = None
    #: Tokens of each.
    sample_tokens: int = 200
    #: Outputs are divided by it before a token is drawn; 0 takes the likeliest token.
    temperature: float = 0.8
    #: A split of more MiB is read from disk batch by batch; None: a quarter of the memory.
    resident_mib: int | None = None

    def __post_init__(self) -> None:
        _require(self.epochs >= 0, "trainer.epochs", self.epochs, "at least 0")
        _require(self.batch_size >= 1, "trainer.batch_size", self.batch_size, "at least 1")
        if self.max_steps is not None:
            _require(self.max_steps >= 0, "trainer.max_steps", self.max_steps, "at least 0")
        _finite("trainer.timeout_s", self.timeout_s, 0, strict=True)
        every = self.checkpoint_epochs
        _require(every >= 0, "trainer.checkpoint_epochs", every, "at least 0")
        if self.samples is not None:
            _require(self.samples >= 0, "trainer.samples", self.samples, "at least 0")
        _require(self.sample_tokens >= 1, "trainer.sample_tokens", self.sample_tokens, "at least 1")
        _finite("trainer.temperature", self.temperature, 0)
        if (most := self.resident_mib) is not None:
            _require(most >= 0, "trainer.resident_mib", most, "null or at least 0")


@dataclass(frozen=True)
class Measure:
    """How the clock is read. A block is the shortest span of steps that is timed.

    ``step_losses`` asks for the loss of every step; an engine whose own loop reports running means
    then pays for a reset at each step, so it is for proofs and not for timing.
    """

    block_ms: float
    predict_s: float
    predict_calls: int
    step_losses: bool = False

    def __post_init__(self) -> None:
        _finite("measure.block_ms", self.block_ms, 0)
        _finite("measure.predict_s", self.predict_s, 0)
        _require(self.predict_calls >= 0, "measure.predict_calls", self.predict_calls, "at least 0")


def check_choices(precision: str, execution: str, semantics: str, seed: int) -> None:
    """Raises ``RequestError`` for what needs no look at data, so that none are fetched for it."""
    _one_of("precision", precision, PRECISIONS)
    _one_of("execution", execution, EXECUTIONS)
    _one_of("semantics", semantics, SEMANTICS)
    _require(0 <= seed < 2**63, "seed", seed, "a whole number from 0 to 2**63 - 1")


@dataclass(frozen=True)
class RunSpec:
    """One run, whole: what the worker needs and nothing of where it is tracked."""

    run: str
    framework: Framework
    model: Model
    task: Task
    dataset: Dataset
    optimizer: Optimizer
    scheduler: Scheduler
    device: Device
    precision: str
    execution: str
    semantics: str
    init: Init
    training: Training
    measure: Measure
    seed: int
    sweep: str | None = None
    attempt: int = 1
    augment: Augment = field(default_factory=Augment)
    distributed: Distributed = field(default_factory=Distributed)
    #: Versions of the core, the plugin and what the plugin requires, as the parent sees them.
    versions: dict[str, str] = field(default_factory=dict)
    #: What the parent expects of the run, as metrics: how much memory.
    expected: dict[str, float] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        check_choices(self.precision, self.execution, self.semantics, self.seed)

    @property
    def aligned(self) -> bool:
        return self.semantics == "aligned"

    @property
    def mixed(self) -> bool:
        """Whether products and convolutions compute in another type than weights are kept in."""
        return self.precision.startswith("mixed_")

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of weights, statistics, data and the loss."""
        return np.dtype("float32" if self.mixed else self.precision)

    @property
    def compute_type(self) -> str:
        """Name of the type of products and convolutions; NumPy does not know bfloat16."""
        return self.precision.removeprefix("mixed_")

    @property
    def place(self) -> str:
        """The kind of device, and how many processes or replicas share the work on it."""
        work = self.distributed
        if not work.active:
            return self.device.name
        return f"{self.device.name} x {work.shares if work.meets else work.words}"

    @property
    def cores(self) -> int:
        """How many cores the run takes of this machine."""
        return self.device.threads * len(self.distributed.local_ranks)

    @property
    def normalises_locally(self) -> bool:
        """Whether batch normalisation sees less than the batch, so that the results are others."""
        work = self.distributed
        if work.shares == 1 or work.batch_norm != "local":
            return False
        return any(layer["kind"] == "batch_norm" for layer in self.model.layers)

    @property
    def mathematics(self) -> dict[str, Any]:
        """The parts of the experiment that make a group, by option."""
        return {
            "model": self.model.digest,
            "task": self.task,
            "dataset": self.dataset.name,
            "dataset.params": self.dataset.params,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "trainer": [
                self.training.epochs,
                self.training.batch_size,
                self.training.max_steps,
                self.training.drop_last,
            ],
            "init": self.init.mathematics,
            "semantics": self.semantics,
            "augment": self.augment,
            "distributed.batch_norm": f"local x {self.distributed.shares}"
            if self.normalises_locally
            else "whole batch",
        }

    @cached_property
    def group(self) -> str:
        """Key of the mathematics: runs of one group may be compared."""
        parts = self.mathematics
        if not self.augment.active:
            del parts["augment"]  # as before there was any
        if not self.normalises_locally:
            del parts["distributed.batch_norm"]
        return _key(*parts.values())

    @cached_property
    def arm(self) -> str:
        """Key of what is compared inside a group, paired by seed."""
        fed = self.training.resident_mib
        code = self.framework.code
        work = self.distributed
        return _key(
            *(self.framework.name, self.execution, self.precision),
            *(self.device, self.framework.python),
            *([] if fed is None else [fed]),
            *([] if code is None else [code.digest]),
            *([[work.name, work.shares, len(work.hosts or "?")]] if work.active else []),
        )

    @cached_property
    def cell(self) -> str:
        """Key of what may be skipped when done."""
        return _key(self.group, self.arm, self.seed, self.dataset.digest, self.versions)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunSpec:
        """Rebuild a spec from ``to_json``.

        Raises:
            RequestError: the data are not a spec of this schema version.
        """
        if data.get("schema_version") != SCHEMA_VERSION:
            raise RequestError(
                f"This spec has schema version {data.get('schema_version')!r}, "
                f"this release reads {SCHEMA_VERSION}."
            )
        name = str(dict(data.get("optimizer") or {}).get("name"))
        optimizer = build(optimizer_class(name), data["optimizer"], "optimizer")
        return build(cls, {**data, "optimizer": optimizer})

    def write(self, path: Path) -> None:
        write_text(path, json.dumps(self.to_json(), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> RunSpec:
        """Raises ``RequestError`` if the file is missing or not a spec."""
        data = read_json(path, "The spec")
        if not isinstance(data, dict):
            raise RequestError(f"{path} is not a run's spec.")
        try:
            return cls.from_json(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RequestError(f"{path} is not a run's spec: {error!r}.") from error

    def but(self, **changes: Any) -> RunSpec:
        """A copy with some fields changed."""
        return replace(self, **changes)


def optimizer_class(name: str) -> type[Optimizer]:
    """The options that the optimizer of this name takes. Raises ``RequestError`` if unknown."""
    if name not in OPTIMIZERS:
        raise unknown("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]


def _key(*parts: Any) -> str:
    """Sixteen hexadecimal digits of SHA-256 over the canonical JSON of the parts."""
    text = json.dumps(parts, sort_keys=True, default=asdict)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
