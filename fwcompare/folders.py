"""Where runs lie: finding one by its name or path, and all of them."""

from __future__ import annotations

from collections.abc import Iterator
from glob import escape
from pathlib import Path

from fwcompare.errors import RequestError, unknown
from fwcompare.limits import user_path
from fwcompare.record import SPEC_FILE, SWEEP_FILE


def find_run(name: str, outputs: Path) -> Path:
    """The folder of a run: a path, or the name of a run under ``outputs``, or the end of one.

    Raises:
        RequestError: there is none, the folder is not a run's, or several names end so.
    """
    places = [user_path(name)]
    if Path(name).name == name:
        places += [outputs / "runs" / name, *sorted(outputs.glob(f"sweeps/*/{escape(name)}"))]
    for place in places:
        if (place / SPEC_FILE).is_file():
            return place
    for place in places:
        if place.exists():
            raise RequestError(
                f"{place} is no run: there is no {SPEC_FILE} in it.",
                f"Runs lie in {outputs}; `fwcompare runs` lists them.",
            )
    ending = [path for path in all_runs(outputs) if _ends(path.name, name)]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise RequestError(
            f"{len(ending)} runs have names that end in '{name}'.",
            "Give more of the name: " + ", ".join(sorted(path.name for path in ending)[:4]),
        )
    known = unknown("run", name, [path.name for path in all_runs(outputs)])
    near = (known.hint or "").partition("Choose from")[0]  # every run there is would be too many
    raise RequestError(
        f"There is no run '{name}'.",
        f"{near}Runs lie in {outputs}; `fwcompare runs` lists them.",
    )


def _ends(name: str, ending: str) -> bool:
    """Whether whole words of a run's name are its ending: ``s2-7365cb``, or the digits alone."""
    return bool(ending) and name.endswith(f"-{ending}")


def find_sweep(name: str | None, outputs: Path) -> Path:
    """The folder of a sweep: a path, or the name of a sweep under ``outputs``; the newest for None.

    Raises:
        RequestError: there is none.
    """
    sweeps = {path.parent.name: path.parent for path in outputs.glob(f"sweeps/*/{SWEEP_FILE}")}
    if name is None:
        if not sweeps:
            raise RequestError(
                f"There is no sweep in {outputs}.", "Make one: fwcompare experiment=quickstart"
            )
        return max(sweeps.values(), key=lambda path: (path / SWEEP_FILE).stat().st_mtime)
    if (user_path(name) / SWEEP_FILE).is_file():
        return user_path(name)
    if name not in sweeps:
        raise unknown("sweep", name, sweeps)
    return sweeps[name]


def all_runs(outputs: Path, sweep: str | None = None) -> Iterator[Path]:
    """Run folders under ``outputs``: single runs and those of sweeps, or those of one sweep."""
    if sweep is None:
        yield from outputs.glob("runs/*/")
    yield from outputs.glob(f"sweeps/{escape(sweep) if sweep else '*'}/*/")
