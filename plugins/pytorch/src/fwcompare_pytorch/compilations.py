"""How often ``torch.compile`` compiled, as TorchDynamo itself counts it."""

from __future__ import annotations

from typing import Any

import torch
from torch._dynamo.utils import counters


def start() -> None:
    """Forget what an earlier run in this process compiled, and how often.

    A function that was compiled too often is not compiled again (``recompile_limit``), so in a warm
    worker one run would tell on the next.
    """
    torch._dynamo.reset()
    counters.clear()


def facts() -> dict[str, Any]:
    """Graphs compiled so far, and the places where a graph had to be left for Python."""
    return {
        "compilations": counters["stats"]["unique_graphs"],
        "graph_breaks": counters["graph_break"].total(),
    }
