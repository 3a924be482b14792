"""No source of this project reads a pickle, evaluates text, or calls what a file names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("fwcompare", "plugins", "benchmarks", "docs", "tests")

#: Modules that read code from data, or nothing else.
MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle"}

#: What is taken of them all the same: joblib's threads, which pass nothing by a file.
TAKEN = {"fwcompare/launchers/local.py": "import of joblib"}

#: Calls by their last words that are refused wherever they stand.
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "read_pickle", "to_pickle",
    "hydra.utils.instantiate", "yaml.unsafe_load", "yaml.full_load", "unsafe_load", "full_load",
    "tempfile.mktemp",
}  # fmt: skip

#: Calls that need a keyword with just this value.
NEEDED = {
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "torch.load": ("weights_only", True),
}


def sources() -> list[Path]:
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if "build" not in path.relative_to(ROOT).parts]


def called(node: ast.expr) -> str:
    """``a.b.c`` of a call, as it is written."""
    if isinstance(node, ast.Attribute):
        return f"{called(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def findings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                if name.partition(".")[0] in MODULES:
                    yield node.lineno, f"import of {name}"
        if not isinstance(node, ast.Call):
            continue
        name = called(node.func)
        given = {word.arg: word.value for word in node.keywords}
        if name in CALLS or any(name.endswith(f".{call}") for call in CALLS - {"compile", "eval"}):
            yield node.lineno, f"call of {name}"
        if name == "yaml.load" and "SafeLoader" not in ast.dump(node):
            yield node.lineno, "yaml.load without the safe loader"
        if name in NEEDED:
            key, value = NEEDED[name]
            held = given.get(key)
            if not (isinstance(held, ast.Constant) and held.value is value):
                yield node.lineno, f"{name} without {key}={value}"
        if name.endswith(".extractall"):
            held = given.get("filter")
            if not (isinstance(held, ast.Constant) and held.value == "data"):
                yield node.lineno, "an archive unpacked without filter='data'"
        shell = given.get("shell")
        if isinstance(shell, ast.Constant) and shell.value is True:
            yield node.lineno, "a shell"


def test_there_is_something_to_look_at():
    assert len(sources()) > 200


def test_no_source_runs_data():
    found = {
        f"{path.relative_to(ROOT)}:{line}": what
        for path in sources()
        for line, what in findings(ast.parse(path.read_text(encoding="utf-8")))
        if TAKEN.get(str(path.relative_to(ROOT))) != what
    }
    assert not found


@pytest.mark.parametrize(
    "text",
    ["import pickle", "from joblib import load", "eval('1')", "import os\nos.system('ls')",
     "yaml.load(text)", "archive.extractall(folder)", "np.load(path)",
     "np.load(path, allow_pickle=True)",
     "torch.load(path, weights_only=False)", "subprocess.run('ls', shell=True)",
     "hydra.utils.instantiate(node)"],
)  # fmt: skip
def test_what_is_looked_for_is_found(text):
    assert list(findings(ast.parse(text)))


def test_no_configuration_of_ours_names_code():
    files = [*(ROOT / "conf").rglob("*.y*ml"), *(ROOT / "plugins").rglob("*.y*ml")]
    assert len(files) > 50
    assert not [path for path in files if "_target_" in path.read_text(encoding="utf-8")]


def test_code_is_loaded_by_entry_point_alone():
    """Every import by name, and where its name comes from."""
    known = {
        "fwcompare/__init__.py": "the Python interface, by a name of ours",
        "fwcompare/plugin.py": "a trainer, by what an installed front says",
        "fwcompare/verbs/__init__.py": "a verb of ours",
        "fwcompare/parity/mutations.py": "a plugin's own module",
        "fwcompare/launchers/cluster.py": "Ray, where it was chosen",
        "plugins/keras/src/fwcompare_keras/backends/__init__.py": "a backend of the plugin",
        "plugins/keras/src/fwcompare_keras/optimizers.py": "a module of the plugin",
        "benchmarks/loops/__init__.py": "a loop of the benchmarks",
    }
    found = {
        str(path.relative_to(ROOT))
        for path in sources()
        if "import_module" in path.read_text(encoding="utf-8")
        and path.relative_to(ROOT).parts[0] != "tests"
    }
    assert found == set(known)
