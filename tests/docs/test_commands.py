"""Every command of the README and of docs/ is run, page by page, in one folder.

What one page makes, the next one finds: RUN is the README's first run, and SWEEP the newest sweep,
whose RUN_A and RUN_B are two engines with one seed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from page_blocks import REASONS, BadDirective, Block, blocks

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

#: The order in which a newcomer reads.
FIRST = ("README.md", "docs/tutorial.md", "docs/how-to/read-the-comparison.md")


def pages() -> list[str]:
    """The pages with commands, those that a newcomer reads first in front."""
    found = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    names = [str(page.relative_to(ROOT)) for page in found if any(map(is_run, blocks(page)))]
    return sorted(names, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def is_run(block: Block) -> bool:
    return block.is_command and not block.skip


@pytest.fixture(scope="module")
def done() -> set[str]:
    """Blocks that were run: the same one on another page need not be run again."""
    return set()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A reader's folder."""
    return tmp_path_factory.mktemp("reader")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", pages())
def test_the_commands_of(page, place, cache, done):
    for block in blocks(ROOT / page):
        if block.file:
            (place / block.file).parent.mkdir(parents=True, exist_ok=True)
            (place / block.file).write_text(block.text)
        elif is_run(block) and block.text not in done:
            run(block, place, cache, f"{page}:{block.line}")
            done.add(block.text)


def run(block: Block, place: Path, cache: Path, where: str) -> None:
    script = block.short
    if block.language == "python":
        (place / "block.py").write_text(script)
        script = f"{sys.executable} block.py"
    ended = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", f"{block.first}\n{filled(script, place)}"],
        cwd=place, capture_output=True, text=True, check=False,
        env={
            **os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120",
            "FWCOMPARE_CACHE": str(cache),
        },
    )  # fmt: skip
    said = f"{where}\n{block.text}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
    assert ended.returncode in block.exits, said
    assert "Traceback" not in ended.stderr, said


def filled(script: str, place: Path) -> str:
    """The script with the names that a reader would put for RUN, SWEEP, RUN_A and RUN_B."""
    listings = place.glob("outputs/sweeps/*/sweep.json")
    newest = max(listings, key=lambda path: path.stat().st_mtime, default=None)
    names: dict[str, str] = {}
    if newest is not None:
        sweep = newest.parent
        names["SWEEP"] = sweep.name
        runs = sorted(path.parent.name for path in sweep.glob("*/record.json"))
        seed = re.search(r"-s\d+-", runs[0])[0]  # type: ignore[index]
        pair = [run for run in runs if seed in run]
        names["RUN_A"], names["RUN_B"] = pair[0], pair[-1]
    if alone := sorted(place.glob("outputs/runs/*/record.json")):
        names["RUN"] = alone[0].parent.name
    return re.sub(
        r"\b(SWEEP|RUN_A|RUN_B|RUN)\b", lambda found: names.get(found[0], found[0]), script
    )


@pytest.mark.parametrize(
    "text",
    [
        "<!-- test: skip, I would rather not -->\n```bash\nfwcompare\n```\n",
        "<!-- test: skip, it takes minutes -->\n\nText.\n",
        "<!-- test: sikp, it takes minutes -->\n```bash\nfwcompare\n```\n",
        "<!-- test: with, seed=1 => seed=2 -->\n```bash\nfwcompare seed=3\n```\n",
    ],
    ids=["no reason", "no block", "misspelt", "nothing to replace"],
)
def test_a_directive_that_means_nothing_is_an_error(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(BadDirective):
        list(blocks(page))


def test_commands_in_the_text_are_verbs_and_options():
    """`fwcompare VERB` in a sentence names a verb that there is."""
    from fwcompare import verbs

    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]:
        for verb in re.findall(r"`fwcompare\s+([a-z]\w*)(?=[\s`])", page.read_text()):
            assert verb in verbs.names(), f"{page}: fwcompare {verb}"


def test_every_reason_is_used():
    used = {b.skip for page in ROOT.glob("docs/**/*.md") for b in blocks(page)}
    used |= {b.skip for b in blocks(ROOT / "README.md")}
    assert used - {""} <= set(REASONS) and set(REASONS) <= used
