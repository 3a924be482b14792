"""Hydra's side: composing a configuration, and saying in plain words what is wrong with one."""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwcompare.errors import FwcompareError, RequestError, UnsupportedError, shown, unknown
from fwcompare.launchers import EXTRAS, not_installed
from fwcompare.limits import user_path
from fwcompare.safe_yaml import read_yaml

if TYPE_CHECKING:
    from fwcompare.config import Configuration

CONFIG_MODULE = "fwcompare.conf"
CONFIG_NAME = "config"

#: What reads options and configurations.
_READERS = ("hydra.", "omegaconf.", "antlr4.")

#: Cells of a sweep; to check so many takes hours.
MOST_CELLS = 100_000


def require_sweeper() -> None:
    """Raises ``FwcompareError`` where Hydra does not find our sweeper."""
    from hydra.core.plugins import Plugins

    if not any(plugin.__name__ == "FwcompareSweeper" for plugin in Plugins.instance().discover()):
        raise FwcompareError(
            "The distribution fwcompare-sweeper is not installed.",
            "Install it: pip install fwcompare-sweeper",
        )


@contextmanager
def application() -> Iterator[Any]:
    """Hydra's application object, outside of a Hydra run; one that a caller began is put back.

    Hydra keeps one for the whole process: use it in one thread at a time.
    """
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    from fwcompare.guard import guarded

    instance = GlobalHydra.instance()
    callers = instance.hydra
    instance.clear()
    try:
        with (
            guarded(),
            initialize_config_module(CONFIG_MODULE, version_base="1.3", job_name="fwcompare"),
        ):
            yield GlobalHydra.instance().hydra
    finally:
        GlobalHydra.instance().hydra = callers


def require_countable(overrides: Sequence[Any]) -> None:
    """Refuse a sweep of more cells than one could run, before they are written out: a range takes
    no room, and may have no end.

    Raises:
        RequestError: the values of Hydra's parsed ``overrides`` make too many cells.
    """
    from hydra.core.override_parser.types import RangeSweep

    cells = 1
    for override in overrides:
        if not override.is_sweep_override() or not override.is_discrete_sweep():
            continue
        value = override.value()
        values = value.range() if isinstance(value, RangeSweep) else override.sweep_iterator()
        count = sum(1 for _ in islice(values, MOST_CELLS + 1))
        cells *= max(count, 1)
        if cells > MOST_CELLS:
            raise RequestError(
                f"{shown(override.input_line)} makes a sweep of more than {MOST_CELLS:,} cells.",
                "Leave values out, or make several sweeps of it.",
            )


def search_path(config_dir: str | Path | None) -> list[str]:
    """The override that adds a folder of configuration; none for None.

    Raises:
        RequestError: there is no such folder.
    """
    if not config_dir:
        return []
    folder = user_path(str(config_dir)).absolute()
    if not folder.is_dir():
        raise RequestError(f"--config-dir {config_dir}: there is no such folder.")
    return [f"hydra.searchpath=[file://{folder}]"]


def compose(overrides: Sequence[str], config_dir: str | None = None) -> Configuration:
    """Compose a configuration outside a Hydra run, for verbs and the Python interface.

    Raises:
        RequestError: an override or a file is wrong.
    """
    from hydra import compose as hydra_compose
    from hydra.errors import HydraException

    extra = search_path(config_dir)
    try:
        with application():
            try:
                cfg = hydra_compose(CONFIG_NAME, [*overrides, *extra], return_hydra_config=True)
            except ValueError as error:  # Hydra's, for what is wrong with an option
                raise HydraException(str(error)) from error
            return configuration(cfg)
    except FwcompareError:
        raise
    except Exception as error:
        raise translate(error, overrides) from error


def configuration(cfg: Any) -> Configuration:
    """The configuration of a composed Hydra config that still has its ``hydra`` node."""
    from omegaconf import OmegaConf

    from fwcompare.config import Configuration  # takes a third of what --help takes
    from fwcompare.guard import guarded_environment

    with guarded_environment():
        plain = OmegaConf.to_container(
            OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]), resolve=True
        )
    assert isinstance(plain, dict)
    if "framework" not in plain:  # no config of this name: no plugin, or no such engine
        plain["framework"] = {"name": cfg.hydra.runtime.choices.get("framework")}
    sources = list(source_folders(cfg.hydra.runtime.config_sources))
    return Configuration({str(key): value for key, value in plain.items()}, sources)


def source_folders(config_sources: Any) -> Iterator[Path]:
    """The folders of Hydra's search path."""
    for source in config_sources:
        if source.schema == "file":
            yield Path(source.path)
        elif source.schema == "pkg" and not str(source.path).startswith("hydra."):
            yield Path(str(resources.files(str(source.path))))


def known_options(overrides: Sequence[str] = ()) -> list[str]:
    """Every option by its full name, under the given choices of groups."""
    from hydra import compose as hydra_compose
    from omegaconf import OmegaConf

    with application():
        cfg = hydra_compose(CONFIG_NAME, list(overrides))
    return list(_flat(OmegaConf.to_container(cfg), ""))


def _flat(node: Any, prefix: str) -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")


