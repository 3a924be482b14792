"""The files in which a run can be taken away, and the plugin that writes each."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

from fwcompare.errors import RequestError, RunError, UnsupportedError, unknown
from fwcompare.exporting import LOADING_FILE
from fwcompare.graph import load, save
from fwcompare.launch import WarmPool
from fwcompare.limits import user_path
from fwcompare.plugin import Format, formats, front, installed, missing
from fwcompare.record import FINAL_WEIGHTS, SPEC_FILE, RunRecord
from fwcompare.spec import Device, Framework, RunSpec

#: The canonical weights, which need no framework.
CANONICAL = "safetensors"

_CANONICAL_SUFFIXES = (".safetensors",)

_LOADING_CANONICAL = (
    "from safetensors.numpy import load_file",
    "weights = load_file({file!r})  # by layer/tensor, channels last",
)


@dataclass(frozen=True)
class Written:
    """A file that was written, and how it is loaded, in lines."""

    file: Path
    loading: Sequence[str]


def published() -> dict[str, str]:
    """Formats of this project's plugins, with what to install for each."""
    import yaml

    text = resources.files("fwcompare.conf").joinpath("formats.yml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def names() -> list[str]:
    """Every format that there is, whether its plugin is installed or not."""
    offered = {name for engine in installed() for name in formats(front(engine))}
    return sorted({CANONICAL, *published(), *offered})


def take_away(
    folder: Path, name: str, output: Path | None, force: bool, pool: WarmPool | None = None
) -> Written:
    """Write the trained weights of a run folder in a format.

    Without ``output`` the file is called after the run and lies in the working directory. Workers
    of ``pool`` write it, or one that ends with it.

    Raises:
        RequestError: no such format, no trained weights, or a file that cannot be written so.
        UnsupportedError: the plugin is not installed, or has no such file for this model.
    """
    spec = RunSpec.read(folder / SPEC_FILE)
    if name not in names():
        raise unknown("format", name, names())
    if not (folder / FINAL_WEIGHTS).is_file():
        record = RunRecord.read(folder)
        state = f"it is {record.status}, {record.reason}" if record else "it has not ended"
        raise RequestError(
            f"Run {spec.run} has no trained weights: {state}.",
            "Give a run that ended ok: fwcompare runs --status ok",
        )
    if name == CANONICAL:
        file = _target(spec, output, _CANONICAL_SUFFIXES, name, force)
        weights = load(folder / FINAL_WEIGHTS, spec.model.graph)
        _put(partial(save, weights), file)
        return Written(file, [line.format(file=str(file)) for line in _LOADING_CANONICAL])
    engine = provider(name, spec)
    offered = formats(front(engine))[name]
    file = _target(spec, output, offered.suffixes, name, force)
    own = pool or WarmPool()
    try:
        return _converted(spec, folder, engine, offered, file, own)
    finally:
        if pool is None:
            own.close()


def provider(name: str, spec: RunSpec) -> str:
    """The engine whose plugin writes a format: the run's own if it does, else the first that can.

    Raises:
        UnsupportedError: none is installed, or none has its framework.
        RequestError: the file would hold another computation than the run's.
    """
    offering: Mapping[str, Format] = {
        engine: formats(front(engine))[name]
        for engine in sorted(installed(), key=lambda each: (each != spec.framework.name, each))
        if name in formats(front(engine))
    }
    if not offering:
        raise UnsupportedError(
            f"The plugin that writes '{name}' is not installed.",
            f'Install it: pip install "{published()[name]}"',
        )
    ready = [engine for engine in offering if not missing(front(engine))]
    if not ready:
        engine = next(iter(offering))
        absent = missing(front(engine))
        raise UnsupportedError(
            f"'{name}' is written by {engine}, which needs {', '.join(absent)}.",
            f"Install it: pip install {' '.join(absent)}",
        )
    chosen = ready[0]
    if offering[chosen].whole and not spec.aligned and spec.framework.name not in offering:
        raise RequestError(
            f"Run {spec.run} has semantics=native: it computed with the defaults of "
            f"{spec.framework.name}, which a whole model of another framework has not.",
            f"Take its weights alone (--format {CANONICAL}), or a run with semantics=aligned.",
        )
    return chosen


def _target(
    spec: RunSpec, output: Path | None, suffixes: Sequence[str], name: str, force: bool
) -> Path:
    """The file that is asked for. Raises ``RequestError`` if it cannot be written."""
    file = user_path(str(output or f"{spec.run}{suffixes[0]}"))
    if not file.name.endswith(tuple(suffixes)):
        raise RequestError(
            f"A file of format '{name}' ends with {' or '.join(suffixes)}, got {file}.",
            f"Give --output {file.with_suffix(suffixes[0])}",
        )
    if not file.parent.is_dir():
        raise RequestError(f"The folder {file.parent} does not exist.", f"mkdir -p {file.parent}")
    if file.is_dir():
        raise RequestError(f"{file} is a folder.", "Give another --output.")
    if file.exists() and not force:
        raise RequestError(
            f"{file} exists already.", "Give --force to replace it, or another --output."
        )
    return file


def _converted(
    spec: RunSpec, folder: Path, engine: str, offered: Format, file: Path, pool: WarmPool
) -> Written:
    """Have a worker write the file; it needs neither the run's device nor its interpreter."""
    made = front(engine)
    asked = spec.but(
        framework=Framework(engine, made.trainer, tuple(made.packages)),
        device=Device("cpu", 1),
        precision=spec.dtype.name,
        execution="native",
        sweep=None,
    )
    if reason := made.supports(asked):
        raise UnsupportedError(reason if engine in reason else f"{engine}: {reason}")
    with tempfile.TemporaryDirectory(prefix="fwcompare-export-") as root:
        place = Path(root)
        asked.write(place / SPEC_FILE)
        (place / FINAL_WEIGHTS).parent.mkdir()
        shutil.copyfile(folder / FINAL_WEIGHTS, place / FINAL_WEIGHTS)
        suffix = next(each for each in offered.suffixes if file.name.endswith(each))
        written = place / f"model{suffix}"
        reply = pool.export(asked, place, offered.exporter, written)
        if reply["status"] != "ok":
            error = UnsupportedError if reply["status"] == "unsupported" else RunError
            raise error(f"{engine}: {reply['reason']}")
        _put(partial(shutil.copyfile, written), file)
        text = (place / LOADING_FILE).read_text(encoding="utf-8")
    return Written(file, text.replace(str(written), str(file)).splitlines())


def _put(write: Callable[[Path], object], file: Path) -> None:
    """Write a file beside its place and move it there. Raises ``RequestError`` if it cannot be."""
    part = file.with_name(f"{file.name}.part")
    try:
        write(part)
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise RequestError(f"{file} cannot be written: {error.strerror}.") from error
