"""What more processes bring: measured steps as speed-up, and a cost model that plans beyond them.

Pure functions on seconds, bytes and numbers of processes. The batch stays the same, however many
share it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fwcompare.errors import RequestError

#: What the plan takes for granted, in words.
ASSUMPTIONS = (
    "the batch stays the same, and every process has a machine as fast as this one, with as many "
    "threads",
    "a step on a share of the batch lasts a constant and so much a sample, by the single processes "
    "that were measured",
    "gradients are summed in a ring: each process sends 2 (n - 1) / n of their bytes, in 2 (n - 1) "
    "messages one after another",
    "the link is one process's alone, and carries all that it promises",
    "between no sum that is hidden behind the backward pass and one that is hidden whole",
    "nothing else is exchanged: sums of batch normalisation over processes come on top",
)


@dataclass(frozen=True)
class Link:
    """What joins two processes."""

    bytes_per_s: float
    #: Of one message.
    latency_s: float

    def __post_init__(self) -> None:
        for name, value, least in (
            ("bandwidth", self.bytes_per_s, 1.0),
            ("latency", self.latency_s, 0.0),
        ):
            if not (math.isfinite(value) and value >= least):
                raise RequestError(f"The {name} of a link cannot be {value:g}.")


@dataclass(frozen=True)
class Costs:
    """What a step takes of one process."""

    #: Of a step, whatever its batch.
    fixed_s: float
    sample_s: float
    gradient_bytes: int

    @classmethod
    def fitted(cls, alone: Mapping[int, float], gradient_bytes: int) -> Costs:
        """From the seconds of a step in one process, by batch: the line of least squares.

        Neither part is less than nothing.

        Raises:
            RequestError: there are not two batches to draw a line through.
        """
        if len(alone) < 2:
            raise RequestError("A cost model needs the steps of two batches at least.")
        count = len(alone)
        batch, second = sum(alone) / count, sum(alone.values()) / count
        spread = sum((b - batch) ** 2 for b in alone)
        slope = sum((b - batch) * (s - second) for b, s in alone.items()) / spread
        slope = max(slope, 0.0)
        fixed = second - slope * batch
        if fixed < 0:
            fixed, slope = 0.0, sum(s * b for b, s in alone.items()) / sum(b * b for b in alone)
        return cls(fixed, slope, gradient_bytes)

    def compute_s(self, batch: float) -> float:
        return self.fixed_s + self.sample_s * batch


@dataclass(frozen=True)
class Expected:
    """A step of so many processes, between a sum that is hidden and one that is not."""

    processes: int
    compute_s: float
    exchange_s: float
    #: Of one process with the whole batch.
    alone_s: float

    @property
    def least_s(self) -> float:
        return max(self.compute_s, self.exchange_s)

    @property
    def most_s(self) -> float:
        return self.compute_s + self.exchange_s

    @property
    def speedups(self) -> tuple[float, float]:
        return self.alone_s / self.most_s, self.alone_s / self.least_s

    @property
    def efficiencies(self) -> tuple[float, float]:
        low, high = self.speedups
        return low / self.processes, high / self.processes


def exchange_s(gradient_bytes: int, processes: int, link: Link) -> float:
    """Seconds of summing gradients over all processes, in a ring."""
    if processes == 1:
        return 0.0
    messages = 2 * (processes - 1)
    return messages / processes * gradient_bytes / link.bytes_per_s + messages * link.latency_s


def planned(costs: Costs, batch: int, processes: Sequence[int], link: Link) -> list[Expected]:
    """What is to be expected of each number of processes."""
    return [
        Expected(
            count,
            costs.compute_s(batch / count),
            exchange_s(costs.gradient_bytes, count, link),
            costs.compute_s(batch),
        )
        for count in processes
    ]


@dataclass(frozen=True)
class Measured:
    """A step of so many processes, as it was timed."""

    processes: int
    step_s: float
    #: Of a single process with the share of the batch that each of them had.
    alone_s: float
    #: Of a single process with the whole batch.
    base_s: float
    #: Whether processes shared cores, so that nothing follows from their times.
    shared: bool

    @property
    def speedup(self) -> float | None:
        return None if self.shared else self.base_s / self.step_s

    @property
    def efficiency(self) -> float | None:
        speedup = self.speedup
        return None if speedup is None else speedup / self.processes

    @property
    def communication(self) -> float | None:
        """The share of a step that one process alone would not have needed for its part."""
        return None if self.shared else max(1 - self.alone_s / self.step_s, 0.0)
