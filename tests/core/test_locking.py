"""One process at a time runs a sweep; a lock dies with its holder."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fwcompare.errors import RequestError
from fwcompare.locking import claimed, locked

HOLD = """
import sys, time
from pathlib import Path
from fwcompare.locking import claimed
with claimed(Path(sys.argv[1]), "It"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_holds_the_folder(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RequestError) as refused, claimed(tmp_path, "The sweep s"):
            pass
        assert f"The sweep s is being run by process {holder.pid} on " in refused.value.message
        holder.kill()
        holder.wait()
        with claimed(tmp_path, "The sweep s"):
            pass


def test_the_claim_ends_with_its_block(tmp_path):
    for _ in range(2):
        with claimed(tmp_path, "It"), pytest.raises(RequestError), claimed(tmp_path, "It"):
            pass


def test_a_lock_waits_its_turn(tmp_path):
    path = tmp_path / "lock"
    code = (
        "import sys\nfrom pathlib import Path\nfrom fwcompare.locking import locked\n"
        "print('asking', flush=True)\nwith locked(Path(sys.argv[1]), 'w'): print('in')\n"
    )
    with locked(path, "w"):
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert other.stdout.readline() == "asking\n"
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)
    assert other.communicate(timeout=30)[0] == "in\n"
