"""The front of the JAX engine; importing it imports no framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

from fwcompare import xla
from fwcompare.footprint import XLA_FOOTPRINT, Footprint
from fwcompare.plugin import Format, NativeSide
from fwcompare.ranks import Ranks
from fwcompare.spec import RunSpec


@dataclass(frozen=True)
class JaxFront:
    """Flax NNX and Optax, one compiled step a batch."""

    name: str = "jax"
    trainer: str = "fwcompare_jax.trainer:JaxTrainer"
    packages: tuple[str, ...] = ("fwcompare_jax",)
    requirements: tuple[str, ...] = ("jax", "jaxlib", "flax", "optax")
    colour: str = "#2E86AB"
    same_execution: ClassVar[Mapping[str, str]] = MappingProxyType({"compiled": "native"})
    native: ClassVar[NativeSide] = NativeSide(("jax",), "fwcompare_jax.own:template")
    formats: ClassVar[Mapping[str, Format]] = MappingProxyType(
        {"flax": Format("fwcompare_jax.exporting:nnx_state", (".msgpack",))}
    )
    footprint: ClassVar[Footprint] = replace(XLA_FOOTPRINT, base_mib=283, start_s=4.0)

    def environment(self, spec: RunSpec) -> Mapping[str, str]:
        """Types and platform are process-wide in JAX, so they are fixed before its import."""
        return {
            "JAX_ENABLE_X64": "1" if spec.precision == "float64" else "0",
            "JAX_PLATFORMS": "cpu" if spec.device.name == "cpu" else "cuda,cpu",
            # A compilation is timed as a user meets it first, not as a cache on disk shortens it.
            "JAX_ENABLE_COMPILATION_CACHE": "0",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            # On a GPU the default multiplies float32 in TF32; on a CPU this changes nothing.
            "JAX_DEFAULT_MATMUL_PRECISION": "highest",
            # float32 is float32, whatever the variables of the user's shell allow.
            "NVIDIA_TF32_OVERRIDE": "0",
            **xla.exact(spec),
        }

    def meeting(self, ranks: Ranks) -> Mapping[str, str]:
        """Where ``jax.distributed.initialize`` finds the others; on a CPU it joins them by gloo."""
        return {
            "JAX_COORDINATOR_ADDRESS": ranks.addresses[0],
            "JAX_COORDINATOR_BIND_ADDRESS": ranks.addresses[0],
            "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        }

    def supports(self, spec: RunSpec) -> str | None:
        if spec.distributed.active and spec.framework.code is not None:
            return "code of your own trains in one process alone. Choose distributed=none."
        if spec.normalises_locally:
            return (
                "jax's step is one function of the whole batch, over which it normalises. "
                "Choose distributed.batch_norm=synchronised."
            )
        if spec.execution == "eager":
            return (
                "jax has no execution=eager worth timing: without jit every operation is compiled "
                "and dispatched by itself. Choose execution=native."
            )
        if spec.framework.code and spec.mixed:
            return (
                "jax computes in the types of the layers, and those of code of one's own are in "
                "the code: precision=float32 or float64."
            )
        return None


FRONT = JaxFront()
