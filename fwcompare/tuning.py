"""The life of a search: points, the runs of each, and the best of every arm compared."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fwcompare import launchers, multirun, recovery
from fwcompare.arms import Run, by_arm, load_runs
from fwcompare.compare import Comparison
from fwcompare.compose import configuration
from fwcompare.config import Configuration, require_name
from fwcompare.display import Display
from fwcompare.errors import RequestError
from fwcompare.launch import Pruned, WarmPool
from fwcompare.launchers import Launcher
from fwcompare.locking import claimed
from fwcompare.multirun import Sweep, Watch
from fwcompare.resume import take_up
from fwcompare.search.best import tuned
from fwcompare.search.objective import Objective, objectives
from fwcompare.search.result import Lane, Searched
from fwcompare.search.space import Choice, Space, space
from fwcompare.search.study import Options, Study
from fwcompare.terminal import stderr
from fwcompare.typed import build, convert
from fwcompare.waiting import waiting

#: Journal of the studies, in the sweep's folder.
JOURNAL_FILE = "search.log"


@dataclass(frozen=True)
class Asked:
    """What is searched for, and how: ``hydra.sweeper`` of a search beside its ``Options``."""

    options: Options
    #: Metrics of the record; empty for the task's metric on the validation split.
    objectives: tuple[str, ...] = ()
    #: A direction for each; empty for those that metrics have by their nature.
    directions: tuple[str, ...] = ()
    #: URL of a database; None for a journal beside the sweep.
    storage: str | None = None


def asked(options: Mapping[str, Any], metrics: Any, directions: Any, storage: str | None) -> Asked:
    """What the sweeper's options ask for.

    Raises:
        RequestError: one of them is wrong.
    """
    return Asked(
        build(Options, options, "hydra.sweeper"),
        _listed(metrics, "hydra.sweeper.objectives"),
        _listed(directions, "hydra.sweeper.direction"),
        convert(str | None, storage, "hydra.sweeper.storage"),
    )


def _listed(value: Any, where: str) -> tuple[str, ...]:
    """One word, or several, as several."""
    if value is None:
        return ()
    many = [value] if isinstance(value, str) else list(value)
    return tuple(convert(str, one, where) for one in many)


@dataclass
class _Lane:
    """A study, and the combinations of framework, seed and their like that it proposes for."""

    study: Study
    crossed: tuple[tuple[str, ...], ...]
    labels: set[str] = field(default_factory=set)


@dataclass
class _Attempt:
    """A proposed point, and the overrides of its runs."""

    lane: _Lane
    trial: Any
    cells: list[list[str]]
    runs: list[str] = field(default_factory=list)
    pruned: bool = False


def search(config: Any, overrides: Sequence[Any], asked: Asked, loader: Any) -> None:
    """Search the space of some parsed overrides: try points by a launcher, and compare.

    A sweep of the same name is gone on with.

    Raises:
        RequestError: something asked for is wrong; nothing has been run.
        SystemExit: with 1, at the end, if a run failed and nobody takes the sweep.
    """
    gc.enable()
    base = configuration(config)
    launcher = launchers.chosen(config.hydra)
    if asked.options.pruner != "none" and not launcher.listens:
        raise RequestError(
            f"hydra.sweeper.pruner={asked.options.pruner} must hear of every epoch, and "
            f"hydra/launcher={launcher.name} tells of runs that have ended.",
            "Take hydra/launcher=joblib or basic, or hydra.sweeper.pruner=none.",
        )
    searched = space(overrides)
    metric = str(base.section("task").get("metric"))
    aims = objectives(asked.objectives or (f"val/{metric}",), asked.directions or None)
    name = str(base.section("sweep").get("name") or multirun.new_name(config))
    require_name(name, "sweep.name")
    made = _Search(config, base, searched, aims, asked, loader, name, launcher)
    folder = base.outputs / "sweeps" / name
    with multirun.folder_written(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with claimed(folder, f"The search {name}"):
        made.open(asked.storage or folder / JOURNAL_FILE)
        made.run()


class _Search:
    """One search, from the first point to the comparison."""

    def __init__(
        self,
        config: Any,
        base: Configuration,
        searched: Space,
        aims: tuple[Objective, ...],
        asked: Asked,
        loader: Any,
        name: str,
        launcher: Launcher,
    ) -> None:
        self.launcher = launcher
        self.config, self.base, self.loader, self.name = config, base, loader, name
        self.space, self.aims, self.options = searched, aims, asked.options
        self.console = stderr()
        self._require_prunable()
        self._require_timed()
        self._require_validation()
        # Some point is planned before a study is made, so that what is wrong is said before
        # anything is kept.
        self._empty = self._plan([[*searched.fixed, *_middle(searched), *searched.crossed[0]]])
        self.lanes: list[_Lane] = []

    def open(self, storage: str | Path) -> None:
        """Begin the studies, or go on with those that the storage holds."""
        for crossed in self._split():
            name = self._study_name(crossed)
            study = Study(self.space, self.aims, self.options, storage, name)
            self.lanes.append(_Lane(study, crossed))

    def _study_name(self, crossed: Sequence[Sequence[str]]) -> str:
        own = "" if self.options.points == "shared" else " ".join(_arm(crossed[0]))
        return f"{self.name} {own}".rstrip()

    def _split(self) -> list[tuple[tuple[str, ...], ...]]:
        """What is run with the points of each study."""
        if self.options.points == "shared":
            return [self.space.crossed]
        lanes: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
        for overrides in self.space.crossed:
            lanes.setdefault(_arm(overrides), []).append(overrides)
        return [tuple(lane) for lane in lanes.values()]

    def _require_prunable(self) -> None:
        if self.options.pruner == "none":
            return
        arms = {_arm(overrides) for overrides in self.space.crossed}
        seeds = len(self.space.crossed) // len(arms)
        if seeds > 1 or (len(arms) > 1 and self.options.points == "shared"):
            raise RequestError(
                f"hydra.sweeper.pruner={self.options.pruner} judges a point by its only run; here "
                f"each has {seeds if self.options.points == 'own' else len(self.space.crossed)}.",
                "Take one seed, and one engine or hydra.sweeper.points=own.",
            )
        if len(self.aims) > 1:
            raise RequestError("A pruner needs one objective; several are asked for.")
        if not self.aims[0].metric.startswith(("val/", "train/")):
            raise RequestError(
                f"A pruner needs a metric of every epoch; {self.aims[0].metric} is known at the "
                "end.",
                "Take val/... or train/loss as objective, or hydra.sweeper.pruner=none.",
            )

    def _require_timed(self) -> None:
        times = [aim.metric for aim in self.aims if aim.metric.startswith(("time/", "perf/"))]
        if times and not self.base.compare.criteria.timed:
            raise RequestError(
                f"The search wants {times[0]}, and compare.measure=accuracy measures no times.",
                "Leave out one of them.",
            )

    def _require_validation(self) -> None:
        params = self.base.section("dataset").get("params")
        wanted = [aim.metric for aim in self.aims if aim.metric.startswith("val/")]
        if wanted and isinstance(params, Mapping) and params.get("val_fraction") == 0:
            raise RequestError(
                f"The search wants {wanted[0]}, and the dataset keeps nothing for validation.",
                "Set dataset.params.val_fraction=0.1, or another share.",
            )

    def _plan(self, cells: Sequence[Sequence[str]]) -> Sweep:
        """The runs of some points. Nothing is to be proven: points are different experiments."""
        made = multirun.plan(self.config, cells, self.loader, self.name, self.launcher.elsewhere)
        made.parity = replace(made.parity, in_sweep=False)
        return made

    def run(self) -> None:
        """Try points until every study has had its budget."""
        recovery.announce(self.base.outputs, self.console)
        batch = self._propose()
        if not batch:
            self.console.print(
                f"Search {self.name}: all {self.lanes[0].study.budget} points were tried; "
                "hydra.sweeper.n_trials=N asks for more.",
                style="dim",
                soft_wrap=True,
            )
        made = self._begin(batch)
        room = multirun.room_for(made, self.launcher)
        multirun.announce(self.launcher, room, made, self.console)
        if not self.launcher.elsewhere:
            with waiting(self.console, "Measuring the machine's peak ..."):
                made.peaks = multirun.peaks(made)
        multirun.prepare(made)
        left = sum(lane.study.budget - lane.study.done for lane in self.lanes)
        per_point = len(self.lanes[0].crossed)
        watch = Watch(made, Display(self.console, left * per_point))
        with multirun.lived(watch, self._judge):
            while batch:
                watch.tracks_later = multirun.disturbs(made, self.launcher, room)
                self._try(batch, watch)
                batch = self._propose()
                if batch:
                    self._next(batch, watch)

    def _propose(self) -> list[_Attempt]:
        """The next points, as many at a time as asked for, from every study that has some left."""
        found = []
        for lane in self.lanes:
            left = lane.study.budget - lane.study.done
            for _ in range(min(self.options.n_jobs, left)):
                trial = lane.study.propose()
                point = self.space.overrides(trial.params)
                cells = [[*point, *overrides] for overrides in lane.crossed]
                found.append(_Attempt(lane, trial, cells))
        return found

    def _begin(self, batch: Sequence[_Attempt]) -> Sweep:
        made = self._empty
        if batch:
            made = self._plan([cell for attempt in batch for cell in attempt.cells])
        else:  # nothing is left to do but to tell what it came to
            made.cells = []
        made.resumption = take_up(made.cells, made.folder, made.retry)
        return made

    def _next(self, batch: Sequence[_Attempt], watch: Watch) -> None:
        before = watch.sweep
        made = self._begin(batch)
        made.peaks, made.parent = before.peaks, before.parent
        multirun.prepare(made)
        watch.sweep = made

    def _try(self, batch: Sequence[_Attempt], watch: Watch) -> None:
        owners: dict[str, _Attempt] = {}
        for attempt in batch:
            asked = {tuple(cell) for cell in attempt.cells}
            attempt.runs = [c.run for c in watch.sweep.cells if tuple(c.overrides) in asked]
            owners |= dict.fromkeys(attempt.runs, attempt)
        if self.options.pruner != "none":
            watch.pruner = lambda run, event: self._prune(owners.get(run), event)
        multirun.run_cells(watch, self.launcher)
        runs = load_runs(watch.sweep.folder)
        for attempt in batch:
            self._tell(attempt, [run for run in runs if run.record.run in attempt.runs])
        self._keep(watch.sweep.folder)

    def _prune(self, attempt: _Attempt | None, event: Mapping[str, Any]) -> None:
        """End a run that does worse than earlier ones did at the same epoch."""
        value = event.get("metrics", {}).get(self.aims[0].metric)
        if attempt is None or event["event"] != "epoch" or value is None:
            return
        attempt.trial.report(float(value), int(event["epoch"]))
        if attempt.trial.should_prune():
            attempt.pruned = True
            raise Pruned(
                f"{self.options.pruner} pruner: {self.aims[0].metric} {value:.4g} after epoch "
                f"{event['epoch']}"
            )

    def _tell(self, attempt: _Attempt, runs: Sequence[Run]) -> None:
        arms = {
            label: own
            for label, own in by_arm(runs, self._varying()).items()
            if any(run.record.status != "unsupported" for run in own)
        }
        values = {
            label: [aim.of([run.record for run in own]) for aim in self.aims]
            for label, own in arms.items()
        }
        attempt.lane.labels |= set(values)
        attempt.lane.study.tell(attempt.trial, values, attempt.runs, pruned=attempt.pruned)

    def _varying(self) -> set[str]:
        """What tells arms of one engine apart, by the names that runs have for it."""
        names = {
            "device.threads": "threads",
            "framework.python": "python",
            "distributed": "processes",
            "distributed.processes": "processes",
            "distributed.replicas": "processes",
        }
        swept = {override.split("=", 1)[0] for cell in self.space.crossed for override in cell}
        return {names.get(option, option) for option in swept - {"framework", "seed"}}

    def searched(self) -> Searched:
        """What the search has come to so far."""
        lanes = []
        for lane in self.lanes:
            tried = tuple(lane.study.tried())
            labels = sorted(lane.labels | {label for point in tried for label in point.arms})
            lanes.append(Lane(tuple(labels), tried, tuple(lane.study.importances())))
        return Searched(
            self.aims,
            self.options.sampler,
            self.options.points,
            self.lanes[0].study.budget,
            tuple(f"{axis.option}: {axis.words}" for axis in self.space.axes),
            tuple(lanes),
        )

    def _keep(self, folder: Path) -> None:
        with multirun.said("search.json", self.console):
            self.searched().write(folder)

    def _judge(
        self, watch: Watch, runs: Sequence[Run], stopped: bool, pool: WarmPool
    ) -> tuple[Comparison, ...]:
        """The best of every arm, side by side."""
        made = watch.sweep
        return (tuned(self.searched(), runs, made.name, made.baseline_of(runs), made.criteria),)


def _arm(overrides: Sequence[str]) -> tuple[str, ...]:
    """What distinguishes the arm of a run: all that is crossed but the seed."""
    return tuple(o.split("=", 1)[1] for o in overrides if not o.startswith("seed="))


def _middle(searched: Space) -> list[str]:
    """Some point of a space, by which it can be checked."""
    point: dict[str, Any] = {}
    for axis in searched.axes:
        if isinstance(axis, Choice):
            point[axis.option] = axis.values[0]
        else:
            point[axis.option] = int(axis.low) if axis.integer else axis.low
    return [f"{option}={value}" for option, value in point.items()]
