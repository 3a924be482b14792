"""A near miss is offered where there is one, and no other name is called near."""

from __future__ import annotations

import pytest

from fwcompare.errors import unknown

OPTIONS = ["optimizer.lr", "optimizer.beta1", "optimizer.epsilon"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("optimizer.lrr", "optimizer.lr"),
        ("optimizer.beta_1", "optimizer.beta1"),
        ("optimiser.lr", "optimizer.lr"),
        ("optimizer.momentum", None),  # alike in the group alone
        ("optimizer.x", None),
    ],
)
def test_a_near_miss_is_of_the_option_not_of_its_group(name, near):
    hint = str(unknown("option", name, OPTIONS).hint)
    assert hint.startswith(f"Did you mean '{near}'? Choose" if near else "Choose from")
    assert all(option in hint for option in OPTIONS)
