"""Keras 3 for fwcompare: three engines, one a backend. This front imports no framework."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

from fwcompare import xla
from fwcompare.footprint import XLA_FOOTPRINT, Footprint, Keep
from fwcompare.plugin import Format, NativeSide
from fwcompare.ranks import Ranks
from fwcompare.spec import RunSpec
from fwcompare_keras.refusals import refusal, strided_and_dilated, unequal_depthwise_strides

#: What reads code of a user's own for a weight map.
TEMPLATE = "fwcompare_keras.own:template"

#: What any engine of Keras layers writes, on whichever backend.
FORMATS: Mapping[str, Format] = MappingProxyType(
    {"keras": Format("fwcompare_keras.exporting:whole_model", (".keras",), whole=True)}
)


@dataclass(frozen=True)
class KerasFront:
    """The front of one engine. All three have one trainer, which asks Keras for its backend."""

    name: str
    requirements: tuple[str, ...]
    colour: str
    #: Variables that choose and settle the backend.
    variables: Callable[[RunSpec], dict[str, str]]
    #: Why a cell cannot be done; None if it can.
    refusal: Callable[[RunSpec], str | None]
    #: Executions that are the very same as another, by name.
    same_execution: Mapping[str, str]
    #: What the engine takes in memory and time.
    footprint: Footprint
    trainer: str = "fwcompare_keras.trainer:KerasTrainer"
    packages: tuple[str, ...] = ("fwcompare_keras",)
    #: What tells processes how to meet; None where each trains alone.
    meeting: Callable[[Ranks], Mapping[str, str]] | None = None
    formats: ClassVar[Mapping[str, Format]] = FORMATS

    @property
    def native(self) -> NativeSide:
        return NativeSide((self.name, "keras"), TEMPLATE)

    def environment(self, spec: RunSpec) -> Mapping[str, str]:
        return self.variables(spec)

    def supports(self, spec: RunSpec) -> str | None:
        return self.refusal(spec)


_OUTPUT = Keep(output=True)
_POOLING = Keep(input=True, output=True)

#: What is composed of several operations keeps what each of them wants. A pooling looks for its
#: maxima again. What a step of a sequence keeps lies in a list of its own, beside sequences that
#: are turned to have the time first, and back; it is a loop forward and one backward, and one in
#: evaluation.
_TENSORFLOW_KEEPS: Mapping[str, Keep] = MappingProxyType(
    {
        **dict.fromkeys(("max_pool1d", "max_pool2d"), _POOLING),
        **dict.fromkeys(("elu", "selu"), _OUTPUT),
        "gelu": Keep(more=3.0),
        "gelu_tanh": Keep(input=True, more=3.0),
        "mish": Keep(input=True, more=1.0),
        "lstm": Keep(input=True, output=True, more=16.0, loops=3),
        "gru": Keep(input=True, output=True, more=11.0, loops=3),
    }
)

#: TensorFlow's, seen in ``tensorflow``. Updates of all weights are begun before the first is done,
#: each with temporary copies. Freed blocks stay on glibc's heap, as in PyTorch.
TENSORFLOW_FOOTPRINT = Footprint(
    base_mib=830,
    weights=2.0,
    slack=1.25,
    held_mib=64,
    in_place=True,
    loop_kib=20 * 1024,
    keeps=_TENSORFLOW_KEEPS,
    scores=1.0,
    start_s=7.0,
    compile_ms=20,
    step_us=500,
    shares=MappingProxyType({"product": 0.9, "lstm": 0.7, "gru": 0.7}),
)
_JAX_FOOTPRINT = replace(XLA_FOOTPRINT, base_mib=400, start_s=6.0)
#: PyTorch's by itself, as its own plugin has it, with Keras beside it.
_TORCH_FOOTPRINT = Footprint(
    base_mib=430,
    slack=1.35,
    held_mib=64,
    keeps=MappingProxyType({"relu6": Keep(input=True)}),
    start_s=5.0,
    layer_us=120,
    shares=MappingProxyType({"product": 0.85}),
)

#: float32 is float32, whatever the variables of the user's shell allow.
STRICT_FLOAT32 = {"ONEDNN_DEFAULT_FPMATH_MODE": "STRICT", "NVIDIA_TF32_OVERRIDE": "0"}


def tensorflow_environment(spec: RunSpec) -> dict[str, str]:
    """TensorFlow with Keras on it: the same for every engine that uses it."""
    threads = str(spec.device.threads)
    own = {
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        **STRICT_FLOAT32,
    }
    if spec.device.name == "cpu":
        own["CUDA_VISIBLE_DEVICES"] = "-1"
    return own


def _jax_environment(spec: RunSpec) -> dict[str, str]:
    """Types and platform are process-wide in JAX, so they are fixed before its import."""
    return {
        "KERAS_BACKEND": "jax",
        # Keras would otherwise take this from a file in the user's home folder.
        "KERAS_NNX_ENABLED": "false",
        "JAX_ENABLE_X64": "1" if spec.precision == "float64" else "0",
        "JAX_PLATFORMS": "cpu" if spec.device.name == "cpu" else "cuda,cpu",
        # A compilation is timed as a user meets it first, not as a cache on disk shortens it.
        "JAX_ENABLE_COMPILATION_CACHE": "0",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        # On a GPU the default multiplies float32 in TF32; on a CPU this changes nothing.
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",
        **STRICT_FLOAT32,
        **xla.exact(spec),
    }


def _torch_environment(spec: RunSpec) -> dict[str, str]:
    return {
        "KERAS_BACKEND": "torch",
        "KERAS_TORCH_DEVICE": spec.device.name,
        # A compilation is timed as a user meets it first, not as a cache on disk shortens it.
        "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
        **STRICT_FLOAT32,
    }


def refuses_on_tensorflow(spec: RunSpec, engine: str = "keras_tensorflow") -> str | None:
    """Why TensorFlow cannot do a cell; the same for every engine that uses it."""
    return refusal(engine, spec, [strided_and_dilated, unequal_depthwise_strides])


def _jax_meeting(ranks: Ranks) -> dict[str, str]:
    """What ``keras.distribution.initialize`` reads; on a CPU JAX joins the processes by gloo."""
    return {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": ranks.addresses[0],
        "KERAS_DISTRIBUTION_NUM_PROCESSES": str(ranks.count),
        "KERAS_DISTRIBUTION_PROCESS_ID": str(ranks.rank),
        "JAX_COORDINATOR_BIND_ADDRESS": ranks.addresses[0],
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
    }


def _refuses_on_jax(spec: RunSpec) -> str | None:
    if spec.distributed.active and spec.framework.code is not None:
        return "keras_jax: code of your own trains in one process alone. Choose distributed=none."
    if spec.normalises_locally:
        return (
            "keras_jax's step is one function of the whole batch, over which it normalises. "
            "Choose distributed.batch_norm=synchronised."
        )
    if spec.execution == "eager":
        return (
            "keras_jax has no execution=eager worth timing: without jit every operation is "
            "compiled and dispatched by itself. Choose execution=native."
        )
    return refusal("keras_jax", spec, [strided_and_dilated])


def _refuses_on_torch(spec: RunSpec) -> str | None:
    return _needs_compiler(spec) or refusal("keras_torch", spec, [strided_and_dilated])


def _needs_compiler(spec: RunSpec) -> str | None:
    compiler = os.environ.get("CXX", "g++")
    if spec.execution == "compiled" and shutil.which(compiler) is None:
        return f"torch.compile needs a C++ compiler: '{compiler}' is not on the path (set CXX)."
    return None


TENSORFLOW = KerasFront(
    "keras_tensorflow",
    ("keras", "tensorflow"),
    "#2E7D32",
    tensorflow_environment,
    refuses_on_tensorflow,
    {},
    TENSORFLOW_FOOTPRINT,
)
JAX = KerasFront(
    "keras_jax",
    ("keras", "jax", "jaxlib"),
    "#C2187E",
    _jax_environment,
    _refuses_on_jax,
    {"compiled": "native"},
    _JAX_FOOTPRINT,
    meeting=_jax_meeting,
)
TORCH = KerasFront(
    "keras_torch",
    ("keras", "torch"),
    "#7B5B3A",
    _torch_environment,
    _refuses_on_torch,
    {"eager": "native"},
    _TORCH_FOOTPRINT,
)
