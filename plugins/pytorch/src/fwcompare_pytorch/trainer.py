"""The trainer: a plain PyTorch loop, as its users write it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fwcompare.audit.settings import Settings
from fwcompare.data.batches import Feed
from fwcompare.data.stream import Stream
from fwcompare.errors import UnsupportedError
from fwcompare.graph import Weights
from fwcompare.graph.norms import BatchNorm
from fwcompare.plugin import Job
from fwcompare.probe import Probe
from fwcompare_pytorch import audit, checkpoint, compilations
from fwcompare_pytorch.drawing import Undrawn
from fwcompare_pytorch.model import GraphModel
from fwcompare_pytorch.optimizers import Update
from fwcompare_pytorch.own import OwnModel
from fwcompare_pytorch.parallel import Together
from fwcompare_pytorch.precision import Arithmetic


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over all labels: one a sample, or one a step; PyTorch wants the classes second."""
    return functional.cross_entropy(logits.flatten(0, -2), labels.flatten())


#: Losses by name, each the mean over the batch.
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
    "mse": functional.mse_loss,
}


class Objective(nn.Module):
    """The mean loss of a batch: forward pass and loss in one, so that both compile together."""

    def __init__(self, model: nn.Module, loss: str) -> None:
        super().__init__()
        self.model = model
        self.loss = LOSSES[loss]

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(self.model(inputs), targets)


