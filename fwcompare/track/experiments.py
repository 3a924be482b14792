"""The MLflow experiment that holds our runs: found or made, described, and given its views."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from fwcompare.errors import RequestError
from fwcompare.track import description, views

#: MLflow's tag for a description, of a run or an experiment.
NOTE = "mlflow.note.content"


def find_or_create(client: Any, name: str, artifact_root: str | None) -> str:
    """The id of the experiment of this name, which another process may be creating just now."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        # Without its kind, the page asks whoever opens it first what the experiment is about.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        try:
            created: str = client.create_experiment(name, artifact_root, kind)
            return created
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise RequestError(
            f"The experiment '{name}' was deleted from the tracking store.",
            "Choose another: tracking.experiment=NAME; or bring it back:"
            f" mlflow experiments restore --experiment-id {found.experiment_id}",
        )
    experiment_id: str = found.experiment_id
    return experiment_id


def describe(client: Any, experiment_id: str) -> None:
    """Give the experiment its views and its description; one that a user wrote stays."""
    known = client.get_experiment(experiment_id).tags
    wanted = {view.tag_key: view.tag_value for view in views.VIEWS}
    if NOTE not in known:
        wanted[NOTE] = description.of_experiment(experiment_id)
    set_tags(client, experiment_id, wanted, known)


def set_tags(
    client: Any,
    experiment_id: str,
    tags: Mapping[str, str],
    known: Mapping[str, str] | None = None,
) -> None:
    """Set tags of an experiment that it does not have with just these values."""
    from mlflow.exceptions import MlflowException

    known = client.get_experiment(experiment_id).tags if known is None else known
    for key, value in tags.items():
        if known.get(key) != value:
            # Of two processes that add a tag at once one fails, and a store that refuses tags of
            # an experiment still takes runs: these are only for comfort.
            with suppress(MlflowException):
                client.set_experiment_tag(experiment_id, key, value)
