"""Residual networks, as ``keras.applications`` writes them."""

from __future__ import annotations

from typing import Any

from keras import layers

from loops import Problem


def _convolution(x: Any, filters: int, size: int, stride: int = 1, relu: bool = True) -> Any:
    x = layers.Conv2D(filters, size, stride, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation("relu")(x) if relu else x


def _block(x: Any, width: int, stride: int, expansion: int) -> Any:
    way = x
    if expansion == 1:
        way = _convolution(way, width, 3, stride)
        way = _convolution(way, width, 3, relu=False)
    else:
        way = _convolution(way, width, 1)
        way = _convolution(way, width, 3, stride)
        way = _convolution(way, expansion * width, 1, relu=False)
    if stride > 1 or x.shape[-1] != expansion * width:
        x = _convolution(x, expansion * width, 1, stride, relu=False)
    return layers.Activation("relu")(layers.Add()([way, x]))


def _network(problem: Problem, x: Any, expansion: int) -> Any:
    width = problem.params["width"]
    x = _convolution(x, width, 7, 2)
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    for stage, count in enumerate(problem.params["blocks"]):
        for number in range(count):
            stride = 2 if stage and not number else 1
            x = _block(x, width * 2**stage, stride, expansion)
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(problem.outputs)(x)


def resnet18(problem: Problem, x: Any) -> Any:
    return _network(problem, x, 1)


def resnet50(problem: Problem, x: Any) -> Any:
    return _network(problem, x, 4)
