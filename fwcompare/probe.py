"""The only clock, and the memory reading of each phase.

Every framework is timed by this code: the device is synchronised, then the clock is read. Training
is timed over blocks of steps that last at least ``block_seconds`` and hold ``BLOCK_STEPS`` steps at
least, so that neither the reading nor the synchronisation weighs on a step.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fwcompare.errors import DivergedError
from fwcompare.record import EventFile

#: Monotonic seconds; on Linux the same clock in parent and child.
clock = time.perf_counter

#: CPU seconds of all threads of this process.
cpu_clock = time.process_time

#: Fewest steps of a block. While it waits for the device, a process prepares no further step; were
#: each long step waited for, an engine that prepares one in a twentieth of its time would lose 5 %.
BLOCK_STEPS = 4

#: Phases that are part of training, and go on where a run does.
_GOES_ON = ("train", "eval", "checkpoint")


def require_finite(metrics: Mapping[str, float], key: str) -> None:
    """Raise ``DivergedError`` where a loss is there that is not finite."""
    value = metrics.get(key, 0.0)
    if not math.isfinite(value):
        raise DivergedError(
            f"The loss {key} became {value}.", "Lower optimizer.lr, or set optimizer.clip_norm."
        )


class Memory:
    """Peak resident memory of this process, resettable, from Linux's /proc.

    ``ru_maxrss`` is of no use here: a child starts with its parent's peak.
    """

    _status = Path("/proc/self/status")
    _clear = Path("/proc/self/clear_refs")

    def __init__(self) -> None:
        self.resettable = os.access(self._clear, os.W_OK)

    def reset(self) -> None:
        """Start a new peak at the present size, where the system allows it."""
        if self.resettable:
            try:
                self._clear.write_text("5")
            except OSError:
                self.resettable = False

    def peak_bytes(self) -> int:
        """The peak since the last reset; 0 where the system does not tell."""
        try:
            for line in self._status.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        except OSError:
            pass
        return 0


@dataclass
class Phase:
    """Seconds spent in a phase, and the highest resident memory seen there."""

    seconds: float = 0.0
    peak_rss_bytes: int = 0


@dataclass
class Observed:
    """Raw samples of one run, as the probe collected them."""

    phases: dict[str, Phase] = field(default_factory=dict)
    blocks: list[tuple[int, int, float]] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    step_losses: list[float] = field(default_factory=list)
    first_step_s: float | None = None
    train_seconds: float = 0.0
    train_cpu_seconds: float = 0.0
    #: Programs compiled within training behind its first step; None where nothing is compiled.
    recompilations: int | None = None


class ProbeMisuse(RuntimeError):
    """A plugin called the probe out of turn: a defect of the plugin."""


class Probe:
    """Handed to a trainer's ``fit``, which calls, for each epoch,

    ``epoch_begin(epoch)``, then ``step()`` after every step, then ``epoch_end(losses)``.

    Nothing else is timed by a plugin. ``losses`` is called after the clock has stopped and returns
    the loss of each step, or one number: the epoch's sample-weighted mean.
    """

    def __init__(
        self,
        events: EventFile,
        batch_sizes: Callable[[int], Sequence[int]],
        block_seconds: float = 0.02,
        evaluate: Callable[[], dict[str, float]] | None = None,
        keep_step_losses: bool = False,
    ) -> None:
        self.observed = Observed()
        self.keep_step_losses = keep_step_losses
        self._events = events
        self._batch_sizes = batch_sizes
        self._block_seconds = block_seconds
        self._evaluate = evaluate or dict
        self._memory = Memory()
        self._synchronize: Callable[[], None] = lambda: None
        self._compilations: Callable[[], int | None] = lambda: None
        self._before_epoch: Callable[[int], None] | None = None
        self._compiled: int | None = None
        self._epoch: int | None = None
        #: Whether this process has made a step, which is the first where another one made the
        #: first of the run.
        self._stepped = False
        self._steps = 0
        self._block_ends_at = 1
        self._block_began_at = 0
        self._block_began = 0.0
        self._epoch_blocks: list[tuple[int, float]] = []
        self._cpu_began = 0.0
        self._epoch_seconds = 0.0

    def synchronize_with(self, synchronize: Callable[[], None]) -> None:
        """Take the trainer's way of waiting for its device."""
        self._synchronize = synchronize

    def count_with(self, compilations: Callable[[], int | None]) -> None:
        """Take the trainer's count of compiled programs; None where it compiles nothing.

        It is asked where no block is being timed. Evaluation between epochs does not count.
        """
        self._compilations = compilations

    def prepare_with(self, before_epoch: Callable[[int], None]) -> None:
        """Have something done before the clock of each epoch starts; a phase of its own."""
        self._before_epoch = before_epoch

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase and read its peak memory; phases of one name add up."""
        self._memory.reset()
        began = clock()
        try:
            yield
            self._synchronize()
        finally:
            self._add_phase(name, clock() - began)

    def _add_phase(self, name: str, seconds: float) -> None:
        phase = self.observed.phases.setdefault(name, Phase())
        phase.seconds += seconds
        phase.peak_rss_bytes = max(phase.peak_rss_bytes, self._memory.peak_bytes())
        self._events.write("phase", name=name, seconds=seconds, peak_rss_bytes=phase.peak_rss_bytes)

    def epoch_begin(self, epoch: int) -> None:
        """Start the clock of an epoch, before its first batch is fetched."""
        if self._epoch is not None:
            raise ProbeMisuse(f"epoch {epoch} began before epoch {self._epoch} ended")
        if self._before_epoch is not None:
            with self.phase("augment"):
                self._before_epoch(epoch)
        self._epoch = epoch
        self._epoch_blocks = []
        self._epoch_seconds = 0.0
        self._steps = self._block_began_at = 0
        self._block_ends_at = self._block_length() if self._stepped else 1
        self._memory.reset()
        self._compiled = self._compilations()
        self._synchronize()
        self._cpu_began = cpu_clock()
        self._block_began = clock()

    def step(self) -> None:
        """Count one step; at the end of a block, synchronise and read the clock."""
        self._steps += 1
        if self._steps >= self._block_ends_at:
            self._close_block()

    def _close_block(self) -> None:
        if self._epoch is None:
            raise ProbeMisuse("a step outside an epoch")
        self._synchronize()
        now = clock()
        seconds, steps = now - self._block_began, self._steps - self._block_began_at
        self._epoch_seconds += seconds
        if not self._stepped:
            self._stepped = True
            if self.observed.first_step_s is None:
                self.observed.first_step_s = seconds
            self._compiled = self._compilations()
            length = 1
        else:
            self._epoch_blocks.append((steps, seconds))
            length = self._block_length()
        self._block_began_at = self._steps
        self._block_ends_at = self._steps + length
        self._block_began = clock()

    def _block_length(self) -> int:
        """Steps that make a block, by the newest measurement; 1 where there is none."""
        if self._epoch_blocks:
            steps, seconds = self._epoch_blocks[-1]
        elif self.observed.blocks:
            _, steps, seconds = self.observed.blocks[-1]
        else:
            return 1
        lasting = math.ceil(1.1 * self._block_seconds * steps / max(seconds, 1e-9))
        return max(lasting, BLOCK_STEPS)

    def epoch_end(self, losses: Callable[[], np.ndarray]) -> None:
        """Stop the clock, then record the epoch's loss, its blocks and its evaluation.

        Raises:
            DivergedError: the training loss is not finite.
            ProbeMisuse: the number of steps is not that of the feed.
        """
        epoch = self._epoch
        if epoch is None:
            raise ProbeMisuse("an epoch ended that had not begun")
        if self._steps > self._block_began_at:
            self._close_block()
        self.observed.train_cpu_seconds += cpu_clock() - self._cpu_began
        self.observed.train_seconds += self._epoch_seconds
        self._count_recompilations()
        self._add_phase("train", self._epoch_seconds)
        sizes = np.asarray(self._batch_sizes(epoch))
        if self._steps != len(sizes):
            raise ProbeMisuse(f"epoch {epoch} took {self._steps} steps of {len(sizes)}")
        self._epoch = None
        self.observed.blocks.extend((epoch, *block) for block in self._epoch_blocks)
        self._events.write("blocks", epoch=epoch, blocks=self._epoch_blocks)

        by_step = np.atleast_1d(np.asarray(losses(), dtype=np.float64))
        per_step = len(by_step) == len(sizes)
        train_loss = float(by_step @ sizes / sizes.sum()) if per_step else float(by_step[0])
        if self.keep_step_losses and per_step:
            self.observed.step_losses.extend(by_step.tolist())
        metrics = {"train/loss": train_loss, "time/wall_s": self.observed.train_seconds}
        if not math.isfinite(train_loss):
            self._finish_epoch(epoch, metrics)
            raise DivergedError(
                f"The training loss became {train_loss} in epoch {epoch}.",
                "Lower optimizer.lr, or set optimizer.clip_norm.",
            )
        metrics |= self._evaluate()
        self._finish_epoch(epoch, metrics)
        require_finite(metrics, "val/loss")

    def _count_recompilations(self) -> None:
        compiled = self._compilations()
        if compiled is not None and self._compiled is not None:
            before = self.observed.recompilations or 0
            self.observed.recompilations = before + compiled - self._compiled

    def _finish_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        self.observed.history.append({"epoch": epoch, **metrics})
        self._events.write("epoch", epoch=epoch, metrics=metrics)

    def observations(self) -> dict[str, Any]:
        """All that a run that goes on from here must know of what was observed; JSON-able."""
        return asdict(self.observed)

    def restore(self, observations: Mapping[str, Any]) -> None:
        """Take over what an earlier process had observed, and write it down as its events.

        What this process has spent on its own start stays; times of training add up.
        """
        phases = {name: Phase(**phase) for name, phase in observations["phases"].items()}
        blocks = [(int(epoch), int(n), float(s)) for epoch, n, s in observations["blocks"]]
        own = self.observed.phases
        self.observed = replace(
            self.observed,
            **{k: v for k, v in observations.items() if k not in ("phases", "blocks")},
            blocks=blocks,
            phases=own | {name: phases[name] for name in _GOES_ON if name in phases},
        )
        for epoch in self.observed.history:
            number = epoch["epoch"]
            of_epoch = [(steps, seconds) for at, steps, seconds in blocks if at == number]
            metrics = {key: value for key, value in epoch.items() if key != "epoch"}
            self._events.write("blocks", epoch=number, blocks=of_epoch)
            self._events.write("epoch", epoch=number, metrics=metrics)

    @property
    def cores_used(self) -> float | None:
        """CPU seconds a second of training; None where nothing was trained."""
        if not self.observed.train_seconds:
            return None
        return self.observed.train_cpu_seconds / self.observed.train_seconds
