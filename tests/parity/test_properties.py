"""Random experiments of the product's own kinds pass the ladder, a rotating pair of engines each.

``FWCOMPARE_LONG=1`` tries many more, at random and in any pair; otherwise they are a few that are
always the same, once around the ring of engines.
"""

from __future__ import annotations

import os
from itertools import cycle, permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fwcompare.graph.kinds import FUNCTIONS, make
from fwcompare.parity.cases import Case
from fwcompare.plugin import front, installed, missing_engines
from fwcompare.spec import OPTIMIZERS
from fwcompare.testing import case_run, check_engine

LONG = bool(os.environ.get("FWCOMPARE_LONG"))
ENGINES = sorted({*installed()} - missing_engines())
#: Reference and engine.
PAIRS = list(
    permutations(ENGINES, 2) if LONG else zip(ENGINES, ENGINES[1:] + ENGINES[:1], strict=True)
)

settings.register_profile(
    "short",
    max_examples=1 + len(PAIRS),  # the first is as small as can be
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # what fails is small already, and each try of shrinking compiles
)
settings.register_profile(
    "long", max_examples=400, deadline=None, suppress_health_check=list(HealthCheck)
)


class Model:
    """A layer list in the making: what is added goes on from the layer before."""

    def __init__(self, draw: st.DrawFn, input_shape: tuple[int, ...]) -> None:
        self.draw = draw
        self.layers: list[dict[str, Any]] = []
        self.shapes = {"input": input_shape}
        self.last = "input"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.shapes[self.last]

    def one_of(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def number(self, least: int, most: int) -> int:
        return self.draw(st.integers(least, most))

    def add(self, kind: str, *inputs: str, **options: Any) -> str:
        name = f"{kind}_{len(self.layers)}"
        sources = list(inputs or [self.last])
        self.layers.append({"name": name, "kind": kind, "inputs": sources, **options})
        shapes = [self.shapes[source] for source in sources]
        self.shapes[name] = make(kind, options).output_shape(*shapes)
        self.last = name
        return name

    def window(self, name: str) -> dict[str, Any]:
        """A window that fits, of unequal sides more often than not."""
        padding = self.one_of("same", "valid")
        limits = self.shape[:2] if padding == "valid" else (5, 5)
        size = [self.number(1, min(limit, 5)) for limit in limits]
        return {name: size, "stride": [self.number(1, 3), self.number(1, 3)], "padding": padding}

    def linear(self) -> str:
        """A convolution of an image, or a dense layer of anything."""
        if len(self.shape) == 3 and self.number(0, 3):
            groups = self.one_of(*(g for g in (1, 2, 3) if self.shape[2] % g == 0))
            # Not to one channel: there PyTorch 2.13 fails in float64 on kernels laid out as Keras's
            # ("slow_conv2d: grad_weight must be contiguous").
            return self.add(
                "conv2d",
                filters=groups * self.number(2, 3),
                groups=groups,
                bias=self.one_of(True, False),
                **self.window("kernel_size"),
            )
        return self.add("dense", units=self.number(3, 6), bias=self.one_of(True, False))

    def batch_norm(self) -> None:
        # A bias or beta that reached the norm through linear layers alone would have a true
        # gradient of zero, and the ladder leaves out only the bias right before a norm.
        if self.layers:
            self.add("activation", function="tanh")
        self.linear()
        self.add("batch_norm", momentum=self.one_of(0.5, 0.9), epsilon=self.one_of(1e-2, 1e-3))

    def layer_norm(self) -> None:
        self.add("dense", units=self.number(4, 6))  # one feature alone would normalise to nothing
        self.add("layer_norm", epsilon=self.one_of(1e-2, 1e-3))

    def other_norm(self) -> None:
        self.add("dense", units=6)
        if self.number(0, 1):
            self.add("group_norm", groups=self.one_of(1, 2, 3), epsilon=self.one_of(1e-2, 1e-3))
        else:
            self.add("rms_norm", epsilon=self.one_of(1e-2, 1e-3))

    def image(self) -> None:
        """What only images have, at sizes that stay small."""
        if len(self.shape) != 3 or max(self.shape[:2]) > 12:
            self.activation()
            return
        kernel = {"padding": self.one_of("same", "valid"), "bias": self.one_of(True, False)}
        size = [self.number(1, min(4, edge)) for edge in self.shape[:2]]
        match self.number(0, 3):
            case 0:  # TensorFlow has one stride for height and width
                self.add("depthwise_conv2d", kernel_size=size, stride=self.number(1, 3),
                         multiplier=self.number(1, 2), **kernel)  # fmt: skip
            case 1:
                stride = [self.number(1, 3), self.number(1, 3)]
                self.add("conv2d_transpose", filters=self.number(2, 3), kernel_size=size,
                         stride=stride, **kernel)  # fmt: skip
            case 2:
                self.add("upsample2d", size=[self.number(1, 2), self.number(1, 2)])
            case 3:
                sides = [[self.number(0, 2), self.number(0, 2)] for _ in range(2)]
                self.add("zero_pad2d", padding=sides)

    def gate(self) -> None:
        start = self.last
        gate = self.add("softmax")
        scaled = self.add("scale", start, factor=self.one_of(0.1, 1.0, -2.5),
                          learned=self.one_of(True, False))  # fmt: skip
        self.add("add", gate, scaled)

    def activation(self) -> None:
        alpha = self.one_of(0.1, 0.3, 1.0)
        self.add("activation", function=self.one_of(*FUNCTIONS), alpha=alpha)

    def pool(self) -> None:
        if len(self.shape) != 3:
            self.activation()
            return
        self.add(self.one_of("max_pool2d", "avg_pool2d"), **self.window("pool_size"))

    def residual(self) -> None:
        start, features = self.last, self.shape[-1]
        self.activation()
        self.add("dense", units=features)
        self.add("add", start, self.last)

    def branches(self) -> None:
        start = self.last
        left = self.add("dense", units=self.number(1, 3))
        right = self.add("dense", start, units=self.number(1, 3), bias=False)
        self.add("concat", left, right)

    def reshape(self) -> None:
        height, *rest = self.shape
        self.add("reshape", shape=[*rest, height])

    def head(self, outputs: int) -> None:
        if len(self.shape) == 3:
            self.add(self.one_of("flatten", "global_avg_pool2d", "global_max_pool2d"))
        elif len(self.shape) == 2:
            self.add(self.one_of("flatten", "global_avg_pool1d", "global_max_pool1d"))
        self.add("dense", units=outputs)

    # What only sequences have.

    def embedding(self, tokens: int) -> None:
        self.add("embedding", tokens=tokens, features=self.one_of(2, 4))

    def convolution_of_steps(self) -> None:
        padding = self.one_of("same", "valid", "causal")
        size = self.number(1, min(3, self.shape[0]))
        stride = self.number(1, 2)
        dilation = self.number(1, 2) if stride == 1 and padding != "valid" else 1
        self.add("conv1d", filters=self.number(2, 4), kernel_size=size, stride=stride,
                 dilation=dilation, padding=padding, bias=self.one_of(True, False))  # fmt: skip

    def pool_of_steps(self) -> None:
        self.add(
            self.one_of("max_pool1d", "avg_pool1d"),
            pool_size=self.number(1, min(3, self.shape[0])),
            stride=self.number(1, 2),
            padding=self.one_of("same", "valid"),
        )

    def recurrent(self) -> None:
        self.add(self.one_of("lstm", "gru"), units=self.number(2, 3), layers=self.number(1, 2),
                 bidirectional=self.one_of(True, False), returns="all")  # fmt: skip

    def attention(self) -> None:
        heads = self.one_of(*(n for n in (1, 2) if self.shape[1] % n == 0))
        self.add("multi_head_attention", heads=heads, causal=self.one_of(True, False),
                 bias=self.one_of(True, False))  # fmt: skip

    def position(self) -> None:
        if self.number(0, 1) or self.shape[1] % 2:
            self.add("position_embedding")
        else:
            self.add("sinusoidal_position", base=self.one_of(100.0, 10000.0))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A small model with everything that is needed to train it."""
    sizes, few = st.integers(3, 8), st.integers(1, 3)
    rank = draw(few)
    tokens = draw(st.sampled_from((None, 7))) if rank == 2 else None
    shape = tuple(draw(few if axis == 2 else sizes) for axis in range(1 if tokens else rank))
    model = Model(draw, shape)
    if tokens:
        model.embedding(tokens)
    else:
        model.linear()
    # What is rare comes first: Hypothesis likes beginnings.
    if rank == 2:
        blocks = [model.recurrent, model.attention, model.convolution_of_steps,
                  model.pool_of_steps, model.position]  # fmt: skip
    else:
        blocks = [model.image, model.pool, model.reshape]
    blocks += [model.batch_norm, model.residual, model.branches, model.gate, model.other_norm,
               model.layer_norm, model.activation, model.linear]  # fmt: skip
    for _ in range(draw(st.integers(2, 4))):
        draw(st.sampled_from(blocks))()
    task = draw(st.sampled_from(("classification", "multi_label", "regression")))
    model.head(2 if task == "regression" else 3)
    optimizer = draw(st.sampled_from(sorted(OPTIMIZERS)))
    return Case(
        "random", shape, model.layers, optimizer, draw(_options(optimizer)), draw(_schedules()),
        task, steps=5, tokens=tokens,
    )  # fmt: skip


@st.composite
def _options(draw: st.DrawFn, optimizer: str) -> dict[str, Any]:
    share = st.sampled_from((0.0, 0.5, 0.9, 0.99))
    # With lr / epsilon the first step of an adaptive rule amplifies the rounding of small
    # gradients; below, what is left of float64 is too little for a tolerance of 1e-11.
    epsilon = st.sampled_from((1e-2, 1e-3))
    own: dict[str, dict[str, Any]] = {
        "sgd": {},
        "momentum": {"momentum": share, "nesterov": st.booleans()},
        "nesterov": {"momentum": share},
        "adam": {"beta1": share, "beta2": share, "epsilon": epsilon},
        "adamw": {"beta1": share, "beta2": share, "epsilon": epsilon},
        "rmsprop": {"rho": share, "epsilon": epsilon},
        "adagrad": {"initial_accumulator": st.sampled_from((0.0, 0.1)), "epsilon": epsilon},
    }
    decay = draw(st.sampled_from(("none", "l2", "decoupled")))
    return {
        **{name: draw(values) for name, values in own[optimizer].items()},
        "lr": draw(st.sampled_from((0.1, 0.01))),
        "clip_norm": draw(st.sampled_from((None, 0.1, 10.0))),
        "decay": decay,
        "weight_decay": 0.0 if decay == "none" else draw(st.sampled_from((0.1, 0.01))),
        "decay_scope": draw(st.sampled_from(("all", "kernels"))),
    }


def _schedules() -> st.SearchStrategy[dict[str, Any]]:
    factor, epochs = st.sampled_from((0.0, 0.1, 1.0)), st.sampled_from((0.25, 0.5, 1.0))
    name = st.just
    return st.one_of(
        st.fixed_dictionaries({"name": name("constant")}),
        st.fixed_dictionaries({"name": name("step"), "step_epochs": epochs, "gamma": factor}),
        st.fixed_dictionaries({"name": name("cosine"), "final_factor": factor}),
        st.fixed_dictionaries(
            {"name": name("warmup_cosine"), "warmup_epochs": epochs, "final_factor": factor}
        ),
    )


@pytest.mark.slow
@pytest.mark.timeout(3600 if LONG else 300)
def test_random_experiments_are_proven(warm, tmp_path):
    rotation = cycle(PAIRS)
    pairs = st.sampled_from(PAIRS) if LONG else st.builds(lambda: next(rotation))

    @settings(settings.get_profile("long" if LONG else "short"))
    @given(cases(), pairs)
    def climb(case: Case, pair: tuple[str, str]) -> None:
        reference, engine = pair
        if front(reference).supports(case_run(tmp_path, case, reference)):
            reference = "pytorch"  # which refuses none of these
        ((_, verdict),) = check_engine(engine, reference, [case], tmp_path, warm)
        assert verdict.state in ("proven", "unsupported"), f"{verdict.reason} {verdict.worst}"

    climb()
