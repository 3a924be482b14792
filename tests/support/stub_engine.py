"""A softmax regression in NumPy, as an engine that can be told to fail, how and where.

It is a whole plugin: a test may install it under the name ``stub`` for the command line.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

#: ``PHASE:FAULT``, of the names in ``PHASES`` and ``FAULTS``.
FAULT = os.environ.get("STUB_FAULT", "")

#: Where it can fail. ``step`` is the first step, ``middle`` one of the second epoch, ``between``
#: the validation behind an epoch, ``weights`` the export.
PHASES = (
    "import", "build", "step", "middle", "between", "eval", "predict", "weights", "record",
)  # fmt: skip


def _raise():
    raise ValueError("the stub was told to raise\nwith a second line")


def _raise_odd():
    raise ValueError("odd \x1b[31mtext \ud800\x00 in a message")


def _raise_base():
    class Odd(BaseException):
        """What no framework should raise."""

    raise Odd("not an Exception")


def _recurse():
    _recurse()


def _memory():
    raise MemoryError("the stub was told to run out of memory")


def _device_memory():
    raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")


def _address_space():
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (1 << 20, 1 << 20))
    np.ones(1 << 27).sum()


def _bad_alloc():
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


def _hang():
    time.sleep(600)


def _hang_deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def _spin():
    while True:
        pass


def _full_events():
    """Every further event meets a full device; the kernel's own word for it."""
    full = os.open("/dev/full", os.O_WRONLY)
    for entry in Path("/proc/self/fd").iterdir():
        if os.path.realpath(entry).endswith("events.jsonl"):
            os.dup2(full, int(entry.name))


