"""Lightning for fwcompare. This module is the import-free front: it never imports Lightning."""

from __future__ import annotations

from fwcompare_pytorch import PyTorch


class Lightning(PyTorch):
    """The engine ``lightning``: PyTorch's model, optimizers and cures in Lightning's own loop."""

    name = "lightning"
    trainer = "fwcompare_lightning.trainer:LightningTrainer"
    packages = ("fwcompare_lightning", "fwcompare_pytorch")
    requirements = ("pytorch-lightning", "torch")
    colour = "#792EE5"


FRONT = Lightning()
