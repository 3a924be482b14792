"""PyTorch for fwcompare. This module is the import-free front: it never imports torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from types import MappingProxyType

from fwcompare.footprint import Footprint
from fwcompare.plugin import Format, NativeSide
from fwcompare.spec import RunSpec


class PyTorch:
    """The engine ``pytorch``: ``native`` and ``eager`` are the same cell, as nothing is compiled
    unless ``compiled`` asks for ``torch.compile``."""

    name = "pytorch"
    trainer = "fwcompare_pytorch.trainer:PyTorchTrainer"
    packages: tuple[str, ...] = ("fwcompare_pytorch",)
    requirements: tuple[str, ...] = ("torch",)
    colour = "#EE4C2C"
    same_execution: Mapping[str, str] = MappingProxyType({"eager": "native"})
    #: Blocks that are freed stay on glibc's heap, in pieces that the next ones do not fit into: a
    #: process is seen to hold 1.6 times what its tensors do.
    footprint = Footprint(
        base_mib=310,
        slack=1.6,
        shares=MappingProxyType({"product": 0.85, "depthwise_conv2d": 0.08}),
    )
    native = NativeSide(("pytorch",), "fwcompare_pytorch.own:template")
    formats: Mapping[str, Format] = MappingProxyType(
        {
            "state_dict": Format(
                "fwcompare_pytorch.exporting:state_dict", (".pt", ".pth", ".safetensors")
            )
        }
    )

    def environment(self, spec: RunSpec) -> Mapping[str, str]:
        return {
            # A compilation is timed as a user meets it first, not as the cache on disk shortens it.
            "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
            # float32 is float32, whatever the variables of the user's shell allow.
            "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",
            "NVIDIA_TF32_OVERRIDE": "0",
        }

    def supports(self, spec: RunSpec) -> str | None:
        """Whatever the contract asks for, but for compilation without a compiler."""
        compiler = os.environ.get("CXX", "g++")
        if spec.execution == "compiled" and shutil.which(compiler) is None:
            return f"torch.compile needs a C++ compiler: '{compiler}' is not on the path (set CXX)."
        return None


FRONT = PyTorch()
