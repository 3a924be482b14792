"""In the child: a spec comes in, one framework is imported, events and a record come out.

Run as ``python -m fwcompare.worker RUN_FOLDER`` for one run in a fresh process, or with ``--serve``
as a warm process that runs one folder after another (for proofs and tests; never for timing).
NumPy, safetensors and the one framework are all that this side needs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwcompare import gpu
from fwcompare.atomic import write_text
from fwcompare.machine import Conditions, between, cpu_name, own_cores, snapshot
from fwcompare.probe import Memory, Observed, Phase, Probe, clock, require_finite
from fwcompare.ranks import Meeting, Ranks
from fwcompare.record import (
    EVENTS_FILE,
    FINAL_WEIGHTS,
    INITIAL_WEIGHTS,
    SAMPLES_FILE,
    SPEC_FILE,
    EventFile,
    RunRecord,
    now_ms,
    plain,
)
from fwcompare.spec import RunSpec
from fwcompare.work import training_step

if TYPE_CHECKING:
    from fwcompare.plugin import Job

#: Set by the parent: the clock's reading when it started this process.
LAUNCHED_AT = "FWCOMPARE_LAUNCHED_AT"
#: Set by the parent: the CPU cores of this process.
CORES = "FWCOMPARE_CORES"
#: Set by the parent: its process id.
PARENT = "FWCOMPARE_PARENT"

#: Argument of a worker that is to trace its run, and not to train it.
TRACE = "--trace"

#: Share of more cores than it was given at which a run is marked.
CORES_TOLERANCE = 1.05

#: Most batches that the input pipeline alone is timed over, and in how many blocks.
INPUT_STEPS = 200
INPUT_BLOCKS = 10

#: What an error says when memory was short, in lower case.
_OUT_OF_MEMORY = (
    "memoryerror",
    "out of memory",
    "resource_exhausted",
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
)


@dataclass
class Call:
    """Seconds of predictions, by batch size, in the order they were made."""

    seconds: dict[int, list[float]] = field(default_factory=dict)

    def add(self, batch: int, seconds: float) -> None:
        self.seconds.setdefault(batch, []).append(seconds)


@dataclass
class _Run:
    """One run in progress: what a record is made from, whatever happens."""

    spec: RunSpec
    folder: Path
    events: EventFile
    started_ms: int
    observed: Observed = field(default_factory=Observed)
    metrics: dict[str, float] = field(default_factory=dict)
    digests: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    calls: Call = field(default_factory=Call)
    cores_used: float | None = None
    #: How training data reach the engine.
    fed: str = "in memory"
    #: Those under which it trained; None where it did not come to the end of it.
    conditions: Conditions | None = None
    #: The run and the epoch from which it goes on; empty where it began at the beginning.
    resumed: dict[str, Any] = field(default_factory=dict)
    #: The other processes of the run; None where there are none.
    meeting: Meeting | None = None

    @property
    def leads(self) -> bool:
        """Whether this process evaluates, and writes what all have come to."""
        return self.meeting is None or self.meeting.ranks.leads

    def record(self, status: str, reason: str = "") -> RunRecord:
        return RunRecord(
            run=self.spec.run,
            status=status,
            reason=reason,
            started_ms=self.started_ms,
            ended_ms=now_ms(),
            metrics=self.metrics,
            history=self.observed.history,
            blocks=self.observed.blocks,
            phases={name: asdict(phase) for name, phase in self.observed.phases.items()},
            digests=self.digests,
            versions=self.versions,
            environment=_environment(self.spec.device.name, self.conditions),
            facts=self.facts | ({"resumed": self.resumed} if self.resumed else {}),
            warnings=self.warnings,
            samples=self.samples,
        )


def run(folder: Path, work: Callable[[_Run], None] | None = None) -> RunRecord:
    """Run the spec in ``folder`` and write its record there, whatever happens.

    ``work`` is another thing to do with the run than all its phases.
    """
    spec = RunSpec.read(folder / SPEC_FILE)
    events = EventFile(folder / EVENTS_FILE)
    state = _Run(spec, folder, events, now_ms())
    events.write("start", run=spec.run, pid=os.getpid())
    try:
        if ranks := Ranks.from_environment():
            _meet(state, ranks)
        (work or _phases)(state)
        if state.meeting:
            _join(state, state.meeting)
        status, reason = "ok", ""
    except Exception as error:
        with contextlib.suppress(OSError):  # the log may be on a full disk
            _log(error)
        status, reason = _classify(error)
        if state.meeting and _is_consequence(error, state.meeting):
            status, reason = "failed", state.meeting.lost
    record = _ended(state, status, reason)
    with contextlib.suppress(OSError):  # the record says it too
        events.close()
    if state.meeting:
        state.meeting.close()
    return record


def _ended(state: _Run, status: str, reason: str) -> RunRecord:
    """Write the record, then the last event."""
    launched = float(os.environ.get(LAUNCHED_AT, "nan"))
    if launched == launched:  # a warm worker was not launched for this run
        state.metrics["time/total_s"] = clock() - launched
    record = state.record(status, reason)
    record.write(state.folder)
    with contextlib.suppress(OSError):  # the record says it too
        state.events.write("end", status=status, reason=reason)
    return record


def _meet(state: _Run, ranks: Ranks) -> None:
    """Meet the other processes of the run, and agree on what it is.

    Raises:
        RunError: they have not come, or are about to do something else.
    """
    spec = state.spec
    weights = (state.folder / INITIAL_WEIGHTS).read_bytes()
    identity = {
        "what is to be done": "a trace" if TRACE in sys.argv else "training",
        "the engine": spec.framework.name,
        "the seed": spec.seed,
        "the number of processes": ranks.count,
        "versions": {f"the version of {name}": v for name, v in spec.versions.items()},
        "Python": platform.python_version(),
        "the digest of the data": spec.dataset.digest,
        "the experiment": dict(_flat("", json.loads(json.dumps(spec.mathematics, default=asdict)))),
        "the digest of the initial weights": hashlib.sha256(weights).hexdigest(),
        "the precision": spec.precision,
        "the arm": spec.arm,
    }
    state.meeting = Meeting(ranks, identity)

    def abandon(reason: str) -> None:
        """In a thread: this process waits for one that has gone."""
        _ended(state, "failed", reason)
        os._exit(1)

    state.meeting.abandon = abandon


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What is nested, by dotted names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}".lstrip("."), inner)
    else:
        yield name, value


def _is_consequence(error: Exception, meeting: Meeting) -> bool:
    """Whether an error came of another process having gone. A framework may find that out sooner,
    and says it in words of its own; what diverged or is not supported did so by itself."""
    from fwcompare.errors import FwcompareError, RunError

    if isinstance(error, FwcompareError):
        return type(error) is RunError and bool(meeting.lost)
    return meeting.has_lost()


def _join(state: _Run, meeting: Meeting) -> None:
    """Let all ranks come to their end, and take into the record what each has seen."""
    own = {
        "rank": meeting.ranks.rank,
        "host": meeting.ranks.host,
        "cores": own_cores(),
        "peak_rss_mib": state.metrics.get("memory/peak_rss_mib"),
        "cores_used": state.cores_used,
        "trained_weights": state.digests.get("trained_weights"),
        "warnings": state.warnings,
    }
    ranks = meeting.together("end", own)
    meeting.over()
    state.facts["ranks"] = ranks
    if not state.metrics:
        return
    state.metrics["distributed/processes"] = len(ranks)
    for key, name in (
        ("peak_rss_mib", "memory/peak_rss_mib"),
        ("cores_used", "perf/cpu_cores_used"),
    ):
        told = [rank[key] for rank in ranks if rank[key] is not None]
        if len(told) == len(ranks):
            state.metrics[name] = sum(told)
    for rank in ranks:
        if rank["trained_weights"] != own["trained_weights"]:
            state.warnings.append(
                f"rank {rank['rank']} ended with other weights than rank {own['rank']}"
            )
        if rank["rank"] != own["rank"]:
            state.warnings += [f"rank {rank['rank']}: {said}" for said in rank["warnings"]]
    here = [rank for rank in ranks if rank["host"] == own["host"]]
    cores = {core for rank in here for core in rank["cores"]}
    if len(cores) < sum(len(rank["cores"]) for rank in here):
        state.warnings.append(
            f"{len(here)} processes share {len(cores)} core{'s' * (len(cores) > 1)}: "
            "their times say nothing of scaling"
        )


def lacks_memory(text: str) -> bool:
    """Whether the text of an error says that memory was short."""
    return any(mark in text.lower() for mark in _OUT_OF_MEMORY)


#: What makes text coloured or bold on a terminal.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def _in_one_line(error: Exception) -> str:
    """The first line of a message; with the next one where it says only that there is one."""
    text = _COLOURS.sub("", str(error))
    lines = [plain(line.strip()) for line in text.splitlines() if line.strip()]
    if not lines:
        return plain(repr(error))
    # "Failed, because:", and "Exception encountered when calling Dense.call()." in Keras
    return " ".join(lines[:2]) if lines[0].endswith((":", "().")) else lines[0]


def _classify(error: Exception) -> tuple[str, str]:
    """Status and one-line reason of an exception."""
    from fwcompare.errors import DivergedError, RunError, UnsupportedError

    first = _in_one_line(error)
    if isinstance(error, UnsupportedError):
        return "unsupported", first
    if isinstance(error, DivergedError):
        return "diverged", first
    if isinstance(error, RunError):  # its message is for people
        return "failed", first
    if isinstance(error, MemoryError) or lacks_memory(f"{type(error).__name__}: {error}"):
        return "out_of_memory", f"{type(error).__name__}: {first}"
    return "failed", f"{type(error).__name__}: {first}"


def _log(error: Exception) -> None:
    """Write an exception to the log: where it was raised, but of code of the user's own what that
    code raised, and the message."""
    from fwcompare.errors import FwcompareError, RunError

    if not isinstance(error, RunError):
        traceback.print_exception(error)
        return
    cause = error.__cause__
    if cause is not None and not isinstance(cause, FwcompareError):
        traceback.print_exception(cause)
    sys.stderr.write(f"{error}\n")


def _phases(state: _Run) -> None:
    """Import, build, train with evaluation, test, inference, export, text."""
    spec, folder = state.spec, state.folder
    memory = Memory()
    memory.reset()
    began = clock()
    import numpy as np

    from fwcompare import metrics, summary
    from fwcompare.graph import weights as canonical
    from fwcompare.plugin import load_trainer, open_job

    job, data = open_job(spec, folder)
    dtype, graph, feed = spec.dtype, job.graph, job.feed
    if job.stream is not None:
        state.fed = "batch by batch"
    state.digests = {
        "data": spec.dataset.digest,
        "initial_weights": canonical.digest(job.initial_weights),
        "batches": feed.digests(),
    }

    def evaluate(trainer: Any, split: str) -> dict[str, float]:
        if not state.leads:
            return {}
        arrays = data.split(split, dtype)
        if not len(arrays):
            return {}
        outputs = np.concatenate(list(_predictions(trainer, arrays.inputs, state)))
        targets, scale = np.asarray(arrays.targets), data.target_scale
        task = spec.task
        return {
            f"{split}/loss": metrics.loss(task.loss, outputs, targets),
            f"{split}/{task.metric}": metrics.metric(task.metric, outputs, targets, scale),
        }

    def evaluate_epoch() -> dict[str, float]:
        with probe.phase("eval"):
            return evaluate(trainer, "val")

    probe = Probe(
        state.events,
        feed.batch_sizes,
        spec.measure.block_ms / 1e3,
        evaluate_epoch,
        spec.measure.step_losses,
    )
    state.observed = probe.observed
    if spec.augment.active:
        probe.prepare_with(partial(_draw_ahead, job, state))
    state.observed.phases["prepare"] = Phase(clock() - began, memory.peak_bytes())

    with probe.phase("import"):
        trainer_class = load_trainer(spec.framework.trainer)
    state.versions = spec.versions | _versions(sys.modules)
    with probe.phase("build"):
        trainer = trainer_class(job)
        trainer.synchronize()
    _say_what_replicas_share(state)
    if state.meeting:  # or the first step would last until the last of them was built
        state.meeting.together("built")
    probe.synchronize_with(trainer.synchronize)
    probe.count_with(lambda: trainer.facts().get("compilations"))
    state.facts = trainer.facts()
    if spec.training.resume:
        with probe.phase("checkpoint"):
            _go_on(trainer, probe, state)
    try:
        if feed.total_steps:
            cores = own_cores()
            before = snapshot(cores)
            _train(trainer, feed, probe, state)
            if state.resumed.get("step", 0) < feed.total_steps:
                _require_drawn(job)
            state.conditions = between(before, snapshot(cores), cores)
            state.warnings += state.conditions.warnings()
        if state.meeting:
            state.digests["trained_weights"] = canonical.digest(_trained(trainer, graph))
        if not state.leads:
            state.facts = trainer.facts()
            return
        with probe.phase("eval"):
            state.metrics |= evaluate(trainer, "test")
        require_finite(state.metrics, "test/loss")
        with probe.phase("input"):
            _input_pipeline(trainer, feed, state)
        with probe.phase("predict"):
            _inference(trainer, data.split("test", dtype).inputs, state)
        with probe.phase("export"):
            final = trainer.weights()
            canonical.save(final, folder / FINAL_WEIGHTS)
            state.digests["final_weights"] = canonical.digest(final)
        state.facts = trainer.facts()
        if spec.training.samples and data.tokenizer:
            with probe.phase("sample"):
                _samples(trainer, data.split("test", dtype), data.tokenizer, state)
    finally:
        state.cores_used = probe.cores_used
        _summarise(state, graph, trainer.peak_device_bytes(), summary)


def _say_what_replicas_share(state: _Run) -> None:
    """A remark where the devices of one process are parts of too few cores."""
    work, cores = state.spec.distributed, len(own_cores())
    if work.active and not work.meets:
        state.metrics["distributed/replicas"] = work.replicas
    if state.spec.device.name == "cpu" and work.replicas > cores:
        state.warnings.append(
            f"{work.replicas} replicas share {cores} core{'s' * (cores > 1)}: "
            "their times say nothing of scaling"
        )


def _trained(trainer: Any, graph: Any) -> dict[str, Any]:
    """The weights that a step changes. Statistics of a share of the batch are each rank's own."""
    weights = trainer.weights()
    return {name: weights[name] for name, parameter in graph.parameters() if parameter.trainable}


