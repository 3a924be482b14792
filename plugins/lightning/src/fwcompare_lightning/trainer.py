"""The trainer: PyTorch's model and cures, driven by Lightning's own loop."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments import TorchElasticEnvironment
from lightning_fabric.utilities.warnings import PossibleUserWarning
from pytorch_lightning.strategies import DDPStrategy
from torch.utils.data import DataLoader

from fwcompare.audit.settings import Settings
from fwcompare.data.batches import Feed
from fwcompare.plugin import Job
from fwcompare.probe import Probe
from fwcompare_lightning.callback import ProbeCallback
from fwcompare_lightning.feeding import loader, streaming_loader
from fwcompare_lightning.module import GraphLightningModule
from fwcompare_pytorch.audit import clipping
from fwcompare_pytorch.trainer import PyTorchTrainer

_PRECISIONS = {
    "float32": "32-true",
    "float64": "64-true",
    "mixed_bfloat16": "bf16-mixed",
    "mixed_float16": "16-mixed",
}


class LightningTrainer(PyTorchTrainer):
    """The ``Trainer`` of the engine ``lightning``; all but ``fit`` is that of ``pytorch``."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.module = GraphLightningModule(self.objective, self.update)
        # Lightning counsels on workers, announces each stop, and calls what PyTorch has deprecated:
        # none of it is news of this run.
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", category=PossibleUserWarning)
        warnings.filterwarnings("ignore", category=FutureWarning, module="pytorch_lightning")

    def fuses(self) -> bool:
        """Under autocast Lightning refuses to clip for a fused step, even of unscaled gradients."""
        clips = self.spec.optimizer.clip_norm is not None and not self.spec.aligned
        return super().fuses() and not (clips and self.spec.mixed)

    def clip(self, most: float) -> None:
        """Clip exactly; in native semantics it is Lightning that clips, see ``fit``."""
        if self.spec.aligned:
            super().clip(most)

    def fit(self, feed: Feed, probe: Probe) -> None:
        trainer = pl.Trainer(
            accelerator="gpu" if self.device.type == "cuda" else "cpu",
            **self.processes(),
            precision=_PRECISIONS[self.spec.precision],  # type: ignore[arg-type]
            max_epochs=len(feed.epochs),
            max_steps=feed.step_count,
            gradient_clip_val=None if self.spec.aligned else self.spec.optimizer.clip_norm,
            callbacks=[ProbeCallback(feed, probe, self.fetched)],
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        # Lightning scales the loss by a scaler of its own, a new one in each fit.
        if trainer.scaler is not None and self.arithmetic.scaler is not None:
            trainer.scaler.load_state_dict(self.arithmetic.scaler.state_dict())
        self.arithmetic.scaler = trainer.scaler
        self.module.train()
        trainer.fit(self.module, self.loader(feed))
        self.module.to(self.device)  # Lightning leaves a model on the CPU

    def processes(self) -> dict[str, Any]:
        """What Lightning is told of how many train together. Its own sampler, which would order
        the samples anew, is off in any case."""
        if self.together is None:
            return {"devices": 1}
        ranks = self.together.ranks
        return {
            "devices": ranks.local_count,
            "num_nodes": ranks.count // ranks.local_count,
            "strategy": DDPStrategy(
                cluster_environment=TorchElasticEnvironment(),
                process_group_backend="gloo",
                broadcast_buffers=self.together.local_norms,
            ),
        }

    def loader(self, feed: Feed) -> DataLoader[Any]:
        """What Lightning is fed from."""
        feed = self.job.share(feed)
        if self.stream is not None:
            return streaming_loader(partial(self.streamed, self.stream), feed)
        return loader(self.inputs, self.targets, feed)

    def batches(self, feed: Feed) -> Iterator[Any]:
        loaded = self.loader(feed)
        for number, _ in enumerate(feed.epochs):
            loaded.sampler.set_epoch(number)  # type: ignore[attr-defined]
            yield from loaded

    def settings(self) -> Settings:
        found = super().settings()
        most = self.spec.optimizer.clip_norm
        if most is not None and not self.spec.aligned:
            # Lightning clips with the very function of PyTorch.
            found["optimizer"] |= clipping(most, exact=False)
        return found

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "loop": "Trainer.fit"}
