"""`fwcompare export`: what plain code of a framework loads predicts what the run predicts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fwcompare.compose import compose
from fwcompare.errors import RequestError, UnsupportedError
from fwcompare.formats import names, take_away
from fwcompare.graph import Graph, draw, save
from fwcompare.launch import prepare, warm_environment
from fwcompare.parity.cases import layer_cases
from fwcompare.plugin import front
from fwcompare.record import FINAL_WEIGHTS
from fwcompare.testing import case_run

HERE = Path(__file__).parent

#: The engine that each model is trained in: a file is to be of any run.
ENGINES = {"cnn_bn": "keras_jax", "lstm": "jax", "gru": "jax", "transformer_encoder": "pytorch"}

#: By plain code: the file's ending and the format.
PLAIN = {
    "pytorch": ("state_dict", ".pt"),
    "keras": ("keras", ".keras"),
    "flax": ("flax", ".msgpack"),
}


def plain(script, *arguments, **variables):
    ended = subprocess.run(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        env={**os.environ, **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]


def assert_equal_outputs(found, expected):
    """To 1e-6 of the largest output: two frameworks' float32 are no closer."""
    found, expected = (np.load(file, allow_pickle=False) for file in (found, expected))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.fixture(scope="module")
def trained(warm, cache, tmp_path_factory):
    """A trained run by model: its folder, and the files of some inputs and their predictions."""
    known = {}

    def of(model):
        if model not in known:
            folder = tmp_path_factory.mktemp("runs") / model
            options = [
                f"zoo={model}", f"framework={ENGINES[model]}", "device.threads=1",
                f"paths.cache={cache}", "trainer.epochs=2", "trainer.batch_size=16",
                "measure.predict_calls=0",
            ]  # fmt: skip
            spec = compose(options).plan().spec.but(run=model)
            prepare(spec, folder)
            assert warm.run(spec, folder).ok
            inputs, outputs = folder / "inputs.npy", folder / "outputs.npy"
            environment = warm_environment(spec)
            plain("reference.py", folder, inputs, outputs, **environment)
            known[model] = folder, inputs, outputs
        return known[model]

    return of


@pytest.mark.parametrize(
    ("model", "framework"),
    [
        *(("cnn_bn", framework) for framework in PLAIN),
        *(
            pytest.param(model, framework, marks=pytest.mark.slow)
            for model in ("lstm", "transformer_encoder")
            for framework in PLAIN
        ),
        ("gru", "pytorch"),
        ("gru", "keras"),  # Flax's own GRU has no such bias
    ],
)
def test_plain_code_predicts_what_the_run_predicts(trained, warm, tmp_path, model, framework):
    folder, inputs, outputs = trained(model)
    name, suffix = PLAIN[framework]
    file = take_away(folder, name, tmp_path / f"model{suffix}", False, warm).file
    found = tmp_path / "found.npy"
    # A whole Keras model is loaded on another backend than the one that wrote it.
    plain(f"plain_{framework}.py", model, file, inputs, found, KERAS_BACKEND="torch")
    assert_equal_outputs(found, outputs)


def test_the_names_of_pytorch_as_safetensors(trained, warm, tmp_path):
    folder, inputs, outputs = trained("cnn_bn")
    file = take_away(folder, "state_dict", tmp_path / "model.safetensors", False, warm).file
    assert load_file(file)["conv2.weight"].shape == (8, 4, 3, 3)
    found = tmp_path / "found.npy"
    plain("plain_pytorch.py", "cnn_bn", file, inputs, found)
    assert_equal_outputs(found, outputs)


#: Cases with the kinds that leave as other layers than they were trained as.
_OTHERWISE = {
    "scale", "rms_norm", "gru", "position_embedding", "sinusoidal_position", "activation",
    "multi_head_attention", "global_max_pool1d", "padding_mask", "group_norm",
}  # fmt: skip


def covering(kinds):
    """Few layer cases that have all these kinds."""
    left, chosen = set(kinds), []
    for case in sorted(layer_cases(), key=lambda case: len(case.layers)):
        own = {layer["kind"] for layer in case.layers} & left
        if own:
            chosen.append(case)
            left -= own
    assert not left, left
    return chosen


@pytest.mark.parametrize("case", covering(_OTHERWISE), ids=lambda case: case.name)
def test_every_kind_leaves_as_keras_has_it(warm, tmp_path, case):
    """The exporter itself holds the loaded file against the network that is trained."""
    written = leaves(case, warm, tmp_path)
    assert written.file.stat().st_size > 0