def _traced(state: _Run) -> None:
    """Trace the run instead of training it, for a proof."""
    from fwcompare.parity.trace import trace

    trace(state.folder)


def _draw_ahead(job: Job, state: _Run, epoch: int) -> None:
    """Draw the images of an epoch, and of the next one for engines that look ahead."""
    assert job.stream is not None
    for number in (epoch, epoch + 1):
        if number in job.feed.epochs:
            job.stream.prepare(number)
    digests = job.stream.digests
    state.digests["augmented"] = [digests[number] for number in sorted(digests)]


def _require_drawn(job: Job) -> None:
    """Raise ``UnsupportedError`` if images were drawn and the engine trained on others."""
    from fwcompare.errors import UnsupportedError

    if job.epochs is not None and job.stream is not None and not job.stream.taken:
        raise UnsupportedError(
            f"{job.spec.framework.name} does not take its batches from job.stream, so it has not "
            "seen the augmented images."
        )


def _go_on(trainer: Any, probe: Probe, state: _Run) -> None:
    """Take training up where a checkpoint left it.

    Raises:
        RequestError: the checkpoint cannot be read, or is of another experiment.
    """
    from fwcompare import checkpoint

    assert state.spec.training.resume
    found, arrays = checkpoint.read(Path(state.spec.training.resume))
    checkpoint.require_fitting(found, state.spec)
    trainer.restore(arrays)
    probe.restore(found.observed)
    state.observed = probe.observed
    state.resumed = {"run": found.run, "epoch": found.epoch, "step": found.step}
    state.events.write("resumed", **state.resumed)
    state.warnings.append(
        f"goes on from epoch {found.epoch} of {found.run}: its times are those of two processes"
    )
    if found.versions != state.spec.versions:
        state.warnings.append("the checkpoint was made with other versions")
    _say_what_is_random(arrays, state)


