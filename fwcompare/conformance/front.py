"""The import-free side of an engine: tried in a process of its own, to see what it imports.

``python -m fwcompare.conformance.front ENGINE SPEC`` prints what is wrong, a line each.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fwcompare.plugin import Front, front, installed
from fwcompare.spec import EXECUTIONS, PRECISIONS, RunSpec


def tried(engine: str, spec: Path) -> str:
    """What is wrong with the front of an installed engine; empty if nothing is.

    ``spec`` is the file of a spec that the engine is asked about.
    """
    ended = subprocess.run(
        [sys.executable, "-m", "fwcompare.conformance.front", engine, str(spec)],
        capture_output=True,
        text=True,
        check=False,
    )
    wrong = ended.stdout.strip().splitlines()
    if ended.returncode and not wrong:
        wrong = ended.stderr.strip().splitlines()[-1:] or [f"exit code {ended.returncode}"]
    return "; ".join(wrong)


def faults(engine: str, spec: RunSpec) -> Iterator[str]:
    """All that the front says wrongly, and what it has imported meanwhile."""
    before = set(sys.modules)
    loaded = front(engine)
    yield from _members(engine, loaded)
    for execution in EXECUTIONS:
        for precision in PRECISIONS:
            asked = spec.but(execution=execution, precision=precision)
            yield from _answers(loaded, asked)
    own = {*loaded.packages, installed()[engine].module.partition(".")[0], "fwcompare"}
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    # Compiled packages put modules without a file beside their own.
    public = {name for name in new if name[0] != "_" and hasattr(sys.modules.get(name), "__file__")}
    if foreign := sorted(public - own - sys.stdlib_module_names):
        yield f"the front imports {', '.join(foreign)}: frameworks belong into the trainer's module"


def _members(engine: str, loaded: Front) -> Iterator[str]:
    if loaded.name != engine:
        yield f"its name is '{loaded.name}', its entry point says '{engine}'"
    if not re.fullmatch(r"[\w.]+:\w+", loaded.trainer):
        yield f"trainer={loaded.trainer!r} is not of the form module:Class"
    for package in loaded.packages:
        if importlib.util.find_spec(package) is None:
            yield f"its package '{package}' cannot be found"
    if not loaded.requirements:
        yield "requirements is empty: no version of the framework would be recorded"
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", loaded.colour):
        yield f"colour={loaded.colour!r} is not of the form #rrggbb"
    same: Mapping[str, str] = loaded.same_execution
    if wrong := sorted({*same.keys(), *same.values()} - set(EXECUTIONS)):
        yield f"same_execution names {', '.join(wrong)}, which is no execution"


def _answers(loaded: Front, spec: RunSpec) -> Iterator[str]:
    asked = f"{spec.execution}, {spec.precision}"
    variables: Any = loaded.environment(spec)
    if not isinstance(variables, Mapping) or not all(
        isinstance(part, str) for pair in variables.items() for part in pair
    ):
        yield f"environment ({asked}) is not a mapping of strings to strings: {variables!r}"
    reason: Any = loaded.supports(spec)
    if reason is not None and not (isinstance(reason, str) and reason.strip()):
        yield f"supports ({asked}) gave {reason!r}, neither None nor a sentence"


def main(arguments: list[str]) -> int:
    """Entry point of the process that ``tried`` starts."""
    engine, file = arguments
    wrong = list(faults(engine, RunSpec.read(Path(file))))
    sys.stdout.writelines(f"{line}\n" for line in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
