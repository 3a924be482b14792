"""Bad input gets one clear message and exit code 2, before any work and never with a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fwcompare.compose import compose, require_countable
from fwcompare.errors import RequestError
from fwcompare.graph import save

#: Options that name a file or a folder.
FILES = (
    "paths.outputs", "paths.cache", "framework.python", "init.from", "model.graph",
    "trainer.resume", "dataset=npz dataset.params.file", "dataset=images dataset.params.folder",
)  # fmt: skip

TOGETHER = ["distributed=data_parallel"]

CASES = [
    (["optimizer.lrr=1"], ["optimizer.lrr", "Did you mean 'optimizer.lr'"]),
    (["optimizer=momentum", "optimizer.momentun=1"], ["Did you mean 'optimizer.momentum'"]),
    (
        ["optimizer=sgd", "optimizer.momentum=1"],
        ["belongs to optimizer=momentum and optimizer=nesterov", "optimizer.lr"],
    ),
    (["-m", "optimizer=momentum,sgd", "optimizer.momentun=1"], ["'optimizer.momentum'"]),
    (["modle=cnn"], ["modle", "Did you mean 'model'"]),
    (["+extra=1"], ["extra"]),
    (["+optimizer.extra=1"], ["optimizer.extra"]),
    (["optimizer.lr=fast"], ["optimizer.lr", "number", "fast"]),
    (["optimizer.lr=-1"], ["optimizer.lr", "-1"]),
    (["optimizer.lr=nan"], ["optimizer.lr", "finite"]),
    (["framework=torch"], ["torch", "pytorch"]),
    (["model=cnnn"], ["cnnn", "Did you mean 'cnn'"]),
    (["optimizer=adaam"], ["adaam", "Did you mean 'adam'"]),
    (["dataset=digit"], ["digit", "digits"]),
    (["trainer.epochs=-1"], ["trainer.epochs", "-1"]),
    (["trainer.epochs=1.5"], ["trainer.epochs", "whole number"]),
    (["trainer.batch_size=0"], ["trainer.batch_size", "at least 1"]),
    (["trainer.batch_size=100000"], ["100000", "larger than the training split"]),
    (["seed=-1"], ["seed"]),
    (["seed=1,2"], ["seed=1,2", "-m"]),
    (["model=null"], ["model=null", "one of its choices"]),
    (["show", "cnn", "optimizer=null"], ["optimizer=null", "one of its choices"]),
    (["model.params=3"], ["model.params", "mapping", "3"]),
    (["model.name=null"], ["model.name", "word"]),
    (["dataset.params=3"], ["dataset.params", "mapping", "3"]),
    (["trainer.optimizer=3"], ["trainer.optimizer", "trainer.epochs"]),
    (["ui", "--port", "65536"], ["--port", "65536"]),
    (["diff", "**x", "y"], ["There is no run"]),
    (["tracking.uri=foo://bar"], ["'foo'", "sqlite"]),
    (["tracking.uri=/some/folder"], ["tracking.uri", "sqlite:////absolute"]),
    (["compare.confidence=1"], ["compare.confidence"]),
    (["parity.steps=0"], ["parity.steps", "at least 1"]),
    (["parity.reference=torch"], ["parity.reference", "torch", "pytorch"]),
    (["hydra.run.dir=/proc/fwcompare"], ["/proc/fwcompare", "hydra.run.dir"]),
    (["paths.outputs=/proc/fwcompare"], ["/proc/fwcompare", "paths.outputs=FOLDER"]),
    (["seed=["], ["cannot be read"]),
    (["-m", "seed=range(1000000000)"], ["more than 100,000 cells"]),
    (["sweep.name=é"], ["quoted twice"]),
    (["device=mps"], ["mps", "device=cpu"]),
    (["device=cuda"], ["cuda", "device=cpu"]),
    (["device.threads=999"], ["999"]),
    (["task=regression"], ["task=classification"]),
    (["dataset=diabetes"], ["task=regression"]),
    (["task=multi_label"], ["task=classification"]),
    (["dataset=synthetic", "dataset.params.task=multi_label"], ["task=multi_label"]),
    (["task.metric=micro_f1"], ["micro_f1 does not fit task=classification", "accuracy"]),
    (["trainer.samples=1"], ["trainer.samples=1", "only a language model", "python_reference"]),
    (["trainer.samples=-1"], ["trainer.samples", "at least 0"]),
    (["zoo=gpt_small", "trainer.samples=100000"], ["100000", "samples of the test split"]),
    (["trainer.sample_tokens=0"], ["trainer.sample_tokens", "at least 1"]),
    (["trainer.temperature=-0.5"], ["trainer.temperature", "at least 0"]),
    (["zoo=gpt_smal"], ["gpt_smal", "Did you mean 'gpt_small'"]),
    (["model.params.widht=3"], ["widht"]),
    (["model=lenet5", "model.params.padding=valid"], ["conv2", "window of 5", "4"]),
    (["optimizer.weight_decay=0.1"], ["weight_decay", "decay=l2"]),
    (["init.from=nowhere"], ["nowhere", "fwcompare runs"]),
    (["framework.python=/nowhere/python"], ["/nowhere/python"]),
    (["framework.python=/usr/bin"], ["/usr/bin", "no interpreter"]),
    (["framework=jax", "execution=eager"], ["eager"]),
    (["distributed.processes=2"], ["distributed.processes"]),
    ([*TOGETHER, "distributed.processes=3"], ["batch_size=64", "processes=3", "processes=2"]),
    (
        [*TOGETHER, "distributed.processes=8", "trainer.drop_last=false"],
        ["last batch of", "processes=8", "drop_last=true"],
    ),
    ([*TOGETHER, "distributed.hosts=[a,b]"], ["distributed.port", "29500"]),
    ([*TOGETHER, "distributed.hosts=[203.0.113.7]"], ["no address 203.0.113.7"]),
    ([*TOGETHER, "trainer.checkpoint_epochs=1"], ["no checkpoints", "checkpoint_epochs"]),
    ([*TOGETHER, "device=cuda"], ["cuda", "device=cpu"]),
    ([*TOGETHER, "framework=keras"], ["keras_tensorflow", "model.fit", "tensorflow"]),
    ([*TOGETHER, "execution=compiled"], ["torch.compile", "execution=native"]),
    (
        [*TOGETHER, "framework=jax", "model=cnn_bn", "distributed.batch_norm=local"],
        ["jax", "batch_norm=synchronised"],
    ),
    (["distributed=mirrored"], ["pytorch: distributed=mirrored", "does: tensorflow"]),
    (["preflight", *TOGETHER, "--engines", "keras_torch,keras_tensorflow"], ["keras_torch:"]),
    (["dataset=npz", "dataset.params.file=none.npz"], ["none.npz"]),
    (["dataset=synthetic_tokens"], ["flatten", "token ids", "embedding"]),
    (["model=lstm"], ["embedding", "token ids", "[8, 8, 1]"]),
    (["dataset=python_reference", "model=gpt_small"], ["task=language_modelling"]),
    (["task=language_modelling"], ["task=classification"]),
    (["dataset=synthetic_tokens", "dataset.params.normalize=unit"], ["normalize", "token ids"]),
    (["parrity"], ["parrity", "Did you mean 'parity'"]),
    (["show", "cnnn"], ["cnnn", "cnn"]),
    (["report"], ["no sweep", "quickstart"]),
    (["ui"], ["no MLflow store", "fwcompare sync"]),
    (["ui", "nosuch"], ["nosuch", "KEY=VALUE"]),
    (["ui", "tracking.uri=sqlite:////nowhere/mlflow.db"], ["no MLflow store", "/nowhere"]),
    (["sync"], ["no runs"]),
    (["sync", "nosuch"], ["no sweep or run 'nosuch'", "fwcompare runs"]),
    (["--frobnicate"], ["--frobnicate"]),
    (["-m", "framework=pytorch,torch"], ["torch", "pytorch"]),
    (["-m", "framework=pytorch", "seed=1,x"], ["seed", "whole number"]),
    (["framework=pytorch", "-m", "seed=1,x"], ["framework=pytorch seed=x", "whole number"]),
    (["-m", "seed=range(0)"], ["nothing to run", "range"]),
    (["-m", "framework=pytorch,jax", "compare.baseline=keras_jax"], ["keras_jax", "not among"]),
    (["parity", "--engines", "torch"], ["torch", "pytorch"]),
    (["parity", "model=mlp", "--engines", "torch", "seed=1"], ["framework 'torch'", "pytorch"]),
    (["parity", "parity.reference=torch"], ["torch", "pytorch"]),
    (["parity", "parity.reference=keras"], ["'keras'", "Did you mean 'keras_jax'"]),
    (["parity", "parity.reference=nosuch"], ["parity.reference 'nosuch'", "pytorch"]),
    (["parity", "modle=cnn"], ["modle", "Did you mean 'model'"]),
    (["parity", "framework=jax"], ["framework=jax", "--engines"]),
    (["audit", "framework=jax"], ["framework=jax", "--engines"]),
    (["runs", "--limit", "0"], ["--limit", "at least 1"]),
    (["parity", "model"], ["two of them", "key=value"]),
    (["parity", "parity.precision=float16"], ["float16", "float64"]),
    (["parity", "parity.steps=0"], ["parity.steps", "at least 1"]),
    (["parity", "--mutate", "pytorch="], ["Unknown error", "gelu_tanh"]),
    (["plugins", "check", "torch"], ["torch", "pytorch"]),
    (["dataset=csv"], ["dataset.params.file", "the path of a table"]),
    (["dataset=mnist", "paths.offline=true"], ["train-images-idx3-ubyte.gz", "paths.offline"]),
    (["augment.flip=true", "dataset=breast_cancer"], ["augment.flip", "[30]"]),
    (["augment.crop=9", "model=cnn"], ["augment.crop=9", "8 pixels"]),
    (["model.native.pytorch=no.py:build"], ["no.py was not found"]),
]


@pytest.mark.parametrize(("arguments", "words"), CASES, ids=[" ".join(case[0]) for case in CASES])
def test_one_clear_message(cli, tmp_path, arguments, words):
    ended = cli(*arguments, CUDA_VISIBLE_DEVICES="-1")
    said = ended.stdout + ended.stderr
    assert ended.returncode == 2, said
    assert "Traceback" not in said
    for word in words:
        assert word in said
    assert not list(tmp_path.rglob("spec.json")), "work was begun"


def named(file):
    """Each option that names a file, with this one."""
    return [f"{option}={file}".split() for option in FILES]


#: Numbers and names beyond all bounds, and what is said of them.
ABSURD = [
    (["optimizer.lr=1" + "0" * 400], "optimizer.lr must be finite"),
    (["trainer.timeout_s=-1" + "0" * 400], "trainer.timeout_s must be finite"),
    (["seed=1" + "0" * 4000], r"seed must be .{,250}\.\.\.\.$"),
    (["seed=" + "9" * 5000], "4300 digits"),
    (["model=" + "x" * 5000], r"x\.\.\. cannot be the name of a file"),
    (["preflight.memory_mib=1e308"], "preflight.memory_mib"),
    (["model.params.width=" + "[" * 3000 + "]" * 3000], "nested too deeply"),
    (["dataset=synthetic", "dataset.params.samples=1" + "0" * 11], "needs .* are free"),
    (["dataset=synthetic", "dataset.params.samples=1" + "0" * 400], "needs .* are free"),
    (["dataset=synthetic", "dataset.params.input_shape=[1" + "0" * 13 + "]"], "needs .* are free"),
    (["dataset=synthetic", "dataset.params.outputs=2147483648"], "dataset.params.outputs"),
    (["dataset=synthetic_tokens", "dataset.params.tokens=2147483648"], "dataset.params.tokens"),
    *((case, "no such home") for case in named("'~no-such-user/x'")),
    *((case, r"x\.\.\. cannot be a path: it is too long") for case in named("x" * 5000)),
]


@pytest.mark.parametrize(
    ("options", "said"), ABSURD, ids=[f"{case[0][-1][:40]} {case[1][:12]}" for case in ABSURD]
)
@pytest.mark.timeout(30)
def test_a_value_beyond_all_bounds(tmp_path, cache, options, said):
    places = [f"paths.outputs={tmp_path}", f"paths.cache={cache}", "device.threads=1"]
    with pytest.raises(RequestError, match=said):
        compose([*places, *options]).plan()


def test_more_than_there_is_memory_for(tmp_path, monkeypatch):
    """What NumPy says of it; to try it for real would take the memory of others."""

    def scarce(*_):
        raise MemoryError("Unable to allocate 11.6 TiB")

    monkeypatch.setattr("fwcompare.data.prepare.checked", scarce)
    with pytest.raises(RequestError, match="not enough memory") as refused:
        compose([f"paths.cache={tmp_path}"]).plan()
    assert "11.6 TiB" in refused.value.hint


def test_a_defaults_list_that_names_its_own_file(tmp_path):
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer/own.yaml").write_text("defaults: [own]\n")
    with pytest.raises(RequestError, match="holds itself"):
        compose(["optimizer=own"], str(tmp_path))


@pytest.mark.parametrize(
    "swept",
    [
        ["seed=range(1000000000)"],
        ["seed=shuffle(range(1000000000))"],
        ["seed=range(1000)", "trainer.epochs=range(1000)"],
    ],
)
@pytest.mark.timeout(30)
def test_a_sweep_without_end(swept):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with pytest.raises(RequestError, match="more than 100,000 cells"):
        require_countable(OverridesParser.create().parse_overrides(swept))
    require_countable(
        OverridesParser.create().parse_overrides(["seed=range(1000)", "x=1,2", "y=3"])
    )


@pytest.mark.parametrize("content", ["0", "word", "[1, 2]", "true", "2024-01-01", "- a: 1"])
def test_a_configuration_without_options(tmp_path, content):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/own.yaml").write_text(content)
    with pytest.raises(RequestError, match=r"own\.yaml holds no options but"):
        compose(["model=own"], str(tmp_path))


def test_a_folder_of_configuration_of_nobody():
    with pytest.raises(RequestError, match="no such home"):
        compose([], "~no-such-user/x")


@pytest.mark.parametrize(
    "arguments",
    [
        ["framework=jax"],
        ["parity", "--engines", "pytorch,jax"],
        ["parity", "parity.reference=jax"],
        ["audit", "--engines", "jax"],
        ["plugins", "check", "jax"],
    ],
    ids=" ".join,
)
def test_a_plugin_that_is_not_installed(cli, tmp_path, without_jax, arguments):
    ended = cli(*arguments, PYTHONPATH=without_jax)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "pip install fwcompare-jax" in ended.stderr
    assert not list(tmp_path.rglob("spec.json")), "work was begun"


def arrays(**changes):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(90, 4)).astype("float32"), np.arange(90) % 3
    return {"x": x, "y": y} | changes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": np.full((90, 4), np.nan, "float32")}, ["NaN"]),
        ({"y": np.full(90, -1)}, ["label"]),
        ({"y": np.arange(90) / 2}, ["label"]),
        ({"y": np.zeros(90, int)}, ["class"]),
        ({"y": np.arange(80) % 3}, ["80", "90"]),
    ],
)
def test_bad_data(cli, tmp_path, changes, words):
    np.savez(tmp_path / "data.npz", **arrays(**changes))
    ended = cli("dataset=npz", f"dataset.params.file={tmp_path / 'data.npz'}", "tracking=none")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    for word in words:
        assert word in ended.stderr


EMBEDDING = "{name: e, kind: embedding, tokens: 16, features: 4}"
LSTM = "{name: l, kind: lstm, units: 4, returns: last}"


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([EMBEDDING.replace("16", "15"), LSTM], ["'e' has tokens=15", "16 token ids"]),
        ([EMBEDDING, LSTM.replace("units", "inputs: [m], units")], ["'l'", "'m'", "no earlier"]),
        (
            [EMBEDDING, LSTM.replace("units", "inputs: [l], units")],
            ["'l'", "no earlier layer", "that layer itself"],
        ),
        ([EMBEDDING, LSTM, LSTM.replace("lstm", "dense")], ["'l'", "twice"]),
        (
            [EMBEDDING, "{repeat: 0, name: 'b${i}', layers: [" + LSTM + "]}"],
            ["'b${i}'", "0 times", "allow_empty"],
        ),
    ],
    ids=["too few tokens", "unknown input", "cycle", "one name twice", "no round"],
)
def test_a_model_file_that_does_not_fit(cli, tmp_path, layers, words):
    file = tmp_path / "own.yml"
    file.write_text("layers:\n" + "".join(f"- {layer}\n" for layer in layers))
    ended = cli("dataset=synthetic_tokens", "model=lstm", f"model.graph={file}")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    for word in words:
        assert word in ended.stderr, ended.stderr


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.full((90, 4), 16), ["token ids outside 0 to 15", "16", "sample 0"]),
        (np.zeros((90, 4)), ["float64", "whole numbers"]),
        (np.array([[1, 2], [3]] * 45, dtype=object), ["'x' cannot be read", "one length"]),
    ],
    ids=["out of range", "wrong type", "ragged"],
)
def test_bad_token_ids(cli, tmp_path, x, words):
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(90) % 3)
    given = (f"dataset.params.file={tmp_path / 'data.npz'}", "dataset.params.tokens=16")
    ended = cli("model=lstm", "dataset=npz", *given, "dataset.params.normalize=none")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    for word in words:
        assert word in ended.stderr, ended.stderr


def weights(**changes):
    """Those of ``model=logistic`` on the digits, with some changed; None leaves one out."""
    tensors = {
        "logits/kernel": np.zeros((64, 10), "float32"),
        "logits/bias": np.zeros(10, "float32"),
    }
    return {name: array for name, array in (tensors | changes).items() if array is not None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"logits/bias": None}, ["missing logits/bias", "choose the model"]),
        ({"extra/bias": np.zeros(3)}, ["unexpected extra/bias", "fwcompare runs"]),
        (
            {f"layer{i}/bias": np.zeros(3) for i in range(9)},
            ["unexpected layer0/bias, layer1/bias, layer2/bias, layer3/bias and 5 more"],
        ),
        ({"logits/kernel": np.zeros((10, 64))}, ["logits/kernel", "[10, 64]", "[64, 10]"]),
        ({"logits/bias": np.zeros(10, int)}, ["logits/bias", "int64", "floating-point"]),
        ({"logits/bias": np.full(10, np.nan)}, ["logits/bias", "NaN", "--status ok"]),
    ],
)
@pytest.mark.parametrize("verb", [[], ["parity"]], ids=["run", "parity"])
def test_a_weights_file_of_another_model(cli, tmp_path, verb, changes, words):
    save(weights(**changes), tmp_path / "w.safetensors")
    ended = cli(*verb, "model=logistic", f"init.from={tmp_path / 'w.safetensors'}")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    for word in words:
        assert word in ended.stderr, ended.stderr


@pytest.mark.parametrize("content", [b"", b"garbage", bytes(8)], ids=["empty", "text", "zeros"])
def test_a_file_that_holds_no_weights(cli, tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    ended = cli(f"init.from={tmp_path / 'w.safetensors'}")
    assert ended.returncode == 2 and "cannot be read" in ended.stderr
    assert "weights/final.safetensors" in ended.stderr


def test_a_folder_that_is_no_run(cli, tmp_path):
    (tmp_path / "folder").mkdir()
    ended = cli("init.from=folder")
    assert ended.returncode == 2
    assert "no such weights file" in ended.stderr and "fwcompare runs" in ended.stderr


def test_showing_needs_no_framework(cli):
    for arguments in (["--cfg", "job"], ["--help"], ["plugins"], ["runs"], ["--version"]):
        ended = cli(*arguments)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.strip()


def test_the_shells_own_question_needs_a_line_to_complete(cli):
    ended = cli("-sc", "query=bash")
    assert ended.returncode == 2
    assert "fwcompare -sc install=bash" in ended.stderr
    completed = cli("-sc", "query=bash", COMP_LINE="fwcompare model=lo", COMP_POINT="18")
    assert completed.returncode == 0, completed.stderr
    assert "model=logistic" in completed.stdout


def test_a_folder_that_has_been_removed(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    ended = subprocess.run(
        [str(Path(sys.executable).parent / "fwcompare"), "runs"],
        cwd=gone, check=False, capture_output=True, text=True, preexec_fn=gone.rmdir,
    )  # fmt: skip
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert "The current folder cannot be used" in ended.stderr


def test_an_interpreter_that_does_not_start_leaves_no_run(cli, tmp_path):
    python = tmp_path / "python"
    python.write_text("no program")
    python.chmod(0o755)
    ended = cli(f"framework.python={python}", "tracking=none")
    assert ended.returncode == 2 and "cannot be started" in ended.stderr, ended.stderr
    assert not list(tmp_path.glob("outputs/runs/*"))
