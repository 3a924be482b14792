"""What Hydra loads at every start: kept free of anything heavy.

Hydra runs this module without entering it into ``sys.modules``; a dataclass with postponed
annotations cannot be made there, hence no ``from __future__ import annotations``.
"""

import importlib.metadata
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
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


class FwcompareSweeper(Sweeper):
    """Expands the overrides as Hydra's basic sweeper does, and hands the cells to fwcompare."""

    def __init__(self, params: dict[str, str] | None) -> None:
        self.params = dict(params or {})
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        from hydra.core.plugins import Plugins

        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
        from hydra.core.override_parser.overrides_parser import OverridesParser

        from fwcompare.multirun import sweep

        assert self.hydra_context and self.config is not None and self.launcher
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = [f"{key}={value}" for key, value in self.params.items()]
        overrides = parser.parse_overrides([*given, *arguments])
        cells = BasicSweeper.split_arguments(overrides, None)[0]
        return sweep(self.config, cells, self.hydra_context.config_loader, self.launcher)


@dataclass
class FwcompareSweeperConf:
    """Options of the sweeper, under ``hydra.sweeper``."""

    _target_: str = "hydra_plugins.fwcompare_sweeper.FwcompareSweeper"
    params: dict[str, str] | None = field(default_factory=dict)


ConfigStore.instance().store(
    group="hydra/sweeper", name="fwcompare", node=FwcompareSweeperConf, provider="fwcompare"
)
