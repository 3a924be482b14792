"""The models in PyTorch; images come as (n, channels, height, width)."""

from __future__ import annotations

import torch
from torch import nn

from loops import Problem
from loops.torch_models import digits, resnet, text

MODELS = {
    "mlp": digits.mlp,
    "cnn": digits.cnn,
    "cnn_bn": digits.cnn,
    "resnet18": resnet.resnet18,
    "resnet50": resnet.resnet50,
    "lstm": text.Classifier,
    "gru": text.Classifier,
    "gpt_small": text.Gpt,
}


def network(problem: Problem) -> nn.Module:
    """The model, in the ``channels_last`` format where it takes images."""
    model: nn.Module = MODELS[problem.model](problem)
    return model.to(memory_format=torch.channels_last)
