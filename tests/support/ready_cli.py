"""The command line from a process that has imported it already, forked once for each call.

An interpreter and its imports take half a second, a refusal takes a tenth of that, and the tests
call the command line hundreds of times. Each call still is a process of its own, with the
arguments, the directory, the environment and the two files that it is given; what is imported there
is what ``fwcompare --cfg job`` and a run import before they begin, and no framework.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Imported before any call.
MODULES = (
    "fwcompare.cli", "fwcompare.compose", "fwcompare.config", "fwcompare.guard", "fwcompare.single",
    "fwcompare.multirun", "fwcompare.report", "fwcompare.terminal", "hydra._internal.hydra",
    "hydra.core.override_parser.overrides_parser", "rich.table",
)  # fmt: skip


def _of_python(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith("PYTHON")}


#: Python's variables before any test has set one.
_BEGUN = _of_python(os.environ)


class ReadyCli:
    """Raises ``subprocess.TimeoutExpired`` as ``subprocess.run`` does."""

    def __init__(self) -> None:
        others = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        self._server = subprocess.Popen(
            [sys.executable, "-u", __file__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**others, **_BEGUN},
        )  # fmt: skip

    def began_as(self, env: Mapping[str, str]) -> bool:
        """Whether an interpreter would begin with these variables as the one here did."""
        return _of_python(env) == _BEGUN

    def run(
        self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """What ``fwcompare`` with these arguments prints, and its exit code."""
        assert self._server.stdin and self._server.stdout
        with tempfile.TemporaryDirectory() as name:
            out, err = Path(name, "out"), Path(name, "err")
            request = [list(arguments), str(cwd), dict(env), str(out), str(err), timeout]
            self._server.stdin.write(json.dumps(request) + "\n")
            self._server.stdin.flush()
            answer = self._server.stdout.readline()
            shown, said = out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")
        command = ["fwcompare", *arguments]
        code = json.loads(answer)
        if code is None:
            raise subprocess.TimeoutExpired(command, timeout, shown, said)
        return subprocess.CompletedProcess(command, code, shown, said)

    def close(self) -> None:
        """End the server."""
        self._server.communicate()


def serve() -> None:
    """Answer each line of standard input by the exit code of the call that it asks for."""
    for module in MODULES:
        importlib.import_module(module)
    for line in sys.stdin:
        arguments, cwd, env, out, err, timeout = json.loads(line)
        child = os.fork()
        if not child:
            call(arguments, cwd, env, out, err)
        print(json.dumps(waited(child, timeout)))


def call(arguments: list[str], cwd: str, env: dict[str, str], out: str, err: str) -> None:
    """Be the command line, in a process that ends with it."""
    for number, path in enumerate((os.devnull, out, err)):
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["fwcompare", *arguments]
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    code = 70
    try:
        from fwcompare.cli import main

        code = main()
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def waited(child: int, timeout: float) -> int | None:
    """The exit code as ``subprocess`` gives it; None if the call was ended for its time."""
    deadline = time.monotonic() + timeout
    pause = 0.005
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(pause)
        pause = min(pause * 1.2, 0.1)


if __name__ == "__main__":
    serve()
