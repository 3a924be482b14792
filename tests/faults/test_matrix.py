"""A sample of the matrix of faults; ``make faults`` runs it whole."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import matrix

#: Each phase at least once, each kind of fault at least once.
SAMPLE = [
    matrix.Cell(phase, fault)
    for phase, fault in (
        ("import", "SIGSEGV"), ("import", "sys_exit"), ("build", "raise_base"),
        ("build", "device_memory"), ("step", "SIGTERM"), ("step", "hang_deaf"),
        ("step", "bad_alloc"), ("middle", "infinite"),
        ("middle", "torn_event"), ("middle", "leave_child"), ("between", "nan"),
        ("between", "full_events"), ("eval", "nan"), ("eval", "raise_odd"), ("predict", "garbage"),
        ("predict", "lose_folder"), ("weights", "no_file_grows"), ("weights", "close_log"),
        ("record", "SIGKILL"), ("record", "bad_record"), ("record", "full_events"),
    )
]  # fmt: skip


@pytest.fixture
def installed(tmp_path, monkeypatch):
    matrix.install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("STUB_FAULTS", matrix.STUB_FAULTS)


@pytest.mark.parametrize("cell", SAMPLE, ids=str)
@pytest.mark.usefixtures("installed")
def test_a_fault_leaves_what_is_promised(cell, tmp_path):
    assert matrix.wrong(cell, tmp_path / "run") == ""


def test_every_fault_has_its_words_and_the_matrix_is_large_enough():
    assert set(matrix.WORDS) == set(matrix.FAULTS)
    assert len(list(matrix.all_cells(own_disk=False))) >= 200
