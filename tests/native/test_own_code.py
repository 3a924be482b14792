"""Code of the user's own in the place of an engine's layers: proven, named, refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fwcompare.arms import by_arm, load_run
from fwcompare.compose import compose
from fwcompare.errors import RequestError
from fwcompare.launch import prepare
from fwcompare.native.template import TEMPLATE_FILE
from fwcompare.parity.prove import prove
from fwcompare.plugin import front
from fwcompare.record import SPEC_FILE
from fwcompare.safe_yaml import read_yaml
from fwcompare.spec import RunSpec

PORTING = Path(__file__).parents[2] / "examples" / "porting"
WEIGHTS = PORTING / "model" / "weights.yml"

MENDED = "model.native.keras=port_keras.py:build_mended"
#: The reference builds the layers itself.
LAYERS = "model.native.jax=null"
ENGINES = ("pytorch", "lightning", "tensorflow", "keras_tensorflow", "keras_jax", "keras_torch")


@pytest.mark.system
def test_code_that_means_the_layers_holds_in_every_engine(porting, warm):
    """Against layers that were built from the graph, which the reference has no code for."""
    spec = porting("framework=jax", MENDED, LAYERS, "optimizer=adam", "trainer.epochs=2")
    proof = prove(spec, ENGINES, "jax", steps=12, pool=warm)
    states = {verdict.engine: (verdict.state, verdict.reason) for verdict in proof.verdicts}
    assert states == dict.fromkeys(ENGINES, ("proven", ""))
    assert "keras_jax: own code, port_keras.py:build_mended" in proof.notes
    assert not any(note.startswith("jax:") for note in proof.notes)


def test_a_module_of_flax_holds_against_layers_of_another_engine(porting, warm):
    spec = porting(
        "framework=pytorch", "model.native.pytorch=null", "optimizer=adamw", "scheduler=cosine",
    )  # fmt: skip
    proof = prove(spec, ["jax"], "pytorch", steps=12, pool=warm)
    assert [(verdict.state, verdict.reason) for verdict in proof.verdicts] == [("proven", "")]
    assert "jax: own code, port_flax.py:build" in proof.notes


def test_decay_and_schedules_stay_ours(porting, warm):
    spec = porting(
        "framework=jax", MENDED, LAYERS, "optimizer=adamw", "optimizer.decay_scope=kernels",
        "optimizer.clip_norm=0.1", "scheduler=cosine", "trainer.epochs=1",
    )  # fmt: skip
    proof = prove(spec, ["pytorch", "keras_jax"], "jax", steps=8, pool=warm)
    assert [verdict.state for verdict in proof.verdicts] == ["proven", "proven"], proof
    assert "keras_jax: own code, port_keras.py:build_mended" in proof.notes
    assert not any(note.startswith("jax:") for note in proof.notes)


BATCH_NORM = """
- {name: hidden, kind: dense, units: 4}
- {name: norm, kind: batch_norm, momentum: 0.9, epsilon: 1.0e-5}
- {name: out, kind: dense, units: "${outputs}"}
"""
BATCH_NORM_CODE = """
from torch import nn

def build(input_shape, outputs):
    return nn.Sequential(nn.Linear(input_shape[0], 4), nn.BatchNorm1d(4), nn.Linear(4, outputs))
"""
BATCH_NORM_MAP = """
pytorch:
  weights:
    hidden/kernel: 0.weight
    hidden/bias: "0.bias"
    norm/gamma: 1.weight
    norm/beta: "1.bias"
    norm/moving_mean: 1.running_mean
    norm/moving_variance: 1.running_var
    out/kernel: 2.weight
    out/bias: "2.bias"
  layers: {hidden: "0", norm: "1"}
"""
TABLE = ["model=own", "dataset=breast_cancer", "device.threads=1", "measure.predict_calls=0"]


def test_what_a_framework_keeps_otherwise_is_named(own_code, cache, warm):
    folder = own_code(f"layers:{BATCH_NORM}", BATCH_NORM_CODE, BATCH_NORM_MAP)
    options = [*TABLE, "framework=jax", f"paths.cache={cache}"]
    spec = compose(options, str(folder)).plan().spec
    proof = prove(spec, ["pytorch"], "jax", steps=3, pool=warm)
    assert "unbiased against biased" in proof.verdicts[0].reason


FLAX_CODE = """
from flax import nnx

