"""Recurrent layers by PyTorch's own, with the biases that the contract knows.

PyTorch has a second bias in every gate, beside the recurrent product. Trained, the sum of two would
move twice as fast as one; so what the contract does not have is kept at zero.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from fwcompare.graph import Layer, Parameter
from fwcompare.graph.recurrent import Gru, Lstm
from fwcompare_pytorch.places import Place

_NATIVE = {"lstm": nn.LSTM, "gru": nn.GRU}

#: Canonical tensors to what PyTorch calls them.
_NAMES = {
    "kernel": "weight_ih",
    "recurrent_kernel": "weight_hh",
    "bias": "bias_ih",
    "recurrent_bias": "bias_hh",
}


def _packed(x: Tensor, lengths: Tensor) -> PackedSequence:
    return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)


class Recurrent(nn.Module):
    """``nn.LSTM`` or ``nn.GRU`` over samples (n, steps, features)."""

    def __init__(self, layer: Layer, kind: Lstm | Gru, **factory: Any) -> None:
        super().__init__()
        self.kind = kind
        self.native = _NATIVE[kind.kind](
            layer.input_shapes[0][-1],
            kind.units,
            kind.layers,
            batch_first=True,
            bidirectional=kind.bidirectional,
            **factory,
        )
        for name, bias in self.native.named_parameters():
            if name.startswith("bias_hh"):
                self._free(bias)

    def _free(self, bias: nn.Parameter) -> None:
        """Let only that part of a second bias move which the contract has: n's in a GRU."""
        nn.init.zeros_(bias)
        if isinstance(self.kind, Lstm):
            bias.requires_grad_(False)
            return
        moves = torch.zeros_like(bias)
        moves[2 * self.kind.units :] = 1
        # The gradient's type is that of the bias, whatever autocast computes in; its device may be
        # another one once Lightning has moved the model.
        bias.register_hook(lambda gradient: gradient * moves.to(gradient.device))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        # The real steps alone, so that each sample has its own end; PyTorch wants lengths on the
        # host.
        given = x if mask is None else _packed(x, mask.sum(1).cpu())
        outputs, state = self.native(given)
        if self.kind.returns == "all":
            if mask is not None:
                outputs, _ = pad_packed_sequence(outputs, True, total_length=x.shape[1])
            found: Tensor = outputs
            return found
        ends = state[0] if isinstance(self.kind, Lstm) else state
        return torch.cat((ends[-2], ends[-1]), 1) if self.kind.bidirectional else ends[-1]

    def place(self, parameter: Parameter) -> Place:
        """Where a tensor lives, by a name such as ``1/backward/kernel``."""
        *way, name = parameter.name.split("/")
        layer = next((word for word in way if word.isdigit()), "0")
        reverse = "_reverse" if "backward" in way else ""
        return Place(
            self.native,
            f"{_NAMES[name]}_l{layer}{reverse}",
            parameter,
            tuple(reversed(range(len(parameter.shape)))),
            2 * self.kind.units if name == "recurrent_bias" else 0,
        )