def _train(trainer: Any, feed: Any, probe: Probe, state: _Run) -> None:
    """Train to the end, with checkpoints on the way where they are asked for."""
    from fwcompare import checkpoint

    every = state.spec.training.checkpoint_epochs
    for part in checkpoint.parts(feed, state.resumed.get("step", 0), every):
        trainer.fit(part, probe)
        if part.total_steps < feed.total_steps:
            with probe.phase("checkpoint"):
                arrays = trainer.state()
                path = state.folder / checkpoint.CHECKPOINT_FILE
                checkpoint.write(path, state.spec, part, arrays, probe.observations())
            _say_what_is_random(arrays, state)


def _say_what_is_random(arrays: dict[str, Any], state: _Run) -> None:
    """A remark where a model draws random numbers and its state tells nothing of them."""
    from fwcompare import checkpoint

    draws = any(layer.get("rate") for layer in state.spec.model.layers)
    told = any(name.startswith(checkpoint.RANDOM) for name in arrays)
    if draws and not told and checkpoint.NO_RANDOM_STATE not in state.warnings:
        state.warnings.append(checkpoint.NO_RANDOM_STATE)


def _predictions(trainer: Any, inputs: Any, state: _Run) -> Iterator[Any]:
    """Outputs batch by batch, every sample kept, each call timed."""
    batch = state.spec.training.batch_size
    for start in range(0, len(inputs), batch):
        chunk = inputs[start : start + batch]
        began = clock()
        outputs = trainer.predict(chunk)
        state.calls.add(len(chunk), clock() - began)
        yield outputs


