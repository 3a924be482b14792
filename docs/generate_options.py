"""Write docs/reference/options.md from the typed configuration: `make docs`.

Names and defaults are those of the files in conf/, types those of the dataclasses that read them.
What is allowed is asked of the checks themselves, by giving them wrong values; sentences are the
comments above a field or a key. An option that lacks a type or a sentence ends the command.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from fwcompare import metrics
from fwcompare.config import Compare, Parity, Tracking
from fwcompare.data.sources import SOURCES
from fwcompare.errors import RequestError
from fwcompare.multirun import shares
from fwcompare.preflight import Preflight
from fwcompare.resume import retries
from fwcompare.spec import (
    OPTIMIZERS,
    Augment,
    Device,
    Distributed,
    Framework,
    Init,
    Measure,
    Optimizer,
    RunSpec,
    Scheduler,
    Task,
    Training,
)
from fwcompare.typed import build

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
PAGE = ROOT / "docs" / "reference" / "options.md"

#: The groups in the order of the page, with what each decides.
GROUPS = {
    "framework": "The engine that trains.",
    "model": "What is trained; [your own model](../how-to/own-model.md) is two files more.",
    "task": "What the output means.",
    "dataset": "What it is trained on; [your own data](../how-to/own-data.md).",
    "optimizer": "How a step is made.",
    "scheduler": "The learning rate by step, as a factor of `optimizer.lr`.",
    "device": "Where the worker runs.",
    "precision": "Types of numbers; [what each engine does](precision.md).",
    "execution": "How an engine executes the step.",
    "distributed": "Processes or devices that train one model; [distributed](../distributed.md).",
    "semantics": "Whose definitions of layers and optimizers hold.",
    "init": "Where the initial weights come from. They are the same for every engine.",
    "tracking": "Where runs are shown; [MLflow](../how-to/mlflow.md).",
    "experiment": "A whole experiment in a file.",
    "zoo": "A model made small, with a task and a dataset that fit; [tasks](../how-to/tasks.md).",
}

#: Groups whose dataclass tells more than one sentence.
RULES: dict[str, type] = {"optimizer": Optimizer, "scheduler": Scheduler}

#: The nodes that are no groups.
NODES = ("trainer", "augment", "measure", "sweep", "compare", "parity", "preflight", "paths")

#: The dataclass that reads a group or a node, the same for all of its choices.
READERS: dict[str, type] = {
    "framework": Framework,
    "task": Task,
    "scheduler": Scheduler,
    "device": Device,
    "distributed": Distributed,
    "init": Init,
    "tracking": Tracking,
    "trainer": Training,
    "augment": Augment,
    "measure": Measure,
    "compare": Compare,
    "parity": Parity,
    "preflight": Preflight,
}

#: Keys that are named otherwise in their dataclass.
FIELDS = {"init.from": "source"}

#: Options that no dataclass reads.
LOOSE = {
    "seed": int,
    "sweep.name": str | None,
    "sweep.retry": str,
    "sweep.shared_cores": str,
    "paths.outputs": str,
    "paths.cache": str | None,
    "paths.offline": bool,
}

#: A spec of nothing, on which the checks of its plain fields can be tried.
EMPTY: dict[str, Any] = {
    **{f.name: None for f in fields(RunSpec)},
    "precision": "float32",
    "execution": "native",
    "semantics": "aligned",
}

#: Checks of such options.
LOOSE_CHECKS: dict[str, Callable[[Any], object]] = {
    "seed": lambda wrong: RunSpec(**{**EMPTY, "seed": wrong}),
    "sweep.retry": retries,
    "sweep.shared_cores": shares,
}

#: Words that are checked against the data, when these are there.
ALLOWED: dict[str, Sequence[str]] = {
    "task.loss": sorted(metrics.LOSSES),
    "task.metric": sorted(metrics.METRICS),
}

#: What a check is asked with, by type: each is wrong for some options.
WRONG: dict[type, tuple[object, ...]] = {
    str: ("?",),
    float: (-1.0, 0.0, 1.0, 2.0),
    int: (-1, 0, 1),
    tuple: ([0],),
}

#: Above the options of code that stands for layers.
CODE = "Every model has these; [port a model](../how-to/port-a-model.md)."

TYPE_WORDS = {bool: "`true` or `false`", int: "whole number", float: "number", str: "word"}

HEAD = """# Options

<!-- Written by `make docs` from the typed configuration: change that, and not this page. -->

Every option of a run or a sweep, as `key=value`. A group takes the name of a choice
(`optimizer=sgd`); options of that choice are given beside it (`optimizer.lr=0.05`). With `-m` an
option may hold several values (`optimizer=sgd,adam`, `'seed=range(5)'`).

