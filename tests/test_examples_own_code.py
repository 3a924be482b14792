"""The commands of the examples of one's own code and layers, as a reader runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))
from page_blocks import blocks

EXAMPLES = Path(__file__).parents[1] / "examples"


def said(name: str, place: Path, cache: Path, commands: int) -> list[str]:
    """What the first commands of an example's page say, in the folder above a copy of it."""
    shutil.copytree(EXAMPLES / name, place / name)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = {**os.environ, "FWCOMPARE_CACHE": str(cache), "COLUMNS": "160", "PATH": path}
    found = []
    for block in list(blocks(EXAMPLES / name / "README.md"))[:commands]:
        ended = subprocess.run(
            ["bash", "-e", "-c", block.text], cwd=place, capture_output=True, text=True,
            env=given, check=False,
        )  # fmt: skip
        assert ended.returncode in block.exits, ended.stdout + ended.stderr
        found.append(ended.stdout)
    return found


def test_the_ladder_finds_the_planted_error(tmp_path, cache):
    """That the mended port holds, tests/native proves."""
    (planted,) = said("porting", tmp_path, cache, 1)
    assert "keras_tensorflow: own code, port_keras.py:build\n" in planted
    assert "`norm` (layer_norm), forward in eval mode" in planted
    assert "epsilon is 0.001, 1e-05 is meant" in planted


def test_a_model_of_ones_own(tmp_path, cache):
    (trained,) = said("own_model", tmp_path, cache, 1)
    assert "sum" in trained and "test accuracy" in trained
