"""The commands of the CSV example, as a reader runs them: in its folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))
from page_blocks import blocks

EXAMPLE = Path(__file__).parents[1] / "examples" / "csv"


def test_the_commands_of_the_example(tmp_path, cache):
    place = shutil.copytree(EXAMPLE, tmp_path / "csv")
    environment = {**os.environ, "FWCOMPARE_CACHE": str(cache), "COLUMNS": "160"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    said = []
    for block in blocks(EXAMPLE / "README.md"):
        ended = subprocess.run(
            ["bash", "-e", "-c", block.text], cwd=place, capture_output=True, text=True,
            env={**environment, "PATH": path}, check=False,
        )  # fmt: skip
        assert ended.returncode in block.exits, ended.stderr
        said.append(ended.stdout + ended.stderr)
    accuracy = float(said[0].split("test accuracy")[1].split()[0])
    assert accuracy > 0.8
    assert "Column 'bark' must hold numbers, row 1 has 'furrowed'" in said[1]
    assert "categorical=[soil,bark]" in said[1]
