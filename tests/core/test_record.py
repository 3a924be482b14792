"""Records and events survive what files go through."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fwcompare.arms import read_listing
from fwcompare.damage import _whole
from fwcompare.errors import RequestError
from fwcompare.launch import is_held
from fwcompare.record import EventFile, RunRecord, log_tail, read_events
from fwcompare.roofline import read_peaks


def record(**changes):
    return RunRecord(
        **{"run": "r", "status": "ok", "reason": "", "started_ms": 1, "ended_ms": 2} | changes
    )


def test_round_trip(tmp_path):
    written = record(metrics={"a/b": 1.5}, blocks=[[1, 2, 0.5]], history=[{"epoch": 1}])
    written.write(tmp_path)
    assert RunRecord.read(tmp_path) == written
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '"x"', '{"schema_version": 99}', '{"schema_version": 1, "odd": 1}']
)
def test_what_is_no_record_is_none(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    assert RunRecord.read(tmp_path) is None


def test_an_unknown_status_is_refused():
    with pytest.raises(ValueError, match="fine"):
        RunRecord.from_json({**json.loads(json.dumps(record().__dict__)), "status": "fine"})


def test_a_torn_last_line_waits_for_its_end(tmp_path):
    path = tmp_path / "events.jsonl"
    events = EventFile(path)
    events.write("one", value=1)
    with path.open("a") as file:
        file.write('{"event": "two", ')
    first = list(read_events(path))
    assert [event["event"] for event, _ in first] == ["one"]
    with path.open("a") as file:
        file.write('"value": 2}\nnot json\n{"event": "three"}\n')
    assert [event["event"] for event, _ in read_events(path, first[-1][1])] == ["two", "three"]
    events.close()


def test_no_events_yet(tmp_path):
    assert list(read_events(tmp_path / "events.jsonl")) == []


#: What a folder of somebody else may hold in place of a file.
ODD_FILES = {
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "loop": lambda path: path.symlink_to(path.name),
    "nowhere": lambda path: path.symlink_to("/nowhere/x"),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "brackets": lambda path: path.write_text("[" * 100_000 + "\n"),
    "hole": lambda path: path.touch() or os.truncate(path, 1 << 36),
}


@pytest.mark.parametrize("make", ODD_FILES.values(), ids=ODD_FILES)
@pytest.mark.timeout(30)
def test_what_is_no_ordinary_file_is_not_there(tmp_path, make):
    for name in ("record.json", "events.jsonl", "worker.log", "sweep.json"):
        make(tmp_path / name)
    assert RunRecord.read(tmp_path) is None
    assert list(read_events(tmp_path / "events.jsonl")) == []
    assert len("".join(log_tail(tmp_path))) < 200_000
    assert not is_held(tmp_path)
    assert read_peaks(tmp_path / "sweep.json") == ()
    with pytest.raises(RequestError, match="no sweep folder"):
        read_listing(tmp_path)


@pytest.mark.parametrize(
    ("content", "whole"), [("", None), ("a\n", None), ("a\nb", 2), ("b", 0), ("a\n\nbc", 3)]
)
def test_where_the_last_whole_line_ends(tmp_path, content, whole):
    path = tmp_path / "events.jsonl"
    path.write_text(content)
    assert _whole(path) == whole
    path.write_text("a\n" + "b" * (1 << 21))  # more than is read at once
    assert _whole(path) == 2
    os.truncate(path, 1 << 40)
    assert _whole(path) is None
