"""What a configuration may not do although Hydra would let it: run code, or read secrets.

Hydra builds callbacks, launchers, sweepers and loggers from names in its own node, which any file
of a ``--config-dir`` may fill, and imports a package that the search path names. OmegaConf puts
environment variables into values. Here a configuration stays data: while ``guarded`` is open, what
Hydra composes is refused before it is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from hydra._internal import hydra as _hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf
from omegaconf.resolvers import oc

from fwcompare.errors import RequestError, choices, shown
from fwcompare.safe_yaml import read_yaml
from fwcompare.secrecy import is_secret

#: Environment variables that a configuration may put into a value.
_READABLE = re.compile(
    r"FWCOMPARE_\w+|HOME|USER|LOGNAME|HOSTNAME|PWD|TMPDIR|XDG_\w+|CUDA_VISIBLE_DEVICES|SLURM_\w+"
)

#: Where Hydra's search path may come from a user.
_USER_PROVIDERS = ("main", "hydra.searchpath")

#: An interpolation that stays in Hydra's own node.
_OWN_INTERPOLATION = re.compile(r"\$\{hydra[.:][\w.]+\}")

#: Keys that mean something to ``instantiate``; those of a launcher's and sweeper's own top level.
_MEANINGFUL = {"_target_", "_args_", "_partial_"}

#: What logging builds; a handler of files or networks would write wherever it is told.
_LOGGING_CLASSES = {"logging.StreamHandler", "logging.NullHandler"}
_LOGGING_STREAMS = {"ext://sys.stdout", "ext://sys.stderr"}

#: The module whose name for a loader is replaced.
_module: Any = _hydra

_DATA = (
    "A configuration is data: it names no code. Code comes from installed plugins alone; see"
    " SECURITY.md."
)


@contextmanager
def guarded(*, chooses_mode: bool = True) -> Iterator[None]:
    """Whatever Hydra composes in this context is checked before Hydra uses it.

    Hydra composes everything twice, first to learn whether a configuration chooses its mode. Where
    none does (``chooses_mode`` is false) it is told so at once: a sixth of a second less.
    """
    plain = _module.ConfigLoaderImpl
    _module.ConfigLoaderImpl = GuardedLoader
    token = _chooses_mode.set(chooses_mode)
    try:
        with guarded_environment():
            yield
    finally:
        _chooses_mode.reset(token)
        _module.ConfigLoaderImpl = plain


_chooses_mode: ContextVar[bool] = ContextVar("chooses_mode", default=True)


_reading_guarded: ContextVar[bool] = ContextVar("reading_guarded", default=False)


@contextmanager
def guarded_environment() -> Iterator[None]:
    """``${oc.env:NAME}`` gives only what cannot be a secret; OmegaConf keeps one resolver a
    process, so the plain one comes back at the end."""
    if _reading_guarded.get():
        yield
        return
    token = _reading_guarded.set(True)
    OmegaConf.register_new_resolver("oc.env", _env, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)
        _reading_guarded.reset(token)


def _env(key: str, *default: Any) -> str | None:
    name = str(key)
    if not _READABLE.fullmatch(name) or is_secret(name):
        raise RequestError(
            f"A configuration may not read the environment variable {name}: its value would stand"
            " in records.",
            'Give the value on the command line (key="$NAME"), or in a variable whose name begins'
            " with FWCOMPARE_.",
        )
    if name not in os.environ and not default:
        raise RequestError(f"There is no environment variable {name}.")
    return oc.env(name, *default)


class GuardedLoader(ConfigLoaderImpl):
    """Hydra's loader, which refuses code in what it has composed."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        self.config_search_path = config_search_path
        self.repository = _Repository(config_search_path=config_search_path)

    def load_configuration(self, *arguments: Any, **named: Any) -> DictConfig:
        """Raises ``RequestError`` where the configuration would run code."""
        if not _chooses_mode.get() and named.get("validate_sweep_overrides") is False:
            return OmegaConf.create({"hydra": {"mode": None}})  # nothing else is asked for
        try:
            composed = super().load_configuration(*arguments, **named)
        except KeyError as error:
            if error.args and str(error.args[0]) in os.environ:
                raise
            raise RequestError(
                f"hydra.job.env_copy names {error}, which is no environment variable."
            ) from error
        refuse_code(composed)
        return composed


class _Repository(ConfigRepository):
    """Hydra's sources, with files of bounded size, and packages of plugins alone."""

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        for element in config_search_path.get_path():
            scheme, _, place = str(element.path).partition("://")
            by_user = str(element.provider).startswith(_USER_PROVIDERS)
            if scheme == "pkg" and by_user and place not in _config_packages():
                raise RequestError(
                    f"The search path names the package '{place}', which would be imported.",
                    f"Name a folder, file:///absolute/path, or a package of a plugin:"
                    f" {choices(_config_packages())}.",
                )
        super().initialize_sources(config_search_path)
        self.sources = [
            # Hydra may have loaded its module twice: the class is told by its scheme.
            _BoundedFiles(found.provider, found.path) if found.scheme() == "file" else found
            for found in self.sources
        ]


