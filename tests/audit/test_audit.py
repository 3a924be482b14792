"""The defaults of real engines, read from what they build."""

from __future__ import annotations

import json

import pytest

from fwcompare.audit.collect import collect
from fwcompare.testing import make_run, optimizer, small_data

ENGINES = [
    "pytorch", "lightning", "tensorflow", "keras_tensorflow", "keras_jax", "keras_torch", "jax",
]  # fmt: skip
TORCH = {"pytorch", "lightning"}
KERAS = {"tensorflow", "keras_tensorflow", "keras_jax", "keras_torch"}
JAX = {"jax"}

LAYERS = [
    {"name": "conv", "kind": "conv2d", "filters": 8, "kernel_size": 3, "stride": 2,
     "padding": "same"},
    {"name": "norm", "kind": "batch_norm"},
    {"name": "gelu", "kind": "activation", "function": "gelu"},
    {"name": "leaky", "kind": "activation", "function": "leaky_relu", "alpha": 0.2},
    {"name": "pool", "kind": "avg_pool2d", "pool_size": 3, "stride": 2, "padding": "same"},
    {"name": "flat", "kind": "flatten"},
    {"name": "hidden", "kind": "dense", "units": 64},
    {"name": "drop", "kind": "dropout", "rate": 0.3},
    {"name": "scale", "kind": "layer_norm"},
    {"name": "logits", "kind": "dense", "units": 3},
]  # fmt: skip


@pytest.fixture
def audited(warm, tmp_path):
    data = small_data(tmp_path / "data", (8, 8, 2), 3)

    def make(semantics, name, **options):
        spec, _ = make_run(
            tmp_path, "pytorch", LAYERS, data, optimizer=optimizer(name, **options),
            semantics=semantics, precision="float32",
        )  # fmt: skip
        return collect(spec, ENGINES, pool=warm)

    return make


def _who(audit, subject, quantity):
    """Engines by value."""
    (line,) = [x for x in audit.lines if (x.subject, x.quantity) == (subject, quantity)]
    found = {}
    for engine, value in line.values.items():
        key = float(f"{value:.6g}") if isinstance(value, float) else str(value)
        found.setdefault(key, set()).add(engine)
    return found


def test_native_defaults_are_each_frameworks_own(audited):
    audit = audited("native", "adam")
    assert not audit.refused
    assert _who(audit, "optimizer", "epsilon") == {1e-8: TORCH | JAX, 1e-7: KERAS}
    assert _who(audit, "optimizer", "epsilon_place") == {
        "beside the corrected root": TORCH | JAX,
        "beside the uncorrected root": KERAS,
    }
    assert _who(audit, "batch_norm", "epsilon") == {1e-5: TORCH | JAX, 1e-3: KERAS}
    assert _who(audit, "batch_norm", "momentum") == {0.9: TORCH, 0.99: KERAS | JAX}
    assert _who(audit, "batch_norm", "moving_variance") == {
        "unbiased": TORCH,
        "biased": KERAS | JAX,
    }
    assert _who(audit, "layer_norm", "epsilon") == {1e-5: TORCH, 1e-3: KERAS, 1e-6: JAX}
    assert _who(audit, "gelu", "form") == {"exact": TORCH | KERAS, "tanh": JAX}
    assert _who(audit, "conv2d", "padding") == {
        "[[1, 1], [1, 1]]": TORCH,
        "[[0, 1], [0, 1]]": KERAS | JAX,
    }
    assert _who(audit, "avg_pool2d", "padded_cells") == {
        "counted as zeros": TORCH | JAX,
        "left out": KERAS - {"keras_torch"},
        "counted as the edge": {"keras_torch"},
    }
    assert _who(audit, "initialiser", "kernel") == {
        "uniform, variance 1/(3 fan_in)": TORCH,
        "uniform, variance 1/fan_avg": KERAS,
        "truncated normal, variance 1/fan_in": JAX,
    }
    assert _who(audit, "initialiser", "bias") == {
        "uniform, variance 1/(3 fan_in)": TORCH,
        "zeros": KERAS | JAX,
    }
    assert _who(audit, "loss", "reduction") == {"mean": set(ENGINES)}
    assert _who(audit, "dropout", "rate") == {0.3: set(ENGINES)}
    assert _who(audit, "leaky_relu", "negative_slope") == {0.2: set(ENGINES)}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adam", {"decay": "l2", "weight_decay": 0.01, "clip_norm": 1.0}),
        ("nesterov", {"decay": "decoupled", "weight_decay": 0.01, "decay_scope": "kernels"}),
        ("rmsprop", {}),
        ("adagrad", {"decay": "l2", "weight_decay": 0.01}),
    ],
)
def test_aligned_engines_differ_in_their_initialisers_alone(audited, name, options):
    audit = audited("aligned", name, **options)
    assert {line.subject for line in audit.differing} == {"initialiser"}
    asked = optimizer(name, **options)
    for key in ("lr", "epsilon", "beta2", "rho", "momentum", "weight_decay", "clip_norm"):
        if hasattr(asked, key) and (key not in ("weight_decay", "clip_norm") or key in options):
            ((value, engines),) = _who(audit, "optimizer", key).items()
            assert value == pytest.approx(getattr(asked, key), rel=1e-6)
            assert engines == set(ENGINES)
    if options.get("decay"):
        tensors = 3 if options.get("decay_scope") == "kernels" else 10
        assert _who(audit, "optimizer", "decayed_tensors") == {str(tensors): set(ENGINES)}
        assert _who(audit, "optimizer", "decay") == {options["decay"]: set(ENGINES)}


def test_native_decay_and_clipping(audited):
    audit = audited("native", "adam", decay="l2", weight_decay=0.01, clip_norm=1.0)
    assert _who(audit, "optimizer", "decay") == {"l2": TORCH | JAX, "decoupled": KERAS}
    assert _who(audit, "optimizer", "clip_factor") == {
        "most / (norm + 1e-6)": TORCH,
        "most / norm": KERAS | JAX,
    }


def test_native_adagrad_and_momentum(audited):
    audit = audited("native", "adagrad")
    assert _who(audit, "optimizer", "initial_accumulator") == {"0": TORCH, 0.1: KERAS | JAX}
    audit = audited("native", "momentum")
    assert _who(audit, "optimizer", "momentum_buffer") == {
        "without the learning rate": TORCH | JAX,
        "times the learning rate": KERAS,
    }


def test_the_verb_shows_differences_first(cli):
    done = cli("audit", "--engines", "pytorch,jax", "model=cnn_bn", "device.threads=1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("Resolved differently") < done.stdout.index("Resolved alike")
    assert "truncated normal, variance 1/fan_in" in done.stdout
    done = cli("audit", "--engines", "pytorch", "model=mlp", "--format", "json")
    found = json.loads(done.stdout)
    assert found["semantics"] == "native"
    assert {line["quantity"] for line in found["lines"]} >= {"lr", "kernel", "reduction"}


def test_an_unknown_engine_is_refused(cli):
    done = cli("audit", "--engines", "pytorc")
    assert done.returncode == 2
    assert "Did you mean 'pytorch'?" in done.stderr
