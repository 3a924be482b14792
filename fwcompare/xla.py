"""What XLA must be told so that JAX and Keras on it compute what is declared."""

from __future__ import annotations

import os
from collections.abc import Mapping

from fwcompare.spec import RunSpec

#: XLA's pass that joins a convolution with what is added to its result. On NVIDIA GPUs it rounds
#: the factor of that to float32, also in float64: with momentum, 0.9 times the slot is added to a
#: kernel's gradient, and the slot was seen to be off by 2e-8 of itself after two steps.
_ROUNDS_FACTORS = "cudnn-fused-convolution-rewriter"


def exact(spec: RunSpec) -> Mapping[str, str]:
    """Variables of a worker under which float64 is float64 throughout, beside the user's own flags;
    none where nothing is lost."""
    if spec.device.name != "cuda" or spec.precision != "float64":
        return {}
    own = os.environ.get("XLA_FLAGS", "")
    return {"XLA_FLAGS": f"{own} --xla_disable_hlo_passes={_ROUNDS_FACTORS}".strip()}
