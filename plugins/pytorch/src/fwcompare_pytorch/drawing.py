"""Leaving out what PyTorch draws where every weight is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

#: What modules draw their weights with. Constants are not among them: a recurrent bias that the
#: contract does not have stays zero.
_DRAWS = {nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_}


class Undrawn(TorchFunctionMode):
    """Within it, modules are made with weights of any value: drawing those of a ResNet-50 takes as
    long as all the rest of building it. Each must be filled before it is used."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        return given["tensor"] if func in _DRAWS else func(*args, **given)
