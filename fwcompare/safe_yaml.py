"""YAML files of others, by the safe loader: up to a size, a depth and a number of values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fwcompare.errors import RequestError
from fwcompare.limits import read_text

#: Values of a YAML file once its aliases are written out, which may double at every line.
MOST_VALUES = 100_000
#: Levels of lists and mappings in a YAML file.
DEEPEST = 50
#: Characters of a whole number: Python writes none out that has more than 4,300 digits.
LONGEST_NUMBER = 1_000
#: Bytes of a YAML file: a configuration or a list of layers, never data.
LARGEST_YAML = 1_000_000
_WHOLE = "tag:yaml.org,2002:int"


def read_yaml(path: Path, what: str = "The file") -> Any:
    """Plain data from a YAML file, read by the safe loader.

    Raises:
        RequestError: it cannot be read, is not valid YAML, or holds too much once its aliases are
            written out.
    """
    import yaml

    text = read_text(path, LARGEST_YAML, what)
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _require_bounded(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except RequestError as error:
        raise RequestError(f"{what} {path} {error.message}", error.hint) from error
    except RecursionError as error:
        raise RequestError(f"{what} {path} is nested too deeply.") from error
    # A date or a number out of range is a ValueError, an unhashable key a TypeError.
    except (yaml.YAMLError, ValueError, TypeError, AttributeError) as error:
        raise RequestError(f"{what} {path} is not valid YAML: {error}") from error


def _require_bounded(root: Any) -> None:
    """Refuse a YAML graph that is too deep, or too large when written out, or holds itself."""
    import yaml

    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    deepest: dict[int, int] = {}

    def measure(node: Any) -> tuple[int, int]:
        key = id(node)
        if key in sizes:
            return sizes[key], deepest[key]
        if key in open_nodes:
            raise RequestError("holds a value that contains itself.")
        open_nodes.add(key)
        if len(open_nodes) > DEEPEST:
            raise RequestError(f"is nested deeper than {DEEPEST} levels.")
        if node.tag == _WHOLE and len(node.value) > LONGEST_NUMBER:
            raise RequestError(f"holds a number of more than {LONGEST_NUMBER} characters.")
        size, depth = 1, 0
        for child in _children(node):
            inner_size, inner_depth = measure(child)
            size, depth = size + inner_size, max(depth, inner_depth + 1)
        if size > MOST_VALUES:
            raise RequestError(f"holds more than {MOST_VALUES} values.")
        if depth > DEEPEST:
            raise RequestError(f"is nested deeper than {DEEPEST} levels.")
        open_nodes.discard(key)
        sizes[key], deepest[key] = size, depth
        return size, depth

    def _children(node: Any) -> list[Any]:
        if isinstance(node, yaml.MappingNode):
            return [part for pair in node.value for part in pair]
        return list(node.value) if isinstance(node, yaml.SequenceNode) else []

    measure(root)
