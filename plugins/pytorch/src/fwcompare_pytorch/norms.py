"""Batch normalisation whose moving variance is the biased one, at next to no cost."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional


class BiasedBatchNorm(nn.Module):
    """Batch normalisation over all axes but the second, with moving statistics as in the contract.

    PyTorch normalises by the biased variance (divided by n) but keeps a moving average of the
    unbiased one (divided by n - 1). A variance of one's own would make a step half as long again,
    so the native kernel writes the batch's statistics into scratch buffers (that is momentum 1 in
    its sense) and the moving ones take them over, the variance times (n - 1) / n.

    Attribute names are those of ``torch.nn.BatchNorm2d``.
    """

    running_mean: Tensor
    running_var: Tensor
    batch_mean: Tensor
    batch_var: Tensor

    def __init__(self, channels: int, momentum: float, epsilon: float, **factory: Any) -> None:
        super().__init__()
        self.share_of_new = 1 - momentum
        self.epsilon = epsilon
        #: How many processes share the batch over which is normalised.
        self.processes = 1
        self.weight = nn.Parameter(torch.ones(channels, **factory))
        self.bias = nn.Parameter(torch.zeros(channels, **factory))
        self.register_buffer("running_mean", torch.zeros(channels, **factory))
        self.register_buffer("running_var", torch.ones(channels, **factory))
        for scratch in ("batch_mean", "batch_var"):
            self.register_buffer(scratch, torch.zeros(channels, **factory), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (n, channels, ...); in training mode by the batch's own statistics."""
        if not self.training:
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.epsilon
            )
        if self.processes > 1:
            return self._over_processes(x)
        normalised = functional.batch_norm(
            x,
            self.batch_mean,
            self.batch_var,
            self.weight,
            self.bias,
            training=True,
            momentum=1.0,
            eps=self.epsilon,
        )
        n = x.numel() // x.shape[1]
        self.running_mean.lerp_(self.batch_mean, self.share_of_new)
        self.running_var.lerp_(self.batch_var * ((n - 1) / n), self.share_of_new)
        return normalised

    def _over_processes(self, x: Tensor) -> Tensor:
        """Normalise by the statistics of the batch of which ``x`` is one process's share.

        PyTorch's ``SyncBatchNorm`` does so on GPUs alone. Gradients flow through both sums.
        """
        n = x.numel() // x.shape[1] * self.processes
        others = [0, *range(2, x.dim())]
        along = [1, -1, *[1] * (x.dim() - 2)]
        mean = all_reduce(x.sum(others)) / n
        centred = x - mean.view(along)
        variance = all_reduce((centred * centred).sum(others)) / n
        self.running_mean.lerp_(mean.detach(), self.share_of_new)
        self.running_var.lerp_(variance.detach(), self.share_of_new)
        factor = self.weight * torch.rsqrt(variance + self.epsilon)
        return centred * factor.view(along) + self.bias.view(along)