class PyTorchTrainer:
    """The ``Trainer`` of the engine ``pytorch``; see ``fwcompare.plugin.Trainer``."""

    def __init__(self, job: Job) -> None:
        """Raises ``UnsupportedError`` where the device or a part of the model is not there."""
        spec = job.spec
        self.spec = spec
        _refuse_lone_rows(job)
        torch.set_num_threads(spec.device.threads)
        self.job = job
        self.together = Together(job) if job.ranks else None
        self.device = _device(spec.device.name)
        self.arithmetic = Arithmetic(spec, self.device)
        factory = {"device": self.device, "dtype": self.arithmetic.dtype}
        self.model: GraphModel | OwnModel
        if spec.framework.code:
            self.model = OwnModel(spec, **factory)
        else:
            with Undrawn():
                self.model = GraphModel(job.graph, spec.aligned, **factory)
        self.model.fill(job.initial_weights)
        scaled = self.arithmetic.scaler is not None
        self.update = Update(spec.optimizer, self.model, spec.aligned, scaled, self.fuses())
        if spec.optimizer.clip_norm is not None:
            self.clip(spec.optimizer.clip_norm)
        if not job.constant_learning_rate:
            self.update.schedule(job.learning_rates)
        self.objective: nn.Module = Objective(self.model, spec.task.loss)
        #: What the plain loop trains with: the objective itself, or one over all processes.
        self.stepped = self.objective
        if self.together is not None and isinstance(self.model, GraphModel):
            self.together.synchronise(self.model)
            self.stepped = self.together.wrap(self.objective)
        self.inference: nn.Module = self.model
        if spec.execution == "compiled":
            compilations.start()
            self.objective = torch.compile(self.objective)  # type: ignore[assignment]
            self.stepped = self.objective
            self.inference = torch.compile(self.model)  # type: ignore[assignment]
        self.stream = job.stream
        if self.stream is None:
            self.inputs = self.tensor(job.train.inputs)
            self.targets = self.labels_or_values(job.train.targets)
        # After the model: what it draws is overwritten. Masks of dropout are each rank's own.
        torch.manual_seed(spec.seed + (job.ranks.rank if job.ranks else 0))

    def fuses(self) -> bool:
        """Whether the optimizer may step in one kernel, which unscales after clipping."""
        return self.arithmetic.scaler is None

    def clip(self, most: float) -> None:
        """Clip gradients by their global norm: exactly, or as PyTorch does."""
        self.update.clip(most, exact=self.spec.aligned)

    def tensor(self, array: np.ndarray) -> Tensor:
        """An array on the device; not copied on a CPU unless it is mapped from a file."""
        if not array.flags.writeable:
            array = array.copy()
        return torch.from_numpy(array).to(self.device)

    def host(self, tensor: Tensor) -> np.ndarray:
        """A tensor as an array of the run's type; NumPy knows no bfloat16."""
        array: np.ndarray = tensor.to(self.arithmetic.dtype).cpu().numpy()
        return array

    def labels_or_values(self, targets: np.ndarray) -> Tensor:
        """Targets on the device; PyTorch's cross-entropy takes labels as int64."""
        tensor = self.tensor(targets)
        return tensor if tensor.is_floating_point() else tensor.long()

    def fit(self, feed: Feed, probe: Probe) -> None:
        optimizer, before = self.update.optimizer, self.update.outside
        arithmetic, objective = self.arithmetic, self.stepped
        for epoch in feed.epochs:
            batches = self.epoch(feed, epoch)
            losses: list[Tensor] = []
            self.model.train()
            probe.epoch_begin(epoch)
            for inputs, targets in batches:
                optimizer.zero_grad(set_to_none=True)
                with arithmetic.autocast():
                    loss = objective(inputs, targets)
                arithmetic.backward(loss)
                for act in before:
                    act()
                arithmetic.step(optimizer)
                losses.append(loss.detach())
                probe.step()
            probe.epoch_end(partial(self.fetched, losses))

    def fetched(self, losses: Sequence[Tensor]) -> np.ndarray:
        """The losses of an epoch's steps, of the whole batches."""
        if self.together is None:
            return fetch(losses)
        return fetch([self.together.mean(torch.stack(list(losses)))])[0]

    def epoch(self, feed: Feed, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets of each batch of an epoch, or of this process's share of them,
        gathered when they are asked for."""
        feed = self.job.share(feed)
        if self.stream is not None:
            for ids in feed.batches(epoch):
                yield self.streamed(self.stream, epoch, ids)
            return
        order = torch.from_numpy(feed.order(epoch)).to(self.device)
        for ids in torch.split(order, feed.batch_size):
            yield self.inputs.index_select(0, ids), self.targets.index_select(0, ids)

    def streamed(self, stream: Stream, epoch: int, ids: np.ndarray) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a batch, from data that are not held in memory."""
        inputs, targets = stream.take(epoch, ids)
        return self.tensor(inputs), self.labels_or_values(targets)

    def batches(self, feed: Feed) -> Iterator[Any]:
        return chain.from_iterable(self.epoch(feed, epoch) for epoch in feed.epochs)

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        if self.model.training:
            self.model.eval()
        with torch.inference_mode(), self.arithmetic.autocast():
            outputs = self.inference(self.tensor(inputs))
        return self.host(outputs)

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def weights(self) -> Weights:
        return self.model.weights()

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Leave statistics, and the random numbers that dropout will draw, as they were."""
        kept = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            yield
        for buffer, before in kept:
            buffer.copy_(before)

    def activations(self, inputs: np.ndarray, training: bool) -> dict[str, np.ndarray]:
        self.model.train(training)
        with self.undisturbed(), torch.no_grad(), self.arithmetic.autocast():
            outputs = self.model.activations(self.tensor(inputs))
        return {name: self.host(output) for name, output in outputs.items()}

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Weights]:
        places = dict(self.model.trainable())
        self.model.train()
        with self.undisturbed():
            if self.together is not None and isinstance(self.model, GraphModel):
                batch = self.tensor(inputs), self.labels_or_values(targets)
                return self.together.gradients(self.objective, self.model, *batch)
            with self.arithmetic.autocast():
                loss = self.objective(self.tensor(inputs), self.labels_or_values(targets))
            found = torch.autograd.grad(loss, [place.tensor for place in places.values()])
        gradients = zip(places.items(), found, strict=True)
        return loss.item(), {name: place.canonical(g) for (name, place), g in gradients}

    def slots(self) -> dict[str, Weights]:
        return self.update.slots()

    def state(self) -> dict[str, np.ndarray]:
        return checkpoint.taken(self.model, self.update, self.arithmetic)

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        checkpoint.put_back(state, self.model, self.update, self.arithmetic)

    def settings(self) -> Settings:
        return audit.settings(self.model, self.update)

    def draw(self) -> Weights:
        with self.undisturbed():
            return self.model.fresh().weights()

    def facts(self) -> dict[str, Any]:
        cuda = self.device.type == "cuda"
        return {
            "device": torch.cuda.get_device_name(self.device) if cuda else "cpu",
            "execution": "torch.compile" if self.spec.execution == "compiled" else "eager",
            "optimizer": str(self.update),
            "memory_format": "channels_last",
            "threads": torch.get_num_threads(),
            **self.arithmetic.facts(),
            **({"distributed": "DistributedDataParallel, gloo"} if self.together else {}),
            **(compilations.facts() if self.spec.execution == "compiled" else {}),
        }

    def peak_device_bytes(self) -> int | None:
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None


def fetch(losses: Sequence[Tensor]) -> np.ndarray:
    """The losses of an epoch's steps, in one transfer from the device."""
    fetched: np.ndarray = torch.stack(list(losses)).cpu().numpy()
    return fetched


def _refuse_lone_rows(job: Job) -> None:
    """Raise ``UnsupportedError`` where a batch leaves batch normalisation one value a channel."""
    alone = job.spec.distributed.batch_norm == "local"
    feed = job.share(job.feed) if alone else job.feed
    if not feed.epochs or 1 not in feed.batch_sizes(1):
        return
    for layer in job.graph.layers:
        if isinstance(layer.kind, BatchNorm) and math.prod(layer.input_shapes[0][:-1]) == 1:
            raise UnsupportedError(
                f"Layer '{layer.name}': PyTorch does not normalise a batch of one sample.",
                "Choose trainer.drop_last=true, or another trainer.batch_size.",
            )


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UnsupportedError(
            "device=cuda: this PyTorch sees no CUDA device.",
            "Choose device=cpu, or install a PyTorch with CUDA and look at nvidia-smi.",
        )
    return torch.device(name)
