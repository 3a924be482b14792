"""Lightning for fwcompare. This module is the import-free front: it never imports Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from fwcompare.plugin import Format, NativeSide
from fwcompare.spec import RunSpec
from fwcompare_pytorch import PyTorch


class Lightning(PyTorch):
    """The engine ``lightning``: PyTorch's model, optimizers and cures in Lightning's own loop."""

    name = "lightning"
    trainer = "fwcompare_lightning.trainer:LightningTrainer"
    packages = ("fwcompare_lightning", "fwcompare_pytorch")
    requirements = ("pytorch-lightning", "torch")
    colour = "#792EE5"
    footprint = replace(PyTorch.footprint, base_mib=420, start_s=5.0, step_us=600)
    native = NativeSide(("lightning", "pytorch"), "fwcompare_pytorch.own:template")
    #: PyTorch's front, which this one cannot be without, writes PyTorch's files.
    formats: Mapping[str, Format] = MappingProxyType({})

    def supports(self, spec: RunSpec) -> str | None:
        if spec.precision == "mixed_float16" and spec.device.name == "cpu":
            return (
                "Lightning has no float16 on a CPU: it puts bfloat16 in its place. "
                "Choose precision=mixed_bfloat16."
            )
        return super().supports(spec)


FRONT = Lightning()
