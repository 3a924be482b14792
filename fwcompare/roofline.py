"""The machine's own peak, and how much of it an engine reached.

The peak is measured: the fastest matrix product and the fastest copy that NumPy gets out of the
same cores with the same number of threads, in a process of its own, as a worker is one
(``python -m fwcompare.roofline THREADS``). Together they are the roof of Williams, Waterman and
Patterson (*Roofline: an insightful visual performance model*, 2009).

NumPy's library need not be the fastest of all: an engine may exceed its product by the quality of
its own kernels, though not by much. A share above 1 is therefore said, and a share above ``MARGIN``
is impossible: such a time was read before the work was done.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fwcompare import machine
from fwcompare.errors import RequestError
from fwcompare.launch import thread_environment, worker_cores
from fwcompare.limits import read_json
from fwcompare.probe import clock
from fwcompare.record import RunRecord
from fwcompare.spec import RunSpec
from fwcompare.work import training_step
from fwcompare.worker import CORES, take_cores

#: Shares of the measured peak beyond which a training speed is not believed. The best kernels of
#: the frameworks were seen at 1.15 times NumPy's in float32 and 1.3 in float64; a completion that
#: is not waited for looks tens of times too fast.
MARGIN = 1.5

#: Sides of the square matrices: the smallest fits into a core's caches, the largest feeds many.
_SIDES = (512, 1024, 2048, 4096)

#: Seconds that go into each type of number, and into the copy. Short products are repeated: on a
#: busy machine a few of them run undisturbed.
_PRODUCT_SECONDS = 0.15
_COPY_SECONDS = 0.1

#: Bytes of the copied array: several times a last-level cache, so that memory is measured.
_COPY_BYTES = 128 * 2**20

#: Longest time that a measurement may take on a slow or busy machine.
_TIMEOUT_SECONDS = 60.0

#: OpenBLAS falls back to older kernels on a CPU that is newer than itself; half the speed was seen.
#: Where the CPU has the instructions, the newer kernels are tried besides.
_KERNELS = {"avx512f": "SkylakeX"}


@dataclass(frozen=True)
class Peak:
    """What so many threads of this machine do at best."""

    cpu: str
    threads: int
    cores: tuple[int, ...]
    #: FLOPs a second of a matrix product, by type of number.
    flops_per_s: dict[str, float]
    #: Bytes a second of a copy, read and written counted both.
    copy_bytes_per_s: float
    #: Kernels of the linear algebra library: its own choice, or those that were faster.
    kernels: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Peak:
        """Rebuild a peak. Raises ``TypeError`` or ``KeyError`` if the data are none."""
        return cls(**{**data, "cores": tuple(data["cores"])})


def measure(threads: int) -> Peak | None:
    """The peak of as many threads on the cores that a worker gets; about a second of work.

    None where NumPy cannot be measured, in a process that fails or takes too long.
    """
    cores = worker_cores(threads)
    flags = machine.cpu_flags()
    kernels = ["", *(name for flag, name in _KERNELS.items() if flag in flags)]
    found = [(name, figures) for name in kernels if (figures := _child(threads, cores, name))]
    if not found:
        return None
    best, _ = max(found, key=lambda item: item[1]["float32"])
    return Peak(
        cpu=machine.cpu_name(),
        threads=threads,
        cores=tuple(cores),
        flops_per_s={
            name: max(figures[name] for _, figures in found) for name in ("float32", "float64")
        },
        copy_bytes_per_s=max(figures["copy"] for _, figures in found),
        kernels=best or "the library's own choice",
    )


def _child(threads: int, cores: Sequence[int], kernels: str) -> dict[str, float] | None:
    own = {**os.environ, **thread_environment(threads), CORES: ",".join(map(str, cores))}
    if kernels:
        own["OPENBLAS_CORETYPE"] = kernels
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "fwcompare.roofline", str(threads)],
            env=own,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=True,
        )
        figures: dict[str, float] = json.loads(ended.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return figures


def product_flops_per_s(dtype: str, seconds: float = _PRODUCT_SECONDS) -> float:
    """FLOPs a second of the fastest square matrix product with this process's threads."""
    best = 0.0
    random = np.random.default_rng(0)
    for side in _SIDES:
        left, right = random.random((2, side, side), np.float32).astype(dtype)
        product = partial(np.matmul, left, right, out=np.empty_like(left))
        flops = 2.0 * side**3
        best = max(best, flops / _fastest(product, seconds / 3))
        if 8 * flops / best > seconds / 3:  # a single product of the next size takes too long
            break
    return best


