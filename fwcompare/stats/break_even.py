"""After how many steps compiling has paid for itself."""

from __future__ import annotations

import math


def break_even_steps(
    compile_s: float, step_s: float, plain_compile_s: float, plain_step_s: float
) -> float:
    """Steps until the dearer start of a compiled execution is repaid by its faster step.

    Zero where its start costs no more; infinite where its step is no faster, or a value is not a
    number.
    """
    cost, gain = compile_s - plain_compile_s, plain_step_s - step_s
    if not gain > 0 or math.isnan(cost):
        return math.inf
    return max(cost, 0.0) / gain
