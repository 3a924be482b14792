"""Points of a space, proposed by Optuna, and what each was worth; kept in a storage."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fwcompare.errors import RequestError, unknown
from fwcompare.search.objective import Objective
from fwcompare.search.result import Tried
from fwcompare.search.space import Choice, Interval, Space

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("none", "median", "halving")

#: Optuna's states in our words.
_STATES = {"COMPLETE": "complete", "FAIL": "failed", "PRUNED": "pruned", "RUNNING": "running"}

#: Attribute of a study that says what it searches.
_SEARCHED = "fwcompare.searched"


@dataclass(frozen=True)
class Options:
    """How points are proposed: ``hydra.sweeper`` of a search."""

    sampler: str = "tpe"
    #: Points to try; of a grid all, if there are fewer.
    n_trials: int = 20
    #: Points that are tried at a time; more than one needs a launcher that runs them side by side.
    n_jobs: int = 1
    #: Decides what a sampler draws.
    sampler_seed: int = 0
    pruner: str = "none"
    #: First epoch after which a run may be ended for doing badly.
    pruner_warmup_epochs: int = 1
    #: ``shared``: every arm is run with the same points. ``own``: each arm has points of its own,
    #: as many.
    points: str = "shared"

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise unknown("hydra.sweeper.sampler", self.sampler, SAMPLERS)
        if self.pruner not in PRUNERS:
            raise unknown("hydra.sweeper.pruner", self.pruner, PRUNERS)
        if self.points not in ("shared", "own"):
            raise unknown("hydra.sweeper.points", self.points, ("shared", "own"))
        for name in ("n_trials", "n_jobs"):
            if getattr(self, name) < 1:
                raise RequestError(
                    f"hydra.sweeper.{name} must be at least 1, got {getattr(self, name)}."
                )


class Study:
    """One sequence of points. An existing one of the same name in the storage is gone on with.

    Raises:
        RequestError: Optuna is not installed, the storage cannot be opened, or it holds another
            search under this name.
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[Objective],
        options: Options,
        storage: str | Path,
        name: str,
    ) -> None:
        self.space = space
        self.objectives = tuple(objectives)
        self.options = options
        optuna = import_optuna()
        self._optuna = optuna
        try:
            self._study = optuna.create_study(
                storage=_storage(optuna, storage),
                sampler=self._sampler(),
                pruner=self._pruner(),
                study_name=name,
                directions=[objective.direction for objective in objectives],
                load_if_exists=True,
            )
        except RequestError:
            raise
        except Exception as error:
            raise RequestError(
                f"The storage of the search, {_shown(storage)}, cannot be used: "
                f"{str(error).splitlines()[0] if str(error) else type(error).__name__}",
                "Give hydra.sweeper.storage a URL of SQLAlchemy such as sqlite:///search.db, or "
                "null for a file beside the sweep.",
            ) from error
        self._require_same(name)
        self._try_again_what_was_cut_off()

    def _require_same(self, name: str) -> None:
        searched = json.dumps(
            {
                **self.space.to_json(),
                "objectives": [[o.metric, o.direction] for o in self.objectives],
                "points": self.options.points,
            },
            sort_keys=True,
        )
        before = self._study.user_attrs.get(_SEARCHED)
        if before is None:
            self._study.set_user_attr(_SEARCHED, searched)
            if self.options.sampler == "grid":
                self._queue_grid()
        elif before != searched:
            known, asked = json.loads(before), json.loads(searched)
            differing = ", ".join(key for key in asked if asked[key] != known.get(key))
            raise RequestError(
                f"The storage holds another search under the name '{name}': {differing} differ.",
                "Go on with it by the same command, or give another sweep.name.",
            )

    def _queue_grid(self) -> None:
        """All points of the grid, in random order, so that a budget too small for them is spread.

        Optuna's own sampler of grids cannot be asked for points one by one: it wants to stop the
        loop that it is not in.
        """
        grid = self.space.grid()
        points = list(itertools.product(*grid.values()))
        random.Random(self.options.sampler_seed).shuffle(points)
        for values in points:
            self._study.enqueue_trial(dict(zip(grid, values, strict=True)))

    def _try_again_what_was_cut_off(self) -> None:
        running = self._optuna.trial.TrialState.RUNNING
        for trial in self._study.get_trials(deepcopy=False, states=(running,)):
            self._study.tell(trial.number, state=self._optuna.trial.TrialState.FAIL)
            self._study.enqueue_trial(trial.params, {"again": trial.number})

    def _sampler(self) -> Any:
        samplers, seed = self._optuna.samplers, self.options.sampler_seed
        if self.options.sampler == "tpe":
            return samplers.TPESampler(seed=seed)
        return samplers.RandomSampler(seed=seed)  # of a grid, every point is queued

    def _pruner(self) -> Any:
        pruners, warm_up = self._optuna.pruners, self.options.pruner_warmup_epochs
        if self.options.pruner == "median":
            return pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=warm_up)
        if self.options.pruner == "halving":
            return pruners.SuccessiveHalvingPruner(min_resource=max(warm_up, 1))
        return pruners.NopPruner()

    @property
    def budget(self) -> int:
        """Points to try in all."""
        if self.options.sampler != "grid":
            return self.options.n_trials
        return min(math.prod(map(len, self.space.grid().values())), self.options.n_trials)

    @property
    def done(self) -> int:
        """Points whose trial has ended, well or not, but for those that were cut off."""
        return sum(point.state in ("complete", "failed", "pruned") for point in self.tried())

    def propose(self) -> Any:
        """The next point to try, as Optuna's trial; its ``params`` are the point."""
        distributions = self._optuna.distributions
        axes: dict[str, Any] = {}
        for axis in self.space.axes:
            if isinstance(axis, Choice):
                axes[axis.option] = distributions.CategoricalDistribution(axis.values)
            elif isinstance(axis, Interval) and axis.integer:
                axes[axis.option] = distributions.IntDistribution(
                    int(axis.low), int(axis.high), log=axis.log
                )
            else:
                axes[axis.option] = distributions.FloatDistribution(
                    axis.low, axis.high, log=axis.log
                )
        return self._study.ask(axes)

    def tell(
        self,
        trial: Any,
        arms: Mapping[str, Sequence[float]],
        runs: Sequence[str],
        *,
        pruned: bool = False,
    ) -> None:
        """What a proposed point came to: the value of each objective for each arm, NaN for none.

        Its worth is the mean over the arms. Where one has no value the point counts as failed: a
        mean over the others would be another quantity.
        """
        states = self._optuna.trial.TrialState
        trial.set_user_attr("runs", list(runs))
        known = {
            arm: list(values) for arm, values in arms.items() if all(map(math.isfinite, values))
        }
        trial.set_user_attr("arms", known)
        if pruned:
            self._study.tell(trial, state=states.PRUNED)
        elif len(known) < len(arms) or not arms:
            self._study.tell(trial, state=states.FAIL)
        else:
            each = zip(*known.values(), strict=True)
            self._study.tell(trial, [statistics.fmean(values) for values in each])

    def tried(self) -> list[Tried]:
        """Every point so far, in order; one that waits to be tried again is left out."""
        trials = self._study.get_trials(deepcopy=False)
        again = {trial.user_attrs.get("again") for trial in trials}
        return [
            Tried(
                number=trial.number,
                state="cut off" if trial.number in again else _STATES[trial.state.name],
                point=dict(trial.params),
                arms=dict(trial.user_attrs.get("arms", {})),
                runs=tuple(trial.user_attrs.get("runs", ())),
            )
            for trial in trials
            if trial.state.name in _STATES
        ]

    def importances(self) -> list[dict[str, float]]:
        """Share of each option in the variation of each objective (fANOVA, Hutter and others,
        2014); empty where there are too few different points to tell."""
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        def shares(number: int) -> dict[str, float]:
            def value(trial: Any) -> float:
                return float(trial.values[number])

            evaluator = FanovaImportanceEvaluator(seed=self.options.sampler_seed)
            try:
                return dict(get_param_importances(self._study, evaluator=evaluator, target=value))
            except (RuntimeError, ValueError):  # too few points, or all alike
                return {}

        return [shares(number) for number in range(len(self.objectives))]


def import_optuna() -> Any:
    """Optuna, without its log lines.

    Raises:
        RequestError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise RequestError(
            "hydra/sweeper=optuna needs Optuna, which is not installed.",
            'Install it: pip install "fwcompare[optuna]"',
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def _storage(optuna: Any, storage: str | Path) -> Any:
    """A database by its URL, or a journal in a file: it needs no server and bears being cut off."""
    if isinstance(storage, str):
        return storage
    storage.parent.mkdir(parents=True, exist_ok=True)
    backend = optuna.storages.journal.JournalFileBackend(str(storage))
    return optuna.storages.JournalStorage(backend)


def _shown(storage: str | Path) -> str:
    """A storage without the password that its URL may hold."""
    return re.sub(r"(://[^:/@\s]+):[^@\s]*@", r"\1:***@", str(storage))
