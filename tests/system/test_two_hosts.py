"""Training across two hosts, and what ends it: a rank killed, a link cut, a rank that is late."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fwcompare.ranks import LINK_SECONDS, NOTICE_SECONDS

sys.path.insert(0, str(Path(__file__).parent))
from two_hosts import TwoHosts

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

ENGINES = ("pytorch", "jax", "tensorflow", "lightning", "keras_jax")

#: A training that goes on for minutes, unless it is ended.
LONG = ("model=mlp", "trainer.epochs=5000", "tracking=none")


@pytest.fixture(scope="module")
def hosts() -> Iterator[TwoHosts]:
    with TwoHosts() as made:
        yield made


@pytest.fixture(autouse=True)
def _cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FWCOMPARE_CACHE", str(cache))


@pytest.mark.parametrize("engine", ENGINES)
def test_two_hosts_are_proven_equal_to_one_process(hosts, tmp_path, engine):
    before = hosts.carried()
    proofs = hosts.prove(engine, tmp_path, "model=cnn_bn", "optimizer=momentum", "parity.steps=20")
    for code, said in proofs:
        assert code == 0 and "proven" in said, said
    # The gradients of 20 steps, in float64; the model has more than 10,000 parameters.
    assert hosts.carried() - before > 20 * 10_000 * 8


def folder_of(tmp_path: Path, host: int) -> Path:
    return next(tmp_path.glob(f"host{host}/outputs/runs/*/"))


def events(tmp_path: Path, host: int) -> list[dict[str, Any]]:
    found = tmp_path.glob(f"host{host}/outputs/runs/*/events.jsonl")
    return [json.loads(line) for path in found for line in path.read_text().splitlines()]


def await_training(tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    for _ in range(1200):
        if all(any(e["event"] == "epoch" for e in events(tmp_path, host)) for host in (0, 1)):
            return
        assert all(each.poll() is None for each in started), [
            each.communicate()[0] for each in started
        ]
        time.sleep(0.1)
    raise AssertionError("no epoch within two minutes")


def ends(started: list[subprocess.Popen[str]], tmp_path: Path, within: float) -> list[dict]:
    """The records of both hosts, and that nothing of the runs is left."""
    said = [each.communicate(timeout=within)[0] for each in started]
    for each, words in zip(started, said, strict=True):
        assert (
            each.returncode == 1
            and "Traceback (most recent call last)" not in words.splitlines()[0]
        ), words
    left = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(tmp_path) in word for word in process.info["cmdline"] or ())
    ]
    assert not left
    return [json.loads((folder_of(tmp_path, host) / "record.json").read_text()) for host in (0, 1)]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_rank_that_is_killed(hosts, tmp_path, engine):
    started = [hosts.start(h, tmp_path, f"framework={engine}", *LONG) for h in (0, 1)]
    await_training(tmp_path, started)
    (pid,) = (event["pid"] for event in events(tmp_path, 1) if event["event"] == "start")
    os.kill(pid, signal.SIGKILL)
    first, second = ends(started, tmp_path, NOTICE_SECONDS + 30)
    assert first["status"] == "failed"
    assert first["reason"] == "rank 1 of 2 (10.77.0.2) has gone: its connection has ended"
    assert second["status"] == "killed" and "SIGKILL" in second["reason"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_link_that_is_cut(tmp_path, engine):
    with TwoHosts() as own:
        started = [own.start(h, tmp_path, f"framework={engine}", *LONG) for h in (0, 1)]
        await_training(tmp_path, started)
        own.cut()
        records = ends(started, tmp_path, LINK_SECONDS + NOTICE_SECONDS + 40)
    for rank, record in enumerate(records):
        assert record["status"] == "failed"
        assert f"rank {1 - rank} of 2" in record["reason"] and "silent" in record["reason"]


def test_a_rank_that_is_late(hosts, tmp_path):
    options = (*LONG, "distributed.meet_s=3", "framework=pytorch")
    started = [hosts.start(0, tmp_path, *options)]
    said = started[0].communicate(timeout=60)[0]
    assert started[0].returncode == 1 and "rank 1 (10.77.0.2) did not come" in said
    late = hosts.start(1, tmp_path, *options)
    said = late.communicate(timeout=60)[0]
    assert late.returncode == 1 and "Rank 0 was not met at 10.77.0.1:29500" in said


def test_hosts_that_were_told_otherwise(hosts, tmp_path):
    options = (*LONG, "framework=pytorch")
    started = [hosts.start(h, tmp_path, *options, f"seed={h}") for h in (0, 1)]
    for record in ends(started, tmp_path, 60):
        assert record["status"] == "failed"
        assert "the seed is 0 for rank 0 and 1 for rank 1" in record["reason"]
