"""The reference of options is what its command writes of the typed configuration."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from fwcompare.compose import compose, known_options

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "options.md").read_text(encoding="utf-8")


def test_the_page_is_what_its_command_writes():
    written = runpy.run_path(str(DOCS / "generate_options.py"))["page"]()
    assert written == PAGE, "run `make docs`"


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["optimizer=adagrad", "scheduler=step", "dataset=npz", "model=lenet5", "tracking=none"],
        ["optimizer=nesterov", "scheduler=warmup_cosine", "dataset=synthetic", "model=cnn_bn"],
        ["optimizer=rmsprop", "dataset=fashion_mnist", "init=normal", "device=auto"],
    ],
    ids=lambda overrides: overrides[0] if overrides else "defaults",
)
def test_every_option_in_force_is_on_it(overrides):
    found = [name for name in known_options(overrides) if not name.startswith("hydra")]
    cfg = compose(overrides).cfg

    def is_option(name: str) -> bool:
        node = cfg
        for part in name.split("."):
            node = node[part]
        return not isinstance(node, dict) and not name.endswith((".name", ".graph"))

    missing = [n for n in found if is_option(n) and f"| `{n}` |" not in PAGE]
    assert not missing
