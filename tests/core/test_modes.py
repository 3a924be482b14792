"""Which files of the shipped configuration can turn one run into a sweep."""

from __future__ import annotations

from pathlib import Path

import yaml

CONF = Path(__file__).parents[2] / "conf"


def test_only_experiments_choose_the_mode():
    """What the command line relies on when it does not compose to find out."""
    choosing = set()
    for path in CONF.rglob("*.yaml"):
        node = (yaml.safe_load(path.read_text()) or {}).get("hydra") or {}
        if "mode" in node:
            choosing.add(path.parent.name)
    assert choosing == {"experiment"}
