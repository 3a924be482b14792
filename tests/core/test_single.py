"""What is shown of one run that has failed."""

from __future__ import annotations

import pytest

from fwcompare.record import LOG_FILE, RunRecord
from fwcompare.single import show

SAID = "The native file net.py raises on import: KeyError: 'hidden' (line 11)."


@pytest.mark.parametrize(
    ("reason", "log", "shown"),
    [
        (SAID, f"Traceback (most recent call last):\nKeyError: 'hidden'\n{SAID}\n", False),
        ("ValueError: no", "Traceback (most recent call last):\nValueError: no, and more\n", True),
    ],
    ids=["for people", "a framework's own"],
)
def test_a_reason_that_the_log_ends_with_is_not_said_again(tmp_path, capsys, reason, log, shown):
    (tmp_path / LOG_FILE).write_text(log)
    show(tmp_path, RunRecord("run", "failed", reason, 0, 0))
    said = capsys.readouterr().err
    assert ("Traceback" in said) is shown
    assert str(tmp_path / LOG_FILE) in said.replace("\n", "")