def copy_bytes_per_s(threads: int, seconds: float = _COPY_SECONDS) -> float:
    """Bytes a second, read and written, of the fastest copy of a large array by some threads."""
    source = np.ones(_COPY_BYTES // 8)
    target = np.zeros_like(source)  # written once, so that its pages exist
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            list(pool.map(lambda part: np.copyto(part[1], part[0]), parts))

        return 2 * source.nbytes / _fastest(copy, seconds)


def _fastest(work: Callable[[], object], seconds: float) -> float:
    """Seconds of the fastest call, after one that does not count."""
    work()
    times: list[float] = []
    until = clock() + seconds
    while len(times) < 2 or clock() < until:
        began = clock()
        work()
        times.append(clock() - began)
    return min(times)


@dataclass(frozen=True)
class Achieved:
    """What an engine made of the machine."""

    flops_per_s: float
    #: The machine's measured peak in the run's type of number, and the share of it.
    peak_flops_per_s: float
    share: float
    #: FLOPs a byte that a step's mathematics needs at least.
    intensity: float
    #: What bounds such a step on this machine, ``compute`` or ``memory``, if caches hold nothing.
    bound: str


def possible(share: float) -> bool:
    """Whether the machine can do so much of its measured peak."""
    return share <= MARGIN


def remark(share: float) -> str:
    """What must be said of a share of the peak; empty for an ordinary one."""
    if not possible(share):
        return (
            f"{share:.1f} times the machine's peak is impossible: its times were read before the "
            "work was done"
        )
    if share > 1:
        return (
            f"{share:.0%} of the measured peak: its kernels are faster than NumPy's matrix "
            "product, which the peak is made of"
        )
    return ""


def achieved(
    record: RunRecord, spec: RunSpec, peaks: Iterable[Peak], samples_per_s: float | None = None
) -> Achieved | None:
    """What a run reached of the peak of its number of threads, in steady training or, where that is
    given, at another rate.

    None where there is nothing to compare: no steady step, an accelerator, another CPU, or a type
    of number without a measured peak.
    """
    rate = samples_per_s or record.metrics.get("perf/samples_per_s")
    if not rate or spec.device.name != "cpu" or spec.distributed.active:
        return None
    for peak in peaks:
        same = peak.threads == spec.device.threads and peak.cpu == record.environment.get("cpu")
        roof = peak.flops_per_s.get(spec.compute_type)
        if same and roof:
            return _achieved(rate, spec, peak, roof)
    return None


def _achieved(rate: float, spec: RunSpec, peak: Peak, roof: float) -> Achieved:
    batch = spec.training.batch_size
    work = training_step(spec.model.graph, spec.optimizer, batch, spec.dtype.itemsize)
    reached = rate / batch * work.flops
    memory_bound = work.intensity * peak.copy_bytes_per_s < roof
    return Achieved(
        flops_per_s=reached,
        peak_flops_per_s=roof,
        share=reached / roof,
        intensity=work.intensity,
        bound="memory" if memory_bound else "compute",
    )


def read_peaks(sweep_file: Path) -> tuple[Peak, ...]:
    """The peaks that a sweep measured; none where it has none that can be read."""
    try:
        listing = read_json(sweep_file)
        return tuple(Peak.from_json(entry) for entry in listing.get("peaks", ()))
    except (RequestError, ValueError, TypeError, KeyError, AttributeError):
        return ()


def main(arguments: Sequence[str]) -> int:
    """In the child: measure with so many threads, and print the figures as JSON."""
    take_cores()
    threads = int(arguments[0])
    figures = {dtype: product_flops_per_s(dtype) for dtype in ("float32", "float64")}
    figures["copy"] = copy_bytes_per_s(threads)
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
