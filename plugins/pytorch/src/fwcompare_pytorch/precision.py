"""The arithmetic of a run: what PyTorch may round, and where."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, optim

from fwcompare.spec import RunSpec


class Arithmetic:
    """Autocast and loss scaling where the precision is mixed; float32 is float32 everywhere.

    TF32, which cuDNN's convolutions take by default, keeps ten bits of float32's mantissa.
    """

    def __init__(self, spec: RunSpec, device: torch.device) -> None:
        """Settles what is process-wide: TF32 on a GPU, and its like in oneDNN on a CPU."""
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        self.device, self.compute_type = device.type, spec.compute_type
        #: The type of weights, data and outputs.
        self.dtype: torch.dtype = getattr(torch, spec.dtype.name)
        #: The type of products and convolutions under autocast; None where there is none.
        self.half: torch.dtype | None = getattr(torch, spec.compute_type) if spec.mixed else None
        #: The smallest gradients of float16 are zero unless the loss is scaled.
        scaled = self.half is torch.float16
        self.scaler = torch.amp.GradScaler(device.type) if scaled else None

    def autocast(self) -> AbstractContextManager[Any]:
        """What the forward pass and the loss run in."""
        if self.half is None:
            return nullcontext()
        return torch.autocast(self.device, dtype=self.half)

    def backward(self, loss: Tensor) -> None:
        """The gradients of a loss, scaled where the type needs it."""
        scaled: Any = loss if self.scaler is None else self.scaler.scale(loss)
        scaled.backward()

    def step(self, optimizer: optim.Optimizer) -> None:
        """Unscale and step, or leave the step out where a scaled gradient is not finite."""
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)
            self.scaler.update()

    def facts(self) -> dict[str, Any]:
        """The policy as PyTorch itself has it now."""
        products = torch.backends.cuda.matmul
        settings: dict[str, Any] = {
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "cuda.matmul.allow_tf32": products.allow_tf32,
            "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
        }
        if self.half is torch.bfloat16:
            name = "allow_bf16_reduced_precision_reduction"
            settings[f"cuda.matmul.{name}"] = getattr(products, name)
        elif self.half is torch.float16:
            name = "allow_fp16_reduced_precision_reduction"
            settings[f"cuda.matmul.{name}"] = getattr(products, name)
        policy = {
            "compute": self.compute_type,
            "mechanism": "torch.autocast" if self.half else None,
            "tf32": products.allow_tf32 or torch.backends.cudnn.allow_tf32,
            "settings": settings,
        }
        scale = {"loss_scale": self.scaler.get_scale()} if self.scaler else {}
        return {"precision_policy": policy, **scale}
