"""What an engine takes in memory and time beyond what the mathematics needs.

An engine's front may state one as its attribute ``footprint``; one that states none has that of an
engine which runs layer after layer, as they are written. The numbers are not derived: those of
PyTorch, JAX and TensorFlow were fitted to runs (`benchmarks/preflight.py`), others are taken from
the backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Keep:
    """What a layer keeps from the forward pass until its backward pass."""

    input: bool = False
    output: bool = False
    #: Numbers of its own for each number of its output; of an attention, for each number of its
    #: queries, keys, values and their sums; of a recurrent layer, for each unit at each step.
    more: float = 0.0
    #: Bytes besides, for each number of its output: places of maxima, masks.
    marks: int = 0
    #: Copies of its inputs in another order.
    turned: float = 0.0
    #: Numbers for each of its input that are there only while its gradient is worked out.
    work: float = 0.0
    #: Loops of the program that it is, in each direction of a recurrent layer.
    loops: int = 0


_INPUT, _OUTPUT, _NOTHING = Keep(input=True), Keep(output=True), Keep()

#: What reverse-mode differentiation keeps, operation by operation; by kind, and for activations by
#: function. A kind that is not named here keeps its input and its output.
KEEPS: Mapping[str, Keep] = {
    **dict.fromkeys(("dense", "conv1d", "conv2d", "depthwise_conv2d", "conv2d_transpose"), _INPUT),
    **dict.fromkeys(("batch_norm", "layer_norm", "group_norm", "rms_norm"), _INPUT),
    **dict.fromkeys(("max_pool1d", "max_pool2d"), Keep(input=True, output=True, marks=8)),
    **dict.fromkeys(("global_max_pool1d", "global_max_pool2d"), Keep(input=True, output=True)),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d"), _INPUT),
    **dict.fromkeys(("global_avg_pool1d", "global_avg_pool2d"), _NOTHING),
    **dict.fromkeys(("flatten", "reshape", "zero_pad2d", "upsample2d", "add", "concat"), _NOTHING),
    **dict.fromkeys(("embedding", "position_embedding", "sinusoidal_position"), _NOTHING),
    **dict.fromkeys(("relu", "relu6", "tanh", "sigmoid", "linear", "softmax"), _OUTPUT),
    **dict.fromkeys(("leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu", "mish"), _INPUT),
    **dict.fromkeys(("softplus", "softsign"), _INPUT),
    "padding_mask": _NOTHING,
    "dropout": Keep(more=1.0),
    "scale": _INPUT,
    "multi_head_attention": Keep(input=True, more=1.0),
    "lstm": Keep(input=True, output=True, more=9.5),
    "gru": Keep(input=True, output=True, more=7.5),
}

_BOTH = Keep(input=True, output=True)

#: How ``shares`` calls a convolution whose kernel is larger than the image.
BEYOND_IMAGE = "convolution_beyond_image"

#: Shares of the machine's peak that layers reach, by kind; ``product`` for any that multiplies
#: matrices and is not named.
SHARES: Mapping[str, float] = {"product": 0.6, "depthwise_conv2d": 0.05}


@dataclass(frozen=True)
class Footprint:
    """Memory in the first part, time in the second."""

    #: Resident memory of the process with the framework imported and a first small step made.
    base_mib: float = 400.0
    #: Copies of all weights besides the weights, their gradients and the optimizer's slots.
    weights: float = 0.0
    #: The factor between what a step's tensors hold and what its allocator takes for them.
    slack: float = 1.1
    #: The most that the allocator holds on to at the end of its heap. It is twice the largest block
    #: that it has seen, and no more than all of them.
    held_mib: float = 0.0
    #: Copies of the training split in memory; the file that they are read from is one.
    data: float = 2.0
    #: Copies of the kernels of convolutions besides, such as turned around for the backward pass.
    kernels: float = 0.0
    #: Compiled program and its compilation, for each layer.
    layer_kib: float = 0.0
    #: Each loop of it besides.
    loop_kib: float = 0.0
    #: What an attention keeps of its scores, (heads, steps, steps): numbers for each.
    scores: float = 0.0
    #: Whether element-wise layers write over what they take where nobody else wants it.
    in_place: bool = False
    #: What layers keep where that is not as in ``KEEPS``.
    keeps: Mapping[str, Keep] = field(default_factory=dict)

    #: Seconds from the start of the process to its first step, without compiling.
    start_s: float = 4.0
    #: Milliseconds of compilation for each layer.
    compile_ms: float = 0.0
    #: Microseconds of a step, and of each of its layers forward and backward, that no arithmetic
    #: explains.
    step_us: float = 200.0
    layer_us: float = 40.0
    #: Microseconds of each step of a sequence in each direction of a recurrent layer.
    sequence_us: float = 60.0
    #: Nanoseconds for each number of a convolution's windows, in each pass, to gather it.
    window_ns: float = 0.0
    #: Shares of the peak where those are not as in ``SHARES``.
    shares: Mapping[str, float] = field(default_factory=dict)
    #: The share of the machine's copying speed at which element-wise layers and updates go.
    copy_share: float = 0.6

    def keep(self, word: str) -> Keep:
        """What a layer of a kind, or an activation of a function, keeps."""
        return self.keeps.get(word) or KEEPS.get(word, _BOTH)

    def share(self, kind: str) -> float:
        """The share of the peak that a layer which multiplies matrices reaches."""
        for table in (self.shares, SHARES):
            if kind in table:
                return table[kind]
        return self.shares.get("product", SHARES["product"])


#: That of an engine which states none.
PLAIN = Footprint()


#: XLA's fast convolutions have neither groups nor an image smaller than the kernel, for which it
#: changes the two about: both go number by number. Attention is several operations.
_XLA_SHARES: Mapping[str, float] = MappingProxyType(
    {
        "product": 0.7,
        "dense": 0.8,
        "multi_head_attention": 0.35,
        "depthwise_conv2d": 0.003,
        BEYOND_IMAGE: 0.017,
    }
)

_XLA_CONVOLUTION = Keep(input=True, turned=1.0)
_XLA_POOLING = Keep(input=True, output=True, work=7.0)
_XLA_NORM = Keep(input=True, more=1.0)

#: What is composed of several operations keeps what each of them wants. A convolution keeps its
#: input as the product for its kernel's gradient takes it, too. A pooling's gradient is scattered
#: to places that are worked out for every number of its input. A recurrent layer is a loop forward
#: and one backward, and one in evaluation; a dropout draws its random bits in one.
_XLA_KEEPS: Mapping[str, Keep] = MappingProxyType(
    {
        **dict.fromkeys(("conv1d", "conv2d", "depthwise_conv2d"), _XLA_CONVOLUTION),
        **dict.fromkeys(("max_pool1d", "max_pool2d"), _XLA_POOLING),
        **dict.fromkeys(("batch_norm", "layer_norm", "group_norm", "rms_norm"), _XLA_NORM),
        "gelu": Keep(more=3.0),
        "gelu_tanh": Keep(input=True, more=3.0),
        "multi_head_attention": Keep(input=True, more=2.0),
        "dropout": Keep(more=1.0, loops=1),
        "lstm": Keep(input=True, output=True, more=13.0, loops=3),
        "gru": Keep(input=True, output=True, more=13.0, loops=3),
    }
)

#: Of an engine whose steps XLA compiles, fitted to JAX; its plugin says what its imports take.
#: Compiling takes memory for each layer, and convolutions have kernels that are turned around.
XLA_FOOTPRINT = Footprint(
    slack=1.2,
    kernels=1.0,
    layer_kib=3584,
    loop_kib=20 * 1024,
    keeps=_XLA_KEEPS,
    scores=2.0,
    compile_ms=200,
    layer_us=10,
    window_ns=1.0,
    shares=_XLA_SHARES,
)