def _no_file_grows():
    """No file of this process may grow any more; its parent's may."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _fill_disk():
    """Take what room there is; for a disk of its own."""
    with Path("ballast").open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"\0" * 4096)
            except OSError:
                return


def _torn_event():
    with Path("events.jsonl").open("a") as file:
        file.write('{"event": "epo')
    os.kill(os.getpid(), signal.SIGKILL)


def _garbage():
    with Path("events.jsonl").open("ab") as file:
        file.write(b'\xff\xfe\n{"event": 3}\n[]\nnull\n{"event": "epoch"}\n{"event": "phase"}\n')
    os.write(1, b"\xff\xfe\x00 no text\n")
    os.kill(os.getpid(), signal.SIGKILL)


def _bad_record():
    Path("record.json").write_text('{"schema_version": 1, "status": "splendid"')
    os._exit(0)


def _leave_child():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", str(Path.cwd())])
    os.kill(os.getpid(), signal.SIGKILL)


def _close_log():
    os.close(1)
    os.close(2)
    raise ValueError("said to nobody")


def _long_log():
    line = b"x" * 1023 + b"\n"
    for _ in range(20_000):
        os.write(1, line)
    raise ValueError("after twenty megabytes")


def _lose_folder():
    shutil.rmtree(Path.cwd())
    raise ValueError("without a folder")


#: How it can fail. ``nan`` and ``infinite`` spoil numbers and let it go on.
FAULTS = {
    **{
        name: partial(lambda number: os.kill(os.getpid(), number), getattr(signal, name))
        for name in (
            "SIGKILL", "SIGTERM", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGINT",
            "SIGHUP", "SIGSTOP",
        )
    },
    "raise": _raise,
    "raise_odd": _raise_odd,
    "raise_base": _raise_base,
    "recurse": _recurse,
    "memory": _memory,
    "device_memory": _device_memory,
    "address_space": _address_space,
    "bad_alloc": _bad_alloc,
    "exit": lambda: os._exit(3),
    "exit_well": lambda: os._exit(0),
    "sys_exit": lambda: sys.exit(0),
    "hang": _hang,
    "hang_deaf": _hang_deaf,
    "spin": _spin,
    "full_events": _full_events,
    "no_file_grows": _no_file_grows,
    "fill_disk": _fill_disk,
    "torn_event": _torn_event,
    "garbage": _garbage,
    "bad_record": _bad_record,
    "leave_child": _leave_child,
    "close_log": _close_log,
    "long_log": _long_log,
    "lose_folder": _lose_folder,
    "nan": lambda: None,
    "infinite": lambda: None,
}  # fmt: skip

#: What may happen besides, and harms nobody: with a pause, runs that begin together surely go on
#: beside each other.
HARMLESS = {"pause": partial(time.sleep, 3)}

#: What spoils a number.
_SPOILT = {"nan": np.nan, "infinite": np.inf}


def _reached(phase: str) -> float:
    """Fail if this is where to; the number to add to one that may be spoilt."""
    at, _, fault = FAULT.partition(":")
    if at != phase:
        return 0.0
    (FAULTS | HARMLESS)[fault]()
    return _SPOILT.get(fault, 0.0)


def _watch_record() -> None:
    """Fail when the record is written and has not got its name yet."""
    replace = Path.replace

    def failing(self, target):
        if Path(target).name == "record.json":
            _reached("record")
        return replace(self, target)

    Path.replace = failing


_reached("import")
if FAULT.startswith("record:"):
    _watch_record()


class StubTrainer:
    """``logits = inputs @ kernel + bias``, by gradient descent."""

    def __init__(self, job):
        _reached("build")
        self.job = job
        (name,) = [n for n in job.initial_weights if n.endswith("kernel")]
        self.layer = name.rpartition("/")[0]
        self._weights = {key: array.copy() for key, array in job.initial_weights.items()}
        #: Where a prediction belongs to.
        self._phase = "eval"

    def _flat(self, inputs):
        return np.asarray(inputs).reshape(len(inputs), -1)

    def fit(self, feed, probe):
        for epoch in feed.epochs:
            losses = []
            probe.epoch_begin(epoch)
            for step, ids in enumerate(feed.batches(epoch)):
                spoilt = _reached("step") if epoch == 1 and step == 0 else 0.0
                spoilt += _reached("middle") if epoch == 2 and step == 1 else 0.0
                losses.append(self._step(ids) + spoilt)
                probe.step()
            self._phase = "between"
            probe.epoch_end(partial(np.array, losses))
        self._phase = "eval"

    def _step(self, ids):
        x, labels = self._flat(self.job.train.inputs[ids]), self.job.train.targets[ids]
        logits = self._outputs(self.job.train.inputs[ids])
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        loss = -np.log(shares[np.arange(len(ids)), labels]).mean()
        shares[np.arange(len(ids)), labels] -= 1
        rate = self.job.spec.optimizer.lr / len(ids)
        self._weights[f"{self.layer}/kernel"] -= rate * x.T @ shares
        self._weights[f"{self.layer}/bias"] -= rate * shares.sum(0)
        return loss

    def batches(self, feed):
        self._phase = "predict"
        return ((self.job.train.inputs[ids], ids) for ids in feed.all_batches())

    def _outputs(self, inputs):
        weights = self._weights
        return self._flat(inputs) @ weights[f"{self.layer}/kernel"] + weights[f"{self.layer}/bias"]

    def predict(self, inputs):
        return self._outputs(inputs) + _reached(self._phase)

    def synchronize(self):
        pass

    def weights(self):
        _reached("weights")
        return self._weights

    def state(self):
        return {name: array.copy() for name, array in self._weights.items()}

    def restore(self, state):
        self._weights = {name: array.copy() for name, array in state.items()}

    def facts(self):
        return {"device": "cpu", "execution": "numpy"}

    def peak_device_bytes(self):
        return None


class StubFront:
    """The front of the stub; ``fault`` is passed on to the worker."""

    name = "stub"
    trainer = "stub_engine:StubTrainer"
    packages = ("stub_engine",)
    requirements = ("numpy",)
    colour = "#888888"
    same_execution = {}

    def __init__(self, fault: str | None = None) -> None:
        self.fault = fault

    def environment(self, spec):
        """Where a sweep is run, ``STUB_FAULTS`` says the fault of each seed, ``1=step:raise``."""
        by_seed = dict(
            entry.split("=") for entry in os.environ.get("STUB_FAULTS", "").split(",") if entry
        )
        fault = by_seed.get(str(spec.seed), "") if self.fault is None else self.fault
        return {"PYTHONPATH": str(Path(__file__).parent), "STUB_FAULT": fault}

    def supports(self, spec):
        return None


FRONT = StubFront()
