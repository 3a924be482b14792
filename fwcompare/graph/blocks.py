"""Blocks of a model file, repeated or not, written out as plain layers.

A block is an entry with layers of its own, whose names stand behind the block's: ``stage1/conv``.
Names are looked up in the block first and then in what stands around it. A block, or a layer by
itself, may be left out by a param, and is then left out of the inputs of other layers too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fwcompare.errors import RequestError, choices, unknown
from fwcompare.graph.expressions import put_in
from fwcompare.graph.model import INPUT

#: The name by which the layers of a block refer to the block's input.
BLOCK_INPUT = "in"

#: The keys of a block.
KEYS = ("name", "layers", "inputs", "when", "repeat", "as", "allow_empty")

#: A model of more layers and blocks is refused, before a repetition of repetitions fills memory.
LARGEST_COUNT = 10_000
DEEPEST = 20


def expand(entries: list[Any], params: Mapping[str, Any]) -> list[Any]:
    """The layers of a model, every block written out and every expression replaced.

    Raises:
        RequestError: naming the block and what is wrong with it, or a name that is used twice.
    """
    expansion = _Expansion()
    expansion.add(entries, params, _Scope("", None, None), INPUT, 0)
    return expansion.layers


@dataclass(frozen=True)
class _Scope:
    """Where a name is looked up: in a block, then in the one around it."""

    #: What stands before the names of this block's layers.
    prefix: str
    #: The block's input; None outside any block.
    input: str | None
    outer: _Scope | None

    def outward(self) -> Iterator[_Scope]:
        scope: _Scope | None = self
        while scope:
            yield scope
            scope = scope.outer


def _is_block(entry: Any) -> bool:
    """An entry with a kind is a layer, and may have an option called ``layers``."""
    return (
        isinstance(entry, Mapping)
        and "kind" not in entry
        and ("layers" in entry or "repeat" in entry)
    )


class _Expansion:
    """Layers so far, and what each name gives: a layer itself, a block its last layer."""

    def __init__(self) -> None:
        self.layers: list[Any] = []
        self.outputs: dict[str, str] = {}
        #: Blocks and layers that a param leaves out.
        self.absent: set[str] = set()

    def add(
        self,
        entries: list[Any],
        params: Mapping[str, Any],
        scope: _Scope,
        previous: str,
        depth: int,
    ) -> str:
        """Add layers and blocks behind ``previous``; the name of the last layer."""
        if depth > DEEPEST:
            raise RequestError("The blocks of the model file are nested too deeply.")
        for entry in entries:
            if _is_block(entry):
                previous = self._block(entry, params, scope, previous, depth)
            else:
                previous = self._layer(entry, params, scope, previous)
        return previous

    def _layer(self, entry: Any, params: Mapping[str, Any], scope: _Scope, previous: str) -> str:
        if isinstance(entry, Mapping) and "when" in entry:
            rest = {key: value for key, value in entry.items() if key != "when"}
            shown = put_in(rest.get("name"), params)
            if not _wanted(entry, params, f"Layer '{scope.prefix}{shown}'"):
                if isinstance(shown, str):
                    self.absent.add(self._claim(shown, scope, "Layer"))
                return previous
            entry = rest
        entry = put_in(entry, params)
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if not isinstance(name, str):  # the graph says what is wrong with it
            self.layers.append(entry)
            return previous
        full = self._claim(name, scope, "Layer")
        self.outputs[full] = full
        named = entry.get("inputs")
        sources = self._sources(named, scope) if named else [previous]
        if not sources:
            raise RequestError(
                f"Layer '{full}' has no input: {choices(map(str, _as_list(named)))} is left out.",
                "Leave it out too: put it into a block with the same 'when'.",
            )
        self.layers.append({**entry, "name": full, "inputs": sources})
        return full

    def _claim(self, name: str, scope: _Scope, what: str) -> str:
        """The whole name of a layer or block. Raises ``RequestError`` if it cannot have it."""
        if not name or "/" in name or "." in name:
            raise RequestError(
                f"{what} '{scope.prefix}{name}' needs a name: a word without '/' or '.'."
            )
        if name in (BLOCK_INPUT, INPUT):
            raise RequestError(
                f"{what} '{scope.prefix}{name}' needs another name: "
                f"'{INPUT}' is the model's input, '{BLOCK_INPUT}' that of a block."
            )
        if len(self.outputs) + len(self.absent) >= LARGEST_COUNT:
            raise RequestError(f"The model file makes more than {LARGEST_COUNT} layers and blocks.")
        full = scope.prefix + name
        if full in self.outputs or full in self.absent:
            raise RequestError(
                f"{what} '{full}' appears twice; every layer and block needs a name of its own."
            )
        return full

    def _sources(self, inputs: Any, scope: _Scope) -> list[Any]:
        found = (self._source(source, scope) for source in _as_list(inputs))
        return [source for source in found if source is not None]

    def _source(self, source: Any, scope: _Scope) -> Any:
        """The layer that an input means, None for a block that is left out.

        A name that nobody has is left for the graph to refuse.
        """
        if source == BLOCK_INPUT and scope.input is not None:
            return scope.input
        for around in scope.outward():
            full = f"{around.prefix}{source}"
            if full in self.absent:
                return None
            if (found := self.outputs.get(full)) is not None:
                return found
        return source

    def _block(
        self,
        entry: Mapping[str, Any],
        params: Mapping[str, Any],
        scope: _Scope,
        previous: str,
        depth: int,
    ) -> str:
        block = _Block.read(entry, params, scope.prefix)
        if not block.wanted:
            for name, _ in block.rounds(params):
                self.absent.add(self._claim(name, scope, "Block"))
            return previous
        if "inputs" in entry:
            sources = self._sources(put_in(entry["inputs"], params), scope)
            if len(sources) != 1:
                raise RequestError(f"{block.shown} takes 1 input, got {len(sources)}.")
            previous = sources[0]
        for name, within in block.rounds(params):
            full = self._claim(name, scope, "Block")
            inner = _Scope(f"{full}/", previous, scope)
            previous = self.add(block.layers, within, inner, previous, depth + 1)
            self.outputs[full] = previous
        return previous


def _as_list(inputs: Any) -> list[Any]:
    return inputs if isinstance(inputs, list) else [inputs]


def _wanted(entry: Mapping[str, Any], params: Mapping[str, Any], shown: str) -> bool:
    """What ``when`` says of a block or a layer. Raises ``RequestError`` for no yes or no."""
    wanted = put_in(entry.get("when", True), params)
    if not isinstance(wanted, bool):
        raise RequestError(f"{shown}: when must be true or false, got {wanted!r}.")
    return wanted


class _Count(int):
    """The number of a round, which a block further in may hide; a param it may not."""


@dataclass(frozen=True)
class _Block:
    """One entry with layers of its own, its keys checked."""

    #: The name as it is written, and how messages call the block.
    name: str
    shown: str
    layers: list[Any]
    #: How often it comes, and what its number is called; None where it is not repeated.
    count: int
    index: str | None
    #: False where a param leaves it out.
    wanted: bool

    @classmethod
    def read(cls, entry: Mapping[str, Any], params: Mapping[str, Any], prefix: str) -> _Block:
        """Raises ``RequestError`` for a key or a value that does not fit."""
        name, layers = entry.get("name"), entry.get("layers")
        if not isinstance(name, str):
            raise RequestError(
                f"A block{f' in {prefix[:-1]!r}' if prefix else ''} needs a name, got {name!r}."
            )
        shown = f"Block '{prefix}{name}'"
        for key in entry:
            if key not in KEYS:
                error = unknown("key", key, KEYS)
                raise RequestError(f"{shown}: {error.message}", error.hint)
        if not isinstance(layers, list) or not layers:
            raise RequestError(f"{shown} needs a list of at least one layer under 'layers'.")
        wanted = _wanted(entry, params, shown)
        if "repeat" not in entry:
            return cls(name, shown, layers, 1, None, wanted)
        index = entry.get("as", "i")
        if not isinstance(index, str) or not index.isidentifier():
            raise RequestError(f"{shown}: 'as' names the count, a word, got {index!r}.")
        if index in params and not isinstance(params[index], _Count):
            raise RequestError(
                f"{shown}: the count '{index}' would hide the param '{index}'.",
                "Give the count another name: as: WORD",
            )
        return cls(name, shown, layers, _count(entry, params, shown), index, wanted)

    def rounds(self, params: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Name and params of each round. Raises ``RequestError`` for one name in two rounds."""
        if self.index is None:
            yield str(put_in(self.name, params)), params
            return
        names: set[str] = set()
        for number in range(1, self.count + 1):
            within = {**params, self.index: _Count(number)}
            name = str(put_in(self.name, within))
            if name in names:
                raise RequestError(
                    f"{self.shown} is repeated {self.count} times, more than once as '{name}'.",
                    f"Put the count into its name: {name}${{{self.index}}}",
                )
            names.add(name)
            yield name, within


def _count(entry: Mapping[str, Any], params: Mapping[str, Any], shown: str) -> int:
    """How often a block comes. Raises ``RequestError`` for none, unless that is allowed."""
    count, allow_empty = put_in(entry["repeat"], params), entry.get("allow_empty", False)
    if not isinstance(allow_empty, bool):
        raise RequestError(f"{shown}: allow_empty must be true or false, got {allow_empty!r}.")
    if not isinstance(count, int) or isinstance(count, bool):
        raise RequestError(f"{shown}: repeat must be a whole number, got {count!r}.")
    if count < 0 or (count == 0 and not allow_empty):
        raise RequestError(
            f"{shown} would be repeated {int(count)} times.",
            "Repeat it once at least; with allow_empty: true, no round at all leaves it out.",
        )
    return count