`fwcompare --cfg job` prints the options in force. What is misspelt, of the wrong type or out of
range is said before any work. Where the choices of a group differ in a default, all are named.
"""


@dataclass(frozen=True)
class Choice:
    """A file of a group, or config.yaml: values and the comments above them, by dotted place."""

    name: str
    values: dict[str, Any]
    comments: dict[str, str]
    #: The comment at the head of the file.
    sentence: str


@dataclass(frozen=True)
class Option:
    """One option under its full name."""

    name: str
    type: str
    default: str
    allowed: str
    sentence: str


def read(path: Path) -> Choice:
    """A file with its comments."""
    text = path.read_text(encoding="utf-8")
    comments: dict[str, str] = {}
    above: list[str] = []
    place: list[tuple[int, str]] = []
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if (words := line.strip()).startswith("#"):
            above += [] if "@package" in words else [words.lstrip("# ")]
        elif match := re.match(r"(\w+):", words):
            place = [*(outer for outer in place if outer[0] < indent), (indent, match[1])]
            comments[".".join(name for _, name in place)] = " ".join(above)
            above = []
        else:
            above = []
    head = next(iter(comments))
    return Choice(path.stem, dict(_flat(yaml.safe_load(text), "")), comments, comments.pop(head))


def _flat(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def code() -> Choice:
    """The options of ``model.native``, which every model has."""
    found = read(CONF / "native.yaml")
    comments = {next(iter(found.values)): found.sentence, **found.comments}
    return Choice(
        "native",
        {f"native.{key}": value for key, value in found.values.items()},
        {f"native.{key}": said for key, said in comments.items()},
        "",
    )


def choices_of(group: str) -> list[Choice]:
    """The files of a group; those of frameworks stand with their plugins."""
    plugins = ROOT.glob(f"plugins/*/src/*/conf/{group}/*.yaml")
    files = sorted([*CONF.glob(f"{group}/*.yaml"), *plugins], key=lambda path: path.stem)
    return [read(path) for path in files]


def reader(group: str, choice: str) -> tuple[type, str] | None:
    """The dataclass that reads a choice's options, and the prefix of those; None for none."""
    if group == "optimizer":
        return OPTIMIZERS[choice], ""
    if group == "dataset":
        return SOURCES[choice], "params."
    return (READERS[group], "") if group in READERS else None


def field_comments(cls: type) -> dict[str, str]:
    """The ``#:`` comments above the fields of a dataclass and of its bases."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        above: list[str] = []
        for line in inspect.getsource(base).splitlines():
            if (text := line.strip()).startswith("#:"):
                above.append(text[2:].strip())
            else:
                if above and (match := re.match(r"(\w+):", text)):
                    found[match[1]] = " ".join(above)
                above = []
    return found


def options(group: str, choices: Sequence[Choice]) -> Iterator[Option]:
    """Every option that the choices of a group have, but for its name."""
    keys = dict.fromkeys(key for choice in choices for key in choice.values)
    for key in keys:
        if key not in ("name", "graph"):
            yield option(group, key, choices)


def option(group: str, key: str, choices: Sequence[Choice]) -> Option:
    """One option, from the choices that have it."""
    name = f"{group}.{key}"
    having = [choice for choice in choices if key in choice.values]
    defaults = {choice.name: value_words(choice.values[key]) for choice in having}
    sentences: dict[str, str] = {}
    wanted: list[str] = []
    hint: Any = type_of(having[0].values[key])
    for choice in having:
        said = ""
        if found := reader(group, choice.name):
            cls, prefix = found
            own = FIELDS.get(name, key.removeprefix(prefix))
            hint = typing.get_type_hints(cls)[own]
            said = field_comments(cls).get(own, "")
            wanted.append(allowed(name, hint, attempt(group, choice, own)))
        sentences[choice.name] = in_markdown(said or choice.comments.get(key, ""))
    first = next(filter(None, sentences.values()), "")
    sentences = {choice: said or first for choice, said in sentences.items()}
    if name in ALLOWED:
        wanted = [", ".join(f"`{word}`" for word in ALLOWED[name])]
    words = type_words(hint)
    if "`null`" in defaults.values() and "`null`" not in words:
        words += " or `null`"
    return Option(
        name,
        words,
        by_choice(defaults, always=len(having) < len(choices)),
        next(filter(None, wanted), ""),
        by_choice(sentences),
    )


def by_choice(said: Mapping[str, str], always: bool = False) -> str:
    """What is said of each choice, once where it is the same; ``always`` names the choices."""
    names: dict[str, list[str]] = {}
    for choice, words in said.items():
        names.setdefault(words, []).append(choice)
    if len(names) == 1 and not always:
        return next(iter(names))
    return "; ".join(f"{', '.join(own)}: {words}" for words, own in names.items())


def attempt(group: str, choice: Choice, own: str) -> Callable[[Any], object]:
    """Reads a choice as fwcompare does, with another value for one field."""
    found = reader(group, choice.name)
    assert found is not None
    cls, prefix = found
    declared = {f.name for f in fields(cls)}
    named = {
        FIELDS.get(f"{group}.{k}", k.removeprefix(prefix)): v for k, v in choice.values.items()
    }
    given = {**{k: v for k, v in named.items() if k in declared}}
    where = f"{group}.{prefix}".rstrip(".")

    def read_with(wrong: Any) -> object:
        made: Any = build(cls, {**given, own: wrong}, where)
        return made.check() if hasattr(made, "check") else made

    return read_with


def node_option(name: str, config: Choice) -> Option:
    """An option of config.yaml itself."""
    node, _, key = name.rpartition(".")
    said, default = config.comments.get(name, ""), value_words(config.values[name])
    if name in LOOSE:
        hint: Any = LOOSE[name]
        check = LOOSE_CHECKS.get(name, lambda wrong: None)
    else:
        alone = {k.removeprefix(f"{node}."): v for k, v in config.values.items()}
        hint = typing.get_type_hints(READERS[node])[key]
        check = attempt(node, Choice(node, alone, {}, ""), key)
    return Option(name, type_words(hint), default, allowed(name, hint, check), in_markdown(said))


def allowed(name: str, hint: Any, check: Callable[[Any], object]) -> str:
    """What a check says that it wants when it is given something wrong; empty if it takes all."""
    for wrong in WRONG.get(plain_type(hint), ()):
        try:
            check(wrong)
        except RequestError as error:
            if name not in error.message:
                continue
            if match := re.search(r"must (?:be|lie) (.*), got", error.message):
                words = re.sub(
                    "^(a finite number|null or a whole number|a whole number),? ", "", match[1]
                )
                return words.replace("2**63", "2^63")
            if match := re.search(r"Choose from: (.*)\.$", error.hint or ""):
                return ", ".join(f"`{word}`" for word in match[1].split(", "))
    return ""


def plain_type(hint: Any) -> Any:
    """The type without its options: that of an optional, tuple for a tuple."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return next(a for a in typing.get_args(hint) if a is not type(None))
    return origin or hint


