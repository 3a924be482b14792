"""Show a model: every layer with its shape, parameters and FLOPs, and what flows where.

fwcompare show cnn
fwcompare show my_model dataset=fashion_mnist --config-dir my_conf
fwcompare show zoo=gpt_small
fwcompare show resnet_small --format mermaid > resnet_small.mmd
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

from rich import box
from rich.table import Table

from fwcompare.compose import compose
from fwcompare.config import Configuration
from fwcompare.diagram import mermaid, rails, shape_words
from fwcompare.errors import RequestError
from fwcompare.graph import INPUT, Graph, Layer
from fwcompare.terminal import stdout

SUMMARY = "a model's layers with shapes, parameters and FLOPs"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="name of a model, such as cnn")
    parser.add_argument("overrides", nargs="*", help="options, such as dataset=digits")
    parser.add_argument("--config-dir", help="folder with your own configuration groups")
    parser.add_argument("--format", choices=("table", "mermaid"), default="table")


def run(arguments: argparse.Namespace) -> int:
    made, graph = _composed(arguments)
    if arguments.format == "mermaid":
        sys.stdout.write(mermaid(graph))
    else:
        model, dataset = made.section("model")["name"], made.section("dataset")["name"]
        stdout().print(layer_table(graph, f"{model} on {dataset}"))
    return 0


def _composed(arguments: argparse.Namespace) -> tuple[Configuration, Graph]:
    """The model on the dataset that is chosen or, where it does not fit the one that is chosen by
    default, on that of the zoo's choice of its name."""
    name, overrides, folder = arguments.model, arguments.overrides, arguments.config_dir
    model = name if "=" in name else f"model={name}"
    made = compose([model, *overrides], folder)
    try:
        return made, made.graph()
    except RequestError as misfit:
        if model == name or any(o.startswith(("dataset", "task")) for o in overrides):
            raise
        try:
            zoo = compose([f"zoo={name}"], folder)
        except RequestError:
            raise misfit from None
    fitting = [f"{part}={zoo.section(part)['name']}" for part in ("dataset", "task")]
    made = compose([model, *fitting, *overrides], folder)
    return made, made.graph()


def layer_table(graph: Graph, name: str) -> Table:
    """The layers of a graph, a row each, with totals."""
    table = Table(
        title=f"{name}: {graph.parameter_count:,} parameters, "
        f"{graph.flops_per_sample:,} FLOPs a sample",
        title_justify="left",
        title_style="bold",
        caption="Options that a kind has by default are left out.",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("", no_wrap=True, style="dim")
    table.add_column("layer", overflow="fold")
    table.add_column("kind")
    table.add_column("options", overflow="fold")
    for heading in ("output", "params", "FLOPs"):
        table.add_column(heading, justify="right", no_wrap=True)
    start, *drawn = rails(graph)
    table.add_row(start, INPUT, "", "", shape_words(graph.input_shape), "", "")
    for rail, layer in zip(drawn, graph.layers, strict=True):
        table.add_row(
            rail,
            layer.name,
            str(layer.kind.options().get("function", layer.kind.kind)),
            _options(layer),
            shape_words(layer.shape),
            f"{layer.trainable_count:,}" if layer.trainable_count else "",
            f"{layer.flops:,}",
        )
    return table


#: How an option reads; any other is written as key=value.
_WORDS: dict[str, Callable[[Any], str]] = {
    "filters": "{} filters".format,
    "units": "{} units".format,
    "kernel_size": shape_words,
    "pool_size": shape_words,
    "stride": lambda steps: f"stride {shape_words(steps if len(set(steps)) > 1 else steps[:1])}",
    "padding": lambda sides: sides if isinstance(sides, str) else _border(sides),
    "dilation": lambda steps: (
        f"dilation {shape_words(steps if len(set(steps)) > 1 else steps[:1])}"
    ),
    "groups": "{} groups".format,
    "bias": lambda bias: "bias" if bias else "no bias",
}


def _border(sides: list[list[int]]) -> str:
    """Cells before and after, of height and of width."""
    return " ".join(f"{before}+{after}" for before, after in sides)


#: Activations that their ``alpha`` means something to.
_WITH_ALPHA = ("leaky_relu", "elu")


def _options(layer: Layer) -> str:
    """The options that are not as a kind has them by default, in words."""
    usual = {f.name: f.default for f in fields(layer.kind) if f.default is not MISSING}
    chosen = layer.kind.options()
    if chosen.pop("function", "") not in _WITH_ALPHA:
        chosen.pop("alpha", None)
    return " ".join(
        _WORDS[key](value) if key in _WORDS else f"{key}={_plain(value)}"
        for key, value in chosen.items()
        if key not in usual or usual[key] != getattr(layer.kind, key)
    )


def _plain(value: object) -> str:
    return shape_words(tuple(value)) if isinstance(value, list) else str(value).lower()
