"""Calls that may hang are waited for so long and no longer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class OutOfPatience(Exception):
    """A call has not come back in its time; it may still do so, and nobody will hear of it."""


class Errands:
    """Calls in a thread of their own, one after another.

    A thread that did not come back is left behind, and the next call gets a new one. It is no
    process: what is called shares this one's memory, and ends with it.
    """

    def __init__(self) -> None:
        self._errands: queue.SimpleQueue[Callable[[], None]] | None = None

    def run(self, call: Callable[[], T], seconds: float) -> T:
        """What ``call`` returns or raises.

        Raises:
            OutOfPatience: it took longer.
        """
        if self._errands is None:
            self._errands = queue.SimpleQueue()
            threading.Thread(target=_work, args=(self._errands,), daemon=True).start()
        answer: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

        def errand() -> None:
            try:
                answer.put((True, call()))
            except BaseException as error:  # whoever asked is told, and the thread lives on
                answer.put((False, error))

        self._errands.put(errand)
        try:
            good, found = answer.get(timeout=seconds)
        except queue.Empty:
            self._errands = None
            raise OutOfPatience(f"no answer within {seconds:g} s") from None
        if not good:
            raise found
        result: T = found
        return result


def _work(errands: queue.SimpleQueue[Callable[[], None]]) -> None:
    while True:
        errands.get()()
