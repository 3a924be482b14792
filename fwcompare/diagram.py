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


def mermaid(graph: Graph, most: int | None = None) -> str:
    """A flowchart in Mermaid's language, which many Markdown viewers draw.

    With ``most``, blocks are drawn as one box each, the innermost first, until there are no more
    boxes than that, or no more blocks.
    """
    boxes = _boxes(graph, most)
    numbers = {INPUT: 0} | {name: number for number, name in enumerate(boxes, 1)}
    box_of = {INPUT: INPUT} | {
        layer.name: name for name, layers in boxes.items() for layer in layers
    }
    lines = ["flowchart TD", f'  n0(["{INPUT}<br/>{shape_words(graph.input_shape)}"])']
    lines += [f'  n{numbers[name]}["{_box(name, layers)}"]' for name, layers in boxes.items()]
    edges = [
        (numbers[box_of[source]], numbers[box_of[layer.name]])
        for layer in graph.layers
        for source in layer.inputs
        if box_of[source] != box_of[layer.name]
    ]
    # Layers of one box may take the same value; a layer that takes one twice has two edges.
    folded = len(boxes) < len(graph.layers)
    lines += [f"  n{a} --> n{b}" for a, b in (dict.fromkeys(edges) if folded else edges)]
    return "\n".join(lines) + "\n"


def _boxes(graph: Graph, most: int | None) -> dict[str, list[Layer]]:
    """Layers by the box that they are drawn in: each its own, or that of a block around it."""
    depth = max(layer.name.count("/") for layer in graph.layers)
    while True:
        boxes: dict[str, list[Layer]] = {}
        for layer in graph.layers:
            boxes.setdefault("/".join(layer.name.split("/")[: depth + 1]), []).append(layer)
        if most is None or len(boxes) <= most or depth == 0:
            return boxes
        depth -= 1


def _box(name: str, layers: Sequence[Layer]) -> str:
    last = layers[-1]
    kind = str(last.kind.options().get("function", last.kind.kind))
    if name != last.name:
        kind = f"{len(layers)} layers"
    title = name if name == kind else f"{name}: {kind}"
    return f"{title}<br/>{shape_words(last.shape)}".replace('"', "#quot;")


def shape_words(shape: Sequence[int]) -> str:
    """A shape as one says it, its numbers with crosses between them."""
    return "×".join(map(str, shape))
