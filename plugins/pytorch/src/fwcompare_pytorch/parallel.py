"""Several processes that train as one: where they meet, and what they sum up over all."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fwcompare.graph import Weights
from fwcompare.plugin import Job
from fwcompare_pytorch.model import GraphModel
from fwcompare_pytorch.norms import BiasedBatchNorm


class Together:
    """The group of all ranks of a job, met as ``torchrun`` has its processes meet."""

    def __init__(self, job: Job) -> None:
        assert job.ranks is not None
        self.ranks = job.ranks
        #: Whether batch normalisation sees this process's share of the batch alone.
        self.local_norms = job.spec.distributed.batch_norm == "local"
        # One rank evaluates while the others wait for it in their next sum of gradients.
        limit = timedelta(seconds=job.spec.training.timeout_s)
        distributed.init_process_group("gloo", timeout=limit)

    def synchronise(self, model: GraphModel) -> None:
        """Have batch normalisation take its statistics from the whole batch, where it is to."""
        for module in model.modules():
            if isinstance(module, BiasedBatchNorm) and not self.local_norms:
                module.processes = self.ranks.count

    def wrap(self, objective: nn.Module) -> DistributedDataParallel:
        """A loss whose ``backward`` leaves the mean gradient of all processes.

        Statistics of a share of the batch are those of rank 0, as PyTorch has it by default; those
        of the whole batch are the same in all, and need not be sent.
        """
        return DistributedDataParallel(objective, broadcast_buffers=self.local_norms)

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over all processes, in place."""
        distributed.all_reduce(tensor)
        return tensor.div_(self.ranks.count)

    def gradients(
        self, objective: nn.Module, model: GraphModel, inputs: Tensor, targets: Tensor
    ) -> tuple[float, Weights]:
        """Loss and gradients of a whole batch, each process with its share, as in training."""
        own = self.ranks.share(len(inputs))
        places = dict(model.trainable())
        wrapped = self.wrap(objective)  # whose sums are there as long as it is
        loss = wrapped(inputs[own], targets[own])
        loss.backward()
        found = {}
        for name, place in places.items():
            assert place.tensor.grad is not None
            found[name] = np.array(place.canonical(place.tensor.grad))
        for place in places.values():
            place.tensor.grad = None
        with torch.no_grad():
            return self.mean(loss.detach()).item(), found
