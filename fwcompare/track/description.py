"""Descriptions in Markdown, of an experiment and of a sweep, with links into MLflow's own pages.

A page shows the first lines of a description and folds the rest: what it is comes first, then the
links, then the verdicts. Nothing here imports MLflow.
"""

from __future__ import annotations

from collections.abc import Sequence

from fwcompare.track import views
from fwcompare.track.conclusion import REPORT_FILE, Conclusion

#: How our descriptions of a sweep begin; any other was written by a user.
OURS = "**Sweep `"

#: Characters that MLflow takes of a run's description.
_LONGEST = 8000

_CUT_OFF = "\n\nMLflow takes no more: the rest is among the artifacts."


def of_experiment(experiment_id: str) -> str:
    """What an experiment of ours is, and what its columns mean."""
    sweeps, runs, arms = (views.runs_page(experiment_id, view) for view in views.VIEWS)
    charts = views.runs_page(experiment_id, views.RUNS, charts=True)
    return "\n".join(
        [
            "The same experiments in several frameworks, by fwcompare."
            f" Open [the sweeps]({sweeps}), [all runs]({runs}), [their charts]({charts})"
            f" or [means over seeds]({arms}): views with the columns worth seeing.",
            "",
            "- A sweep is a parent run: **its description holds the verdicts**, its artifacts the"
            " report as a page. Its runs are its children, one for each engine and seed.",
            "- `perf/samples_per_s` and `perf/step_ms_median` are steady training steps;"
            " `time/first_step_s` has the compilation in it; `memory/peak_rss_mib` is the peak of"
            " the process; `test/*` is measured once, after training.",
            "- `fwcompare.comparable` says whether a run was proven to be the same experiment."
            " Verdicts come from pairs of runs with the same seed, never from means in a table.",
        ]
    )


def of_running_sweep(experiment_id: str, name: str) -> str:
    """What stands at a sweep's parent run until the sweep has ended."""
    runs = views.runs_page(experiment_id, views.of_sweep(name))
    return (
        f"{OURS}{name}`** by fwcompare is running, or was cut off; its verdicts will stand here."
        f" [Runs so far]({runs})"
    )


def of_sweep(
    experiment_id: str, run_id: str, name: str, conclusion: Conclusion, side_by_side: Sequence[str]
) -> str:
    """What a sweep has come to.

    Args:
        run_id: MLflow's id of its parent run.
        side_by_side: MLflow's ids of the runs that the conclusion wants to be seen so.
    """
    view = views.of_sweep(name)
    links = [
        f"[Runs]({views.runs_page(experiment_id, view)})",
        f"[curves and speeds]({views.runs_page(experiment_id, view, charts=True)})",
    ]
    if len(side_by_side) > 1:
        address = views.compare_page(experiment_id, side_by_side)
        links.append(f"[a run of each side by side]({address})")
    if any(path.name == REPORT_FILE for path in conclusion.artifacts):
        address = views.artifact_page(experiment_id, run_id, REPORT_FILE)
        links.append(f"[the whole report]({address})")
    head = f"{OURS}{name}`** by fwcompare: {conclusion.headline}"
    return _fitting(f"{head}\n\n{' · '.join(links)}\n\n{conclusion.body}")


def _fitting(text: str) -> str:
    """As many whole lines as MLflow takes."""
    if len(text) <= _LONGEST:
        return text
    return text[: _LONGEST - len(_CUT_OFF)].rpartition("\n")[0] + _CUT_OFF
