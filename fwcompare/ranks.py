"""The processes that train one model together: which of them this is, and where they meet.

Before any framework is imported they meet here: rank 0 awaits the others, and all compare what they
are about to do. A framework's own way of meeting comes after that, and need not tell a rank that is
late or that has other data. The connections stay. When one ends, its process has, so that nobody
waits for it in a sum of gradients for ever.
"""

from __future__ import annotations

import fcntl
import json
import os
import queue
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from fwcompare.errors import RunError
from fwcompare.probe import clock

#: Set by the parent: what ``Ranks.to_json`` gives.
RANKS = "FWCOMPARE_RANKS"

#: Seconds from one attempt to reach rank 0 to the next.
RETRY_SECONDS = 0.2

#: Seconds after which a link that carries nothing is found to be cut: by the kernel, which asks the
#: other side after so many idle ones, so often, and so far apart.
IDLE_SECONDS, ASK_TIMES, ASK_SECONDS = 5, 3, 3
LINK_SECONDS = IDLE_SECONDS + ASK_TIMES * ASK_SECONDS

#: Seconds that a framework has for finding out by itself that another process has gone.
NOTICE_SECONDS = 5.0

#: Longest message, in bytes: a few digests and versions.
LONGEST = 1 << 20

_INTERFACE_ADDRESS = 0x8915  # SIOCGIFADDR


