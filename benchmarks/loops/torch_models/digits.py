"""Small models of dense layers and convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from loops import Problem


class FlattenChannelsLast(nn.Module):
    """In the order of the memory; ``nn.Flatten`` would copy what is in ``channels_last`` format."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def mlp(problem: Problem) -> nn.Module:
    height, width, channels = problem.sample_shape
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(height * width * channels, 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, problem.outputs),
    )


def cnn(problem: Problem) -> nn.Module:
    height, width, channels = problem.sample_shape
    norm = problem.model == "cnn_bn"
    return nn.Sequential(
        *_convolution(channels, 32, norm),
        *_convolution(32, 64, norm),
        nn.MaxPool2d(2),
        FlattenChannelsLast(),
        nn.Linear(64 * (height // 2) * (width // 2), 128),
        nn.ReLU(),
        nn.Linear(128, problem.outputs),
    )


def _convolution(channels: int, filters: int, norm: bool) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, filters, 3, padding=1, bias=not norm)
    between = [nn.BatchNorm2d(filters)] if norm else []
    return [convolution, *between, nn.ReLU()]
