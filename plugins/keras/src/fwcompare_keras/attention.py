"""Attention by Keras's own layer."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from fwcompare.graph import Layer
from fwcompare.graph.attention import MultiHeadAttention


class StepwiseAttention(layers.MultiHeadAttention):
    """Keras's layer by its own products and softmax, as where scores are asked for.

    JAX's fused attention, which it takes otherwise, has its softmax in float32 whatever the type.
    """

    def _compute_attention(
        self,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any = None,
        training: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> tuple[Any, Any]:
        return super()._compute_attention(
            query, key, value, attention_mask, training, True, use_causal_mask
        )


class Attention:
    """``layers.MultiHeadAttention`` on one input, or on what asks and what is looked at; behind
    them a mask of the steps that are, where there is one."""

    def __init__(self, layer: Layer, exact: bool) -> None:
        """``exact`` asks for a scale that holds in float64."""
        kind: Any = layer.kind
        assert isinstance(kind, MultiHeadAttention)
        self.causal, self.masked = kind.causal, kind.mask
        each = kind.head_features(layer.shape)
        native = layers.MultiHeadAttention
        if exact and keras.config.backend() == "jax":
            native = StepwiseAttention
        self.native = native(kind.heads, each, use_bias=kind.bias)
        if exact:
            # A Python number would pass through float32 on TensorFlow.
            self.native._inverse_sqrt_key_dim = np.float64(1 / math.sqrt(each))

    def __call__(self, inputs: Any) -> Any:
        given = list(inputs) if isinstance(inputs, list) else [inputs]
        mask = ops.expand_dims(given.pop(), 1) if self.masked else None
        return self.native(given[0], given[-1], attention_mask=mask, use_causal_mask=self.causal)

    def variable(self, name: str) -> Any:
        """A variable by a name such as ``query/kernel``."""
        part, tensor = name.split("/")
        return getattr(getattr(self.native, f"{part}_dense"), tensor)
