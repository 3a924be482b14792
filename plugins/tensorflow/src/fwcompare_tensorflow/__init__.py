"""TensorFlow for fwcompare. This module is the import-free front: it never imports TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fwcompare.plugin import Format, NativeSide
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
    footprint = TENSORFLOW_FOOTPRINT
    formats: Mapping[str, Format] = FORMATS
    native = NativeSide(("tensorflow", "keras"), TEMPLATE)

    def environment(self, spec: RunSpec) -> Mapping[str, str]:
        return tensorflow_environment(spec)

    def supports(self, spec: RunSpec) -> str | None:
        return refuses_on_tensorflow(spec, self.name)


FRONT = TensorFlow()
