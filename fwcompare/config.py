"""A composed configuration into a checked plan: all that can be wrong is said before any work."""

from __future__ import annotations

import errno
import math
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from fwcompare import __version__, capacity, gpu, metrics
from fwcompare.capacity import Capacity
from fwcompare.checkpoint import CHECKPOINT_FILE, read_header, require_fitting
from fwcompare.data.batches import DataFolder
from fwcompare.errors import RequestError, UnsupportedError, choices, unknown
from fwcompare.folders import find_run
from fwcompare.graph import Graph, load
from fwcompare.graph.embedding import Embedding
from fwcompare.graph.masks import NO_PADDING, PaddingMask
from fwcompare.graph.read import read
from fwcompare.graph.weights import digest
from fwcompare.launch import physical_cores
from fwcompare.limits import user_path
from fwcompare.memory import MIB
from fwcompare.native.read import declared
from fwcompare.plugin import (
    distribution,
    footprint,
    front,
    installed,
    missing,
    own_code,
    refusal,
    versions,
)
from fwcompare.preflight import Preflight, Subject, Verdict, hopeless, judge
from fwcompare.ranks import taken_ports
from fwcompare.record import FINAL_WEIGHTS, INITIAL_WEIGHTS
from fwcompare.spec import (
    PROOF_PRECISIONS,
    Augment,
    Dataset,
    Device,
    Distributed,
    Framework,
    Init,
    Measure,
    Model,
    RunSpec,
    Scheduler,
    Task,
    Training,
    check_choices,
    optimizer_class,
)
from fwcompare.stats.criteria import Criteria
from fwcompare.typed import build, convert

#: What a tracking URI of MLflow begins with, besides those of its plugins.
STORES = ("databricks", "http", "https", "mssql", "mysql", "postgresql", "sqlite")

#: Bytes of a name that becomes a folder's; file systems take 255.
LONGEST_NAME = 200

#: Texts that a language model writes where nobody says how many.
SAMPLES = 2


@dataclass(frozen=True)
class Tracking:
    """Where runs are tracked. ``none`` leaves MLflow out; a null ``uri`` is SQLite in outputs."""

    name: str
    #: A tracking URI of MLflow; None: mlflow.db in the outputs folder.
    uri: str | None
    #: Name of the MLflow experiment; None: fwcompare.
    experiment: str | None

    def __post_init__(self) -> None:
        if self.uri is None:
            return
        kind = re.split(r"[:+]", self.uri, maxsplit=1)[0]
        known = {*STORES, *entry_points(group="mlflow.tracking_store").names}
        if kind not in known:
            raise RequestError(
                f"tracking.uri begins with '{kind}', which is no kind of MLflow store.",
                f"There are {choices(known)}; a file is sqlite:////absolute/path/mlflow.db.",
            )


@dataclass(frozen=True)
class Parity:
    """How the engines are proven equal."""

    reference: str
    precision: str
    steps: int
    in_sweep: bool

    def __post_init__(self) -> None:
        if self.precision not in PROOF_PRECISIONS:
            raise unknown("parity.precision", self.precision, PROOF_PRECISIONS)
        if self.steps < 1:
            raise RequestError(f"parity.steps must be at least 1, got {self.steps}.")


@dataclass(frozen=True)
class Compare:
    """How a sweep is judged: against which engine, and by which thresholds."""

    baseline: str | None
    control: bool
    confidence: float
    equivalence_margin: float
    speed_margin: float
    target: float | None
    measure: str

    @cached_property
    def criteria(self) -> Criteria:
        return Criteria(
            self.confidence, self.equivalence_margin, self.speed_margin, self.target, self.measure
        )

    def __post_init__(self) -> None:
        _ = self.criteria  # says now what is out of range


@dataclass(frozen=True)
class Plan:
    """A run that has been checked and only needs starting."""

    spec: RunSpec
    outputs: Path
    tracking: Tracking
    #: What should be known before it is started, such as that memory is tight; mostly nothing.
    remark: str = ""


