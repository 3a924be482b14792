"""Random input of every kind: a clear refusal or an answer, never a traceback and never a hang.

``FWCOMPARE_LONG=1`` tries some 16,000 inputs; otherwise they are a few hundred that are always the
same. Each fuzzed door counts its inputs; the counts are printed at the end.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fwcompare import report
from fwcompare.compose import compose, known_options, translate
from fwcompare.data.prepare import prepare
from fwcompare.errors import FwcompareError, RunError
from fwcompare.frames import runs_frame
from fwcompare.graph import KINDS, Graph, load, save
from fwcompare.graph.read import read
from fwcompare.outcome import outcome
from fwcompare.record import RunRecord, read_events
from fwcompare.spec import RunSpec
from fwcompare.track import Entry, params_of
from fwcompare.track.replay import _read_sweep

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from run_folders import make_spec, write_sweep

LONG = bool(os.environ.get("FWCOMPARE_LONG"))

#: Seconds after which an input counts as a hang.
HANG = 60

CONF = Path(__file__).parents[2] / "conf"

COUNTS: Counter[str] = Counter()


class Hang(BaseException):
    """An input took too long."""


@contextmanager
def watched() -> Iterator[None]:
    """Only errors that are ours and that are about the request may come out."""

    def ring(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(HANG)
    try:
        yield
    except FwcompareError as error:
        # A run that has not ended is told by 1, all else that is wrong with input by 2.
        assert error.exit_code == 2 or isinstance(error, RunError), repr(error)
        assert error.message.strip() and len(error.message) < 20_000
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(short: int, long: int, **strategies: st.SearchStrategy[Any]) -> Callable[..., Any]:
    """A test of so many inputs, each of which is watched and counted."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @settings(
            max_examples=long if LONG else short,
            derandomize=not LONG,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink] if LONG else [Phase.generate],
        )
        @given(**strategies)
        @wraps(test)
        def run(*arguments: Any, **named: Any) -> None:
            COUNTS[test.__name__] += 1
            with watched():
                test(*arguments, **named)

        return run

    return decorate


@pytest.fixture(scope="module", autouse=True)
def _say_counts(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    lines = [f"{name[5:]}: {count}" for name, count in sorted(COUNTS.items())]
    text = "\n".join(["", "inputs tried:", *lines, f"together: {sum(COUNTS.values())}"])
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(text)


# --- What is drawn -------------------------------------------------------------------------------

_WORDS = r"""
    null true ~ .. ../.. /dev/zero / nan inf -inf 1e400 ${x} ${oc.env:HOME} ${seed} ${} $ [ ] {}
    {a:1} [1,2] a,b range(3) choice(1,2) glob(*) ' " \ _target_ %s {0} <b> 0x10 1_000 1e-5 .5 -0
    sgd digits mlp kaiming é 𝔘
"""
_LONG = ["a" * 300, "x" * 5000, "9" * 400, "9" * 5000, "[" * 3000]
WORDS = st.sampled_from(
    [*_WORDS.split(), *_LONG, "", "\x1b[31m", "\u202e", "{a: 1}", "'~nosuch/x'"]
)
NUMBERS = st.one_of(
    st.integers(-3, 70),
    st.sampled_from([2**31, 2**63, 2**64, 10**30, -(2**63), 10**400]),
    st.floats(allow_nan=True, allow_infinity=True, width=64),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS, st.text(max_size=8))
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)

#: What would fetch from the network, or is large by design.
COSTLY = ("fashion_mnist", "python_packages", "python_reference", "gpt", "resnet", "mobilenet",
          "unet", "vit")  # fmt: skip

#: Options whose size is memory; drawn within bounds.
SIZES = ("samples", "features", "height", "width", "channels", "classes", "steps", "tokens")


@cache
def options() -> list[str]:
    return [name for name in known_options() if not name.startswith(("hydra", "paths"))]


@cache
def groups() -> dict[str, list[str]]:
    found = {}
    for folder in sorted(CONF.iterdir()):
        if folder.is_dir() and folder.name not in ("experiment", "framework", "__pycache__"):
            names = sorted(path.stem for path in folder.glob("*.yaml"))
            found[folder.name] = [n for n in names if not n.startswith(COSTLY)]
    return found


@st.composite
def override(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.text(max_size=20))
    if kind <= 3:
        group, names = draw(st.sampled_from(sorted(groups().items())))
        return f"{group}={draw(st.sampled_from(names))}"
    name = draw(st.sampled_from(options()))
    if kind == 4:
        name = draw(st.sampled_from(["+", "++", "~", "+x.", "hydra.", "model.params."])) + name
    if name.rpartition(".")[2] in SIZES:
        return f"{name}={draw(st.integers(-2, 64))}"
    return f"{name}={draw(SCALARS)}"


