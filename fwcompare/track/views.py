"""What MLflow's pages show of an experiment at first, and the links that show it.

MLflow has no setting for the columns of its runs table, and it shows no metric by default. What a
store can hold is a *shared view*: a tag of the experiment with columns, charts, filter and order as
JSON, which the page applies when its address names it. One that is wrapped with a name stands under
"Views" on the runs page besides. MLflow 3.17 read them so; a release that does not leaves
its own defaults. Nothing here imports MLflow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

#: Prefix of the tags of an experiment that hold views.
VIEW_TAG = "mlflow.sharedViewState."

#: The side of MLflow's pages that is about training and not about language models.
_TRAINING = "machine_learning"

#: Characters of a sweep's name in the name of its view; MLflow takes 250 in the name of a tag.
_LONGEST_NAME = 200

#: Columns of runs with their widths in pixels, in the order in which they stand. A metric that no
#: run of the table has gets no column.
_RUN_COLUMNS = {
    "attributes.`Run Name`": 210,
    "runDateAndNestInfo": 140,
    "metrics.`test/accuracy`": 120,
    "metrics.`test/micro_f1`": 120,
    "metrics.`test/perplexity`": 130,
    "metrics.`test/mae`": 120,
    "metrics.`perf/samples_per_s`": 150,
    "metrics.`perf/step_ms_median`": 170,
    "metrics.`time/first_step_s`": 130,
    "metrics.`memory/peak_rss_mib`": 170,
    "tags.`fwcompare.comparable`": 180,
    "tags.`fwcompare.status`": 150,
    "tags.`fwcompare.framework`": 180,
    "duration": 90,
    "attributes.`Dataset`": 160,
}

_SWEEP_COLUMNS = {
    "attributes.`Run Name`": 240,
    "runDateAndNestInfo": 140,
    "tags.`fwcompare.engines`": 240,
    "tags.`fwcompare.model`": 150,
    "tags.`fwcompare.dataset`": 160,
    "tags.`fwcompare.status`": 150,
    "tags.`fwcompare.comparable`": 190,
    "metrics.`sweep/runs_ok`": 140,
    "metrics.`sweep/runs_failed`": 150,
    "metrics.`sweep/seeds`": 130,
    "duration": 90,
}

#: Charts by their section. A chart of a metric that no run has is left out by the page.
_CHARTS = {
    "Learning by epoch": (
        "val/accuracy",
        "val/micro_f1",
        "val/perplexity",
        "val/mae",
        "train/loss",
        "val/loss",
    ),
    "Speed, memory and result": (
        "perf/samples_per_s",
        "perf/step_ms_median",
        "time/first_step_s",
        "memory/peak_rss_mib",
        "memory/peak_device_mib",
        "test/accuracy",
        "test/micro_f1",
        "test/perplexity",
        "test/mae",
    ),
}

#: Those of them that are lines by epoch; the others are bars.
_LINES = _CHARTS["Learning by epoch"]

#: Without a value for smoothing the page would smooth, and show other curves than were measured.
_LINE = {"xAxisKey": "step", "scaleType": "linear", "lineSmoothness": 0, "range": {}}


@dataclass(frozen=True)
class View:
    """A view of the runs page, kept in a tag of the experiment."""

    #: Its name in addresses.
    key: str
    #: Its name under "Views"; one without is found by its address alone.
    title: str
    state: Mapping[str, Any]

    @property
    def tag_key(self) -> str:
        """The name of the tag that holds it."""
        return VIEW_TAG + self.key

    @property
    def tag_value(self) -> str:
        """The view as the page reads it from the tag."""
        state = json.dumps(self.state, separators=(",", ":"))
        if not self.title:
            return state
        # When it was made only decides the order under "Views".
        wrapped = {"name": self.title, "createdAt": 0, "updatedAt": 0, "state": state}
        return json.dumps(wrapped, separators=(",", ":"))


def _table(columns: Mapping[str, int]) -> dict[str, Any]:
    return {
        "selectedColumns": [name for name in columns if "." in name],
        "columnOrder": list(columns),
        "columnWidths": dict(columns),
    }


def _charts() -> dict[str, Any]:
    """Charts for every run of the table, in sections of which the first stand on top."""
    # Ids are short, for older releases of MLflow take 5000 characters in a tag.
    ids = {name: str(number) for number, name in enumerate(_CHARTS)}
    sections = [{"uuid": ids[name], "name": name, "display": True} for name in _CHARTS]
    charts = [
        {
            "uuid": key,
            "type": "LINE" if key in _LINES else "BAR",
            "metricKey": key,
            "metricSectionId": ids[section],
            "displayName": key,
            "runsCountToCompare": 100,
        }
        | (_LINE if key in _LINES else {})
        for section, keys in _CHARTS.items()
        for key in keys
    ]
    return {
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "isAccordionReordered": True,  # else sections stand by alphabet
        "runsHiddenMode": "SHOW_ALL",
    }


def _runs(condition: str) -> dict[str, Any]:
    return {
        "searchFilter": condition,
        # Ordered by time of start, the page would put runs below their sweep, folded away.
        "orderByKey": "attributes.`end_time`",
        "orderByAsc": False,
        **_table(_RUN_COLUMNS),
        **_charts(),
    }


RUNS = View("fwcompare-runs", "Runs of all sweeps", _runs("tags.`fwcompare.kind` = 'run'"))

ARMS = View(
    "fwcompare-arms",
    "Mean over seeds",
    {
        **RUNS.state,
        "columnWidths": {**_RUN_COLUMNS, "attributes.`Run Name`": 480},
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [
                {"mode": "tag", "groupByData": "fwcompare.label"},
                {"mode": "tag", "groupByData": "fwcompare.sweep"},
            ],
        },
    },
)

SWEEPS = View(
    "fwcompare-sweeps",
    "Sweeps",
    {
        "searchFilter": "tags.`fwcompare.kind` = 'sweep'",
        "orderByKey": "attributes.`end_time`",
        "orderByAsc": False,
        **_table(_SWEEP_COLUMNS),
    },
)

#: Views of every experiment.
VIEWS = (SWEEPS, RUNS, ARMS)


def of_sweep(name: str) -> View:
    """The runs of one sweep, without its parent run, engine by engine."""
    # A sweep's name holds no quotes.
    condition = f"tags.`fwcompare.sweep` = '{name}' and tags.`fwcompare.kind` = 'run'"
    order = {"orderByKey": "tags.`fwcompare.framework`", "orderByAsc": True}
    return View("fwcompare-sweep-" + name[:_LONGEST_NAME], "", _runs(condition) | order)


def runs_page(experiment_id: str, view: View, *, charts: bool = False) -> str:
    """Address of the runs page with a view, to be put behind that of a server.

    It is relative, so that a description holds wherever the store is served.
    """
    query = {"viewStateShareKey": view.key, "workflowType": _TRAINING}
    if charts:
        query["compareRunsMode"] = "CHART"
    return f"#/experiments/{experiment_id}/runs?{urlencode(query)}"


def run_page(experiment_id: str, run_id: str) -> str:
    """Address of the page of one run."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?workflowType={_TRAINING}"


def artifact_page(experiment_id: str, run_id: str, path: str) -> str:
    """Address of the page that shows one artifact of a run."""
    return f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/{quote(path)}"


def compare_page(experiment_id: str, run_ids: Sequence[str]) -> str:
    """Address of the page that shows runs side by side."""
    runs, experiments = (
        quote(json.dumps(ids, separators=(",", ":"))) for ids in (list(run_ids), [experiment_id])
    )
    return f"#/compare-runs?runs={runs}&experiments={experiments}&workflowType={_TRAINING}"
