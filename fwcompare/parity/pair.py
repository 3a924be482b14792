"""Two runs that are to be proven to be the same experiment: found, read, and of one group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from fwcompare.errors import RequestError
from fwcompare.folders import find_run
from fwcompare.limits import read_json
from fwcompare.record import SPEC_FILE
from fwcompare.spec import RunSpec

#: Options of ``trainer`` in the order in which a group holds them.
_TRAINER = ("epochs", "batch_size", "max_steps", "drop_last")


@dataclass(frozen=True)
class Pair:
    """The specs of two runs of one group."""

    first: RunSpec
    second: RunSpec

    @classmethod
    def read(cls, names: Sequence[str], outputs: Path) -> Pair:
        """Two runs by folder or by name under ``outputs``.

        Raises:
            RequestError: not two, no such run, a folder that is no run, a dataset that is gone, or
                runs of different groups.
        """
        if len(names) != 2:
            raise RequestError(
                f"A proof of runs takes two of them, got {len(names)}: {', '.join(names)}.",
                "fwcompare parity RUN_A RUN_B; options have the form key=value.",
            )
        first, second = (_spec(_folder(name, outputs)) for name in names)
        if first.group != second.group:
            raise RequestError(
                "These runs are different experiments: " + "; ".join(differences(first, second)),
                "A proof is for runs of one group: the same mathematics in two engines.",
            )
        return cls(first, second)

    @property
    def engines(self) -> dict[str, list[str]]:
        """The engines of both runs by execution."""
        found: dict[str, list[str]] = {}
        for spec in (self.first, self.second):
            engines = found.setdefault(spec.execution, [])
            if spec.framework.name not in engines:
                engines.append(spec.framework.name)
        return found


def _folder(name: str, outputs: Path) -> Path:
    try:
        return find_run(name, outputs)
    except RequestError as error:  # what was meant may have been an option
        hint = f"{error.hint} Options have the form key=value."
        raise RequestError(error.message, hint) from error


def _spec(folder: Path) -> RunSpec:
    try:
        spec = RunSpec.read(folder / SPEC_FILE)
    except RequestError as error:
        raise RequestError(
            f"{folder} is no run that this release can read: {error.message}",
            "`fwcompare runs` lists those that are.",
        ) from error
    meta = Path(spec.dataset.folder) / "meta.json"
    try:
        digest = read_json(meta)["digest"]
    except (RequestError, KeyError, TypeError):
        digest = None
    if digest != spec.dataset.digest:
        raise RequestError(
            f"The data of run {spec.run} are no longer in {spec.dataset.folder}.",
            "Any run of the same experiment prepares them again; or prove the experiment itself: "
            f"fwcompare parity model={spec.model.name} dataset={spec.dataset.name} ...",
        )
    return spec


def differences(first: RunSpec, second: RunSpec) -> list[str]:
    """What two experiments do not have in common, option by option, as ``option is a and b``."""
    theirs = second.mathematics
    found = []
    for part, mine in first.mathematics.items():
        if mine == theirs[part]:
            continue
        if part == "model":
            found.append(_models(first, second))
            continue
        ours, others = dict(_flat(part, mine)), dict(_flat(part, theirs[part]))
        name = f"{part}.name"
        if ours.get(name) != others.get(name):  # then every other option differs by itself
            found.append(f"{part} is {_chosen(ours, name)} and {_chosen(others, name)}")
            continue
        found += [
            f"{option} is {_shown(ours.get(option))} and {_shown(others.get(option))}"
            for option in dict.fromkeys([*ours, *others])
            if ours.get(option) != others.get(option)
        ]
    return found


def _chosen(options: Mapping[str, Any], name: str) -> str:
    """The name of a choice or, for initial weights from a file, whose they are."""
    if name in options:
        return str(options[name])
    return f"from weights {str(options[name.replace('.name', '.from')])[:12]}"


def _models(first: RunSpec, second: RunSpec) -> str:
    if first.model.name != second.model.name:
        return f"model is {first.model.name} and {second.model.name}"
    own, other = first.model.params, second.model.params
    params = [
        f"model.params.{name} is {_shown(own.get(name))} and {_shown(other.get(name))}"
        for name in dict.fromkeys([*own, *other])
        if own.get(name) != other.get(name)
    ]
    return "; ".join(params) or f"the layers of model {first.model.name} are others"


def _flat(option: str, value: Any) -> Iterator[tuple[str, Any]]:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    elif option == "trainer":
        value = dict(zip(_TRAINER, value, strict=True))
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{option}.{key}", inner)
    else:
        yield option, value


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
