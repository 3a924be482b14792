"""What Hydra loads at every start: kept free of anything heavy.

Hydra runs this module without entering it into ``sys.modules``; a dataclass with postponed
annotations cannot be made there, hence no ``from __future__ import annotations``.
"""

import importlib.metadata
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class FwcompareConfigs(SearchPathPlugin):
    """Adds the config package of every installed framework plugin."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if "pkg://fwcompare.conf" not in {entry.path for entry in search_path.get_path()}:
            return  # another Hydra application of this environment
        for point in importlib.metadata.entry_points(group="fwcompare.configs"):
            search_path.append(provider=f"fwcompare-{point.name}", path=f"pkg://{point.value}")


class _Front(Sweeper):
    """What fwcompare's sweepers share: overrides parsed. They run launchers by their options."""

    def __init__(self, params: dict[str, str] | None) -> None:
        self.params = dict(params or {})
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def parsed(self, arguments: list[str]) -> list[Override]:
        """The sweeper's own params, then what was given on the command line, which wins."""
        from hydra.core.override_parser.overrides_parser import OverridesParser

        from fwcompare.compose import require_countable

        assert self.hydra_context
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = [f"{key}={value}" for key, value in self.params.items()]
        found = list(parser.parse_overrides([*given, *arguments]))
        require_countable(found)
        return found


class RayLauncher(Launcher):
    """Stands for ``hydra/launcher=ray``, whose options fwcompare's sweepers take."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        pass

    def launch(self, job_overrides: Any, initial_job_idx: int) -> Any:
        raise RuntimeError("This launcher runs the sweeps of fwcompare alone.")


class FwcompareSweeper(_Front):
    """Expands the overrides as Hydra's basic sweeper does, and hands the cells to fwcompare."""

    def sweep(self, arguments: list[str]) -> Any:
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        from fwcompare.multirun import sweep

        assert self.hydra_context and self.config is not None
        cells = BasicSweeper.split_arguments(self.parsed(arguments), None)[0]
        return sweep(self.config, cells, self.hydra_context.config_loader)


class FwcompareSearch(_Front):
    """Hands the overrides to fwcompare, which asks Optuna for points."""

    def __init__(
        self,
        params: dict[str, str] | None,
        objectives: Any,
        direction: Any,
        storage: str | None,
        **options: Any,
    ) -> None:
        super().__init__(params)
        self.objectives = objectives
        self.direction = direction
        self.storage = storage
        self.options = options

    def sweep(self, arguments: list[str]) -> Any:
        from fwcompare.tuning import asked, search

        assert self.hydra_context and self.config is not None
        wanted = asked(self.options, self.objectives, self.direction, self.storage)
        # A later override of an option stands for an earlier one, as on any command line.
        last = {override.key_or_group: override for override in self.parsed(arguments)}
        loader = self.hydra_context.config_loader
        return search(self.config, list(last.values()), wanted, loader)


@dataclass
class FwcompareSweeperConf:
    """Options of the sweeper, under ``hydra.sweeper``."""

    _target_: str = "hydra_plugins.fwcompare_sweeper.FwcompareSweeper"
    params: dict[str, str] | None = field(default_factory=dict)


@dataclass
class RayLauncherConf:
    """Options of Ray, under ``hydra.launcher`` with ``hydra/launcher=ray``."""

    _target_: str = "hydra_plugins.fwcompare_sweeper.RayLauncher"
    #: HOST:PORT of a cluster; null: Ray is started on this machine, and ended afterwards.
    address: str | None = None
    #: Cores of this machine that Ray may use; null: all.
    num_cpus: int | None = None
    #: How nodes come to the run folders: shared, brought by Ray, or auto, which looks.
    folders: str = "auto"
    #: Seconds in which a cluster must answer.
    connect_s: float = 20.0


@dataclass
class FwcompareSearchConf:
    """Options of the search, under ``hydra.sweeper`` with ``hydra/sweeper=optuna``."""

    _target_: str = "hydra_plugins.fwcompare_sweeper.FwcompareSearch"
    #: How points are proposed: tpe, random or grid.
    sampler: str = "tpe"
    #: Points to try; a grid ends when it is used up.
    n_trials: int = 20
    #: Points that are tried at a time, by a launcher that runs them side by side.
    n_jobs: int = 1
    #: Decides what the sampler draws.
    sampler_seed: int = 0
    #: Ends runs that do badly: none, median or halving.
    pruner: str = "none"
    #: Epochs before which no run is ended.
    pruner_warmup_epochs: int = 1
    #: shared: every engine is run with the same points; own: each has points of its own, as many.
    points: str = "shared"
    #: Metrics, one or a list; null: the task's metric on the validation split.
    objectives: Any = None
    #: maximize or minimize, one for each objective; null: as is natural for the metric.
    direction: Any = None
    #: URL of a database that keeps the search; null: a journal beside the sweep.
    storage: str | None = None
    #: Options that are swept, as in Hydra's own configs.
    params: dict[str, str] | None = field(default_factory=dict)


ConfigStore.instance().store(
    group="hydra/launcher", name="ray", node=RayLauncherConf, provider="fwcompare"
)
ConfigStore.instance().store(
    group="hydra/sweeper", name="optuna", node=FwcompareSearchConf, provider="fwcompare"
)
ConfigStore.instance().store(
    group="hydra/sweeper", name="fwcompare", node=FwcompareSweeperConf, provider="fwcompare"
)
