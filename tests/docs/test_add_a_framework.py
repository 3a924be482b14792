"""The plugin that the how-to page writes is whole: it runs, is proven, and is audited."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-framework.md"

#: What an installation would write; the page's own pyproject.toml is compared with it.
ENTRY_POINTS = """[fwcompare.trainers]
tiny = fwcompare_tiny:FRONT

[fwcompare.configs]
tiny = fwcompare_tiny.conf
"""


@pytest.fixture
def site(tmp_path) -> Path:
    """A folder on Python's path with the page's files, and the metadata of a distribution."""
    folder = tmp_path / "site"
    blocks = dict(re.findall(r"```\w+\n# ([\w./]+)\n(.*?)```", PAGE.read_text(), re.DOTALL))
    package = folder / "fwcompare_tiny"
    for name in ("__init__.py", "trainer.py", "conf/framework/tiny.yaml"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(blocks[name])
    (package / "conf" / "__init__.py").touch()
    for line in ENTRY_POINTS.splitlines():
        name, _, target = line.partition(" = ")
        assert not target or f'{name} = "{target}"' in blocks["pyproject.toml"]
    info = folder / "fwcompare_tiny-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fwcompare-tiny\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


def test_it_trains_and_is_proven(cli, site):
    path = {"PYTHONPATH": str(site)}
    common = ["model=logistic", "optimizer=sgd", "device.threads=1"]
    ended = cli("framework=tiny", *common, "tracking=none", "trainer.epochs=2", **path)
    assert ended.returncode == 0, ended.stderr
    proof = cli("parity", "--engines", "tiny", *common, "scheduler=cosine", **path)
    assert proof.returncode == 0, proof.stdout + proof.stderr
    assert "proven" in proof.stdout


def test_it_is_audited(cli, site):
    done = cli(
        "audit", "--engines", "tiny,pytorch", "model=logistic", "optimizer=sgd",
        "device.threads=1", PYTHONPATH=str(site),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "zeros" in done.stdout
