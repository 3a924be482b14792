"""fwcompare: one declared experiment, run natively in each framework, and compared.

``run``, ``sweep`` and ``load`` are the Python interface, of ``fwcompare.api``; they are imported
when they are first asked for, so that importing the package stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fwcompare.api import load, run, sweep

__version__ = "0.1.0"
__all__ = ["__version__", "load", "run", "sweep"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'fwcompare' has no attribute '{name}'")
    return getattr(import_module("fwcompare.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
