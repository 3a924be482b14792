"""Deliberate errors: each changes what one engine is built from, to show that the ladder finds it.

A proof that has never failed proves little. Every error here is one that is made in practice: a
framework's own default or formula, a layout, an off-by-one. It is switched on in one engine while
the facts of the trace stay those that were asked for, so that only numbers can give it away.

Most errors are a change of the ``Job`` and can be made in any engine. Those that no option can
express are patches in a plugin: ``PATCHES`` in its module ``mutations``, by the name of the error.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fwcompare.data.batches import Arrays, Feed
from fwcompare.errors import RequestError, choices, unknown
from fwcompare.graph import Graph
from fwcompare.parity.cases import Case
from fwcompare.plugin import Job, Trainer
from fwcompare.spec import Scheduler

Change = Callable[[Job], Job]
#: Builds a trainer with the error in it: ``(the engine's trainer, the job)``.
Patch = Callable[[Callable[[Job], Trainer], Job], Trainer]


@dataclass(frozen=True)
class Mutation:
    """One deliberate error, and where it must be found."""

    name: str
    #: What is wrong, in words.
    error: str
    #: The experiment on which it shows.
    case: Case
    #: What the diagnosis must say: the layer, tensor or slot, and the cause.
    words: tuple[str, ...]
    #: The error as a change of the job; None for a patch in the plugin of ``engine``.
    change: Change | None = None
    #: The engine in which the error is tried and, for a patch, the only one that has it.
    engine: str = "pytorch"

    def named_by(self, diagnosis: str) -> bool:
        """Whether a diagnosis names the place and the cause."""
        return all(word in diagnosis for word in self.words)

    def build(self, trainer: Callable[[Job], Trainer], job: Job) -> tuple[Trainer, Feed]:
        """The engine with the error in it, and the feed that it is given."""
        if self.change:
            job = self.change(job)
            return trainer(job), job.feed
        module = importlib.import_module(f"{job.spec.framework.packages[0]}.mutations")
        patches: Mapping[str, Patch] = module.PATCHES
        return patches[self.name](trainer, job), job.feed


def find(name: str, engine: str) -> Mutation:
    """The error of this name for an engine.

    Raises:
        RequestError: there is none, or it is a patch in the plugin of another engine.
    """
    possible = [m.name for m in MUTATIONS.values() if m.change or m.engine == engine]
    if name not in MUTATIONS:
        raise unknown("error", name, possible)
    if name not in possible:
        raise RequestError(
            f"The error '{name}' is made in {MUTATIONS[name].engine} alone.",
            f"For {engine} choose from: {choices(possible)}.",
        )
    return MUTATIONS[name]


def no_place(reason: str) -> RequestError:
    """An error for an experiment in which a deliberate error cannot be made."""
    return RequestError(f"This error cannot be made here: {reason}.")


def _options(**changes: Any) -> Change:
    """Other options of the optimizer."""
    return lambda job: _with_optimizer(job, changes)


def _times(option: str, factor: float) -> Change:
    """An option of the optimizer times a factor."""
    return lambda job: _with_optimizer(
        job, {option: factor * getattr(job.spec.optimizer, option, 0.0)}
    )


def _with_optimizer(job: Job, changes: Mapping[str, Any]) -> Job:
    for option in changes:
        if not hasattr(job.spec.optimizer, option):
            raise no_place(f"optimizer={job.spec.optimizer.name} has no {option}")
    return replace(job, spec=job.spec.but(optimizer=replace(job.spec.optimizer, **changes)))


def _layer(kind: str, **changes: Any) -> Change:
    """Other options for every layer of a kind; a function is given the option's value."""

    def change(job: Job) -> Job:
        layers = []
        for layer in job.graph.to_layers():
            if layer["kind"] == kind:
                new = {k: v(layer[k]) if callable(v) else v for k, v in changes.items()}
                layer |= new
            layers.append(layer)
        graph = Graph.from_layers(job.graph.input_shape, layers, job.graph.input_type)
        model = replace(job.spec.model, layers=tuple(layers), digest=graph.digest)
        return replace(job, graph=graph, spec=job.spec.but(model=model))

    return change