def translate(error: BaseException, given: Sequence[str] = ()) -> FwcompareError:
    """A Hydra or OmegaConf error as one clear message with the next step.

    ``given`` are the options as they were given. An error that is none of theirs is returned as a
    defect of ours.
    """
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    own: BaseException | None = error
    while own is not None:  # ours may come wrapped in what Hydra makes of it
        if isinstance(own, FwcompareError):
            return own
        own = own.__cause__
    if isinstance(error, MissingConfigException):
        return _missing_config(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _composition(error, given)
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        name = Path(str(error.filename)).name
        return RequestError(f"{shown(name)} cannot be the name of a file: it is too long.")
    if isinstance(error, OSError) and _raised_by_hydra(error):
        return RequestError(
            f"{shown(str(error.filename or 'A folder'))}: {error.strerror or error}.",
            "Hydra itself writes to hydra.run.dir; leave that out.",
        )
    if isinstance(error, RecursionError) and _raised_by_hydra(error):
        return RequestError(
            "An option or a configuration is nested too deeply, or holds itself.",
            "Look for many brackets, and for a defaults list that names its own file.",
        )
    return FwcompareError(f"{type(error).__name__}: {error}")


def _raised_by_hydra(error: BaseException) -> bool:
    """Whether Hydra, or what it reads configurations with, was at work last."""
    rooms = ("fwcompare", *_READERS)
    names = [
        str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    last = next((name for name in reversed(names) if name.startswith(rooms)), "")
    return last.startswith(_READERS)


def _missing_config(error: Any) -> FwcompareError:
    group, _, name = str(error.missing_cfg_file or "").rpartition("/")
    if (group, name) == ("device", "mps"):
        return RequestError(
            "device=mps is not built yet.", "Choose device=cpu, device=cuda or device=auto."
        )
    if group and error.options:
        if group == "hydra/launcher" and name in EXTRAS:
            return not_installed(name)
        return unknown(group, name, error.options)
    return RequestError(str(error).splitlines()[0] if str(error) else "A config file is missing.")


def _unknown_option(option: str, given: Sequence[str]) -> RequestError:
    """The options beside the one that there is not, and the choices of its group that have it."""
    known = _known_under(given)
    parent = option.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == parent]
    found = unknown("option", option, siblings or [n for n in known if "." not in n])
    if elsewhere := _choices_with(option):
        having = " and ".join(filter(None, [", ".join(elsewhere[:-1]), elsewhere[-1]]))
        return RequestError(found.message, f"It belongs to {having}. {found.hint}")
    return found


def _known_under(given: Sequence[str]) -> list[str]:
    """Every option under the choices of groups that were given, or else under the default ones."""
    firsts = (re.fullmatch(r"([\w/]+=[\w-]+)(,[\w-]+)*", option) for option in given)
    chosen = [first[1] for first in firsts if first]
    folders = [after for before, after in pairwise(given) if before in ("--config-dir", "-cd")]
    folders += [option.partition("=")[2] for option in given if option.startswith("--config-dir=")]
    for choices in ([*chosen, *search_path(next(iter(folders), None))], chosen, []):
        try:
            return known_options(choices)
        except Exception:  # what was given may be wrong in more than one way
            continue
    return []


def _choices_with(option: str) -> list[str]:
    """The choices of an option's group that have it, as one gives them."""
    group, _, path = option.partition(".")
    folder = Path(str(resources.files(CONFIG_MODULE))) / group
    if not path or not group.isidentifier() or not folder.is_dir():
        return []
    return [
        f"{group}={file.stem}"
        for file in sorted(folder.glob("*.yaml"))
        if path in _flat(read_yaml(file) or {}, "")
    ]


def _composition(error: BaseException, given: Sequence[str]) -> RequestError:
    text = str(error).removeprefix("RequestError raised while resolving interpolation: ")
    if text.startswith("Config group override must be"):  # Hydra does not say which
        nameless = re.compile(r"[\w/]+=(null|true|false|\d.*)")
        groups = [option for option in given if nameless.fullmatch(option)]
        return RequestError(
            f"{groups[0] if groups else text}: a group takes the name of one of its choices.",
            "`fwcompare --help` lists groups and choices.",
        )
    if match := re.search(r"Could not override '([^']+)'", text):
        return _unknown_option(match[1], given)
    if match := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return RequestError(
            f"'{match[1]}' holds several values.",
            f"To run each of them: fwcompare -m {match[1]}",
        )
    first, *rest = [line.strip() for line in text.strip().splitlines() if line.strip()] or [
        type(error).__name__
    ]
    if match := re.search(r"Could not find '([^']+)'", text):
        return RequestError(f"There is no config '{match[1]}'.", " ".join(rest[:3]) or None)
    if type(error).__name__ == "OverrideParseException":
        hint = "Options have the form key=value; quote brackets and spaces: 'seed=range(3)'."
        if not first.isascii():
            hint += " A value of other letters is quoted twice: 'sweep.name=\"é\"'."
        return RequestError(f"An option cannot be read: {first}.", hint)
    rest = [line for line in rest if not line.startswith(("See https", "full_key", "object_type"))]
    return RequestError(first, " ".join(rest[:3]) or None)


def unsupported_cell(error: BaseException) -> UnsupportedError | None:
    """The error if it only means that this engine cannot do this cell."""
    translated = translate(error)
    return translated if isinstance(translated, UnsupportedError) else None