def _config_packages() -> set[str]:
    points = metadata.entry_points(group="fwcompare.configs")
    return {"fwcompare.conf", *(point.value for point in points)}


class _BoundedFiles(FileConfigSource):
    """A folder of configurations whose files are looked at before OmegaConf reads them."""

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path) / self._normalize_file_name(config_path)
        if path.exists():
            found = read_yaml(path, "The configuration")
            if found is not None and not isinstance(found, Mapping):
                raise RequestError(
                    f"The configuration {path} holds no options but {shown(repr(found))}.",
                    "Write them as KEY: VALUE, one a line.",
                )
        try:
            return super().load_config(config_path)
        except (yaml.YAMLError, OSError, ValueError, TypeError, RecursionError) as error:
            raise RequestError(f"The configuration {path} cannot be read: {error}") from error


def refuse_code(composed: DictConfig) -> None:
    """Raise ``RequestError`` if Hydra would build or run something that the configuration names."""
    plain = OmegaConf.to_container(composed.hydra, resolve=False)
    assert isinstance(plain, dict)
    node = {str(key): value for key, value in plain.items()}
    if node.get("callbacks"):
        raise RequestError("hydra.callbacks would run code.", _DATA)
    job = node.get("job") or {}
    if job.get("env_set") or job.get("env_copy"):
        raise RequestError(
            "hydra.job.env_set and hydra.job.env_copy would change the environment of this"
            " process.",
            "Set variables in the shell: NAME=value fwcompare ...",
        )
    for name in ("launcher", "sweeper"):
        _refuse_target(name, node.get(name))
    for name in ("job_logging", "hydra_logging"):
        _refuse_logging(name, node.get(name))
    for name, value in node.items():
        if name not in ("launcher", "sweeper"):
            _refuse_keys(f"hydra.{name}", value)


def _refuse_target(name: str, value: Any) -> None:
    """A launcher or sweeper must be one that Hydra has found installed."""
    where = f"hydra.{name}"
    if not isinstance(value, Mapping):
        raise RequestError(f"{where} must be a group of options, got {value!r}.", _DATA)
    from hydra.core.plugins import Plugins
    from hydra.plugins.launcher import Launcher
    from hydra.plugins.sweeper import Sweeper

    wanted = Launcher if name == "launcher" else Sweeper
    classes = Plugins.instance().discover(wanted)
    known = {f"{found.__module__}.{found.__name__}" for found in classes}
    if value.get("_target_") not in known:
        raise RequestError(
            f"{where}._target_={value.get('_target_')} is no installed {name}.",
            f"Choose one by its name: hydra/{name}=NAME. {_DATA}",
        )
    for key, inner in value.items():
        if key != "_target_":
            _refuse_keys(f"{where}.{key}", inner)
        if key in _MEANINGFUL - {"_target_"}:
            raise RequestError(f"{where}.{key} changes how code is called.", _DATA)
        if (name, key) != ("sweeper", "params"):
            _refuse_foreign_values(f"{where}.{key}", inner)


def _refuse_logging(name: str, value: Any) -> None:
    where = f"hydra.{name}"
    _refuse_foreign_values(where, value)
    for path, key, inner in _walk(where, value):
        builds = key in ("()", "factory") or (key == "class" and inner not in _LOGGING_CLASSES)
        text = inner if isinstance(inner, str) else ""
        reaches = "://" in text and text not in _LOGGING_STREAMS
        if builds or reaches:
            raise RequestError(
                f"{path}={inner} would build a logger of its own.",
                f"Choose {where.replace('.', '/')}=stdout, or none; a run's log is worker.log in"
                " its folder.",
            )


def _refuse_keys(where: str, value: Any) -> None:
    for path, key, inner in _walk(where, value):
        if key in _MEANINGFUL:
            raise RequestError(f"{path}={inner} would call code.", _DATA)


def _refuse_foreign_values(where: str, value: Any) -> None:
    """Refuse an interpolation that brings in what has not been looked at."""
    values = [(where, "", value), *_walk(where, value)]
    for path, _, inner in values:
        if isinstance(inner, str) and "${" in _OWN_INTERPOLATION.sub("", inner):
            raise RequestError(
                f"{path}={inner} takes its value from outside of Hydra's own options.",
                "Write the value out.",
            )


def _walk(where: str, value: Any) -> Iterator[tuple[str, str, Any]]:
    """Every key in mappings and lists below ``value``, with its place and what it holds."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"{where}.{key}", str(key), inner
            yield from _walk(f"{where}.{key}", inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield f"{where}[{number}]", "", inner
            yield from _walk(f"{where}[{number}]", inner)
