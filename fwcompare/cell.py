"""One run of a sweep before it is run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fwcompare.arms import AGAIN
from fwcompare.secrecy import hidden
from fwcompare.spec import RunSpec

#: Options whose cells are run side by side, in random order, within one block.
ARM_OPTIONS = (
    "framework",
    "framework.python",
    "execution",
    "precision",
    "device",
    "device.threads",
    "distributed",
    "distributed.processes",
    "distributed.replicas",
)

#: What makes two cells of two commands the same one, whatever has changed below them.
Identity = tuple[Any, ...]


@dataclass
class Cell:
    """One run of a sweep: its overrides, and the spec or the reason why it has none."""

    overrides: list[str]
    engine: str
    seed: int
    run: str
    spec: RunSpec | None = None
    refusal: str = ""
    #: Whether it repeats a cell of the baseline, as an A/A control.
    control: bool = False
    #: What should be known before it is started.
    remark: str = ""
    #: Whether an earlier command has run it, so that this one need not.
    done: bool = False
    #: Earlier attempts, oldest first: they are kept and not compared.
    superseded: list[str] = field(default_factory=list)

    def listing(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "engine": self.engine,
            "seed": self.seed,
            "overrides": [hidden(override) for override in self.overrides],
            "control": self.control,
            "superseded": self.superseded,
        }

    @property
    def identity(self) -> Identity:
        return identity(self.spec, self.overrides, self.control)

    @property
    def label(self) -> str:
        model = f"/{self.spec.model.name}" if self.spec else ""
        again = f" {AGAIN}" if self.control else ""
        return f"{self.engine}{model} s{self.seed}{again}"


def identity(spec: RunSpec | None, overrides: list[str], control: bool) -> Identity:
    """A cell by its mathematics, arm and seed; one that was refused by what was asked."""
    if spec is None:
        return ("refused", *map(hidden, overrides))
    return (spec.group, spec.arm, spec.seed, control)