def _samples(trainer: Any, split: Any, tokenizer: dict[str, Any], state: _Run) -> None:
    """Have the model write, and keep it beside the record."""
    from fwcompare import samples

    training = state.spec.training
    text = samples.written(
        trainer.predict,
        split,
        tokenizer,
        samples=training.samples or 0,
        tokens=training.sample_tokens,
        temperature=training.temperature,
        seed=state.spec.seed,
    )
    write_text(state.folder / SAMPLES_FILE, text)


def _input_pipeline(trainer: Any, feed: Any, state: _Run) -> None:
    """What having a batch costs, without training on it: an epoch's first batches, in blocks."""
    import numpy as np

    steps = min(feed.steps_per_epoch, feed.total_steps, INPUT_STEPS)
    if steps < 2 or not state.spec.measure.predict_calls:
        return
    batches = iter(trainer.batches(feed.part(0, steps)))
    next(batches)  # starts the pipeline
    trainer.synchronize()
    times: list[float] = []
    for block in np.array_split(np.arange(1, steps), min(INPUT_BLOCKS, steps - 1)):
        began = clock()
        for _ in block:
            next(batches)
        trainer.synchronize()
        times.append((clock() - began) / len(block))
    state.samples["input_s"] = times
    state.metrics["perf/input_ms_median"] = float(np.median(times)) * 1e3


