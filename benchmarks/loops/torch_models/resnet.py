"""Residual networks, as torchvision writes them."""

from __future__ import annotations

from torch import Tensor, nn

from loops import Problem


class Residual(nn.Module):
    """The sum of two ways, and its activation."""

    def __init__(self, way: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.way, self.shortcut = way, shortcut
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.way(x) + self.shortcut(x))


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(*_convolution(inputs, outputs, 1, stride))


def _basic(inputs: int, width: int, stride: int) -> nn.Module:
    first = [*_convolution(inputs, width, 3, stride), nn.ReLU(inplace=True)]
    way = nn.Sequential(*first, *_convolution(width, width, 3))
    return Residual(way, _shortcut(inputs, width, stride))


def _bottleneck(inputs: int, width: int, stride: int) -> nn.Module:
    way = nn.Sequential(
        *_convolution(inputs, width, 1),
        nn.ReLU(inplace=True),
        *_convolution(width, width, 3, stride),
        nn.ReLU(inplace=True),
        *_convolution(width, 4 * width, 1),
    )
    return Residual(way, _shortcut(inputs, 4 * width, stride))


def _network(problem: Problem, expansion: int) -> nn.Module:
    width, block = problem.params["width"], _basic if expansion == 1 else _bottleneck
    channels = problem.sample_shape[-1]
    layers = [*_convolution(channels, width, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    inputs = width
    for stage, count in enumerate(problem.params["blocks"]):
        for number in range(count):
            stride = 2 if stage and not number else 1
            layers.append(block(inputs, width * 2**stage, stride))
            inputs = expansion * width * 2**stage
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, problem.outputs)]
    return nn.Sequential(*layers, *end)


def resnet18(problem: Problem) -> nn.Module:
    return _network(problem, 1)


def resnet50(problem: Problem) -> nn.Module:
    return _network(problem, 4)