def test_what_keras_computes_otherwise_on_pytorch_is_not_written(warm, tmp_path):
    """Its average pooling counts an uneven edge there, which training cures."""
    (case,) = [case for case in layer_cases() if case.name == "pooling, even sizes"]
    with pytest.raises(UnsupportedError, match="other outputs"):
        leaves(case, warm, tmp_path)
    assert not (tmp_path / "model.keras").exists()


def leaves(case, warm, tmp_path):
    """A case's model, with weights that were drawn, as a whole model by Keras on PyTorch."""
    spec = case_run(tmp_path, case, "keras_torch").but(precision="float32")
    folder = tmp_path / "run"
    prepare(spec, folder)
    graph = spec.model.graph
    weights = drawn(graph)
    save(weights, folder / FINAL_WEIGHTS)
    return take_away(folder, "keras", tmp_path / "model.keras", False, warm)


def drawn(graph: Graph):
    """Weights of which none is a constant."""
    random = np.random.default_rng(3)
    return {
        name: (array + random.uniform(0.1, 0.3, array.shape)).astype(np.float32)
        for name, array in draw(graph, "glorot", "uniform", 1.0, 1).items()
    }


def test_canonical_weights_need_no_framework(trained, tmp_path):
    folder, *_ = trained("lstm")
    file = take_away(folder, "safetensors", tmp_path / "model.safetensors", False).file
    expected = load_file(folder / FINAL_WEIGHTS)
    found = load_file(file)
    assert found.keys() == expected.keys()
    assert all((found[name] == expected[name]).all() for name in expected)


def test_a_file_is_replaced_only_by_force(trained, warm, tmp_path):
    folder, *_ = trained("lstm")
    file = tmp_path / "model.msgpack"
    file.write_text("mine")
    with pytest.raises(RequestError, match="exists already"):
        take_away(folder, "flax", file, False, warm)
    assert file.read_text() == "mine"
    take_away(folder, "flax", file, True, warm)
    assert file.read_bytes() != b"mine" and not list(tmp_path.glob("*.part"))


def test_native_semantics_leave_no_whole_model_of_another_framework(warm, tmp_path):
    spec = compose(["zoo=cnn_bn", "framework=jax", "semantics=native"]).plan().spec.but(run="r")
    prepare(spec, tmp_path / "native")
    save(drawn(spec.model.graph), tmp_path / "native" / FINAL_WEIGHTS)
    with pytest.raises(RequestError, match="semantics=native"):
        take_away(tmp_path / "native", "keras", tmp_path / "m.keras", False, warm)
    assert take_away(tmp_path / "native", "flax", tmp_path / "m.msgpack", False, warm).file.exists()


def test_a_plugin_that_is_not_installed_is_named_with_its_command(trained, monkeypatch, tmp_path):
    folder, *_ = trained("lstm")
    monkeypatch.setattr("fwcompare.formats.installed", dict)
    with pytest.raises(UnsupportedError) as caught:
        take_away(folder, "keras", tmp_path / "model.keras", False)
    assert 'pip install "fwcompare-keras[tensorflow]"' in caught.value.hint


def test_formats_are_known_without_their_plugins(monkeypatch):
    assert names() == ["flax", "keras", "safetensors", "state_dict"]
    monkeypatch.setattr("fwcompare.formats.installed", dict)
    assert names() == ["flax", "keras", "safetensors", "state_dict"]
    assert front("lightning").formats == {}


def test_bad_input(cli, trained, tmp_path):
    folder, *_ = trained("lstm")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "spec.json").write_text((folder / "spec.json").read_text())
    cases = [
        (["nosuch", "--format", "keras"], ["no run 'nosuch'"]),
        ([folder, "--format", "kears"], ["Unknown format 'kears'", "keras", "state_dict"]),
        ([empty, "--format", "safetensors"], ["has no trained weights", "--status ok"]),
        ([folder, "--format", "flax", "--output", "m.pt"], ["ends with .msgpack"]),
        ([folder, "--format", "flax", "--output", "no/m.msgpack"], ["does not exist"]),
    ]
    for arguments, words in cases:
        ended = cli("export", *map(str, arguments))
        assert ended.returncode == 2, ended.stderr
        assert "Traceback" not in ended.stderr
        assert all(word in ended.stderr for word in words), ended.stderr


def test_the_command_says_how_the_file_is_loaded(cli, trained, tmp_path):
    folder, *_ = trained("cnn_bn")
    ended = cli("export", str(folder), "--format", "state_dict")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "cnn_bn.pt").is_file()
    for line in (
        "torch.load('cnn_bn.pt', weights_only=True)",
        "bn1 = nn.BatchNorm2d(4, eps=1e-05, momentum=0.1)",
        "flatten: height, width, channel: x.permute(0, 2, 3, 1).flatten(1)",
    ):
        assert line in ended.stdout
