"""TensorFlow for fwcompare. This module is the import-free front: it never imports TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from fwcompare.plugin import Format, NativeSide
from fwcompare.ranks import Ranks
from fwcompare.spec import RunSpec
from fwcompare_keras import (
    FORMATS,
    TEMPLATE,
    TENSORFLOW_FOOTPRINT,
    refuses_on_tensorflow,
    tensorflow_environment,
)


class TensorFlow:
    """The engine ``tensorflow``: ``native`` is ``tf.function``, ``eager`` runs operation by
    operation, ``compiled`` is XLA. One environment serves it and ``keras_tensorflow``."""

    name = "tensorflow"
    trainer = "fwcompare_tensorflow.trainer:TensorFlowTrainer"
    packages: tuple[str, ...] = ("fwcompare_tensorflow", "fwcompare_keras")
    requirements: tuple[str, ...] = ("tensorflow", "keras")
    colour = "#FF8F00"
    same_execution: Mapping[str, str] = MappingProxyType({})
    #: Several devices of one process train copies of a model, by ``MirroredStrategy``.
    mirrors = True
    footprint = TENSORFLOW_FOOTPRINT
    formats: Mapping[str, Format] = FORMATS
    native = NativeSide(("tensorflow", "keras"), TEMPLATE)

    def environment(self, spec: RunSpec) -> Mapping[str, str]:
        return tensorflow_environment(spec)

    def meeting(self, ranks: Ranks) -> Mapping[str, str]:
        """The cluster as ``TF_CONFIG`` tells it: every rank is a worker, and rank 0 the chief."""
        cluster = {"worker": list(ranks.addresses)}
        task = {"type": "worker", "index": ranks.rank}
        return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}

    def supports(self, spec: RunSpec) -> str | None:
        if spec.distributed.active and (reason := refuses_together(spec)):
            return reason
        return refuses_on_tensorflow(spec, self.name)


def refuses_together(spec: RunSpec) -> str | None:
    """Why several processes or devices of TensorFlow cannot train this; None if they can."""
    meets = spec.distributed.meets
    alone = "in one process" if meets else "on one device"
    if spec.execution != "native":
        return (
            f"{'MultiWorkerMirroredStrategy' if meets else 'MirroredStrategy'} runs in "
            f"tf.function, and is not joined with execution={spec.execution}. "
            "Choose execution=native."
        )
    if spec.mixed:
        return f"precision={spec.precision} trains {alone} alone. Choose float32."
    if spec.framework.code is not None:
        return f"code of your own trains {alone} alone. Choose distributed=none."
    return None


FRONT = TensorFlow()
