"""The models in Flax NNX."""

from __future__ import annotations

from flax import nnx

from loops import Problem
from loops.flax_models import digits, resnet, text

MODELS = {
    "mlp": digits.Mlp,
    "cnn": digits.Cnn,
    "cnn_bn": digits.CnnBn,
    "resnet18": resnet.ResNet18,
    "resnet50": resnet.ResNet50,
    "lstm": text.Classifier,
    "gru": text.Classifier,
    "gpt_small": text.Gpt,
}


def network(problem: Problem) -> nnx.Module:
    """The model, with weights of Flax's own."""
    model: nnx.Module = MODELS[problem.model](problem, nnx.Rngs(0))
    return model
