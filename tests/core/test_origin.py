"""Whether the process that began something has died."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fwcompare import origin
from fwcompare.atomic import replacing


def test_a_process_lives_until_it_has_ended():
    assert not origin.has_died(origin.own())
    code = "from fwcompare import origin; print(origin.own())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert origin.has_died(child.stdout.strip())


def test_what_is_elsewhere_may_live():
    host, machine, boot, namespace, pid, start = origin.own().split("/")
    there = "/".join(["elsewhere", machine, boot, namespace, pid, "1"])
    other_namespace = "/".join([host, machine, boot, "pid:[1]", pid, "1"])
    before_the_boot = "/".join([host, machine, "another", namespace, pid, start])
    reused = "/".join([host, machine, boot, namespace, pid, "1"])
    assert not origin.has_died(there) and not origin.has_died(other_namespace)
    assert origin.has_died(before_the_boot) and origin.has_died(reused)
    assert not origin.has_died("") and not origin.has_died("a/b/c/d/e/f")


def test_a_file_is_the_old_one_until_it_is_whole(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("old")
    try:
        with replacing(path) as part:
            part.write_text("ne")
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]
