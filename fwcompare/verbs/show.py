"""Show a model: every layer with its shape, parameters and FLOPs.

fwcompare show cnn
fwcompare show my_model dataset=fashion_mnist --config-dir my_conf
"""

from __future__ import annotations

import argparse

from rich.table import Table

from fwcompare.compose import compose
from fwcompare.graph import INPUT, Graph, Layer
from fwcompare.report import stdout

SUMMARY = "a model's layers with shapes, parameters and FLOPs"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="name of a model, such as cnn")
    parser.add_argument("overrides", nargs="*", help="options, such as dataset=digits")
    parser.add_argument("--config-dir", help="folder with your own configuration groups")


def run(arguments: argparse.Namespace) -> int:
    model = arguments.model if "=" in arguments.model else f"model={arguments.model}"
    made = compose([model, *arguments.overrides], arguments.config_dir)
    graph = made.graph()
    stdout().print(layer_table(graph, str(made.section("model")["name"])))
    return 0


def layer_table(graph: Graph, name: str) -> Table:
    """The layers of a graph, a row each, with totals."""
    table = Table(
        title=f"{name}: {graph.parameter_count:,} parameters, "
        f"{graph.flops_per_sample:,} FLOPs a sample",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("layer")
    table.add_column("kind")
    table.add_column("options", overflow="fold")
    for heading in ("output", "parameters", "FLOPs"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row(INPUT, "", "", _shape(graph.input_shape), "", "")
    previous = INPUT
    for layer in graph.layers:
        table.add_row(
            layer.name,
            layer.kind.kind,
            _options(layer, previous),
            _shape(layer.shape),
            f"{layer.trainable_count:,}" if layer.trainable_count else "",
            f"{layer.flops:,}",
        )
        previous = layer.name
    return table


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _options(layer: Layer, previous: str) -> str:
    options = [f"{key}={_plain(value)}" for key, value in layer.kind.options().items()]
    if layer.inputs != (previous,):
        options.insert(0, f"from {', '.join(layer.inputs)}")
    return ", ".join(options)


def _plain(value: object) -> str:
    return "×".join(map(str, value)) if isinstance(value, list) else str(value).lower()
