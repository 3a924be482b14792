"""A model drawn: rails beside its layers for a terminal, or Mermaid for a document."""

from __future__ import annotations

from collections.abc import Sequence

from fwcompare.graph import INPUT, Graph, Layer


def rails(graph: Graph) -> list[str]:
    """A line for the input and for each layer, showing what flows where.

    Each column is a value that is still needed. ``●`` is what this line makes, ``├─`` a value that
    it reads and that goes on, ``─╯`` one that ends here.
    """
    last_use = {name: step for step, layer in enumerate(graph.layers) for name in layer.inputs}
    columns: list[str | None] = [INPUT]
    lines = ["●"]
    for step, layer in enumerate(graph.layers):
        reads = [columns.index(name) for name in dict.fromkeys(layer.inputs)]
        ending = [c for c in reads if last_use[str(columns[c])] == step]
        for column in ending:
            columns[column] = None
        own = min(ending) if ending else _free(columns, beyond=max(reads))
        if own == len(columns):
            columns.append(None)
        lines.append(_line(columns, own, reads, ending))
        columns[own] = layer.name
        while columns and columns[-1] is None:
            columns.pop()
    width = max(map(len, lines))
    return [line.ljust(width) for line in lines]


def _free(columns: list[str | None], beyond: int) -> int:
    """The first empty column behind one; a new one if there is none."""
    for column in range(beyond + 1, len(columns)):
        if columns[column] is None:
            return column
    return len(columns)


def _line(columns: list[str | None], own: int, reads: list[int], ending: list[int]) -> str:
    first, last = min([own, *reads]), max([own, *reads])
    cells = []
    for column, value in enumerate(columns):
        if column == own:
            mark = "●"
        elif column in ending:
            mark = "╯" if column == last else "┴"
        elif column in reads:
            mark = "├" if column == first else "┤" if column == last else "┼"
        elif first < column < last:
            mark = "─" if value is None else "┼"
        else:
            mark = " " if value is None else "│"
        cells.append(mark + ("─" if first <= column < last else " "))
    return "".join(cells).rstrip()


def mermaid(graph: Graph) -> str:
    """A flowchart in Mermaid's language, which many Markdown viewers draw."""
    names = {INPUT: "n0"} | {layer.name: f"n{i}" for i, layer in enumerate(graph.layers, 1)}
    lines = ["flowchart TD", f'  n0(["{INPUT}<br/>{shape_words(graph.input_shape)}"])']
    lines += [f'  {names[layer.name]}["{_box(layer)}"]' for layer in graph.layers]
    lines += [
        f"  {names[source]} --> {names[layer.name]}"
        for layer in graph.layers
        for source in layer.inputs
    ]
    return "\n".join(lines) + "\n"


def _box(layer: Layer) -> str:
    kind = str(layer.kind.options().get("function", layer.kind.kind))
    title = layer.name if layer.name == kind else f"{layer.name}: {kind}"
    return f"{title}<br/>{shape_words(layer.shape)}".replace('"', "#quot;")


def shape_words(shape: Sequence[int]) -> str:
    """A shape as one says it, its numbers with crosses between them."""
    return "×".join(map(str, shape))