def _inference(trainer: Any, inputs: Any, state: _Run) -> None:
    """Throughput at the training batch and latency at batch 1; predictions return host arrays."""
    import numpy as np

    measure = state.spec.measure
    batch = min(state.spec.training.batch_size, len(inputs))
    if not batch or not measure.predict_calls or not measure.predict_s:
        return
    for size, key in ((batch, "predict_batch_s"), (1, "predict_batch1_s")):
        chunk = np.ascontiguousarray(inputs[:size])
        for _ in range(2):  # the first call may compile, the second may still settle
            began = clock()
            trainer.predict(chunk)
            state.calls.add(size, clock() - began)
        times: list[float] = []
        until = clock() + measure.predict_s
        while len(times) < measure.predict_calls and (len(times) < 5 or clock() < until):
            began = clock()
            trainer.predict(chunk)
            times.append(clock() - began)
        state.samples[key] = times
    batch_s = float(np.median(state.samples["predict_batch_s"]))
    state.metrics["perf/predict_samples_per_s"] = batch / batch_s
    latency = float(np.median(state.samples["predict_batch1_s"]))
    state.metrics["perf/predict_ms_batch1_p50"] = latency * 1e3


def _summarise(state: _Run, graph: Any, device_bytes: int | None, summary: Any) -> None:
    """The contract's metrics from what was observed so far."""
    observed, spec = state.observed, state.spec
    mib = 2**20
    found = state.metrics
    for name, phase in observed.phases.items():
        if phase.peak_rss_bytes:
            found[f"memory/peak_rss_mib_{name}"] = phase.peak_rss_bytes / mib
    found.update(spec.expected)
    found["memory/peak_rss_mib"] = max(p.peak_rss_bytes for p in observed.phases.values()) / mib
    if device_bytes is not None:
        found["memory/peak_device_mib"] = device_bytes / mib
    for name in ("import", "build", "augment", "eval", "sample"):
        if name in observed.phases:
            found[f"time/{name}_s"] = observed.phases[name].seconds
    found["model/parameters"] = graph.parameter_count
    found["model/flops_per_sample"] = graph.flops_per_sample
    found["time/train_s"] = observed.train_seconds
    state.facts["training_data"] = state.fed
    found["time/logging_s"] = state.events.seconds
    if observed.first_step_s is not None:
        found["time/first_step_s"] = observed.first_step_s
    found["time/compile_s"] = summary.compile_seconds(
        observed.first_step_s, observed.blocks, state.calls.seconds
    )
    found.update(summary.step_metrics(observed.blocks, spec.training.batch_size))
    if not summary.has_settled(observed.blocks):
        state.warnings.append("the step time had not settled after the first half of training")
    if "perf/step_ms_median" in found:
        work = training_step(graph, spec.optimizer, spec.training.batch_size, spec.dtype.itemsize)
        found["perf/train_flops_per_s"] = work.flops / (found["perf/step_ms_median"] / 1e3)
    if observed.history:
        found["train/loss"] = observed.history[-1]["train/loss"]
        for key in ("val/loss", f"val/{spec.task.metric}"):
            if key in observed.history[-1]:
                found[key] = observed.history[-1][key]
    if observed.step_losses:
        state.samples["step_losses"] = observed.step_losses
    _count_compilations(state)
    if state.cores_used is not None:
        found["perf/cpu_cores_used"] = state.cores_used
        threads = spec.device.threads
        if state.cores_used > threads * CORES_TOLERANCE:
            state.warnings.append(f"used {state.cores_used:.2f} cores with threads={threads}")


