"""Attention by PyTorch's fused kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fwcompare.graph import Layer, Parameter
from fwcompare.graph.attention import MultiHeadAttention
from fwcompare_pytorch.places import ATTRIBUTES, Place

#: Canonical axes of a kernel in native order: (features, heads, each) as (heads * each, features),
#: and that of the output, (heads, each, features), as (features, heads * each).
_AXES = {"query": (1, 2, 0), "key": (1, 2, 0), "value": (1, 2, 0), "output": (2, 0, 1)}


class Attention(nn.Module):
    """Four ``nn.Linear`` around ``scaled_dot_product_attention``, over (n, steps, features)."""

    def __init__(self, layer: Layer, kind: MultiHeadAttention, **factory: Any) -> None:
        super().__init__()
        self.heads, self.causal, self.masked = kind.heads, kind.causal, kind.mask
        features, source = layer.data_shapes[0][-1], layer.data_shapes[-1][-1]
        options = {"bias": kind.bias, **factory}
        self.query = nn.Linear(features, features, **options)
        self.key = nn.Linear(source, features, **options)
        self.value = nn.Linear(source, features, **options)
        self.output = nn.Linear(features, features, **options)

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        mask = others[-1] if self.masked else None
        source = others[0] if len(others) > self.masked else x
        seen = functional.scaled_dot_product_attention(
            self._by_head(self.query(x)),
            self._by_head(self.key(source)),
            self._by_head(self.value(source)),
            attn_mask=None if mask is None else self._seen(mask),
            is_causal=self.causal and mask is None,
        )
        joined: Tensor = self.output(seen.transpose(1, 2).flatten(2))
        return joined

    def _seen(self, mask: Tensor) -> Tensor:
        """Which steps each step sees, (n, 1, steps or 1, steps): PyTorch takes a mask or a flag."""
        each = mask[:, None, None, :]
        if not self.causal:
            return each
        steps = mask.shape[1]
        return each & torch.ones(steps, steps, dtype=torch.bool, device=mask.device).tril()

    def _by_head(self, x: Tensor) -> Tensor:
        """(n, steps, heads * each) seen as (n, heads, steps, each)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def place(self, parameter: Parameter) -> Place:
        """Where a tensor lives, by a name such as ``query/kernel``."""
        part, name = parameter.name.split("/")
        axes = _AXES[part] if name == "kernel" else tuple(range(len(parameter.shape)))
        return Place(getattr(self, part), ATTRIBUTES[name], parameter, axes)
