"""Layers that Keras or one of its backends cannot build or train, told from the graph alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fwcompare.graph import Layer
from fwcompare.spec import RunSpec

#: Why several processes cannot train one model, by engine.
_ALONE = {
    "keras_tensorflow": (
        "keras_tensorflow: Keras 3's model.fit does not train under MultiWorkerMirroredStrategy. "
        "Choose framework=tensorflow, which trains Keras layers in its own loop."
    ),
    "keras_torch": (
        "keras_torch: Keras 3's model.fit knows nothing of DistributedDataParallel. "
        "Choose framework=pytorch or framework=lightning."
    ),
}

#: Why a layer cannot be done; None if it can.
Rule = Callable[[Layer], str | None]


def refusal(engine: str, spec: RunSpec, rules: Iterable[Rule]) -> str | None:
    """Why an engine cannot train as asked, in a sentence, such as the first layer that a rule
    refuses; None if it can."""
    if spec.distributed.active and engine in _ALONE:
        return _ALONE[engine]
    rules = list(rules)
    for layer in spec.model.graph.layers:
        for rule in rules:
            if reason := rule(layer):
                return f"{engine} cannot train layer '{layer.name}' ({layer.kind.kind}): {reason}"
    return None


def strided_and_dilated(layer: Layer) -> str | None:
    """Keras's convolutions take one or the other, whatever the backend can."""
    options = layer.kind.options()
    if layer.kind.kind in ("conv1d", "conv2d") and (
        max(options["stride"]) > 1 and max(options["dilation"]) > 1
    ):
        return "Keras has no convolution with a stride and a dilation. Set one of them to 1."
    return None


def unequal_depthwise_strides(layer: Layer) -> str | None:
    """TensorFlow's depthwise convolution has one stride for height and width."""
    options = layer.kind.options()
    if layer.kind.kind == "depthwise_conv2d" and len(set(options["stride"])) > 1:
        return "TensorFlow needs one stride for height and width. Make them equal."
    return None