def _schedule(scheduler: type[Scheduler]) -> Change:
    return lambda job: replace(
        job, spec=job.spec.but(scheduler=scheduler(**asdict(job.spec.scheduler)))
    )


class _OneStepAhead(Scheduler):
    """Gives each step the factor of the next."""

    def factors(self, total_steps: int, steps_per_epoch: int) -> np.ndarray:
        right = super().factors(total_steps, steps_per_epoch)
        return np.append(right[1:], right[-1:])


class _SinglePrecision(Scheduler):
    """Computes in float32, as the schedules of Keras and Optax do."""

    def factors(self, total_steps: int, steps_per_epoch: int) -> np.ndarray:
        return super().factors(total_steps, steps_per_epoch).astype(np.float32).astype(np.float64)


def _other_order(job: Job) -> Job:
    feed, training = job.feed, job.spec.training
    return replace(
        job,
        feed=Feed(
            feed.samples,
            feed.batch_size,
            training.epochs,
            feed.seed + 1,
            feed.drop_last,
            training.max_steps,
        ),
    )


def _shifted_targets(job: Job) -> Job:
    return replace(job, train=Arrays(job.train.inputs, np.roll(job.train.targets, 1, axis=0)))


def _gamma_for_beta(job: Job) -> Job:
    other = {"gamma": "beta", "beta": "gamma"}
    weights = {}
    for name in job.initial_weights:
        layer, _, parameter = name.rpartition("/")
        weights[name] = job.initial_weights[f"{layer}/{other.get(parameter, parameter)}"]
    return replace(job, initial_weights=weights)


def _conv(**options: Any) -> dict[str, Any]:
    return {"name": "conv", "kind": "conv2d", "filters": 4, "kernel_size": 3, **options}


def _transposed() -> dict[str, Any]:
    return {"name": "enlarge", "kind": "conv2d_transpose", "filters": 3, "kernel_size": 3,
            "stride": 2}  # fmt: skip


def _depthwise() -> dict[str, Any]:
    return {"name": "depthwise", "kind": "depthwise_conv2d", "kernel_size": 3, "multiplier": 3}


def _image(*layers: dict[str, Any], shape: tuple[int, ...] = (8, 6, 2)) -> Case:
    """An image model on even, unequal sizes, which is where padding and axes show."""
    head = ({"name": "flat", "kind": "flatten"}, {"name": "logits", "kind": "dense", "units": 3})
    return Case("image", shape, [*layers, *head])


def _pool(kind: str, **options: Any) -> dict[str, Any]:
    window = {"pool_size": 3, "stride": 2, "padding": "same"}
    return {"name": "pool", "kind": kind, **window, **options}


def _between(layer: dict[str, Any], outputs: int = 3) -> Case:
    """A layer between two dense ones."""
    return Case(
        layer["name"],
        (5,),
        [
            {"name": "hidden", "kind": "dense", "units": 6},
            layer,
            {"name": "logits", "kind": "dense", "units": outputs},
        ],
    )


def _padded(layer: dict[str, Any]) -> Case:
    """A layer and the mean of its steps, on token ids of which 7 is padding."""
    masked = {} if layer["kind"] == "dense" else {"mask": True}
    inputs = ["embedding", "padding"] if masked else ["embedding"]
    embedding = {"name": "embedding", "kind": "embedding", "tokens": 8, "features": 4}
    pool = {"name": "pool", "kind": "global_avg_pool1d", "mask": True}
    layers: list[dict[str, Any]] = [
        {"name": "padding", "kind": "padding_mask", "padding": 7},
        {**embedding, "inputs": ["input"]},
        {"name": "masked", **layer, **masked, "inputs": inputs},
        {**pool, "inputs": ["masked", "padding"]},
        {"name": "logits", "kind": "dense", "units": 3},
    ]
    return Case(f"{layer['kind']}, padded", (6,), layers, tokens=8, padding=7)


def _activation(function: str, alpha: float = 0.0) -> Case:
    options = {"function": function, "alpha": alpha}
    return _between({"name": "act", "kind": "activation", **options})


