"""Models of token ids."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from loops import Problem


class Classifier(nn.Module):
    """What ``nn.LSTM`` or ``nn.GRU`` holds at the end of a text."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        features, units = problem.params["features"], problem.params["units"]
        recurrent = {"lstm": nn.LSTM, "gru": nn.GRU}[problem.model]
        self.embedding = nn.Embedding(problem.tokens, features)
        self.recurrent = recurrent(features, units, batch_first=True)
        self.logits = nn.Linear(units, problem.outputs)

    def forward(self, ids: Tensor) -> Tensor:
        outputs, _ = self.recurrent(self.embedding(ids))
        logits: Tensor = self.logits(outputs[:, -1])
        return logits


class Block(nn.Module):
    """Attention and a hidden layer, a norm before each."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(features), nn.LayerNorm(features)
        # Query, key and value of all heads in one product.
        self.asked = nn.Linear(features, 3 * features)
        self.seen = nn.Linear(features, features)
        self.hidden = nn.Sequential(
            nn.Linear(features, 4 * features),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * features, features),
        )

    def attention(self, x: Tensor) -> Tensor:
        parts = self.asked(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*parts, is_causal=True)
        joined: Tensor = self.seen(seen.transpose(1, 2).flatten(2))
        return joined

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.hidden(self.norm2(x))


class Gpt(nn.Module):
    """A decoder, which gives class scores for the token behind each."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        features, (steps,) = problem.params["features"], problem.sample_shape
        self.embedding = nn.Embedding(problem.tokens, features)
        self.position = nn.Parameter(torch.randn(steps, features))
        blocks = range(problem.params["blocks"])
        self.blocks = nn.Sequential(*(Block(features, problem.params["heads"]) for _ in blocks))
        self.norm = nn.LayerNorm(features)
        self.logits = nn.Linear(features, problem.outputs, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) + self.position
        logits: Tensor = self.logits(self.norm(self.blocks(x)))
        return logits
