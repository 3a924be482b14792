"""Status and reason of what an engine raised."""

from __future__ import annotations

import pytest

from fwcompare.worker import _classify


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("one line", "ValueError: one line"),
        ("one line.\nand another", "ValueError: one line."),
        ("", "ValueError: ValueError('')"),
        ("\n\n", "ValueError: ValueError('\\n\\n')"),
        ("not lowered:\n\n\tshapes differ\nmore", "ValueError: not lowered: shapes differ"),
        ("nothing follows:\n \n", "ValueError: nothing follows:"),
        (
            "Exception encountered when calling Tanh.call().\n\n\x1b[1mtoo large\x1b[0m\n\nGiven",
            "ValueError: Exception encountered when calling Tanh.call(). too large",
        ),
        ("a\x00b", "ValueError: a\ufffdb"),
    ],
)  # fmt: skip
def test_the_reason_is_one_line_that_says_what_was_wrong(message, reason):
    assert _classify(ValueError(message)) == ("failed", reason)


def test_memory_that_lacks_is_seen_below_the_first_line():
    keras = "Exception encountered when calling Tanh.call().\n\nCUDA out of memory. Tried"
    assert _classify(RuntimeError(keras)) == (
        "out_of_memory",
        "RuntimeError: Exception encountered when calling Tanh.call(). CUDA out of memory. Tried",
    )
