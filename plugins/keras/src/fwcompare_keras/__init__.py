"""Keras 3 for fwcompare: three engines, one a backend. This front imports no framework."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fwcompare.spec import RunSpec


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
    trainer: str = "fwcompare_keras.trainer:KerasTrainer"
    packages: tuple[str, ...] = ("fwcompare_keras",)

    def environment(self, spec: RunSpec) -> Mapping[str, str]:
        return self.variables(spec)

    def supports(self, spec: RunSpec) -> str | None:
        return self.refusal(spec)


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
    }


def _torch_environment(spec: RunSpec) -> dict[str, str]:
    return {
        "KERAS_BACKEND": "torch",
        "KERAS_TORCH_DEVICE": spec.device.name,
        # A compilation is timed as a user meets it first, not as a cache on disk shortens it.
        "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
        **STRICT_FLOAT32,
    }


def _refuses_nothing(spec: RunSpec) -> str | None:
    return None


def _refuses_eager(spec: RunSpec) -> str | None:
    if spec.execution == "eager":
        return (
            "keras_jax has no execution=eager worth timing: without jit every operation is "
            "compiled and dispatched by itself. Choose execution=native."
        )
    return None


def _refuses_on_torch(spec: RunSpec) -> str | None:
    return _needs_compiler(spec) or _lone_filter(spec)


def _lone_filter(spec: RunSpec) -> str | None:
    """PyTorch 2.13 cannot differentiate such a convolution of a kernel in Keras's layout."""
    if spec.precision != "float64" or spec.device.name != "cpu":
        return None
    for layer in spec.model.graph.layers:
        options = layer.kind.options()
        if (
            layer.kind.kind == "conv2d"
            and options["filters"] == 1
            and layer.input_shapes[0][-1] > 1
            and options["kernel_size"] != [1, 1]
        ):
            return (
                f"keras_torch cannot train layer '{layer.name}' in float64 on a CPU: PyTorch fails "
                "on a convolution to one channel from several. Choose two filters or float32."
            )
    return None


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
    _refuses_nothing,
    {},
)
JAX = KerasFront(
    "keras_jax",
    ("keras", "jax", "jaxlib"),
    "#C2187E",
    _jax_environment,
    _refuses_eager,
    {"compiled": "native"},
)
TORCH = KerasFront(
    "keras_torch",
    ("keras", "torch"),
    "#7B5B3A",
    _torch_environment,
    _refuses_on_torch,
    {"eager": "native"},
)