class Net(nnx.Module):
    def __init__(self, features, outputs, rngs):
        self.hidden = nnx.Linear(features, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(4, outputs, rngs=rngs)

    def __call__(self, x):
        return self.out(self.drop(self.norm(self.hidden(x))))

def build(input_shape, outputs, rngs):
    return Net(input_shape[0], outputs, rngs)
"""
FLAX_MAP = """
jax:
  weights:
    hidden/kernel: hidden.kernel
    hidden/bias: hidden.bias
    norm/gamma: norm.scale
    norm/beta: norm.bias
    norm/moving_mean: norm.mean
    norm/moving_variance: norm.var
    out/kernel: out.kernel
  fixed: {out.bias: 0.25}
  layers: {hidden: hidden, norm: norm}
"""
SWAPPED = (
    FLAX_MAP.replace("norm.scale", "?").replace("norm.mean", "norm.scale").replace("?", "norm.mean")
)
FLAX_LAYERS = BATCH_NORM.replace('units: "${outputs}"', 'units: "${outputs}", bias: false')


@pytest.mark.parametrize(
    ("code", "weights", "words"),
    [
        (FLAX_CODE, FLAX_MAP, []),
        (FLAX_CODE.replace("return Net", "return 3 or Net"), FLAX_MAP, ["int, not a flax.nnx.Mod"]),
        (FLAX_CODE, FLAX_MAP.replace("norm: norm}", "norm: nrom}"), ["no submodule 'nrom'"]),
        (FLAX_CODE, FLAX_MAP.replace("  fixed: {out.bias: 0.25}", ""), ["gaps", "out.bias"]),
        (FLAX_CODE, SWAPPED, ["'norm/gamma' is trained"]),
        (FLAX_CODE.replace("rngs):\n    ret", "seed):\n    ret"), FLAX_MAP, ["'seed'", "rngs"]),
    ],
    ids=["sound", "type", "layers", "gaps", "trained", "argument"],
)
def test_a_module_of_flax_trains_or_is_told_in_one_line(
    own_code, cache, warm, tmp_path, code, weights, words
):
    folder = own_code(f"layers:{FLAX_LAYERS}", code, weights)
    options = [*TABLE, "framework=jax", f"paths.cache={cache}", "trainer.epochs=2",
               "~model.native.pytorch", "model.native.jax=code.py:build"]  # fmt: skip
    spec = compose(options, str(folder)).plan().spec.but(run="own")
    prepare(spec, tmp_path / "run")
    record = warm.run(spec, tmp_path / "run")
    assert record.status == ("failed" if words else "ok"), record.reason
    assert all(word in record.reason for word in words), record.reason
    if not words:
        assert record.history[1]["train/loss"] < record.history[0]["train/loss"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("1 / 0\ndef build(): pass\n", ["raises on import: ZeroDivisionError", "line 1"]),
        ("def build():\n    raise ValueError('no')\n", ["code.py:build raises: ValueError: no"]),
        ("globals()['x'] = 1\nif 1:\n    pass\n", ["no function 'build'"]),
        ("def build(widht): pass\n", ["wants 'widht'", "input_shape"]),
        ("def build(): return 3\n", ["gives a int, not a torch.nn.Module"]),
        (BATCH_NORM_CODE.replace(", nn.BatchNorm1d(4)", ""), ["gaps", "1.running_mean"]),
        (BATCH_NORM_CODE.replace("4", "5"), ["'hidden/kernel' [30, 4]", "[5, 30]"]),
        (BATCH_NORM_CODE.replace("(4, outputs)", "(4, outputs).half()"), []),
    ],
    ids=["import", "build", "function", "argument", "type", "gaps", "shapes", "sound"],
)
def test_what_only_the_child_can_know_is_one_clear_line(
    own_code, cache, warm, tmp_path, code, words
):
    folder = own_code(f"layers:{BATCH_NORM}", code, BATCH_NORM_MAP)
    options = [*TABLE, "framework=pytorch", f"paths.cache={cache}", "trainer.epochs=1"]
    spec = compose(options, str(folder)).plan().spec.but(run="own")
    prepare(spec, tmp_path / "run")
    record = warm.run(spec, tmp_path / "run")
    assert record.status == ("failed" if words else "ok"), record.reason
    for word in words:
        assert word in record.reason
    assert "RunError" not in record.reason
    assert list(by_arm([load_run(tmp_path / "run", record)], set())) == ["pytorch (own code)"]


def test_code_that_has_changed_is_not_run(own_code, cache, warm, tmp_path):
    folder = own_code(f"layers:{BATCH_NORM}", BATCH_NORM_CODE, BATCH_NORM_MAP)
    options = [*TABLE, "framework=pytorch", f"paths.cache={cache}"]
    spec = compose(options, str(folder)).plan().spec.but(run="own")
    (folder / "model/code.py").write_text(BATCH_NORM_CODE + "\n")
    prepare(spec, tmp_path / "run")
    assert "has changed" in warm.run(spec, tmp_path / "run").reason


def test_the_code_is_part_of_the_arm_and_not_of_the_group(own_code, cache):
    folder = own_code(f"layers:{BATCH_NORM}", BATCH_NORM_CODE, BATCH_NORM_MAP)

    def spec(*options: str) -> RunSpec:
        given = [*TABLE, "framework=pytorch", f"paths.cache={cache}", *options]
        return compose(given, str(folder)).plan().spec

    own, built = spec(), spec("model.native.pytorch=null", "model.native.map=null")
    assert built.framework.code is None and own.framework.code is not None
    assert (own.group, own.arm != built.arm, own.cell != built.cell) == (built.group, True, True)
    (folder / "model/code.py").write_text(BATCH_NORM_CODE + "# another\n")
    changed = spec()
    assert changed.arm != own.arm and changed.group == own.group
    assert RunSpec.from_json(json.loads(json.dumps(own.to_json()))) == own
    other = own.but(framework=replace(own.framework, python="/other"))
    assert other.arm != own.arm


def test_what_can_be_known_before_is_said_before(own_code, cache):
    folder = own_code(f"layers:{BATCH_NORM}", "def build(): pass\n", BATCH_NORM_MAP)
    (folder / "model/wrong.yml").write_text("pytorch: {weights: {hiden/kernel: x}}\n")
    (folder / "model/gaps.yml").write_text(BATCH_NORM_MAP.replace('out/bias: "2.bias"', ""))
    (folder / "model/bad.py").write_text("def build(:\n")
    cases = [
        (["model.native.pytorch=no.py:build"], ["no.py was not found"]),
        (["model.native.pytorch=code.py"], ["does not name a function"]),
        (["model.native.pytorch=code.py:biuld"], ["no function 'biuld'", "build"]),
        (["model.native.pytorch=bad.py:build"], ["is no Python, line 1"]),
        (["model.native.map=no.yml"], ["no.yml was not found"]),
        (["model.native.map=null"], ["there is no weight map", "native template"]),
        (["model.native.map=wrong.yml"], ["hiden/kernel", "Did you mean 'hidden/kernel'"]),
        (["model.native.map=gaps.yml"], ["has gaps: it does not name out/bias."]),
        (["model.native.jax=code.py:build"], ["no part for 'jax'", "pytorch"]),
        (["+model.native.torch=code.py:build"], ["model.native.torch"]),
        (["model.native.keras=code.py:build"], ["no part for 'keras'", "pytorch"]),
    ]
    for options, words in cases:
        with pytest.raises(RequestError) as caught:
            compose([*TABLE, "tracking=none", f"paths.cache={cache}", *options], str(folder)).plan()
        assert all(word in str(caught.value) for word in words), (options, str(caught.value))


def test_the_parent_never_runs_the_code(own_code, cache):
    trace = Path(str(cache)) / "was_run"
    code = f"open({str(trace)!r}, 'w')\ndef build(): pass\n"
    folder = own_code(f"layers:{BATCH_NORM}", code, BATCH_NORM_MAP)
    options = [*TABLE, "framework=pytorch", f"paths.cache={cache}"]
    assert compose(options, str(folder)).plan().spec.framework.code is not None
    assert not trace.exists()


@pytest.mark.parametrize(
    ("engine", "key"), [("pytorch", "pytorch"), ("keras_jax", "keras"), ("jax", "jax")]
)
def test_a_template_is_matched_by_shape_and_order(porting, warm, tmp_path, engine, key):
    spec = porting(f"framework={engine}")
    spec.write(tmp_path / SPEC_FILE)
    reply = warm.template(spec, tmp_path, front(engine).native.template)
    assert reply["status"] == "ok", reply
    file = tmp_path / TEMPLATE_FILE
    written, ours = read_yaml(file, "")["weights"], read_yaml(WEIGHTS, "")[key]["weights"]
    rows = ours.get("dense/kernel")
    if isinstance(rows, dict):  # the user's choice, which the template gives as a remark
        assert (
            f"# dense/kernel: {{path: {rows['path']}, transform: [rows_chw, tr" in file.read_text()
        )
        ours = {**ours, "dense/kernel": rows["path"]}
    assert written == ours
    assert "# Not matched" not in file.read_text()