@dataclass(frozen=True)
class Ranks:
    """All processes of a run, as one of them sees them."""

    rank: int
    count: int
    #: Where all meet, ``host:port``: rank 0 listens there.
    meeting: str
    #: ``host:port`` of each rank, for the framework's own connections.
    addresses: tuple[str, ...]
    #: Its number among the processes of its machine, and how many these are.
    local_rank: int
    local_count: int
    #: Seconds in which all must have met.
    meet_s: float

    @classmethod
    def from_environment(cls) -> Ranks | None:
        """What the parent has set; None in a process that trains alone."""
        given = os.environ.get(RANKS)
        if not given:
            return None
        found = json.loads(given)
        return cls(**{**found, "addresses": tuple(found["addresses"])})

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @property
    def leads(self) -> bool:
        """Whether this process is the one that evaluates, and writes what all have come to."""
        return self.rank == 0

    @property
    def host(self) -> str:
        return split_address(self.addresses[self.rank])[0]

    @property
    def interface(self) -> str | None:
        """The network interface that has this process's address; None if none has."""
        return interface_of(self.host)

    def share(self, samples: int) -> slice:
        """The contiguous part of so many samples that is this process's."""
        return slice(self.rank * samples // self.count, (self.rank + 1) * samples // self.count)


def split_address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def interface_of(host: str) -> str | None:
    """The network interface with this address (IPv4)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                request = struct.pack("256s", name.encode()[:15])
                answer = fcntl.ioctl(asking.fileno(), _INTERFACE_ADDRESS, request)
                if socket.inet_ntoa(answer[20:24]) == host:
                    return name
    return None


class _Line:
    """A connection to another rank, a JSON line a message, read by a thread of its own."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ASK_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, ASK_TIMES)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(LINK_SECONDS * 1000))
        self.connection = connection
        self.file = connection.makefile("rb")

    def send(self, message: Mapping[str, Any]) -> None:
        self.connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, within: float | None = None) -> dict[str, Any]:
        """The next message. Raises ``OSError`` at the end of the connection or of the time."""
        self.connection.settimeout(within)
        line = self.file.readline(LONGEST)
        self.connection.settimeout(None)
        if not line.endswith(b"\n"):
            raise ConnectionError("the connection was closed")
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ConnectionError("what came is no message of a rank")
        return message

    def close(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()


class Meeting:
    """All ranks, met and agreed, until the run ends."""

    def __init__(self, ranks: Ranks, identity: Mapping[str, Any]) -> None:
        """Meet the others. ``identity`` is what must be the same for all, by what it is called.

        Raises:
            RunError: not all have come in time, or one is about to do something else.
        """
        self.ranks = ranks
        #: Why the others cannot be counted on any more; empty while they can.
        self.lost = ""
        #: Called once, in a thread of its own, with the reason, where a process does not end by
        #: itself after another has gone.
        self.abandon: Callable[[str], None] = lambda reason: None
        self._closing = False
        self._lines: dict[int, _Line] = {}
        self._came: dict[int, queue.Queue[dict[str, Any] | None]] = {}
        self._settled, self._gone = threading.Event(), threading.Event()
        until = clock() + ranks.meet_s
        if ranks.leads:
            self._await(identity, until)
        else:
            self._join(identity, until)
        for rank, line in self._lines.items():
            self._came[rank] = queue.Queue()
            threading.Thread(target=self._read, args=(rank, line), daemon=True).start()

    def _await(self, identity: Mapping[str, Any], until: float) -> None:
        ranks = self.ranks
        host, port = split_address(ranks.meeting)
        try:
            listening = socket.create_server((host, port), backlog=ranks.count)
        except OSError as error:
            raise RunError(
                f"The ranks cannot meet at {ranks.meeting}: {error.strerror or error}.",
                "Choose another distributed.port.",
            ) from error
        came: list[_Line] = []
        refusal = ""
        with listening:
            while len(self._lines) < ranks.count - 1 and not refusal:
                listening.settimeout(max(until - clock(), 0.01))
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    refusal = self._not_here()
                    break
                line = _Line(connection)
                try:
                    told = line.receive(max(min(until - clock(), 5.0), 0.01))
                    rank, theirs = int(told["rank"]), dict(told["identity"])
                except (OSError, ValueError, KeyError, TypeError):
                    line.close()  # somebody else at this port
                    continue
                came.append(line)
                refusal = _difference(rank, identity, theirs)
                if not refusal and (rank in self._lines or not 0 < rank < ranks.count):
                    refusal = f"two processes say that they are rank {rank}"
                self._lines[rank] = line
        for line in came:
            with suppress(OSError):
                line.send({"refusal": refusal})
        if refusal:
            raise RunError(f"The ranks do not train together: {refusal}.")

    def _not_here(self) -> str:
        ranks = self.ranks
        absent = [
            f"rank {rank} ({split_address(ranks.addresses[rank])[0]})"
            for rank in range(1, ranks.count)
            if rank not in self._lines
        ]
        return f"{', '.join(absent)} did not come within distributed.meet_s={ranks.meet_s:g} s"

    def _join(self, identity: Mapping[str, Any], until: float) -> None:
        address = split_address(self.ranks.meeting)
        why = "no answer"
        while True:
            left = until - clock()
            if left <= 0:
                raise RunError(
                    f"Rank 0 was not met at {self.ranks.meeting} within "
                    f"distributed.meet_s={self.ranks.meet_s:g} s: {why}.",
                    "Start the command on every machine of distributed.hosts, and look at the "
                    "firewall between them.",
                )
            try:
                line = _Line(socket.create_connection(address, timeout=left))
                break
            except OSError as error:
                why = error.strerror or str(error)
                threading.Event().wait(min(RETRY_SECONDS, max(left, 0)))
        self._lines[0] = line
        try:
            line.send({"rank": self.ranks.rank, "identity": dict(identity)})
            refusal = line.receive(self.ranks.meet_s + RETRY_SECONDS)["refusal"]
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"Rank 0 has left the meeting at {self.ranks.meeting}.") from error
        if refusal:
            raise RunError(f"The ranks do not train together: {refusal}.")

    def _read(self, rank: int, line: _Line) -> None:
        """In a thread: pass messages on, and say when there will be no more."""
        try:
            while True:
                self._came[rank].put(line.receive())
        except (OSError, ValueError) as error:
            self._lose(rank, error)

    def _lose(self, rank: int, error: Exception) -> None:
        if not self._closing and not self.lost:
            host = split_address(self.ranks.addresses[rank])[0]
            cut = isinstance(error, OSError) and not isinstance(error, ConnectionError)
            how = f"its link is silent for {LINK_SECONDS} s" if cut else "its connection has ended"
            self.lost = f"rank {rank} of {self.ranks.count} ({host}) has gone: {how}"
            self._gone.set()
        for waiting in self._came.values():
            waiting.put(None)
        if self.lost and not self._settled.wait(NOTICE_SECONDS):
            self.abandon(self.lost)

    def has_lost(self) -> bool:
        """Whether a process has gone, as far as can be known in the time that this takes: on one
        machine the kernel says so at once, and between two a link may have been cut."""
        hosts = {split_address(address)[0] for address in self.ranks.addresses}
        return self._gone.wait(LINK_SECONDS + 1 if len(hosts) > 1 else 1.0)

    def together(self, word: str, value: Any = None) -> list[Any]:
        """Wait until all have come to this word; what each has brought, by rank.

        Raises:
            RunError: one of them has gone.
        """
        if not self.ranks.leads:
            self._send(0, {"at": word, "value": value})
            return list(self._next(0, word)["values"])
        values = [value] + [self._next(rank, word)["value"] for rank in sorted(self._lines)]
        for rank in self._lines:
            self._send(rank, {"at": word, "values": values})
        return values

    def over(self) -> None:
        """All have come to their end: who leaves from now on is not missed."""
        self._closing = True
        self._settled.set()

    def _send(self, rank: int, message: Mapping[str, Any]) -> None:
        try:
            self._lines[rank].send(message)
        except OSError as error:
            raise RunError(f"{self.lost or f'rank {rank} has gone'}.") from error

    def _next(self, rank: int, word: str) -> dict[str, Any]:
        message = self._came[rank].get()
        if message is None:
            raise RunError(f"{self.lost}.")
        if message.get("at") != word:
            raise RunError(f"Rank {rank} is at {message.get('at')!r}, where {word!r} was expected.")
        return message

    def close(self) -> None:
        """Leave; what this process has come to is written down."""
        self.over()
        for line in self._lines.values():
            line.close()


def _difference(rank: int, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """What another rank has otherwise than rank 0, in words; empty if nothing."""
    for key in [*mine, *(key for key in theirs if key not in mine)]:
        ours, other = mine.get(key), theirs.get(key)
        if isinstance(ours, Mapping) and isinstance(other, Mapping):
            if inner := _difference(rank, ours, other):
                return inner
        elif ours != other:
            return f"{key} is {_shown(ours)} for rank 0 and {_shown(other)} for rank {rank}"
    return ""


def _shown(value: Any) -> str:
    return "missing" if value is None else str(value)[:60]


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that nobody listens at now; each must be taken soon."""
    held: list[socket.socket] = []
    try:
        for _ in range(count):
            held.append(socket.create_server((host, 0)))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def taken_ports(host: str, ports: Sequence[int]) -> list[int]:
    """Those of the ports that something listens at already.

    Raises:
        OSError: the address is not one of this machine.
    """
    found = []
    for port in ports:
        try:
            socket.create_server((host, port)).close()
        except OSError as error:
            if error.errno not in (98, 13):  # in use, not permitted
                raise
            found.append(port)
    return found
