"""What is built: layer kinds, shapes, parameters, FLOPs, initial weights.

A model is data: named layers, each of a declared kind, with inputs by name. Everything that a
framework must agree on (shapes, parameter tensors, numeric constants) is inferred or written here,
without any framework.
"""

from fwcompare.graph import (  # noqa: F401 - make their kinds known
    attention,
    convolutions,
    embedding,
    masks,
    norms,
    pooling,
    recurrent,
    resizing,
)
from fwcompare.graph.kinds import KINDS, Kind, Parameter
from fwcompare.graph.model import INPUT, TOKENS, VALUES, Graph, Layer
from fwcompare.graph.weights import Weights, draw, load, save

__all__ = [
    "INPUT",
    "KINDS",
    "TOKENS",
    "VALUES",
    "Graph",
    "Kind",
    "Layer",
    "Parameter",
    "Weights",
    "draw",
    "load",
    "save",
]
