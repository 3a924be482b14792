"""Small experiments that together touch every layer kind, optimizer and schedule of the product."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fwcompare.graph.kinds import FUNCTIONS, KINDS
from fwcompare.spec import OPTIMIZERS

Layers = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    """One small experiment: a model, a rule to train it by, and how long."""

    name: str
    input_shape: tuple[int, ...]
    layers: Layers
    optimizer: str = "momentum"
    options: Mapping[str, Any] = field(default_factory=dict)
    scheduler: Mapping[str, Any] = field(default_factory=lambda: {"name": "constant"})
    task: str = "classification"
    steps: int = 3
    #: Token ids that the inputs are drawn from; None: they are numbers.
    tokens: int | None = None
    #: The id that fills samples of several lengths up; None: they are all of one length.
    padding: int | None = None


def _conv(name: str = "conv", **options: Any) -> dict[str, Any]:
    return {"name": name, "kind": "conv2d", "filters": 4, "kernel_size": 3, **options}


def _dense(name: str, units: int, **options: Any) -> dict[str, Any]:
    return {"name": name, "kind": "dense", "units": units, **options}


#: Head of every image model: three classes.
_HEAD = ({"name": "flat", "kind": "flatten"}, _dense("logits", 3))

EVEN, ODD = (8, 6, 2), (7, 5, 2)


def _image(name: str, *layers: dict[str, Any], shape: tuple[int, ...] = EVEN) -> Case:
    return Case(name, shape, [*layers, *_HEAD])


def _side_by_side(name: str, shape: tuple[int, ...], branches: list[dict[str, Any]]) -> Case:
    """Layers that all take the input, flattened and joined: one graph to compile, not many."""
    layers: list[dict[str, Any]] = []
    for branch in branches:
        flat = f"{branch['name']}_flat"
        layers.append({**branch, "inputs": ["input"]})
        layers.append({"name": flat, "kind": "flatten"})
    joined = [f"{branch['name']}_flat" for branch in branches]
    layers.append({"name": "joined", "kind": "concat", "inputs": joined})
    return Case(name, shape, [*layers, _dense("logits", 3)])


def _convolutions(label: str, shape: tuple[int, ...]) -> Case:
    branches = [
        _conv(f"{padding}_stride{stride}_kernel{kernel}", padding=padding, stride=stride,
              kernel_size=kernel)
        for padding in ("same", "valid")
        for stride in (1, 2)
        for kernel in (2, 3)
    ]  # fmt: skip
    branches.append(_conv("kernel5x3_stride2x1", kernel_size=[5, 3], stride=[2, 1]))
    branches.append(_conv("groups", groups=2, bias=False))
    return _side_by_side(f"conv2d, {label} sizes", shape, branches)


def _pools(label: str, shape: tuple[int, ...]) -> Case:
    branches = [
        {"name": f"{kind}_{padding}_{size}", "kind": kind, "pool_size": size, "stride": 2,
         "padding": padding}
        for kind in ("max_pool2d", "avg_pool2d")
        for padding in ("same", "valid")
        for size in (2, 3)
    ]  # fmt: skip
    return _side_by_side(f"pooling, {label} sizes", shape, branches)


def _depthwise(label: str, shape: tuple[int, ...]) -> Case:
    branches = [
        {"name": f"{padding}_stride{stride}_kernel{kernel}", "kind": "depthwise_conv2d",
         "kernel_size": kernel, "stride": stride, "padding": padding, "multiplier": kernel}
        for padding in ("same", "valid")
        for stride in (1, 2)
        for kernel in (2, 3)
    ]  # fmt: skip
    dilated: dict[str, Any] = {"kernel_size": [2, 3], "dilation": [3, 2], "bias": False}
    branches.append({"name": "dilated", "kind": "depthwise_conv2d", **dilated})
    return _side_by_side(f"depthwise_conv2d, {label} sizes", shape, branches)


def _transposed(label: str, shape: tuple[int, ...]) -> Case:
    windows: list[tuple[Any, Any]] = [(2, 2), (3, 2), (4, 2), (5, 2), (3, 1), (2, 1), (2, 3)]
    branches = [
        {"name": f"{padding}_kernel{kernel}_stride{stride}", "kind": "conv2d_transpose",
         "filters": 3, "kernel_size": kernel, "stride": stride, "padding": padding}
        for padding in ("same", "valid")
        for kernel, stride in windows
    ]  # fmt: skip
    unequal: dict[str, Any] = {"filters": 3, "kernel_size": [5, 2], "stride": [1, 3]}
    branches.append({"name": "unequal", "kind": "conv2d_transpose", **unequal, "bias": False})
    return _side_by_side(f"conv2d_transpose, {label} sizes", shape, branches)


def _dilated(shape: tuple[int, ...]) -> Case:
    branches = [
        _conv(f"{padding}_dilation{rows}x{columns}_kernel{kernel}", padding=padding,
              dilation=[rows, columns], kernel_size=kernel)
        for padding in ("same", "valid")
        for rows, columns, kernel in ((2, 2, 2), (2, 2, 3), (3, 1, 2), (1, 2, 3))
    ]  # fmt: skip
    branches.append(_conv("grouped", dilation=2, groups=2, bias=False))
    return _side_by_side("conv2d, dilated", shape, branches)


def _conv1d(name: str = "conv", **options: Any) -> dict[str, Any]:
    return {"name": name, "kind": "conv1d", "filters": 4, "kernel_size": 3, **options}


def _steps(label: str, shape: tuple[int, ...]) -> Iterator[Case]:
    """Convolution and pooling over the steps of a sequence."""
    branches = [
        _conv1d(f"{padding}_stride{stride}_kernel{kernel}", padding=padding, stride=stride,
                kernel_size=kernel)
        for padding in ("same", "valid", "causal")
        for stride in (1, 2)
        for kernel in (2, 3)
    ]  # fmt: skip
    branches += [
        _conv1d(f"{padding}_dilated", padding=padding, dilation=2, kernel_size=3, groups=groups)
        for padding, groups in (("same", 1), ("valid", 2), ("causal", 1))
    ]
    branches.append(_conv1d("groups", groups=2, bias=False))
    yield _side_by_side(f"conv1d, {label} sizes", shape, branches)
    pools: list[dict[str, Any]] = [
        {"name": f"{kind}_{padding}_{size}_{stride}", "kind": kind, "pool_size": size,
         "stride": stride, "padding": padding}
        for kind in ("max_pool1d", "avg_pool1d")
        for padding in ("same", "valid")
        for size, stride in ((2, 2), (3, 2), (2, 1))
    ]  # fmt: skip
    pools += [{"name": kind, "kind": kind} for kind in ("global_avg_pool1d", "global_max_pool1d")]
    yield _side_by_side(f"pooling of steps, {label} sizes", shape, pools)


def _group_norms() -> Iterator[Case]:
    """Over images, sequences and features; as an instance normalisation behind a bias too."""
    for label, shape, groups in (
        ("images", EVEN, 2), ("sequences", (6, 4), 2), ("features", (6,), 3)
    ):  # fmt: skip
        norm = {"name": "norm", "kind": "group_norm", "groups": groups, "epsilon": 1e-3}
        layers = [_dense("hidden", 6), norm, *_HEAD]
        yield Case(f"group_norm on {label}", shape, layers)
    norm = {"name": "norm", "kind": "group_norm", "groups": 4, "epsilon": 1e-3}
    yield _image("group_norm, a group a channel", _conv(), norm)


def layer_cases() -> Iterator[Case]:
    """Every layer kind with the options that make a difference; even, odd and unequal sizes."""
    for label, shape in (("even", EVEN), ("odd", ODD)):
        yield _convolutions(label, shape)
        yield _depthwise(label, shape)
        yield _transposed(label, shape)
        yield _pools(label, shape)
    yield _dilated((9, 8, 2))
    for label, steps in (("even", 8), ("odd", 7)):
        yield from _steps(label, (steps, 2))
    yield _image("conv2d, then flatten", _conv(padding="same", stride=2))
    yield _image(
        "convolutions through one channel",
        _conv("narrow", filters=1),
        {"name": "wide", "kind": "conv2d_transpose", "filters": 3, "kernel_size": 3, "stride": 2},
        {"name": "narrower", "kind": "conv2d", "filters": 1, "kernel_size": [1, 3]},
    )
    yield Case(
        "dense, global pooling",
        EVEN,
        [
            _dense("everywhere", 4, bias=False),
            {"name": "mean", "kind": "global_avg_pool2d"},
            {"name": "peak", "kind": "global_max_pool2d", "inputs": ["everywhere"]},
            {"name": "both", "kind": "concat", "inputs": ["peak", "mean"]},
            _dense("logits", 3),
        ],
    )
    yield _image(
        "reshape, dropout of rate 0",
        {"name": "turn", "kind": "reshape", "shape": [6, 8, 2]},
        _conv(),
        {"name": "drop", "kind": "dropout", "rate": 0.0},
    )
    norm = {"momentum": 0.8, "epsilon": 1e-3}
    yield _image(
        "batch_norm on images",
        _conv(bias=False),
        {"name": "norm", "kind": "batch_norm", **norm},
    )
    yield Case(
        "batch_norm on features, behind a bias",
        (5,),
        [_dense("hidden", 4), {"name": "norm", "kind": "batch_norm", **norm}, _dense("logits", 3)],
    )
    yield _image("layer_norm", _conv(), {"name": "norm", "kind": "layer_norm", "epsilon": 1e-3})
    yield from _group_norms()
    yield _side_by_side(
        "rms_norm",
        EVEN,
        [
            {"name": "norm", "kind": "rms_norm", "epsilon": 1e-3},
            {"name": "tight", "kind": "rms_norm", "epsilon": 1e-6},
        ],
    )
    yield _image(
        "zero_pad2d, upsample2d",
        {"name": "border", "kind": "zero_pad2d", "padding": [[0, 1], [2, 3]]},
        _conv(padding="valid"),
        {"name": "larger", "kind": "upsample2d", "size": [2, 3]},
        _conv("then"),
    )
    yield _image(
        "softmax, scale",
        _conv(),
        {"name": "gate", "kind": "softmax"},
        {"name": "tenth", "kind": "scale", "factor": 0.1, "inputs": ["conv"]},
        {"name": "learned", "kind": "scale", "factor": 0.3, "learned": True},
        {"name": "sum", "kind": "add", "inputs": ["gate", "learned"]},
    )
    yield _image(
        "add, concat",
        _conv("a"),
        _conv("b", inputs=["input"]),
        {"name": "sum", "kind": "add", "inputs": ["a", "b", "a"]},
        {"name": "both", "kind": "concat", "inputs": ["b", "sum", "input"]},
        _conv("c"),
    )
    alphas = {"leaky_relu": 0.2, "elu": 0.7}
    yield _side_by_side(
        "activations",
        (7,),
        [
            {
                "name": function,
                "kind": "activation",
                "function": function,
                "alpha": alphas.get(function, 0.0),
            }
            for function in FUNCTIONS
        ],
    )
    yield _image(
        "relu6, saturated",
        {"name": "wide", "kind": "scale", "factor": 8.0},
        {"name": "clipped", "kind": "activation", "function": "relu6", "alpha": 0.0},
    )
    yield Case("regression", (5,), [_dense("hidden", 4), _dense("out", 2)], task="regression")
    yield Case(
        "several labels", (5,), [_dense("hidden", 4), _dense("logits", 3)], task="multi_label"
    )
    # Logits of hundreds: a loss that goes by probabilities has no digits left.
    yield Case(
        "several labels, far out",
        (5,),
        [_dense("logits", 3), {"name": "far", "kind": "scale", "factor": 300.0}],
        options={"lr": 1e-6},
        task="multi_label",
    )
    yield Case(
        "reconstruction of images",
        EVEN,
        [
            _conv(stride=2),
            {"name": "act", "kind": "activation", "function": "tanh", "alpha": 0.0},
            {"name": "back", "kind": "conv2d_transpose", "filters": 2, "kernel_size": 3,
             "stride": 2},
        ],
        task="reconstruction",
    )  # fmt: skip
    yield from _sequence_cases()


#: Token ids, and steps of a sequence. Fewer ids than a batch holds, so that rows are used again;
#: more than a sample holds, so that some are not used.
_TOKENS, _STEPS = 11, 6


def _of_tokens(name: str, *layers: dict[str, Any], **options: Any) -> Case:
    embedding = {"name": "embedding", "kind": "embedding", "tokens": _TOKENS, "features": 4}
    return Case(name, (_STEPS,), [embedding, *layers], tokens=_TOKENS, **options)


def _sequence_cases() -> Iterator[Case]:
    """Token ids and sequences."""
    yield _of_tokens("embedding", *_HEAD)
    yield _of_tokens(
        "embedding, clipped",
        *_HEAD,
        optimizer="adam",
        options={"clip_norm": 0.05, "decay": "l2", "weight_decay": 0.05},
    )
    yield Case(
        "positions",
        (_STEPS, 5),
        [
            {"name": "learned", "kind": "position_embedding"},
            {"name": "waves", "kind": "sinusoidal_position", "base": 100.0},
            *_HEAD,
        ],
    )
    for kind in ("lstm", "gru"):
        layer = {"name": "rnn", "kind": kind, "units": 3}
        # Adam, decay and clipping would show a second bias that moves.
        yield _of_tokens(
            f"{kind}, last",
            layer,
            _dense("logits", 3),
            optimizer="adam",
            options={"clip_norm": 0.05, "decay": "l2", "weight_decay": 0.05},
        )
        yield Case(
            f"{kind}, stacked, both ways",
            (_STEPS, 5),
            [
                {**layer, "layers": 2, "bidirectional": True, "returns": "all"},
                {**layer, "name": "ends", "bidirectional": True},
                _dense("logits", 3),
            ],
        )
    attention = {"name": "attention", "kind": "multi_head_attention", "heads": 2}
    # Two features a head: a scale by their root is no number of float32.
    yield _of_tokens("attention", attention, *_HEAD)
    yield Case(
        "attention, causal and crossed",
        (_STEPS, 6),
        [
            {**attention, "causal": True, "heads": 3, "bias": False},
            {"name": "ends", "kind": "lstm", "units": 5, "inputs": ["input"], "returns": "all"},
            {**attention, "name": "crossed", "inputs": ["attention", "ends"]},
            *_HEAD,
        ],
        optimizer="adam",
    )
    yield from _padded_cases()
    yield _of_tokens("next token", _dense("logits", 3), task="language_modelling")


def _padded_cases() -> Iterator[Case]:
    """Samples of several lengths, filled up with the last id, the only one without a mask."""
    padding = {"name": "padding", "kind": "padding_mask", "padding": _TOKENS - 1}
    embedding = {"name": "embedding", "kind": "embedding", "tokens": _TOKENS, "features": 4}
    start = [padding, {**embedding, "inputs": ["input"]}]
    padded: dict[str, Any] = {"tokens": _TOKENS, "padding": _TOKENS - 1}

    def masked(name: str, kind: str, *inputs: str, **options: Any) -> dict[str, Any]:
        return {"name": name, "kind": kind, "mask": True, "inputs": [*inputs, "padding"], **options}

    for kind in ("lstm", "gru"):
        whole: dict[str, Any] = {"units": 3, "layers": 2, "bidirectional": True, "returns": "all"}
        yield Case(
            f"{kind}, padded",
            (_STEPS,),
            [
                *start,
                masked("all", kind, "embedding", **whole),
                masked("ends", kind, "all", units=3, bidirectional=True),
                masked("end", kind, "all", units=3),
                {"name": "every", "kind": "flatten", "inputs": ["all"]},
                {"name": "joined", "kind": "concat", "inputs": ["every", "ends", "end"]},
                _dense("logits", 3),
            ],
            **padded,
        )
    yield Case(
        "attention, padded",
        (_STEPS,),
        [
            *start,
            masked("self", "multi_head_attention", "embedding", heads=2),
            masked("causal", "multi_head_attention", "self", heads=4, causal=True, bias=False),
            masked("crossed", "multi_head_attention", "self", "causal", heads=2),
            masked("mean", "global_avg_pool1d", "crossed"),
            masked("peak", "global_max_pool1d", "causal"),
            {"name": "joined", "kind": "concat", "inputs": ["mean", "peak"]},
            _dense("logits", 3),
        ],
        optimizer="adam",
        **padded,
    )


#: The model on which optimizers are tried: a norm, a kernel, biases.
_TRIAL: Layers = (
    _dense("hidden", 6),
    {"name": "norm", "kind": "layer_norm", "epsilon": 1e-5},
    {"name": "act", "kind": "activation", "function": "tanh", "alpha": 0.0},
    _dense("logits", 3),
)

SCHEDULERS: tuple[dict[str, Any], ...] = (
    {"name": "constant"},
    {"name": "step", "step_epochs": 0.5, "gamma": 0.5},
    {"name": "cosine", "final_factor": 0.1},
    {"name": "warmup_cosine", "warmup_epochs": 0.75, "final_factor": 0.0},
)

_VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("plain", {"decay": "none", "weight_decay": 0.0}),
    ("l2", {"decay": "l2", "weight_decay": 0.05}),
    ("l2 on kernels", {"decay": "l2", "weight_decay": 0.05, "decay_scope": "kernels"}),
    ("decoupled", {"decay": "decoupled", "weight_decay": 0.05}),
    (
        "decoupled on kernels",
        {"decay": "decoupled", "weight_decay": 0.05, "decay_scope": "kernels"},
    ),
    ("clipped", {"decay": "none", "weight_decay": 0.0, "clip_norm": 0.05}),
    ("clipped l2", {"clip_norm": 0.05, "decay": "l2", "weight_decay": 0.05}),
)


def optimizer_cases() -> Iterator[Case]:
    """Every optimizer with every schedule, and with every kind of decay and clipping."""
    for optimizer in OPTIMIZERS:
        for position, (label, options) in enumerate(_VARIANTS):
            scheduler = SCHEDULERS[position % len(SCHEDULERS)]
            name = f"{optimizer}, {label}, {scheduler['name']}"
            yield Case(name, (5,), _TRIAL, optimizer, options, scheduler, steps=10)


def all_cases() -> list[Case]:
    """Every case, layers first."""
    cases = [*layer_cases(), *optimizer_cases()]
    touched = {layer["kind"] for case in cases for layer in case.layers}
    assert touched == set(KINDS), f"no case for {set(KINDS) - touched}"
    return cases