def type_of(value: Any) -> Any:
    """The type of a value that no dataclass reads: of a list, its first entry's; null is a word."""
    if value is None:
        return str
    return tuple[type([*value, ""][0]), ...] if isinstance(value, list) else type(value)


def type_words(hint: Any) -> str:
    """A type hint as one says it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return f"{type_words(plain_type(hint))} or `null`"
    if origin is tuple:
        return f"list of {type_words(arguments[0])}s"
    return TYPE_WORDS[hint]


def value_words(value: Any) -> str:
    """A value as one writes it on the command line."""
    if value is None or isinstance(value, bool):
        return f"`{yaml.safe_dump(value).split()[0]}`"
    if isinstance(value, float):
        return f"`{value:g}`".replace("e-0", "e-")
    return f"`{value}`"


def in_markdown(text: str) -> str:
    """A comment or docstring as a sentence in a table of Markdown."""
    text = " ".join(text.replace("``", "`").split()).replace("|", "\\|")
    quoted = re.compile(r"`[^`]*`|\bNone\b|\bnull\b|\*\*")
    changed = {"None": "`null`", "null": "`null`", "**": "^"}
    return quoted.sub(lambda found: changed.get(found[0], found[0]), text).removesuffix(".")


def table(headings: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    yield from (f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)
    yield ""


def option_table(found: Sequence[Option]) -> Iterator[str]:
    """Raises ``SystemExit`` where an option is not described."""
    for each in found:
        if not each.sentence:
            raise SystemExit(f"{each.name}: write a comment above its field or key.")
    if found:
        yield from table(
            ("option", "default", "type", "allowed", "what it is"),
            ((f"`{o.name}`", o.default, o.type, o.allowed, o.sentence) for o in found),
        )


def page() -> str:
    """The whole page."""
    config = read(CONF / "config.yaml")
    defaults = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    chosen = {
        key.removeprefix("optional "): value
        for entry in defaults
        if isinstance(entry, dict)
        for key, value in entry.items()
    }
    lines = [HEAD, "## Groups", ""]
    for group, sentence in GROUPS.items():
        choices = choices_of(group)
        lines += [
            f"### `{group}`",
            "",
            f"{sentence} Default: `{value_words(chosen[group])[1:-1]}`.",
            "",
        ]
        lines += table(
            ("choice", "what it is"), ((f"`{c.name}`", about(group, c)) for c in choices)
        )
        if group in RULES:
            lines += [in_markdown(inspect.getdoc(RULES[group]) or "") + ".", ""]
        if group not in ("experiment", "zoo"):
            lines += option_table(list(options(group, choices)))
        if group == "model":
            lines += [CODE, "", *option_table(list(options(group, [code()])))]
    lines += ["## Single options and nodes", ""]
    lines += option_table([node_option("seed", config)])
    for node in NODES:
        own = [name for name in config.values if name.startswith(f"{node}.")]
        lines += [f"### `{node}`", "", *option_table([node_option(name, config) for name in own])]
    known = {"seed", "defaults", "hydra", *NODES}
    if left := {name.partition(".")[0] for name in config.values} - known:
        raise SystemExit(f"conf/config.yaml has nodes that the page leaves out: {left}")
    return "\n".join(lines).rstrip() + "\n"


def about(group: str, choice: Choice) -> str:
    """What is said of a choice: at the head of its file, of its layers, or by its dataclass."""
    said = choice.sentence
    if group == "model":
        said = read(CONF / "model" / choice.values["graph"]).sentence
    if group == "optimizer":
        said = inspect.getdoc(OPTIMIZERS[choice.name]) or ""
    return in_markdown(said)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
