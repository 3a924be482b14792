"""Colours: readable on both papers, and as the front gave them where they are so already."""

from __future__ import annotations

import pytest

from fwcompare.page.palette import LEAST_CONTRAST, contrast, readable
from fwcompare.plugin import front, installed

PAPERS = ("#ffffff", "#14161a")


def test_contrast_is_that_of_the_guideline():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("engine", sorted(installed()))
def test_every_engine_is_readable(engine, paper):
    assert contrast(readable(front(engine).colour, paper), paper) >= LEAST_CONTRAST


@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("colour", ["#ffffff", "#000000", "#14161a", "#ffff00"])
def test_the_worst_colours_are_made_readable(colour, paper):
    assert contrast(readable(colour, paper), paper) >= LEAST_CONTRAST


def test_a_readable_colour_stays():
    assert readable("#2E86AB", "#ffffff") == "#2e86ab"
