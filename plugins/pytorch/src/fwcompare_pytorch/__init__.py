"""PyTorch for fwcompare. This module is the import-free front: it never imports torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from types import MappingProxyType

from fwcompare.footprint import Footprint, Keep
from fwcompare.plugin import Format, NativeSide
from fwcompare.ranks import Ranks, split_address
from fwcompare.spec import RunSpec

#: What its own functions keep: ``hardtanh``, which is relu6, wants its input.
KEEPS: Mapping[str, Keep] = MappingProxyType({"relu6": Keep(input=True)})


class PyTorch:
    """The engine ``pytorch``: ``native`` and ``eager`` are the same cell, as nothing is compiled
    unless ``compiled`` asks for ``torch.compile``."""

    name = "pytorch"
    trainer = "fwcompare_pytorch.trainer:PyTorchTrainer"
    packages: tuple[str, ...] = ("fwcompare_pytorch",)
    requirements: tuple[str, ...] = ("torch",)
    colour = "#EE4C2C"
    same_execution: Mapping[str, str] = MappingProxyType({"eager": "native"})
    #: Blocks that are freed stay on glibc's heap: in pieces that the next ones do not fit into, and
    #: up to 64 MiB at its end, which glibc keeps once it has seen blocks of 32 MiB.
    footprint = Footprint(
        base_mib=310,
        slack=1.35,
        held_mib=64,
        keeps=KEEPS,
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

    def meeting(self, ranks: Ranks) -> Mapping[str, str]:
        """What ``torchrun`` sets, and the network interface, which gloo would take from the name of
        the machine."""
        host, port = split_address(ranks.addresses[0])
        interface = ranks.interface
        return {
            "MASTER_ADDR": host,
            "MASTER_PORT": str(port),
            "RANK": str(ranks.rank),
            "WORLD_SIZE": str(ranks.count),
            "LOCAL_RANK": str(ranks.local_rank),
            "LOCAL_WORLD_SIZE": str(ranks.local_count),
            "GROUP_RANK": str(ranks.rank // ranks.local_count),
            **({"GLOO_SOCKET_IFNAME": interface} if interface else {}),
        }

    def supports(self, spec: RunSpec) -> str | None:
        """Whatever the contract asks for, but for compilation without a compiler."""
        if spec.distributed.active and (reason := refuses_together(spec)):
            return reason
        compiler = os.environ.get("CXX", "g++")
        if spec.execution == "compiled" and shutil.which(compiler) is None:
            return f"torch.compile needs a C++ compiler: '{compiler}' is not on the path (set CXX)."
        return None


def refuses_together(spec: RunSpec) -> str | None:
    """Why several processes of PyTorch cannot train this; None if they can."""
    norms = any(layer["kind"] == "batch_norm" for layer in spec.model.layers)
    if spec.framework.code is not None:
        return "code of your own trains in one process alone. Choose distributed=none."
    if spec.execution == "compiled":
        return "torch.compile is not joined with DistributedDataParallel. Choose execution=native."
    if norms and spec.distributed.batch_norm == "synchronised":
        if not spec.aligned:
            return (
                "PyTorch's SyncBatchNorm needs GPUs, and native semantics have no other. "
                "Choose distributed.batch_norm=local, or semantics=aligned."
            )
        if spec.mixed:
            return (
                "batch normalisation over several processes is done in the run's own type. "
                "Choose precision=float32, or distributed.batch_norm=local."
            )
    return None


FRONT = PyTorch()