def _count_compilations(state: _Run) -> None:
    """What was compiled, as facts and metrics, and a remark where it disturbed the training."""
    if state.observed.recompilations is not None:
        state.facts["recompilations"] = state.observed.recompilations
    for name in ("compilations", "recompilations", "graph_breaks"):
        if name in state.facts:
            state.metrics[f"perf/{name}"] = state.facts[name]
    if again := state.facts.get("recompilations"):
        state.warnings.append(f"recompilations after the first step of training: {again}")
    if breaks := state.facts.get("graph_breaks"):
        state.warnings.append(f"graph breaks, where compiled code returns to Python: {breaks}")


def _versions(modules: dict[str, Any]) -> dict[str, str]:
    """Versions that the loaded frameworks state themselves: the truth in a foreign interpreter."""
    names = (
        "torch",
        "lightning",
        "pytorch_lightning",
        "tensorflow",
        "keras",
        "jax",
        "flax",
        "optax",
    )
    found = {"python": platform.python_version()}
    for name in (*names, "numpy"):
        version = getattr(modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = version
    return found


def _environment(device: str, conditions: Conditions | None) -> dict[str, Any]:
    """The machine as the worker sees it, and how busy it was while the run trained."""
    found = {
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "host": platform.node(),
        "cores": own_cores(),
        "executable": sys.executable,
        "load_1m": os.getloadavg()[0],
    }
    if device == "cuda":
        found["gpu"] = gpu.described()
    return found | ({"conditions": conditions.to_json()} if conditions else {})


def take_cores() -> None:
    """Run on the cores that were given, and on no others."""
    if cores := os.environ.get(CORES):
        with contextlib.suppress(OSError, AttributeError):
            os.sched_setaffinity(0, {int(core) for core in cores.split(",")})


def _die_with_parent() -> None:
    """Let the kernel end this process when the thread that started it ends."""
    with contextlib.suppress(OSError, AttributeError, ImportError):
        import ctypes
        import signal

        set_death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
    # It may have ended before the kernel was asked.
    if os.getppid() != int(os.environ.get(PARENT, os.getppid())):
        os._exit(1)


def _end_with_input() -> None:
    """End this process when the other end of its standard input is gone, whatever it is at.

    A warm worker may outlive the thread that started it, so the kernel cannot be asked to.
    """
    import select
    import threading

    hung_up = select.poll()
    hung_up.register(0, 0)  # a hang-up is told always, and nothing else is asked for

    def wait() -> None:
        hung_up.poll()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _serve() -> None:
    """Do request after request, a JSON line each, with a JSON line in reply.

    ``{"do": "run", "folder": ...}`` runs a spec; ``{"do": "trace", "folder": ..., "mutation":
    ...}`` traces one, ``{"do": "audit", ...}`` audits one, ``{"do": "check", ..., "check":
    NAME}`` tries one check of the conformance suite; ``{"do": "export", ..., "exporter":
    "module:function", "file": ...}`` writes its weights as a file of a framework; ``{"do":
    "template", ..., "template": "module:function"}`` writes a weight map to begin with. The reply
    holds ``status`` and ``reason``.
    """
    _end_with_input()
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a framework prints must not get between the replies
    for line in sys.stdin:
        request = json.loads(line)
        status, reason = _answer(request)
        replies.write(json.dumps({"status": status, "reason": reason}) + "\n")
        replies.flush()


def _answer(request: dict[str, Any]) -> tuple[str, str]:
    folder = Path(request["folder"])
    if request["do"] == "run":
        record = run(folder)
        return record.status, record.reason
    try:
        if request["do"] == "trace":
            from fwcompare.parity.trace import trace

            trace(folder, request["mutation"])
        elif request["do"] == "audit":
            from fwcompare.audit.settings import audit

            audit(folder)
        elif request["do"] == "check":
            from fwcompare.conformance.checks import check

            check(folder, request["check"])
        elif request["do"] == "export":
            from fwcompare.exporting import export

            export(folder, request["exporter"], Path(request["file"]))
        elif request["do"] == "template":
            from fwcompare.native.template import write

            write(folder, request["template"])
        else:
            raise ValueError(f"a worker cannot do {request['do']!r}")
    except Exception as error:
        _log(error)
        return _classify(error)
    return "ok", ""


def main(arguments: list[str]) -> int:
    """Entry point of ``python -m fwcompare.worker``."""
    take_cores()
    if arguments == ["--serve"]:
        _serve()  # ends with its standard input, and may outlive the thread that started it
        return 0
    _die_with_parent()
    record = run(Path(arguments[-1]), _traced if TRACE in arguments else None)
    return 0 if record.ok else 1


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # The record is written; tearing a framework down can take longer than a whole epoch.
    os._exit(code)
