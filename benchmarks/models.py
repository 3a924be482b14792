"""The models that come with fwcompare, each with its source, size and diagram.

    .venv/bin/python benchmarks/models.py > docs/models.md

Nothing is trained: everything is told from the graphs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fwcompare.diagram import mermaid, shape_words
from fwcompare.graph import TOKENS, VALUES, Graph
from fwcompare.graph.read import read

FOLDER = Path(__file__).parent.parent / "conf" / "model"

#: Boxes of a diagram at most; beyond, blocks are drawn as one.
LARGEST_DIAGRAM = 40


@dataclass(frozen=True)
class Sample:
    """What a model is shown with: the shape of a sample, and how many outputs it is to have."""

    shape: tuple[int, ...]
    outputs: int
    #: Token ids that a sample is made of; None where it holds numbers.
    tokens: int | None = None

    def __str__(self) -> str:
        what = f" tokens of {self.tokens:,}" if self.tokens else ""
        outputs = f"{self.outputs:,} output" + "s" * (self.outputs > 1)
        return f"{shape_words(self.shape)}{what}, {outputs}"


DIGITS = Sample((28, 28, 1), 10)
SMALL_DIGITS = Sample((8, 8, 1), 10)
IMAGENET = Sample((224, 224, 3), 1000)
LABELLED_TEXT = Sample((64,), 10, tokens=256)
TEXT = Sample((64,), 256, tokens=256)

#: Models that are shown with other samples than digits.
SAMPLES = {
    "autoencoder": Sample((28, 28, 1), 1),
    "gpt_small": TEXT,
    "gru": LABELLED_TEXT,
    "lstm": LABELLED_TEXT,
    "mobilenet_v2": IMAGENET,
    "resnet18": IMAGENET,
    "resnet50": IMAGENET,
    "transformer_encoder": LABELLED_TEXT,
    "vit_tiny": SMALL_DIGITS,
}


@dataclass(frozen=True)
class Published:
    """A number of parameters that was published, and what a model of the zoo has at that size."""

    model: str
    sample: Sample
    figure: int
    source: str
    #: Params that make it that size, beside those of the configuration.
    params: Mapping[str, Any] = field(default_factory=dict)
    #: What it has more or, below zero, less than the published one, and what that is.
    differences: Mapping[str, int] = field(default_factory=dict)
    #: Only layers whose name begins so are counted.
    part: str = ""

    @property
    def count(self) -> int:
        """The parameters of this project's model at that size."""
        graph = built(self.model, self.sample, self.params).graph
        return sum(
            layer.trainable_count for layer in graph.layers if layer.name.startswith(self.part)
        )


PUBLISHED = (
    Published("resnet18", IMAGENET, 11_689_512, "`num_params` of torchvision's `ResNet18_Weights`"),
    Published("resnet50", IMAGENET, 25_557_032, "`num_params` of torchvision's `ResNet50_Weights`"),
    Published(
        "mobilenet_v2", IMAGENET, 3_504_872, "`num_params` of torchvision's `MobileNet_V2_Weights`"
    ),
    Published(
        "vit_tiny",
        IMAGENET,
        5_717_416,
        "DeiT-Ti (Touvron et al., 2021), as timm's `deit_tiny_patch16_224` has it",
        {"patch": 16, "patches": 196, "features": 192, "heads": 3, "blocks": 12},
        {"no token for the class": -192, "nor its position": -192},
    ),
    Published(
        "gpt_small",
        Sample((1024,), 50_257, tokens=50_257),
        124_439_808,
        "GPT-2, the smallest of its release (Radford et al., 2019)",
        {"features": 768, "heads": 12, "blocks": 12},
        {"logits with a kernel of their own": 768 * 50_257},
    ),
    Published(
        "transformer_encoder",
        LABELLED_TEXT,
        18_914_304,
        "the encoder of Vaswani et al. (2017), as `nn.TransformerEncoder` of PyTorch has it",
        {"features": 512, "heads": 8, "hidden": 2048, "blocks": 6},
        part="block",
    ),
    Published(
        "lenet5",
        DIGITS,
        60_000,
        "LeCun et al. (1998), section II.B",
        {"padding": "valid"},
        {
            "connections that the original leaves out in its second convolution": 900,
            "outputs that are trained": 850,
            "pooling without weights": -44,
        },
    ),
)