def new_run_id(engine: str, model: str, seed: int) -> str:
    """A name that sorts by time, tells the run, and is not taken twice."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    engine, model = (re.sub(r"[^A-Za-z0-9_.-]", "-", part)[:60] for part in (engine, model))
    return f"{stamp}-{engine}-{model}-s{seed}-{secrets.token_hex(3)}"


def require_name(name: str, where: str) -> None:
    """Refuse a name that cannot be that of a folder beside others on any file system."""
    if not re.fullmatch(r"[\w-][\w.-]*", name) or len(name.encode()) > LONGEST_NAME:
        raise RequestError(
            f"{where}={name!r} must be made of letters, digits, '_', '-' and '.', not begin with"
            f" '.', and be no longer than {LONGEST_NAME} bytes."
        )


@cache
def published_engines() -> Mapping[str, str]:
    """Engines that this project publishes, with the distribution of each."""
    import yaml

    text = resources.files("fwcompare.conf").joinpath("engines.yml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def missing_plugin(engine: str) -> UnsupportedError | None:
    """The error for an engine that is published but not installed; None for any other name."""
    provider = published_engines().get(engine)
    if provider is None or engine in installed() or provider in _installed_distributions():
        return None
    return UnsupportedError(
        f"The plugin for '{engine}' is not installed.", f"Install it: pip install {provider}"
    )


def known_engines() -> set[str]:
    """Engines that are installed, and those that a published plugin would bring."""
    absent = {name for name in published_engines() if missing_plugin(name)}
    return {*installed(), *absent}


def no_gpu(option: str) -> RequestError:
    """The refusal of an option that wants a GPU where none is to be seen."""
    return RequestError(
        f"{option}: there is no NVIDIA device here that this process may see.",
        f"Choose {option.replace('cuda', 'cpu')}; device=auto takes what is there. 'nvidia-smi' "
        "and CUDA_VISIBLE_DEVICES say which there are.",
    )


def require_ready(engine: str) -> None:
    """Nothing, for an engine that can be started in this interpreter.

    Raises:
        UnsupportedError: its plugin or its framework is not installed.
        RequestError: there is no such engine.
    """
    if engine not in installed():
        raise missing_plugin(engine) or unknown("framework", engine, known_engines())
    if absent := missing(front(engine)):
        raise UnsupportedError(
            f"'{engine}' needs {', '.join(absent)}, which is not installed.",
            f"Install it: pip install {' '.join(absent)}",
        )


def _installed_distributions() -> set[str]:
    return {distribution(name) for name in installed()}


class Configuration:
    """A composed configuration, and where its files lie.

    ``cfg`` is plain data: mappings, lists and scalars. ``sources`` are the folders of Hydra's
    search path, in its order; a model's layer file is looked for in their ``model/``.
    """

    def __init__(self, cfg: Mapping[str, Any], sources: Sequence[str | Path]) -> None:
        self.cfg = dict(cfg)
        self.sources = sources
        #: Whether it is for another machine, about whose cores, memory and GPU nothing is known.
        self.elsewhere = False

    def section(self, name: str) -> dict[str, Any]:
        """One node of the configuration as a mapping."""
        value = self.cfg.get(name)
        if not isinstance(value, Mapping):
            raise RequestError(f"Option '{name}' must be a group of options, got {value!r}.")
        return dict(value)

    def named(self, name: str) -> str:
        """The ``name`` of a group that holds nothing else, such as precision."""
        section = self.section(name)
        if set(section) != {"name"}:
            extra = sorted(set(section) - {"name"})
            raise RequestError(f"Unknown option '{name}.{extra[0] if extra else 'name'}'.")
        return str(section["name"])

    @cached_property
    def outputs(self) -> Path:
        given = convert(str, self.section("paths").get("outputs"), "paths.outputs")
        return user_path(given).absolute()

    @cached_property
    def cache(self) -> Path:
        given = convert(str | None, self.section("paths").get("cache"), "paths.cache")
        if given:
            return user_path(given).absolute()
        import platformdirs

        return platformdirs.user_cache_path("fwcompare")

    @cached_property
    def offline(self) -> bool:
        """Whether nothing may be fetched; a variable of the environment says 1 or true."""
        given = self.section("paths").get("offline", False)
        words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        return bool(convert(bool, words.get(str(given).lower(), given), "paths.offline"))

    @cached_property
    def tracking(self) -> Tracking:
        return build(Tracking, self.section("tracking"), "tracking")

    @cached_property
    def parity(self) -> Parity:
        return build(Parity, self.section("parity"), "parity")

    @cached_property
    def compare(self) -> Compare:
        return build(Compare, self.section("compare"), "compare")

    @cached_property
    def preflight(self) -> Preflight:
        return build(Preflight, self.section("preflight"), "preflight")

    @cached_property
    def engine(self) -> str:
        return str(self.section("framework").get("name"))

    def plan(self, progress: Any = None, refuse: bool = True, alone: bool = False) -> Plan:
        """Check everything and prepare the data.

        ``refuse`` asks for a refusal of what will not fit into memory. ``alone`` says that this
        engine trains in one process, whatever others are to do: it is what they are held against.

        Raises:
            RequestError: what was asked is wrong.
            UnsupportedError: the engine cannot do it, or is not installed.
        """
        self._check_top_level()
        self._check_judgement()
        spec = self._spec(progress)
        asked = spec.but(distributed=Distributed()) if alone else spec
        reason = refusal(front(spec.framework.name), asked)
        if reason:
            name = spec.framework.name
            raise UnsupportedError(reason if name in reason else f"{name}: {reason}")
        remark = self._fitting(spec) if refuse else ""
        self._check_outputs()
        return Plan(self._with_expectation(spec), self.outputs, self.tracking, remark)

    def _fitting(self, spec: RunSpec) -> str:
        """What should be said of the memory that a run needs; empty where there is plenty.

        Raises:
            RequestError: it will not fit, whatever the engine.
            UnsupportedError: it will not fit in this engine.
        """
        subject = self.subject(spec)
        looks = self.preflight.mode != "skip" and (
            not self.elsewhere or self.preflight.memory_mib is not None
        )
        if hopeless(subject) or looks:
            verdict = self.verdict(spec, subject, self.capacity(spec))
            refused = verdict.fits in ("no", "never")
            if refused and (self.preflight.mode == "refuse" or hopeless(subject)):
                raise verdict.error
            return f"{verdict.message} {verdict.hint}".strip()
        return ""

    def capacity(self, spec: RunSpec) -> Capacity | None:
        """The memory that one process may plan with; those of this machine share what there is."""
        there = self.preflight.capacity(lambda: capacity.of_device(spec.device.name))
        together = len(spec.distributed.local_ranks)
        if there is None or together == 1:
            return there
        words = f"its share for each of {together} processes allows"
        return Capacity(there.bytes // together, words)

    def subject(self, spec: RunSpec) -> Subject:
        """What preflight looks at: one process, with its share of a batch; or one GPU of several
        replicas, whose memory is their own."""
        training, work = spec.training, spec.distributed
        share = work.processes if spec.device.name == "cpu" else work.shares
        if share > 1:
            batch_size = max(training.batch_size // share, 1)
            spec = spec.but(training=replace(training, batch_size=batch_size))
        data = DataFolder.open(Path(spec.dataset.folder), spec.task.reconstructs)
        return replace(Subject.of(spec, spec.model.graph, data), shares=share)

    def verdict(self, spec: RunSpec, subject: Subject, there: Capacity | None) -> Verdict:
        """Whether a run fits into the memory that there is."""
        depth = spec.model.params.get("depth")
        data = DataFolder.open(Path(spec.dataset.folder), spec.task.reconstructs)

        def shallower(value: int) -> Graph | None:
            try:
                return self._model(data, {"depth": value})[1]
            except RequestError:
                return None

        return judge(
            subject,
            spec.framework.name,
            footprint(front(spec.framework.name)),
            there,
            depth if isinstance(depth, int) else None,
            shallower,
        )

    def _with_expectation(self, spec: RunSpec) -> RunSpec:
        """The spec with what is expected of its process, for the record; nothing where it is not
        looked at, or where most of it is in a GPU's memory."""
        if self.preflight.mode == "skip" or spec.device.name == "cuda":
            return spec
        found = self.subject(spec).expected(footprint(front(spec.framework.name)))
        peak = found.peak * spec.distributed.processes
        return spec.but(expected={"memory/expected_rss_mib": peak / MIB})

    def _check_top_level(self) -> None:
        known = {
            *("dataset", "task", "framework", "model", "optimizer", "scheduler", "device"),
            *("precision", "execution", "semantics", "init", "tracking", "seed", "trainer"),
            *("augment", "measure", "sweep", "compare", "parity", "paths", "experiment", "zoo"),
            *("preflight", "distributed"),
        }
        for key in self.cfg:
            if key not in known:
                raise unknown("option", key, known)

    def _check_judgement(self) -> None:
        """What only a sweep or a proof uses is wrong for a single run too."""
        _ = self.compare
        reference = self.parity.reference
        if reference not in known_engines():
            raise unknown("parity.reference", reference, known_engines())

    def _check_outputs(self) -> None:
        try:
            self.outputs.mkdir(parents=True, exist_ok=True)
            if not os.access(self.outputs, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise RequestError(
                f"Nothing can be written to {self.outputs}: {error.strerror}.",
                "Choose another folder: paths.outputs=FOLDER.",
            ) from error

    def _spec(self, progress: Any) -> RunSpec:
        seed = convert(int, self.cfg.get("seed"), "seed")
        precision, execution = self.named("precision"), self.named("execution")
        semantics = self.named("semantics")
        check_choices(precision, execution, semantics, seed)
        optimizer_section = self.section("optimizer")
        optimizer = build(
            optimizer_class(str(optimizer_section.get("name"))), optimizer_section, "optimizer"
        )
        training = build(Training, self.section("trainer"), "trainer")
        init = self._init()
        distributed = build(Distributed, self.section("distributed"), "distributed")
        device = self._device(len(distributed.local_ranks))
        scheduler = build(Scheduler, self.section("scheduler"), "scheduler")
        measure = build(Measure, self.section("measure"), "measure")
        framework = self._framework()
        task = build(Task, self.section("task"), "task")
        data = self._data(seed, progress)
        self._check_task(task, data)
        augment = build(Augment, self.section("augment"), "augment")
        if augment.active:
            self._check_augment(augment, data)
            from fwcompare.data.download import require_room

            # The images of two epochs, as float32; the outputs folder need not be there yet.
            need = 2 * math.prod([data.size("train"), *data.input_shape]) * 4
            place = next(p for p in (self.outputs, *self.outputs.parents) if p.is_dir())
            require_room(place, need, "The images of two epochs (augment.*)", "paths.outputs")
        training = replace(training, samples=self._samples(training.samples, task, data))
        if training.batch_size > data.size("train"):
            raise RequestError(
                f"trainer.batch_size={training.batch_size} is larger than the training split of "
                f"{data.size('train')} samples.",
                "Choose a smaller batch, or a larger dataset.",
            )
        if distributed.active:
            self._check_distributed(distributed, training, data)
        if distributed.meets:
            self._check_meeting(distributed, device)
        dataset = self.section("dataset")
        model, graph = self._model(data)
        if init.source:  # says now what does not fit
            init = replace(init, digest=digest(load(Path(init.source), graph)))
        engine = front(framework.name)
        framework = replace(framework, code=own_code(engine, model.native))
        spec = RunSpec(
            run="",
            framework=framework,
            model=model,
            task=task,
            dataset=Dataset(
                str(dataset["name"]), dict(dataset["params"]), str(data.path), data.meta["digest"]
            ),
            optimizer=optimizer,
            scheduler=scheduler,
            device=device,
            precision=precision,
            execution=execution,
            semantics=semantics,
            init=init,
            training=training,
            measure=measure,
            seed=seed,
            augment=augment,
            distributed=distributed,
            sweep=convert(str | None, self.section("sweep").get("name"), "sweep.name"),
            versions={
                "fwcompare": __version__,
                **versions((distribution(framework.name), *engine.requirements)),
            },
        )
        return self._resumed(spec)

    def _resumed(self, spec: RunSpec) -> RunSpec:
        """The spec with the file that ``trainer.resume`` means."""
        source = spec.training.resume
        if source is None:
            return spec
        path = self._run_file(
            "trainer.resume",
            source,
            CHECKPOINT_FILE,
            "checkpoint",
            "has left no checkpoint.",
            "trainer.checkpoint_epochs=1 has a run leave one after every epoch.",
        )
        require_fitting(read_header(path), spec)
        return spec.but(training=replace(spec.training, resume=str(path)))

    def _framework(self) -> Framework:
        section = self.section("framework")
        name = str(section.get("name"))
        if name not in installed():
            aliases = published_engines()  # which have a name in the configuration alone
            raise missing_plugin(name) or unknown("framework", name, {*known_engines(), *aliases})
        engine = front(name)
        python = convert(str | None, section.get("python"), "framework.python")
        for key in section:
            if key not in ("name", "python"):
                raise unknown("option", f"framework.{key}", ["framework.name", "framework.python"])
        if python is None:
            require_ready(name)
        else:
            python = str(user_path(python).absolute())
            if not (Path(python).is_file() and os.access(python, os.X_OK)):
                raise RequestError(
                    f"framework.python={python} is no interpreter that can be started.",
                    "Give the path of a Python 3.10 or newer that has NumPy, safetensors and "
                    "the framework.",
                )
        return Framework(name, engine.trainer, tuple(engine.packages), python)

    @cached_property
    def places(self) -> list[Path]:
        """Where files that a model names are looked for, besides an absolute path."""
        folders = [Path(source) / "model" for source in self.sources]
        return [Path.cwd(), *(folder for folder in folders if folder.is_dir())]

    def _device(self, processes: int = 1) -> Device:
        """``processes`` share the cores of this machine."""
        section = self.section("device")
        name = str(section.get("name"))
        if name == "auto":
            name = "cuda" if gpu.present() else "cpu"
        elif name == "cuda" and not self.elsewhere and not gpu.present():
            raise no_gpu("device=cuda")
        cores = physical_cores()
        usable = len(os.sched_getaffinity(0))
        threads = convert(int | None, section.get("threads"), "device.threads")
        if threads is not None and threads > usable and not self.elsewhere:
            raise RequestError(
                f"device.threads={threads} is more than the {usable} cores of this process."
            )
        threads = max(len(cores) // processes, 1) if threads is None else threads
        return build(Device, {**section, "name": name, "threads": threads}, "device")

    def _init(self) -> Init:
        section = self.section("init")
        source = convert(str | None, section.pop("from", None), "init.from")
        found = str(self.find_weights(source)) if source else None
        return build(Init, {**section, "source": found}, "init")

    def find_weights(self, source: str) -> Path:
        """The weights file that ``init.from`` means: a file, a run folder, or a run's name."""
        return self._run_file(
            "init.from",
            source,
            FINAL_WEIGHTS,
            "weights",
            "has left no trained weights.",
            "`fwcompare runs --status ok` lists those that have; what it began with is in its "
            f"{INITIAL_WEIGHTS}.",
        )

    def _run_file(
        self, option: str, source: str, name: str, what: str, lack: str, hint: str
    ) -> Path:
        """A file by its path, by the folder of its run, or by the name of that.

        Raises:
            RequestError: there is none; ``lack`` and ``hint`` are said of a run without one.
        """
        path = user_path(source)
        for place in (path, path / name):
            if place.is_file():
                return place.absolute()
        try:
            folder = find_run(source, self.outputs)
        except RequestError as error:
            raise RequestError(
                f"{option}={source}: there is no such {what} file. {error.message}", error.hint
            ) from error
        if not (folder / name).is_file():
            raise RequestError(f"{option}={source}: the run {folder.name} {lack}", hint)
        return (folder / name).absolute()

    def _data(self, seed: int, progress: Any) -> DataFolder:
        from fwcompare.data.prepare import prepare

        section = self.section("dataset")
        if set(section) != {"name", "params"}:
            raise RequestError(
                "The dataset needs 'name' and 'params' and nothing else, got "
                f"{choices(map(str, section))}."
            )
        convert(dict[str, Any], section["params"], "dataset.params")
        task = build(Task, self.section("task"), "task")
        prepared = prepare(
            str(section["name"]), section["params"], seed, self.cache, progress, self.offline
        )
        return replace(prepared, own_targets=task.reconstructs)

    @staticmethod
    def _check_task(task: Task, data: DataFolder) -> None:
        if task.loss not in metrics.LOSSES:
            raise unknown("loss", task.loss, metrics.LOSSES)
        if task.metric not in metrics.METRICS:
            raise unknown("metric", task.metric, metrics.METRICS)
        if task.reconstructs:
            if data.tokens is not None or task.loss != "mse" or task.metric != "mae":
                raise RequestError(
                    f"task={task.name} reconstructs its inputs, with loss=mse and metric=mae, on "
                    "datasets of numbers.",
                    "Choose another task, or a dataset that holds no token ids.",
                )
            return
        kind = data.meta["kind"]
        for option, chosen, known in (
            ("loss", task.loss, metrics.LOSSES),
            ("metric", task.metric, metrics.METRICS),
        ):
            if kind in known[chosen]:
                continue
            if task.name == kind:
                fitting = choices(name for name, kinds in known.items() if kind in kinds)
                raise RequestError(
                    f"task.{option}={chosen} does not fit task={kind}.", f"Choose from: {fitting}."
                )
            raise RequestError(
                f"task={task.name} does not fit this dataset, which is for {kind}.",
                f"Add task={kind}.",
            )

    @staticmethod
    def _check_augment(augment: Augment, data: DataFolder) -> None:
        shape = data.input_shape
        if data.tokens is not None or len(shape) != 3:
            raise RequestError(
                "augment.flip and augment.crop change images, samples of this dataset are "
                f"{list(shape)}.",
                "Leave them out, or choose a dataset of images.",
            )
        if augment.crop > min(shape[:2]):
            raise RequestError(
                f"augment.crop={augment.crop} is more than the {min(shape[:2])} pixels of an image."
            )

    @staticmethod
    def _check_distributed(work: Distributed, training: Training, data: DataFolder) -> None:
        batch, count, option = training.batch_size, work.shares, work.option
        if batch % count:
            fitting = [n for n in range(1, batch + 1) if not batch % n]
            near = min(fitting, key=lambda n: abs(n - count))
            whole = max(batch // count, 1) * count
            raise RequestError(
                f"trainer.batch_size={batch} does not split evenly over {option}={count}.",
                f"Choose {option}={near}, or trainer.batch_size={whole}.",
            )
        left = data.size("train") % batch
        if left % count and not training.drop_last:
            raise RequestError(
                f"trainer.drop_last=false: the last batch of {left} samples does not split evenly "
                f"over {option}={count}.",
                "Choose trainer.drop_last=true, or another trainer.batch_size.",
            )
        if training.checkpoint_epochs or training.resume:
            raise RequestError(
                f"distributed={work.name} leaves no checkpoints and goes on from none.",
                "Leave out trainer.checkpoint_epochs and trainer.resume.",
            )

    @staticmethod
    def _check_meeting(work: Distributed, device: Device) -> None:
        count = work.processes
        if device.name != "cpu":
            raise RequestError(
                f"distributed={work.name} trains on CPUs alone; device is {device.name}.",
                "Choose device=cpu, or distributed=none.",
            )
        if work.hosts and len(work.hosts) > 1 and work.port is None:
            raise RequestError(
                "distributed.port is needed where there are several distributed.hosts: "
                "all must know it.",
                "Add one that is free on each, such as distributed.port=29500.",
            )
        hosts = work.hosts or ("127.0.0.1",)
        own = hosts[work.host]
        wanted = [] if work.port is None else [work.port + 1 + rank for rank in work.local_ranks]
        if wanted and not work.host:
            wanted.insert(0, wanted[0] - 1)
        try:
            taken = taken_ports(own, wanted or [0])
        except OSError as error:
            raise RequestError(
                f"distributed.hosts: this machine has no address {own}: {error.strerror or error}.",
                "distributed.host says which of them it is, counted from 0.",
            ) from error
        if taken:
            raise RequestError(
                f"Port {taken[0]} of {own} is in use; distributed.port={work.port} needs those up "
                f"to {work.port + count if work.port else '?'}.",
                "Choose another distributed.port.",
            )

    @staticmethod
    def _samples(asked: int | None, task: Task, data: DataFolder) -> int:
        """How many texts the model is to write, each after a sample of the test split."""
        most = data.size("test") if task.metric == "perplexity" and data.tokenizer else 0
        if asked is None:
            return min(SAMPLES, most)
        if asked and not most:
            raise RequestError(
                f"trainer.samples={asked}: only a language model on a dataset of text writes.",
                "Leave it out, or choose task=language_modelling dataset=python_reference "
                "model=gpt_small.",
            )
        if asked > most:
            raise RequestError(
                f"trainer.samples={asked} is more than the {most} samples of the test split, "
                "each of which is the beginning of a text."
            )
        return asked

    def graph(self) -> Graph:
        """The model's graph on the chosen dataset. Raises ``RequestError`` if it does not fit."""
        seed = convert(int, self.cfg.get("seed"), "seed")
        return self._model(self._data(seed, None))[1]

    def _model(
        self, data: DataFolder, others: Mapping[str, Any] | None = None
    ) -> tuple[Model, Graph]:
        """The model on a dataset; ``others`` are params with another value."""
        section = self.section("model")
        native = section.pop("native", None)
        if set(section) != {"name", "graph", "params"}:
            raise RequestError(
                "The model needs 'name', 'graph' and 'params' and nothing else, got "
                f"{choices(map(str, section))}."
            )
        given_params = convert(dict[str, Any], section["params"] or {}, "model.params")
        params = {**given_params, **(others or {})}
        path = self.find_graph(str(section["graph"]))
        # On a dataset of numbers a model of tokens is refused by its embedding, which says why.
        padding = NO_PADDING if data.padding is None else data.padding
        given = {"outputs": data.outputs, "tokens": data.tokens or 1, "padding_token": padding}
        graph = read(path, {**params, **given}, data.input_shape, data.input_type)
        if graph.output_shape != data.output_shape:
            raise RequestError(
                f"{path.name}: the last layer '{graph.layers[-1].name}' gives "
                f"{list(graph.output_shape)}, the dataset needs {list(data.output_shape)}.",
                "End with a layer that gives the shape of a sample."
                if data.own_targets
                else 'End with a dense layer of units: "${outputs}". '
                "A model that gives back its input is for task=reconstruction.",
            )
        for layer in graph.layers:
            if isinstance(layer.kind, Embedding) and layer.kind.tokens < (data.tokens or 0):
                raise RequestError(
                    f"{path.name}: layer '{layer.name}' has tokens={layer.kind.tokens}, the "
                    f"dataset has {data.tokens} token ids.",
                    'Let the dataset say it, tokens: "${tokens}".',
                )
            if isinstance(layer.kind, PaddingMask) and layer.kind.padding != data.padding:
                shown = "has none" if data.padding is None else f"pads with {data.padding}"
                raise RequestError(
                    f"{path.name}: layer '{layer.name}' takes {layer.kind.padding} for padding, "
                    f"the dataset {shown}.",
                    'Let the dataset say it, padding: "${padding_token}".',
                )
        layers = tuple(graph.to_layers())
        model = Model(
            convert(str, section["name"], "model.name"),
            params,
            graph.input_shape,
            layers,
            graph.digest,
            graph.input_type,
            declared(native, self.places, graph),
        )
        return model, graph

    def find_graph(self, name: str) -> Path:
        """The layer file of a model: an absolute path, or one in a ``model`` folder of the
        search path or else in the working directory."""
        path = user_path(name)
        if path.is_absolute():
            return path
        places = [*(Path(source) / "model" / path for source in self.sources), Path.cwd() / path]
        for place in places:
            if place.is_file():
                return place
        raise RequestError(
            f"The model file {name} was not found.",
            "Looked for: " + ", ".join(map(str, places)),
        )
