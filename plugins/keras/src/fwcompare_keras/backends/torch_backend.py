"""Keras on PyTorch: a ``DataLoader`` whose sampler gives the ids of whole batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch._dynamo.utils import counters
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

from fwcompare.data.batches import Arrays, Feed
from fwcompare.data.stream import Stream
from fwcompare.errors import UnsupportedError
from fwcompare.spec import RunSpec


def prepare(spec: RunSpec) -> str:
    torch.set_num_threads(spec.device.threads)
    # cuDNN's convolutions take TF32 by default, with ten bits of float32's mantissa.
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    if spec.execution == "compiled":
        # A function that was compiled too often is not compiled again, so in a warm worker one run
        # would tell on the next.
        torch._dynamo.reset()
        counters.clear()
    if spec.device.name == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise UnsupportedError(
            "device=cuda: this PyTorch sees no CUDA device.",
            "Choose device=cpu, or install a PyTorch with CUDA and look at nvidia-smi.",
        )
    return torch.cuda.get_device_name()


def place(train: Arrays, spec: RunSpec) -> TensorDataset:
    # Copied, as a file that is mapped for reading cannot be a tensor.
    arrays = np.array(train.inputs), np.array(train.targets)
    return TensorDataset(*(torch.from_numpy(array).to(spec.device.name) for array in arrays))


class BatchIds(Sampler[torch.Tensor]):
    """The ids of every batch of a feed, through all epochs."""

    def __init__(self, feed: Feed, device: Any) -> None:
        self._feed = feed
        self._device = device

    def __len__(self) -> int:
        return self._feed.step_count

    def __iter__(self) -> Iterator[torch.Tensor]:
        for ids in self._feed.all_batches():
            yield torch.from_numpy(ids).to(self._device)


class Streamed(Dataset[tuple[torch.Tensor, ...]]):
    """Batches by epoch and ids, from data that are not held in memory."""

    def __init__(self, stream: Stream, device: str) -> None:
        self._stream = stream
        self._device = device

    def __getitem__(self, which: tuple[int, np.ndarray]) -> tuple[torch.Tensor, ...]:
        taken = self._stream.take(*which)
        return tuple(torch.from_numpy(array).to(self._device) for array in taken)


class EpochsAndIds(Sampler[Any]):
    """The epoch and the ids of every batch of a feed."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def __len__(self) -> int:
        return self._feed.step_count

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        for epoch in self._feed.epochs:
            for ids in self._feed.batches(epoch):
                yield epoch, ids


def batches(data: TensorDataset | Stream, feed: Feed, spec: RunSpec) -> DataLoader[Any]:
    if isinstance(data, Stream):
        streamed = Streamed(data, spec.device.name)
        return DataLoader(streamed, batch_size=None, sampler=EpochsAndIds(feed))
    # Without a batch size the sampler's ids index the tensors directly, and nothing is collated.
    return DataLoader(data, batch_size=None, sampler=BatchIds(feed, data.tensors[0].device))


def host_batch(inputs: np.ndarray) -> np.ndarray:
    # A copy: PyTorch can share neither a mapped file nor what is read-only, and TorchDynamo fails.
    return np.array(inputs)


def synchronize(model: Any) -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def loss_and_gradients(
    model: Any, loss: Callable[..., Any], variables: list[Any], batch: Arrays
) -> tuple[float, list[np.ndarray]]:
    value = loss(batch.targets, model(batch.inputs, training=True))
    gradients = torch.autograd.grad(value, [variable.value for variable in variables])
    return value.item(), [gradient.cpu().numpy() for gradient in gradients]


def execution(model: Any) -> str:
    return "torch.compile" if model.jit_compile else "eager"


def float32_policy() -> tuple[bool, dict[str, Any]]:
    settings = {
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cuda.matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
    }
    return settings["cuda.matmul.allow_tf32"] or settings["cudnn.allow_tf32"], settings


def compilations(model: Any, batch_sizes: int) -> dict[str, int]:
    if not model.jit_compile:
        return {}
    return {
        "compilations": counters["stats"]["unique_graphs"],
        "graph_breaks": counters["graph_break"].total(),
    }


def peak_device_bytes() -> int | None:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else None