_LAYER_NORM = {"name": "norm", "kind": "layer_norm", "epsilon": 1e-5}
_BATCH_NORM = _image(
    _conv(bias=False), {"name": "norm", "kind": "batch_norm", "momentum": 0.8, "epsilon": 1e-4}
)
_SCHEDULE: dict[str, Any] = {"name": "cosine", "final_factor": 0.1}
_L2: dict[str, Any] = {"decay": "l2", "weight_decay": 0.05}
_DECOUPLED: dict[str, Any] = {"decay": "decoupled", "weight_decay": 0.05}


def _trained(optimizer: str, scheduled: bool = False, **options: Any) -> Case:
    """A small model with a kernel, biases and a norm, trained for ten steps."""
    case = replace(_between(_LAYER_NORM), optimizer=optimizer, options=options, steps=10)
    return replace(case, scheduler=_SCHEDULE) if scheduled else case


def _all() -> tuple[Mutation, ...]:
    step1 = "after 1 step"
    return (
        # Layers.
        Mutation(
            "height_for_width",
            "a kernel's height and width are swapped at import and export",
            _image(_conv(padding="same")),
            ("`conv` (conv2d)", "height and width swapped"),
        ),
        Mutation(
            "symmetric_padding",
            "'same' pads both sides alike, as padding=k//2 does",
            _image(_conv(padding="same", stride=2)),
            ("`conv` (conv2d)", "padding of both sides alike"),
        ),
        Mutation(
            "cut_off_before",
            "a transposed convolution cuts the odd cell off before, as PyTorch's users do",
            _image(_transposed()),
            ("`enlarge` (conv2d_transpose)", "the odd cell cut off before"),
        ),
        Mutation(
            "multiplier_before_channel",
            "a depthwise kernel is taken as (kh, kw, m, C)",
            _image(_depthwise()),
            ("`depthwise` (depthwise_conv2d)", "the multiplier before the channel"),
        ),
        Mutation(
            "max_pool_pads_zero",
            "the padding of max pooling counts as zero",
            _image(_conv(), _pool("max_pool2d")),
            ("`pool` (max_pool2d)", "padding counts as zero"),
        ),
        Mutation(
            "avg_pool_counts_padding",
            "average pooling counts its padding in the mean, Flax's default",
            _image(_conv(), _pool("avg_pool2d")),
            ("`pool` (avg_pool2d)", "padding is counted in the mean"),
            engine="jax",
        ),
        Mutation(
            "channels_first_flatten",
            "flatten takes channels before height and width",
            _image(_conv()),
            ("`flat` (flatten)", "channels before height and width"),
        ),
        Mutation(
            "batch_norm_momentum",
            "batch norm's momentum is taken as the share of the new statistic",
            _BATCH_NORM,
            ("`norm` moving mean after 1 step", "share of 0.8", "0.2 is meant"),
            _layer("batch_norm", momentum=lambda momentum: 1 - momentum),
        ),
        Mutation(
            "unbiased_variance",
            "batch norm keeps the unbiased variance, PyTorch's rule",
            _BATCH_NORM,
            ("`norm` moving variance after 1 step", "n/(n-1)", "unbiased"),
        ),
        Mutation(
            "batch_norm_epsilon",
            "batch norm's epsilon is ten times what was asked for",
            _BATCH_NORM,
            ("`norm` (batch_norm)", "epsilon is 0.001, 0.0001 is meant"),
            _layer("batch_norm", epsilon=lambda epsilon: 10 * epsilon),
            engine="jax",
        ),
        Mutation(
            "layer_norm_epsilon",
            "layer norm's epsilon is ten times what was asked for",
            _between(_LAYER_NORM),
            ("`norm` (layer_norm)", "epsilon is 0.0001, 1e-05 is meant"),
            _layer("layer_norm", epsilon=lambda epsilon: 10 * epsilon),
        ),
        Mutation(
            "group_norm_epsilon",
            "group norm's epsilon is ten times what was asked for",
            _image(_conv(), {"name": "norm", "kind": "group_norm", "groups": 2, "epsilon": 1e-4}),
            ("`norm` (group_norm)", "epsilon is 0.001, 0.0001 is meant"),
            _layer("group_norm", epsilon=lambda epsilon: 10 * epsilon),
            engine="jax",
        ),
        Mutation(
            "rms_norm_epsilon",
            "RMS norm's epsilon is ten times what was asked for",
            _between({"name": "norm", "kind": "rms_norm", "epsilon": 1e-6}),
            ("`norm` (rms_norm)", "epsilon is 1e-05, 1e-06 is meant"),
            _layer("rms_norm", epsilon=lambda epsilon: 10 * epsilon),
        ),
        Mutation(
            "gamma_for_beta",
            "gamma and beta are swapped at import",
            _between(_LAYER_NORM),
            ("`norm/beta` before the first step", "gamma and beta swapped"),
            _gamma_for_beta,
        ),
        Mutation(
            "gelu_tanh",
            "gelu by its tanh approximation, Flax's default",
            _activation("gelu"),
            ("`act` (activation)", "the tanh form of gelu"),
            _layer("activation", function=lambda name: "gelu_tanh" if name == "gelu" else name),
            engine="jax",
        ),
        Mutation(
            "leaky_slope",
            "the leaky slope is a framework's default",
            _activation("leaky_relu", 0.2),
            ("`act` (activation)", "a slope of 0.01, 0.2 is meant"),
            _layer("activation", alpha=0.01),
        ),
        Mutation(
            "dropout_left_on",
            "dropout is active where the proof asks for a rate of zero",
            _between({"name": "drop", "kind": "dropout", "rate": 0.0}),
            ("`drop` (dropout), forward in train mode", "dropout is on"),
            _layer("dropout", rate=0.5),
        ),
        Mutation(
            "missing_bias",
            "the convolution has no bias",
            _image(_conv()),
            ("`conv/bias` is missing",),
            _layer("conv2d", bias=False),
        ),
        Mutation(
            "stopped_gradient",
            "no gradient flows through the shortcut of an addition",
            Case(
                "residual",
                (5,),
                [
                    {"name": "first", "kind": "dense", "units": 6},
                    {"name": "act", "kind": "activation", "function": "tanh"},
                    {"name": "second", "kind": "dense", "units": 6, "inputs": ["first"]},
                    {"name": "sum", "kind": "add", "inputs": ["act", "second"]},
                    {"name": "logits", "kind": "dense", "units": 3},
                ],
            ),
            ("`second/kernel`, gradient", "it is zero: stopped in", "`sum` (add)"),
        ),
        # Padding.
        Mutation(
            "mask_inverted",
            "attention's mask says what is not seen, the sense of PyTorch's MultiheadAttention",
            _padded({"kind": "multi_head_attention", "heads": 2}),
            ("`masked` (multi_head_attention)", "the mask in the other sense"),
        ),
        Mutation(
            "backward_from_padding",
            "the backward direction begins in the padding, as without packed sequences",
            _padded({"kind": "gru", "units": 3, "bidirectional": True, "returns": "all"}),
            ("`masked` (gru)", "the backward direction begins in the padding"),
        ),
        Mutation(
            "mean_over_padding",
            "the mean over the steps counts padding",
            _padded({"kind": "dense", "units": 4}),
            ("`pool` (global_avg_pool1d)", "padding counts"),
        ),
        # Loss and data.
        Mutation(
            "summed_loss",
            "the loss is summed over the batch",
            _between(_LAYER_NORM),
            ("the loss", "ratio 16", "a sum over the batch"),
        ),
        Mutation(
            "summed_labels",
            "the loss is summed over the labels of a sample",
            replace(_between(_LAYER_NORM), task="multi_label"),
            ("the loss", "ratio 3", "a sum over labels"),
        ),
        Mutation(
            "sigmoid_twice",
            "probabilities are given to a loss that takes logits",
            replace(_between(_LAYER_NORM), task="multi_label"),
            ("the loss", "probabilities taken for logits"),
            engine="jax",
        ),
        Mutation(
            "halved_loss",
            "the squared error has a factor of one half, as optax.l2_loss has",
            replace(_between(_LAYER_NORM, outputs=2), task="regression"),
            ("the loss", "ratio 0.5", "half the squared error"),
            engine="jax",
        ),
        Mutation(
            "penalty_in_the_loss",
            "the L2 penalty is added to the reported loss",
            _trained("momentum", **_L2),
            ("the loss", "L2 penalty"),
        ),
        Mutation(
            "other_order",
            "the batches come in another order",
            _between(_LAYER_NORM),
            ("the batches differ", "another order"),
            _other_order,
        ),
        Mutation(
            "shifted_targets",
            "every sample has its neighbour's target",
            _between(_LAYER_NORM),
            ("the loss of the first step", "other targets or samples"),
            _shifted_targets,
        ),
        # The learning rate.
        Mutation(
            "learning_rate",
            "the learning rate is off by one millionth",
            _trained("momentum"),
            (step1, "the learning rate is 0.05000005, 0.05 is meant"),
            _times("lr", 1 + 1e-6),
        ),
        Mutation(
            "schedule_one_step_ahead",
            "the schedule is ahead by one step",
            _trained("momentum", scheduled=True),
            (step1, "the learning rate of the next step"),
            _schedule(_OneStepAhead),
        ),
        Mutation(
            "schedule_in_float32",
            "the schedule is computed in float32",
            _trained("momentum", scheduled=True),
            ("after 2 steps", "the learning rate in float32"),
            _schedule(_SinglePrecision),
            engine="jax",
        ),
        # Gradient descent with momentum.
        Mutation(
            "momentum",
            "momentum is 0.89 for 0.9",
            _trained("momentum"),
            ("slot `momentum`", "after 2 steps", "momentum is 0.89, 0.9 is meant"),
            _options(momentum=0.89),
        ),
        Mutation(
            "dampening",
            "the gradient enters the buffer dampened",
            _trained("momentum"),
            ("slot `momentum`", "after 2 steps", "dampening of 0.9"),
        ),
        Mutation(
            "rate_inside_the_buffer",
            "the learning rate is inside the momentum buffer, Keras's rule",
            _trained("momentum", scheduled=True),
            ("slot `momentum`", step1, "the learning rate is inside the buffer"),
        ),
        Mutation(
            "no_nesterov",
            "Nesterov's look-ahead is off",
            _trained("nesterov"),
            (step1, "Nesterov's look-ahead is missing"),
            _options(nesterov=False),
        ),
        # Adaptive optimizers.
        Mutation(
            "beta1",
            "Adam's beta1 is 0.89 for 0.9",
            _trained("adam"),
            ("slot `first_moment`", step1, "beta1 is 0.89, 0.9 is meant"),
            _options(beta1=0.89),
        ),
        Mutation(
            "beta2",
            "Adam's beta2 is 0.99 for 0.999",
            _trained("adam"),
            ("slot `second_moment`", step1, "beta2 is 0.99, 0.999 is meant"),
            _options(beta2=0.99),
        ),
        Mutation(
            "adam_epsilon",
            "Adam's epsilon is ten times what was asked for, 1e-7 for 1e-8",
            _trained("adam"),
            (step1, "epsilon is 1e-07, 1e-08 is meant"),
            _times("epsilon", 10),
            engine="jax",
        ),
        Mutation(
            "adam_epsilon_inside_the_root",
            "Adam's epsilon is inside the root",
            _trained("adam"),
            (step1, "epsilon is inside the root"),
        ),
        Mutation(
            "adam_epsilon_before_correction",
            "Adam's epsilon is added before the bias correction, Keras's rule",
            _trained("adam"),
            (step1, "epsilon is added before the bias correction"),
        ),
        Mutation(
            "adam_without_correction",
            "Adam's moments are not corrected for their bias",
            _trained("adam"),
            (step1, "the bias correction is missing"),
        ),
        Mutation(
            "amsgrad",
            "Adam divides by the largest second moment so far",
            _trained("adam", beta2=0.9),
            ("after 2 steps", "amsgrad"),
        ),
        Mutation(
            "rho",
            "RMSprop's rho is 0.9 for 0.99",
            _trained("rmsprop"),
            ("slot `second_moment`", step1, "rho is 0.9, 0.99 is meant"),
            _options(rho=0.9),
        ),
        Mutation(
            "rmsprop_epsilon",
            "RMSprop's epsilon is ten times what was asked for",
            _trained("rmsprop"),
            (step1, "epsilon is 1e-07, 1e-08 is meant"),
            _times("epsilon", 10),
        ),
        Mutation(
            "rmsprop_epsilon_inside_the_root",
            "RMSprop's epsilon is inside the root, Optax's default",
            _trained("rmsprop"),
            (step1, "epsilon is inside the root"),
            engine="jax",
        ),
        Mutation(
            "adagrad_epsilon",
            "Adagrad's epsilon is ten times what was asked for",
            _trained("adagrad", epsilon=1e-7),
            (step1, "epsilon is 1e-06, 1e-07 is meant"),
            _times("epsilon", 10),
        ),
        Mutation(
            "adagrad_accumulator",
            "Adagrad's accumulator starts at 0.1, Keras's default",
            _trained("adagrad"),
            ("slot `accumulator`", step1, "starts 0.1 higher"),
            _options(initial_accumulator=0.1),
        ),
        # Decay and clipping.
        Mutation(
            "decoupled_for_l2",
            "decay is decoupled where L2 was asked for",
            _trained("adam", **_L2),
            (step1, "L2 decay is missing", "it is decoupled"),
            _options(decay="decoupled"),
        ),
        Mutation(
            "l2_for_decoupled",
            "decay is L2 where decoupled was asked for",
            _trained("adamw", **_DECOUPLED),
            (step1, "L2 decay of 0.05, where decoupled decay is meant"),
            _options(decay="l2"),
        ),
        Mutation(
            "no_decay",
            "there is no decay",
            _trained("rmsprop", **_L2),
            (step1, "L2 decay is missing", "it is left out"),
            _options(decay="none", weight_decay=0.0),
        ),
        Mutation(
            "decay_on_all",
            "biases and norms decay too",
            _trained("momentum", **_L2, decay_scope="kernels"),
            ("`norm/gamma`", step1, "L2 decay of 0.05, none is meant"),
            _options(decay_scope="all"),
        ),
        Mutation(
            "decay_on_kernels",
            "biases and norms do not decay",
            _trained("adamw", **_DECOUPLED),
            ("`norm/gamma`", step1, "decoupled decay of 0, 0.05 is meant"),
            _options(decay_scope="kernels"),
        ),
        Mutation(
            "doubled_decay",
            "the penalty is taken without its half, so that the decay is doubled",
            _trained("momentum", **_L2),
            (step1, "L2 decay of 0.1, 0.05 is meant"),
            _times("weight_decay", 2),
        ),
        Mutation(
            "no_clipping",
            "gradients are not clipped",
            _trained("momentum", clip_norm=0.05),
            (step1, "is not clipped"),
            _options(clip_norm=None),
        ),
        Mutation(
            "clipping_by_tensor",
            "each tensor is clipped by its own norm",
            _trained("momentum", clip_norm=0.05),
            (step1, "clipped by its own norm"),
        ),
        Mutation(
            "clipping_with_epsilon",
            "clipping divides by the norm plus 1e-6, PyTorch's formula",
            _trained("momentum", clip_norm=0.05),
            (step1, "clipped by norm + 1e-6"),
        ),
        Mutation(
            "clipping_after_decay",
            "L2 decay is added before clipping",
            _trained("momentum", clip_norm=0.05, **_L2),
            (step1, "clipping after L2 decay was added"),
        ),
        Mutation(
            "untrained_bias",
            "the optimizer was never given the last bias",
            _between(_LAYER_NORM),
            ("`logits/bias`", step1, "not trained"),
        ),
    )  # fmt: skip


#: Every error by name.
MUTATIONS: dict[str, Mutation] = {mutation.name: mutation for mutation in _all()}
