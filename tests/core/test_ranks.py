"""Several processes as one run: their shares, their meeting, and every end they may come to."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from fwcompare import launch, testing
from fwcompare.compose import compose
from fwcompare.config import Configuration
from fwcompare.conformance import trial
from fwcompare.data.batches import Feed
from fwcompare.errors import RequestError, RunError, UnsupportedError
from fwcompare.parity.cases import Case
from fwcompare.plugin import front, refusal
from fwcompare.ranks import Meeting, Ranks, free_ports, interface_of
from fwcompare.record import RunRecord
from fwcompare.spec import Device, Distributed, NativeCode
from fwcompare.track.entry import Entry

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from stub_engine import StubFront

LAYERS = [
    {"name": "flat", "kind": "flatten"},
    {"name": "logits", "kind": "dense", "units": 3},
]


@pytest.mark.parametrize("drop_last", [True, False])
def test_shares_are_the_whole_batches_in_their_order(drop_last):
    feed = Feed(44, 12, 3, seed=5, drop_last=drop_last, max_steps=9)
    shares = [feed.share(rank, 4) for rank in range(4)]
    for whole, own in ((feed, shares), (feed.part(2, 7), [s.part(2, 7) for s in shares])):
        for epoch in whole.epochs:
            together = zip(*(share.batches(epoch) for share in own), strict=True)
            for batch, parts in zip(whole.batches(epoch), together, strict=True):
                assert np.concatenate(parts).tolist() == batch.tolist()
            sizes = [size // 4 for size in whole.batch_sizes(epoch)]
            assert all(share.batch_sizes(epoch) == sizes for share in own)


def ranks(count: int, meet_s: float = 20.0) -> list[Ranks]:
    ports = free_ports(1 + count)
    addresses = tuple(f"127.0.0.1:{port}" for port in ports[1:])
    return [
        Ranks(rank, count, f"127.0.0.1:{ports[0]}", addresses, rank, count, meet_s)
        for rank in range(count)
    ]


def met(places: list[Ranks], identities: list[dict]) -> list[Meeting | str]:
    """What each comes to: its meeting, or why there is none."""
    found: list[Meeting | str] = [""] * len(places)

    def meet(number: int) -> None:
        try:
            found[number] = Meeting(places[number], identities[number])
        except RunError as error:
            found[number] = error.message

    threads = [threading.Thread(target=meet, args=(number,)) for number in range(len(places))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


def test_all_have_what_each_brings():
    meetings = met(ranks(3), [{"data": "a"}] * 3)
    brought = {}

    def bring(number: int) -> None:
        brought[number] = meetings[number].together("here", number * 10)

    threads = [threading.Thread(target=bring, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert brought == {number: [0, 10, 20] for number in range(3)}
    for meeting in meetings:  # as a worker does before it leaves, so that none is missed
        meeting.over()
    for meeting in meetings:
        meeting.close()
    assert not any(meeting.lost for meeting in meetings)


def test_ranks_that_are_about_to_do_something_else_say_what():
    mine = {"the digest of the data": "a", "versions": {"the version of torch": "2.13.0"}}
    theirs = {"the digest of the data": "a", "versions": {"the version of torch": "2.12.0"}}
    for why in met(ranks(2), [mine, theirs]):
        assert why == (
            "The ranks do not train together: the version of torch is 2.13.0 for rank 0 and 2.12.0 "
            "for rank 1."
        )


def test_a_rank_that_does_not_come_is_named_in_time():
    began = time.monotonic()
    first, _, third = ranks(3, meet_s=1.0)
    for why in met([first, third], [{}, {}]):
        assert "rank 1 (127.0.0.1) did not come within distributed.meet_s=1 s" in why
    assert time.monotonic() - began < 10


def test_two_that_say_that_they_are_the_same_are_told():
    first, second, _ = ranks(3)
    for why in met([first, second, second], [{}, {}, {}]):
        assert "two processes say that they are rank 1" in why


def test_rank_0_that_does_not_come_is_missed_in_time():
    _, second = ranks(2, meet_s=0.5)
    (why,) = met([second], [{}])
    assert "Rank 0 was not met" in why and "meet_s=0.5" in why and "refused" in why


def test_a_port_that_is_taken_is_said():
    first, _ = ranks(2)
    host, port = first.meeting.split(":")
    with socket.create_server((host, int(port))):
        (why,) = met([first], [{}])
    assert first.meeting in why and "in use" in why


def test_others_at_the_port_do_not_disturb():
    first, second = ranks(2)
    found = []
    thread = threading.Thread(target=lambda: found.extend(met([first], [{"a": 1}])))
    thread.start()
    host, port = first.meeting.split(":")
    for said in (b"GET / HTTP/1.1\r\n\r\n", b'{"rank": "x"}\n', b"[]\n", b""):
        for _ in range(50):
            try:
                with socket.create_connection((host, int(port))) as stranger:
                    stranger.sendall(said)
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
    found += met([second], [{"a": 1}])
    thread.join(20)
    assert all(isinstance(meeting, Meeting) for meeting in found) and len(found) == 2
    for meeting in found:
        meeting.close()


def test_who_leaves_before_the_end_is_missed():
    first, second = met(ranks(2), [{}, {}])
    second._lines[0].close()
    with pytest.raises(RunError, match=r"rank 1 of 2 \(127.0.0.1\) has gone"):
        first.together("end")
    assert first.has_lost()
    for meeting in (first, second):
        meeting.close()


def test_the_interface_of_an_address():
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("203.0.113.7") is None


#: In the place of a rank.
ALL = -1


class StubRanks(StubFront):
    """The stub as an engine of several processes, of which one may be told to fail."""

    def __init__(self, fault: str, rank: int) -> None:
        super().__init__("")
        self.told, self.rank = fault, rank

    def meeting(self, ranks):
        return {"STUB_FAULT": self.told if self.rank in (ranks.rank, ALL) else ""}


@pytest.fixture
def stub(tmp_path, monkeypatch):
    def make(fault: str = "", rank: int = 1, processes: int = 2, mirrors=False, **options):
        engine = StubFront("") if mirrors else StubRanks(fault, rank)
        for module in (launch, trial):
            monkeypatch.setattr(module, "front", lambda name: engine)
        data = testing.small_data(tmp_path / "data", (4, 2, 1), 3)
        spec, folder = testing.make_run(
            tmp_path,
            "stub",
            LAYERS,
            data,
            optimizer=testing.optimizer("sgd", lr=0.5),
            training={"epochs": 3, **options},
        )
        work = Distributed("data_parallel", processes, meet_s=20.0)
        return spec.but(distributed=work), folder

    return make


def orphans(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in word for word in process.info["cmdline"] or ())
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "data_paralel"}, "Unknown distributed 'data_paralel'"),
        ({"processes": 0}, "distributed.processes must be at least 1"),
        ({"batch_norm": "global"}, "Unknown distributed.batch_norm 'global'"),
        ({"port": 70000}, "distributed.port must be from 1 to 65535"),
        ({"host": 1}, "distributed.host .* counted from 0"),
        ({"hosts": ("a", "b"), "processes": 3}, "processes=3 do not split evenly over the 2"),
        ({"meet_s": 0.0}, "distributed.meet_s"),
        ({"name": "mirrored"}, "distributed.processes=2 is for distributed=data_parallel"),
        ({"replicas": 2}, "distributed.replicas=2 is for distributed=mirrored"),
        ({"name": "mirrored", "processes": 1, "replicas": 0}, "replicas must be at least 1"),
    ],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(RequestError, match=words):
        Distributed(**{"name": "data_parallel", "processes": 2, **options})


def test_a_taken_port_is_refused_before_any_work(cache, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = ("distributed=data_parallel", f"distributed.port={port}")
        with pytest.raises(RequestError, match=f"Port {port} of 127.0.0.1 is in use"):
            compose([*options, f"paths.cache={cache}", f"paths.outputs={tmp_path}"]).plan()


MIRRORED = ("distributed=mirrored", "framework=tensorflow")
TOGETHER = ("distributed=data_parallel",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((*TOGETHER, "distributed.processes=128"), "Choose distributed.processes=64"),
        ((*TOGETHER, "trainer.resume=earlier"), "goes on from none"),
        ((*TOGETHER, "framework=tensorflow", "precision=mixed_float16"), "in one process alone"),
        ((*TOGETHER, "model=cnn_bn", "precision=mixed_bfloat16"), "precision=float32, or distrib"),
        ((*TOGETHER, "framework=keras_torch"), "Choose framework=pytorch"),
        ((*MIRRORED, "distributed.replicas=3"), "evenly over distributed.replicas=3.*replicas=2"),
        ((*MIRRORED, "trainer.drop_last=false", "distributed.replicas=64"), "the last batch of"),
        ((*MIRRORED, "trainer.checkpoint_epochs=1"), "distributed=mirrored leaves no checkpoints"),
        ((*MIRRORED, "precision=mixed_bfloat16"), "on one device alone"),
        ((*MIRRORED, "execution=compiled"), "MirroredStrategy runs in tf.function"),
        ((*MIRRORED, "framework=keras"), "keras_tensorflow: distributed=mirrored .* tensorflow"),
    ],
)
def test_what_cannot_be_split_is_refused_before_any_work(cache, tmp_path, options, words):
    made = compose([*options, f"paths.cache={cache}", f"paths.outputs={tmp_path}"])
    with pytest.raises((RequestError, UnsupportedError)) as refused:
        made.plan()
    assert re.search(words, f"{refused.value.message} {refused.value.hint or ''}")
    assert not list(tmp_path.rglob("spec.json"))


@pytest.mark.parametrize("work", [Distributed("data_parallel", 2), Distributed("mirrored")])
@pytest.mark.parametrize(
    "engine",
    ["pytorch", "lightning", "tensorflow", "keras_tensorflow", "keras_torch", "keras_jax", "jax"],
)
def test_code_of_ones_own_trains_alone(tmp_path, engine, work):
    spec = testing.case_run(tmp_path, Case("plain", (2, 2, 1), LAYERS), engine)
    code = NativeCode("net.py", "build", "0" * 64, {})
    split = spec.but(framework=replace(spec.framework, code=code), distributed=work)
    reason = refusal(front(engine), split)
    assert reason and "Choose" in reason
    if engine == "tensorflow" or (work.meets and engine not in ("keras_tensorflow", "keras_torch")):
        assert "code of your own" in reason


def test_a_gpu_is_not_for_processes():
    with pytest.raises(RequestError, match="trains on CPUs alone; device is cuda"):
        Configuration._check_meeting(Distributed("data_parallel", 2), Device("cuda", 1))


def test_keys_are_as_they_were(stub):
    """One process has the keys that it had before there could be several."""
    spec, _ = stub()
    one = spec.but(distributed=Distributed())
    assert one.group == spec.group and one.arm != spec.arm
    others = [Distributed("data_parallel", 4), Distributed("data_parallel", 2, "local")]
    assert all(spec.but(distributed=other).group == spec.group for other in others)
    layers = (*spec.model.layers[:1], {"name": "norm", "kind": "batch_norm"})
    normalised = spec.but(model=replace(spec.model, layers=layers))
    local = normalised.but(distributed=others[1])
    assert local.normalises_locally and local.group != normalised.group


def test_one_run_of_two_processes(stub):
    spec, folder = stub()
    heard = []
    record = launch.run(spec, folder, heard.append)
    assert (record.status, record.reason) == ("ok", "")
    assert [event["event"] for event in heard][-1] == "end" and len(record.history) == 3
    told = record.facts["ranks"]
    assert [rank["rank"] for rank in told] == [0, 1]
    assert [rank["cores"] for rank in told] == [
        launch.rank_cores(launch.worker_cores(2), 1, rank) for rank in (0, 1)
    ]
    assert record.metrics["memory/peak_rss_mib"] == sum(rank["peak_rss_mib"] for rank in told)
    assert record.metrics["distributed/processes"] == 2
    assert RunRecord.read(folder) == record
    other = RunRecord.read(folder / "ranks" / "1")
    assert other.ok and "test/loss" not in other.metrics and "val/loss" not in other.history[0]
    assert (folder / "ranks" / "1" / "worker.log").is_file()
    entry = Entry.read(folder)
    assert entry.tags["fwcompare.processes"] == "2" and " x2 " in entry.name
    assert "2 processes of 1 thread each" in entry.note and "- rank 1 on 127.0.0.1" in entry.note
    shared = len({core for rank in told for core in rank["cores"]}) < 2
    assert any("say nothing of scaling" in said for said in record.warnings) == shared
    assert not orphans(folder)


def test_devices_of_one_process_are_one_worker(stub):
    spec, folder = stub(mirrors=True)
    split = spec.but(distributed=Distributed("mirrored", replicas=2))
    record = launch.run(split, folder)
    assert (record.status, record.reason) == ("ok", "")
    assert not (folder / "ranks").exists() and "ranks" not in record.facts
    assert record.metrics["distributed/replicas"] == 2
    assert record.warnings[0].startswith("2 replicas share 1 core: ")
    entry = Entry.read(folder)
    assert entry.tags["fwcompare.replicas"] == "2" and " x2 " in entry.name
    assert "1 thread for 2 replicas" in entry.note
    assert split.group == spec.group and len({s.arm for s in (split, spec)}) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"versions": {"fwcompare-stub": "2.0"}}, "fwcompare-stub is 1.0 for rank 0 and 2.0 for"),
        ({"digest": "other"}, "the digest of the data is .* for rank 0 and other for rank 1"),
        ({"processes": 4}, "the number of processes is 2 for rank 0 and 4 for rank [23]"),
    ],
)
def test_two_commands_that_differ_end_at_once(stub, change, words):
    """As on two machines, each with a command of its own."""
    spec, folder = stub()
    hosts, port = ("127.0.0.1", "127.0.0.1"), free_ports(4)[0]
    found: dict[int, RunRecord] = {}

    def one(host: int) -> None:
        other = change if host else {}
        processes = other.get("processes", 2)
        work = Distributed("data_parallel", processes, "synchronised", hosts, host, port, 20.0)
        own = spec.but(
            distributed=work,
            versions=other.get("versions", {"fwcompare-stub": "1.0"}),
            dataset=replace(spec.dataset, digest=other.get("digest", spec.dataset.digest)),
        )
        found[host] = launch.run(own, folder.parent / f"host{host}")

    began = time.monotonic()
    commands = [threading.Thread(target=one, args=(host,)) for host in (0, 1)]
    for command in commands:
        command.start()
    for command in commands:
        command.join(60)
    assert time.monotonic() - began < 40
    for host in (0, 1):
        assert found[host].status == "failed", found[host]
        assert re.search(words, found[host].reason), found[host].reason
    assert not orphans(folder.parent)


@pytest.mark.parametrize(
    ("fault", "rank", "status", "words"),
    [
        ("step:raise", 1, "failed", "rank 1 of 2: ValueError: the stub was told to raise"),
        ("build:memory", 1, "out_of_memory", "rank 1 of 2: MemoryError"),
        ("middle:SIGKILL", 1, "killed", "rank 1 of 2: the worker was ended by SIGKILL"),
        ("middle:SIGKILL", 0, "killed", "SIGKILL"),
        ("step:nan", ALL, "diverged", "The training loss became nan in epoch 1"),
    ],
)
def test_the_end_of_one_is_that_of_all(stub, fault, rank, status, words):
    spec, folder = stub(fault, rank)
    began = time.monotonic()
    record = launch.run(spec, folder)
    assert record.status == status, record.reason
    assert words in record.reason and "\n" not in record.reason
    assert RunRecord.read(folder) == record and not orphans(folder)
    assert time.monotonic() - began < 60


def test_a_rank_that_hangs_ends_all_in_time(stub):
    spec, folder = stub("step:hang", timeout_s=4.0)
    record = launch.run(spec, folder)
    assert record.status == "timeout" and "timeout_s=4" in record.reason
    assert not orphans(folder)


def test_ctrl_c_ends_every_rank(stub):
    spec, folder = stub("step:hang", rank=0)

    def interrupt(event):
        if event["event"] == "phase" and event["name"] == "build":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch.run(spec, folder, interrupt)
    record = RunRecord.read(folder)
    assert record is not None and record.status == "killed" and not orphans(folder)


def test_a_rank_that_is_alone_names_who_is_missing(stub, monkeypatch):
    """The second machine never starts its command."""
    spec, folder = stub()
    port = free_ports(3)[0]
    work = replace(spec.distributed, hosts=("127.0.0.1", "127.0.0.1"), port=port, meet_s=1.0)
    record = launch.run(spec.but(distributed=work), folder)
    assert record.status == "failed" and "rank 1 (127.0.0.1) did not come" in record.reason
    assert not orphans(folder)


def test_ranks_tell_a_worker_who_it_is(monkeypatch):
    _, second = ranks(2)
    monkeypatch.setitem(os.environ, "FWCOMPARE_RANKS", second.to_json())
    assert Ranks.from_environment() == second and json.loads(second.to_json())["rank"] == 1
    assert second.share(10) == slice(5, 10)
    monkeypatch.delitem(os.environ, "FWCOMPARE_RANKS")
    assert Ranks.from_environment() is None
