"""What runs the cells of a sweep, by the name of a Hydra launcher and with the options of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fwcompare.errors import RequestError, choices

if TYPE_CHECKING:
    from fwcompare.record import RunRecord
    from fwcompare.spec import RunSpec

#: What Hydra's launchers call the folder of a sweep.
SWEEP_DIR = "${hydra.sweep.dir}"

#: Launchers that cells are given to, with the extra that each needs.
EXTRAS: dict[str, str | None] = {
    "basic": None,
    "joblib": "joblib",
    "submitit_local": "submitit",
    "submitit_slurm": "submitit",
    "ray": "ray",
}


@dataclass(frozen=True)
class Job:
    """One cell, prepared in its run folder."""

    spec: RunSpec
    folder: Path

    @property
    def run(self) -> str:
        return self.spec.run


class Hearer(Protocol):
    """Is told how jobs go on; by one thread at a time."""

    def begin(self, spec: RunSpec) -> None: ...

    def event(self, run: str, event: dict[str, Any]) -> None:
        """May raise ``launch.Pruned``."""

    def ended(self, run: str, record: RunRecord | None, reason: str = "") -> None:
        """A job has ended; without a record where it left none, and why if that is known."""


@dataclass(frozen=True)
class Room:
    """How many jobs a launcher runs at a time, and on which cores."""

    #: None: as many as the cluster has room for.
    at_once: int | None
    #: Whether each has cores of its own.
    own_cores: bool
    #: The same in words.
    words: str
    #: What to do where a timed run needs cores of its own.
    hint: str = ""


class Launcher(Protocol):
    """An engine that runs jobs."""

    name: str
    #: Whether jobs may run on other machines, about whose cores and memory nothing is known here.
    elsewhere: bool
    #: Whether the events of a run are told as they come.
    listens: bool

    def room(self, threads: int, jobs: int) -> Room:
        """The room for so many jobs of so many threads.

        Raises:
            RequestError: its options are wrong, or there is no such cluster.
        """

    def run(self, jobs: Sequence[Job], hearer: Hearer) -> None:
        """Run them all; whatever ends it ends them too, and leaves a record of those begun."""


def chosen(hydra: Any) -> Launcher:
    """The launcher of a composed ``hydra`` node.

    Raises:
        RequestError: it is none that keeps what a sweep promises, or it is not installed.
    """
    from omegaconf import OmegaConf

    name = str(hydra.runtime.choices.get("hydra/launcher"))
    if name not in EXTRAS:
        raise RequestError(
            f"hydra/launcher={name} is not one that fwcompare knows: it could not promise a record "
            "for every run.",
            f"Choose from: {choices(EXTRAS)}.",
        )
    plain = OmegaConf.to_container(hydra.launcher, resolve=True)
    written = OmegaConf.to_container(hydra.launcher, resolve=False)
    assert isinstance(plain, dict) and isinstance(written, dict)
    options: dict[str, Any] = {str(key): value for key, value in plain.items()}
    if str(place := written.get("submitit_folder")).startswith(SWEEP_DIR):
        options["submitit_folder"] = place  # which is that of our sweep
    if name in ("basic", "joblib"):
        from fwcompare.launchers.local import Local

        return Local(name, options)
    if name == "ray":
        from fwcompare.launchers.cluster import Ray

        return Ray(options)
    from fwcompare.launchers.submitted import Submitted

    return Submitted(name, options)


def not_installed(name: str) -> RequestError:
    """The error for a launcher without its extra."""
    return RequestError(
        f"hydra/launcher={name} needs an extra that is not installed.",
        f"Install it: pip install 'fwcompare[{EXTRAS[name]}]'",
    )