HEAD = """# The models

What `model=NAME` chooses from, at the size that is said beside it. Every one takes samples of other
shapes too, and `model.params.NAME=VALUE` changes what stands under its name. Padding is
TensorFlow's `same`, whatever the original used, so that every framework computes the same. The
layers of a model, on a small dataset that fits, are listed by `fwcompare show NAME`.

Written by `python benchmarks/models.py > docs/models.md`. A multiply-add counts as two FLOPs, an
activation as one; they are those of one forward pass for one sample.

| model | layers | parameters | FLOPs | with |
|---|---:|---:|---:|---|
"""

PUBLISHED_HEAD = """
## Parameters as published

Where a standard exists, a model has its number of parameters at its size, but for what is said. A
test holds these numbers against each other. Of the other models there is no standard to be held
against.

| model | at | here | published | by | difference |
|---|---|---:|---:|---|---|
"""


@dataclass(frozen=True)
class Entry:
    """One model of the zoo, built for its sample."""

    name: str
    params: Mapping[str, Any]
    #: What the layer file says about itself, with its source.
    source: str
    sample: Sample
    graph: Graph


def entries() -> Iterator[Entry]:
    """Every model in the configuration, by name."""
    for path in sorted(FOLDER.glob("*.yaml")):
        yield built(path.stem, SAMPLES.get(path.stem, DIGITS))


def built(name: str, sample: Sample, changed: Mapping[str, Any] | None = None) -> Entry:
    """A model for a sample, with some of its params changed."""
    declared = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    params, layers = declared["params"] | (changed or {}), FOLDER / declared["graph"]
    given = {"outputs": sample.outputs, **({"tokens": sample.tokens} if sample.tokens else {})}
    input_type = TOKENS if sample.tokens else VALUES
    graph = read(layers, {**params, **given}, sample.shape, input_type)
    return Entry(name, params, _comment(layers.read_text(encoding="utf-8")), sample, graph)


def _comment(text: str) -> str:
    """The comment at the head of a file, as one paragraph."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return " ".join(lines)


def page() -> str:
    """The whole page."""
    zoo = list(entries())
    rows = [
        f"| [{entry.name}](#{entry.name}) | {len(entry.graph.layers)} | "
        f"{entry.graph.parameter_count:,} | {flops(entry.graph.flops_per_sample)} | "
        f"{entry.sample} |\n"
        for entry in zoo
    ]
    return HEAD + "".join(rows) + published() + "".join(map(section, zoo))


def published() -> str:
    """The numbers of parameters that were published, beside those here."""
    rows = []
    for entry in PUBLISHED:
        given = ", ".join(f"`{key}={value}`" for key, value in entry.params.items())
        apart = "; ".join(f"{count:+,} {what}" for what, count in entry.differences.items())
        alone = f"layers `{entry.part}*` alone" if entry.part else ""
        size = ", ".join(filter(None, (str(entry.sample), given, alone)))
        rows.append(
            f"| {entry.model} | {size} | {entry.count:,} | {entry.figure:,} | {entry.source} | "
            f"{apart or 'none'} |\n"
        )
    return PUBLISHED_HEAD + "".join(rows)


def flops(count: int) -> str:
    """Three digits with a unit."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}FLOPs"
    return f"{count} FLOPs"


def section(entry: Entry) -> str:
    """What is said about one model, with its diagram."""
    values = ", ".join(f"`{key}={_value(value)}`" for key, value in entry.params.items())
    params = f"Params: {values}.\n\n" if values else ""
    drawn = mermaid(entry.graph, LARGEST_DIAGRAM)
    return f"\n## {entry.name}\n\n{entry.source}\n\n{params}```mermaid\n{drawn}```\n"


def _value(value: Any) -> str:
    return str(value).replace(" ", "") if isinstance(value, list) else str(value)


if __name__ == "__main__":
    sys.stdout.write(page())