@st.composite
def changed(draw: st.DrawFn, data: Any) -> Any:
    """JSON data in which a few nodes are dropped, replaced or renamed."""
    made = json.loads(json.dumps(data))
    for _ in range(draw(st.integers(1, 3))):
        node = made
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inner = node[key]
            if isinstance(inner, dict | list) and inner and draw(st.booleans()):
                node = inner
                continue
            action = draw(st.integers(0, 3))
            if action == 0:
                del node[key]
            elif action == 1 and isinstance(node, dict):
                node[draw(st.text(max_size=5))] = node.pop(key)
            else:
                node[key] = draw(JSON)
            break
    return made


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes of which some are changed, cut out, doubled or added."""
    made = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(made)))
        length = draw(st.integers(0, 40))
        piece = draw(st.binary(max_size=16))
        action = draw(st.integers(0, 3))
        if action == 0:
            made[at : at + length] = piece
        elif action == 1:
            del made[at:]
        elif action == 2:
            made[at:at] = made[at : at + length]
        else:
            made[at:at] = piece
    return bytes(made)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


# --- The command line's options ------------------------------------------------------------------


@pytest.fixture(scope="module")
def at(cache: Path, place: Path) -> list[str]:
    return [f"paths.cache={cache}", f"paths.outputs={place}/outputs", "device.threads=1"]


class TestOptions:
    @fuzz(60, 2500, given_options=st.lists(override(), min_size=1, max_size=4))
    def test_overrides(self, given_options: list[str], at: list[str]) -> None:
        made = compose([*at, *given_options])
        made.plan()
        assert made.tracking and made.compare and made.parity

    @fuzz(
        15,
        700,
        text=st.text(max_size=60),
        group=st.sampled_from(["model", "optimizer", "experiment"]),
    )
    def test_config_files(self, text: str, group: str, at: list[str], place: Path) -> None:
        (place / group).mkdir(exist_ok=True)
        (place / group / "own.yaml").write_text(text, encoding="utf-8", errors="replace")
        compose([*at, f"{group}=own"], str(place)).plan()

    @fuzz(15, 700, data=st.data())
    def test_damaged_config_files(self, data: st.DataObject, at: list[str], place: Path) -> None:
        files = sorted(p for p in CONF.glob("*/*.yaml") if not p.stem.startswith(COSTLY))
        file = data.draw(st.sampled_from([f for f in files if f.parent.name != "framework"]))
        content = data.draw(damaged(file.read_bytes()))
        (place / file.parent.name).mkdir(exist_ok=True)
        (place / file.parent.name / "own.yaml").write_bytes(content)
        compose([*at, f"{file.parent.name}=own"], str(place)).plan()


# --- Layer files ---------------------------------------------------------------------------------

KIND_OPTIONS = sorted({name for kind in KINDS.values() for name in kind.__dataclass_fields__})


@st.composite
def layer(draw: st.DrawFn) -> dict[str, Any]:
    names = st.sampled_from(["a", "b", "c", "d", "input", "in", "a/b", ""])
    kind = draw(st.sampled_from([*sorted(KINDS), "nosuch"]))
    made: dict[str, Any] = {"name": draw(names), "kind": kind}
    known = sorted(KINDS[kind].__dataclass_fields__) if kind in KINDS else KIND_OPTIONS
    for name in draw(st.lists(st.sampled_from(known or KIND_OPTIONS), max_size=4)):
        made[name] = draw(
            st.one_of(st.integers(0, 9), SCALARS, st.lists(st.integers(-1, 5), max_size=3),
                      st.sampled_from(["${width}", "${width * 2}", "${outputs}", "${2**width}",
                                       "${width // 0}", "${nosuch}", "same", "valid", "relu"]))
        )  # fmt: skip
    if draw(st.integers(0, 3)) == 0:
        made["inputs"] = draw(st.one_of(st.lists(names, max_size=3), names, SCALARS))
    return made


@st.composite
def entries(draw: st.DrawFn, depth: int = 2) -> list[Any]:
    made: list[Any] = draw(st.lists(layer(), max_size=4))
    if depth and draw(st.integers(0, 2)) == 0:
        made.append(
            {
                "name": draw(st.sampled_from(["x", "y", "b${i}"])),
                "layers": draw(entries(depth - 1)),
                **draw(
                    st.fixed_dictionaries(
                        {},
                        optional={
                            "repeat": st.one_of(st.integers(-1, 4), SCALARS),
                            "as": st.one_of(st.just("i"), SCALARS),
                            "when": SCALARS,
                            "inputs": SCALARS,
                        },
                    )
                ),
            }
        )
    return made


PARAMS = {"width": 4, "hidden": [8, 4], "outputs": 3, "tokens": 7, "padding_token": 0}
SHAPES = st.sampled_from([(8,), (8, 8, 1), (5, 3), (1,), (2, 3, 4)])


class TestLayers:
    @fuzz(120, 3000, drawn=entries(), shape=SHAPES)
    def test_graphs(self, drawn: list[Any], shape: tuple[int, ...], place: Path) -> None:
        file = place / "own.yml"
        file.write_text(json.dumps({"layers": drawn}), encoding="utf-8")
        graph = read(file, PARAMS, shape)
        assert graph.digest and graph.flops_per_sample >= 0

    @fuzz(60, 1500, data=st.data())
    def test_damaged_layer_files(self, data: st.DataObject, place: Path) -> None:
        source = data.draw(st.sampled_from(sorted(CONF.glob("model/*.yml"))))
        file = place / "damaged.yml"
        file.write_bytes(data.draw(damaged(source.read_bytes())))
        read(file, PARAMS, (16, 16, 3))


# --- What lies in run folders --------------------------------------------------------------------

SPEC = make_spec(versions={"fwcompare": "0"})


class TestFolders:
    @fuzz(100, 2000, drawn=changed(SPEC.to_json()))
    def test_specs(self, drawn: Any, place: Path) -> None:
        path = place / "spec.json"
        path.write_text(json.dumps(drawn), encoding="utf-8")
        spec = RunSpec.read(path)
        assert spec.group and spec.arm and spec.cell
        assert params_of(spec)
        assert spec.model.graph.parameter_count >= 0

    @fuzz(30, 500, drawn=damaged(json.dumps(SPEC.to_json()).encode()))
    def test_damaged_specs(self, drawn: bytes, place: Path) -> None:
        path = place / "spec.json"
        path.write_bytes(drawn)
        assert RunSpec.read(path).cell

    @fuzz(40, 1200, data=st.data())
    def test_sweeps(self, data: st.DataObject) -> None:
        """A sweep one of whose files is damaged is read, compared, shown and told."""
        with tempfile.TemporaryDirectory() as root:
            folder = write_sweep(Path(root), "s", 2)
            files = sorted(p for p in folder.rglob("*") if p.is_file())
            file = data.draw(st.sampled_from(files))
            whole = file.read_bytes()
            if file.suffix == ".json" and data.draw(st.booleans()):
                content = json.dumps(data.draw(changed(json.loads(whole)))).encode()
            else:
                content = data.draw(damaged(whole))
            file.write_bytes(content)
            for run in folder.glob("*/"):
                with watched():
                    RunRecord.read(run)
                    Entry.read(run).points()
                    assert Entry.read(run).tags and Entry.read(run).note
            with watched():
                _read_sweep(folder / "sweep.json")
            found = outcome(folder)
            text = io.StringIO()
            report.show(found.comparisons, report_console(text))
            report.as_json(found.comparisons)
            report.as_csv(found.comparisons)
            runs_frame(found.runs, found.comparisons)

    @fuzz(60, 1200, data=st.data())
    def test_events(self, data: st.DataObject, place: Path) -> None:
        lines = [
            {"event": "start", "time_ms": 1},
            {"event": "phase", "name": "build", "seconds": 1.0, "peak_rss_bytes": 5},
            {"event": "blocks", "epoch": 1, "blocks": [[3, 0.5]]},
            {"event": "epoch", "epoch": 1, "time_ms": 2, "metrics": {"train/loss": 1.0}},
            {"event": "end", "status": "ok"},
        ]
        from fwcompare.launch import _from_events

        drawn = data.draw(changed(lines))
        content = "\n".join(json.dumps(line) for line in drawn).encode() + b"\n"
        if data.draw(st.booleans()):
            content = data.draw(damaged(content))
        path = place / "events.jsonl"
        path.write_bytes(content)
        list(read_events(path))
        SPEC.write(place / "spec.json")
        RunRecord("run-1", "ok", "", 1, 2).write(place)
        Entry.read(place).points()
        _from_events(SPEC, place, 1, "killed", "it was told to")


def report_console(text: io.StringIO) -> Any:
    from fwcompare.terminal import plain

    return plain(file=text, width=200)


# --- Arrays --------------------------------------------------------------------------------------

GRAPH = Graph.from_layers((4,), [{"name": "out", "kind": "dense", "units": 3}])


def weights_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.safetensors"
        save({"out/kernel": np.ones((4, 3), "f4"), "out/bias": np.zeros(3, "f4")}, path)
        return path.read_bytes()


WEIGHTS = weights_file()


def archive(**arrays: np.ndarray) -> bytes:
    held = io.BytesIO()
    np.savez(held, **arrays)
    return held.getvalue()


NPZ = archive(x=np.arange(120, dtype="f4").reshape(30, 4) % 7, y=np.arange(30) % 3)


@cache
def npz_options() -> dict[str, Any]:
    options: dict[str, Any] = compose(["dataset=npz"]).section("dataset")["params"]
    return options


DTYPES = st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u1", "u8", "?", "c8", "U3", "S2", "M8[s]"])


class TestArrays:
    @fuzz(60, 1500, drawn=damaged(WEIGHTS))
    def test_weights(self, drawn: bytes, place: Path) -> None:
        path = place / "w.safetensors"
        path.write_bytes(drawn)
        found = load(path, GRAPH)
        assert all(np.isfinite(array).all() for array in found.values())

    @fuzz(15, 500, drawn=damaged(NPZ))
    def test_damaged_data(self, drawn: bytes, place: Path) -> None:
        self.prepared(drawn, place, {})

    @fuzz(25, 900, data=st.data())
    def test_data(self, data: st.DataObject, place: Path) -> None:
        def array(width: int) -> np.ndarray:
            shape = [data.draw(st.integers(0, 40))]
            shape += data.draw(st.lists(st.integers(0, 4), max_size=width))
            dtype = data.draw(DTYPES)
            values = np.arange(int(np.prod(shape))).reshape(shape) % data.draw(st.integers(1, 9))
            return values.astype(dtype)

        names = data.draw(
            st.lists(st.sampled_from(["x", "y", "x_train", "y_train", "z"]), max_size=4)
        )
        content = archive(**{name: array(3) for name in names})
        params = data.draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "task": st.sampled_from(["classification", "regression", "multi_label", "x"]),
                    "classes": st.one_of(st.integers(-1, 5), SCALARS),
                    "tokens": st.one_of(st.integers(-1, 9), SCALARS),
                    "normalize": st.sampled_from(["none", "unit", "standard", "x"]),
                    "val_fraction": st.one_of(st.floats(-0.5, 1.5), SCALARS),
                },
            )
        )
        self.prepared(content, place, params)

    def prepared(self, content: bytes, place: Path, params: dict[str, Any]) -> None:
        path = place / "data.npz"
        path.write_bytes(content)
        with tempfile.TemporaryDirectory() as folder:
            made = prepare("npz", {**npz_options(), "file": str(path), **params}, 0, Path(folder))
            assert made.size("train") > 0

    def test_an_archive_that_unpacks_to_more_than_there_is(self, place: Path) -> None:
        path = place / "bomb.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.npy", b"")
        content = path.read_bytes()
        # The size that the directory of the archive tells, and that is believed by readers.
        at = content.rindex(b"PK\x01\x02")
        path.write_bytes(content[: at + 24] + b"\xf0\xff\xff\xff" + content[at + 28 :])
        from fwcompare.data import npz
        from fwcompare.errors import RequestError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("psutil.virtual_memory", lambda: type("M", (), {"available": 10**9})())
            with pytest.raises(RequestError, match="unpacks to 4"):
                npz.load(path, "classification", None)


# --- The real command line -----------------------------------------------------------------------

ARGUMENTS = st.lists(
    st.one_of(
        st.sampled_from(["-m", "--cfg", "job", "--help", "--info", "--resolve", "-sc", "--format",
                         "show", "runs", "report", "diff", "sync", "plugins", "doctor", "rerun"]),
        override(),
        WORDS,
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


class TestCommandLine:
    @fuzz(4, 150, arguments=ARGUMENTS)
    def test_arguments(self, arguments: list[str], cli: Any) -> None:
        """Whatever is asked for, nothing is trained: a dataset is named that is not there."""
        arguments = [a.replace("\0", "") for a in arguments]
        runs = all(a[:1] in ("-", "+", "~") or "=" in a for a in arguments[:1])
        stop = ["dataset=npz", "dataset.params.file=nowhere.npz", "tracking=none"] if runs else []
        ended = cli(*arguments, *stop, timeout=HANG)
        assert ended.returncode in (0, 1, 2), (arguments, ended.stderr[-3000:])
        assert "Traceback" not in ended.stderr, (arguments, ended.stderr[-3000:])


def test_what_hydra_raises_is_translated() -> None:
    """The doors above go through the same translation as the command line."""
    from hydra.errors import HydraException

    assert translate(HydraException("x")).exit_code == 2
