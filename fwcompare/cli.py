"""The command line: Hydra's overrides to one run or a sweep, and the verbs."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from fwcompare import __version__
from fwcompare.errors import RequestError, unknown

#: Exit codes besides 0 (all is well), 1 (a run failed or a proof does not hold) and 2 (the request
#: is wrong).
DEFECT = 70
INTERRUPTED = 130
TERMINATED = 143

#: What writing to a stream fails with where its disk is full or gone.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_UNSHOWN = "Not all that was to be shown could be written"

_REPORT_DEFECT = "This is a defect of fwcompare; please report it with the lines above."


class Terminated(BaseException):
    """SIGTERM, turned into an exception so that children are ended and records written."""


class Stop:
    """Ctrl-C and SIGTERM. The first one ends what goes on, and what had ended is reported; the
    second ends this process at once, and the kernel the worker with it."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            shown_cursor = b"\x1b[?25h" if os.isatty(2) else b""
            os.write(2, shown_cursor + b"\nStopped at once; what had ended is kept.\n")
            _end_children()
            os._exit(INTERRUPTED if number == signal.SIGINT else TERMINATED)
        self.asked = True
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit code; bad input gives one message and 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _open_what_is_closed()
    code = _answered(given)
    why = _let_go(sys.stdout)
    if why and not code:
        code = _say(f"{_UNSHOWN}: {why}.", None, 1)
    _let_go(sys.stderr)
    return code


def _open_what_is_closed() -> None:
    """Put the null device in the place of a standard stream that is closed: a file of a run would
    get its number, and with it what is meant for the stream."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def _let_go(stream: TextIO) -> str:
    """Flush a stream now, for Python would answer a failure with an exit code of its own. Why that
    failed; empty where it did not, or where nobody reads any more."""
    try:
        stream.flush()
    except OSError as error:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return "" if isinstance(error, BrokenPipeError) else error.strerror or str(error)
    return ""


def _answered(given: list[str]) -> int:
    """The exit code of a command line, whatever comes of it."""
    stop = Stop()
    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as in a shell's background
        signal.signal(signal.SIGINT, stop)
    try:
        return _dispatch(given)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else (0 if end.code is None else 1)
    except KeyboardInterrupt:
        return _say("Stopped by Ctrl-C; what had ended is kept.", None, INTERRUPTED)
    except Terminated:
        return _say("Stopped by SIGTERM; what had ended is kept.", None, TERMINATED)
    except BrokenPipeError:
        # The reader of our output has gone, as in `fwcompare runs | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _fail(error, given)


def _end_children() -> None:
    """End every child with all that it has started; each leads a process group of its own."""
    import psutil

    for child in psutil.Process().children():
        with suppress(OSError):
            if os.getpgid(child.pid) == child.pid:
                os.killpg(child.pid, signal.SIGKILL)


def _fail(error: Exception, given: Sequence[str] = ()) -> int:
    from fwcompare.compose import translate

    if isinstance(error, OSError) and error.filename is None and error.errno in _FULL:
        return _say(f"{_UNSHOWN}: {error.strerror}.", None, 1)
    wrong = translate(error, given)
    if wrong.exit_code == DEFECT:
        from fwcompare.secrecy import hidden

        sys.stderr.write(hidden("".join(traceback.format_exception(error))))
        return _say(wrong.message, wrong.hint or _REPORT_DEFECT, DEFECT)
    return _say(wrong.message, wrong.hint, wrong.exit_code)


def _say(message: str, hint: str | None, code: int) -> int:
    from rich.text import Text

    from fwcompare.secrecy import hidden
    from fwcompare.terminal import stderr

    message, hint = hidden(message), hidden(hint or "")
    console = stderr()
    if code not in (INTERRUPTED, TERMINATED):
        console.print(Text("Error: ", style="bold red") + Text(message), soft_wrap=True)
    else:
        console.print(Text(message), soft_wrap=True)
    if hint:
        console.print(Text(hint), soft_wrap=True)
    return code


def _dispatch(given: list[str]) -> int:
    _require_folder()
    first = given[0] if given else ""
    if first == "--version":
        print(f"fwcompare {__version__}")  # noqa: T201 - the answer to the question
        return 0
    if first and first[0] not in "-+~" and "=" not in first:
        from fwcompare import verbs

        if first not in verbs.names():
            raise unknown("verb", first, verbs.names())
        return verbs.call(first, given[1:])
    _run_hydra(given)
    return 0


def _require_folder() -> None:
    """Raises ``RequestError`` where the current folder is no more: every relative path would fail
    in words of its own."""
    try:
        Path.cwd()
    except OSError as error:
        raise RequestError(
            f"The current folder cannot be used: {error.strerror}.", "Go to another: cd"
        ) from error


def _run_hydra(given: list[str]) -> None:
    """Hydra's own main, with its errors left to us: it would exit 1 on a typing error."""
    import argparse

    from hydra._internal.utils import _run_hydra as run_hydra
    from hydra._internal.utils import get_args_parser
    from hydra.errors import HydraException
    from hydra.version import setbase

    from fwcompare.compose import require_sweeper
    from fwcompare.guard import guarded

    os.environ["HYDRA_FULL_ERROR"] = "1"
    setbase("1.3")
    parser: argparse.ArgumentParser = get_args_parser()
    parser.prog = "fwcompare"
    parser.version = f"fwcompare {__version__}"  # type: ignore[attr-defined]
    arguments = parser.parse_intermixed_args(given)  # -m between options too
    if (
        arguments.shell_completion
        and given[-1].startswith("query=")
        and not (os.environ.keys() & {"COMP_LINE", "COMP_WORDS"})
    ):
        raise RequestError(
            "query= is what the shell itself asks when a key is pressed.",
            'Install the completion: eval "$(fwcompare -sc install=bash)"',
        )
    require_sweeper()
    if arguments.help:
        _share_schemas()
    # What is composed stays: to look for garbage meanwhile takes a twentieth of a start. Runs and
    # sweeps begin by having it looked for again.
    gc.disable()
    try:
        with guarded(chooses_mode=_may_choose_mode(arguments)):
            run_hydra(
                args=arguments,
                args_parser=parser,
                task_function=job,
                config_path="pkg://fwcompare.conf",
                config_name="config",
            )
    except ValueError as error:
        raise HydraException(str(error)) from error
    finally:
        gc.enable()


def _may_choose_mode(arguments: Any) -> bool:
    """Whether a configuration may say that a sweep is meant: of ours only an experiment does,
    besides those of the user's own folders."""
    if arguments.config_dir or arguments.config_path or arguments.config_name:
        return True
    keys = [override.lstrip("+~").partition("=")[0] for override in arguments.overrides]
    return any(key.startswith(("experiment", "hydra")) or "@" in key for key in keys)


def _share_schemas() -> None:
    """Let Hydra read its store of schemas where it is: for --help it would copy the whole of it
    once for each of a hundred groups, which takes longer than all the rest."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]


def job(cfg: Any) -> str:
    """One run. The cells of a sweep are run by their sweeper."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf, open_dict

    from fwcompare.compose import configuration

    hydra_node = HydraConfig.get()
    if hydra_node.mode == RunMode.MULTIRUN:
        raise RequestError(
            "A sweep needs fwcompare's own sweeper.", "Leave out the option hydra/sweeper."
        )
    with open_dict(cfg):
        made = configuration(OmegaConf.merge(cfg, {"hydra": hydra_node}))
    from fwcompare.single import run_single

    gc.enable()
    try:
        record = run_single(made)
    except Exception as error:
        raise SystemExit(_fail(error)) from error  # Hydra would add a line of its own
    if not record.ok:
        raise SystemExit(1)
    return record.status


if __name__ == "__main__":
    sys.exit(main())
