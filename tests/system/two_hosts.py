"""Two hosts on one machine: network namespaces that only a pair of virtual cables joins.

  python tests/system/two_hosts.py pytorch jax tensorflow

trains each engine in a process on either host, and proves it equal to one process: the same command
on both, as on two machines. Needs root, and Debian's iproute2.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

FWCOMPARE = str(Path(sys.executable).parent / "fwcompare")

#: Of the two hosts, in a network that is private by convention.
ADDRESSES = ("10.77.0.1", "10.77.0.2")
PORT = 29500

#: What both commands are told, besides which host each is on.
TOGETHER = (
    "distributed=data_parallel",
    "distributed.processes=2",
    f"distributed.hosts=[{','.join(ADDRESSES)}]",
    f"distributed.port={PORT}",
    "device.threads=1",
)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@dataclass
class TwoHosts:
    """The namespaces while they are there; ``name`` keeps those of several users apart."""

    name: str = field(default_factory=lambda: f"fw{secrets.token_hex(3)}")

    def namespace(self, host: int) -> str:
        return f"{self.name}{'ab'[host]}"

    def link(self, host: int) -> str:
        return self.namespace(host)

    def __enter__(self) -> TwoHosts:
        for host in (0, 1):
            _ip("netns", "add", self.namespace(host))
        _ip("link", "add", self.link(0), "type", "veth", "peer", "name", self.link(1))
        for host, address in enumerate(ADDRESSES):
            space, link = self.namespace(host), self.link(host)
            _ip("link", "set", link, "netns", space)
            _ip("-n", space, "address", "add", f"{address}/24", "dev", link)
            for each in ("lo", link):
                _ip("-n", space, "link", "set", each, "up")
            # JAX's collectives take the address that the name of the machine has.
            own = Path("/etc/netns") / space
            own.mkdir(parents=True, exist_ok=True)
            lines = f"127.0.0.1 localhost\n{address} {socket.gethostname()}\n"
            (own / "hosts").write_text(lines)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for host in (0, 1):
            space = self.namespace(host)
            subprocess.run(["ip", "netns", "delete", space], check=False, capture_output=True)
            (Path("/etc/netns") / space / "hosts").unlink(missing_ok=True)
            (Path("/etc/netns") / space).rmdir()

    def cut(self) -> None:
        """Pull the cable out."""
        _ip("-n", self.namespace(0), "link", "set", self.link(0), "down")

    def carried(self) -> int:
        """Bytes that the first host has sent so far."""
        space, link = self.namespace(0), self.link(0)
        counter = f"/sys/class/net/{link}/statistics/tx_bytes"
        told = subprocess.run(
            ["ip", "netns", "exec", space, "cat", counter],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return int(told.stdout)

    def start(self, host: int, folder: Path, *arguments: str) -> subprocess.Popen[str]:
        """Start a command of fwcompare on a host, in a folder of its own."""
        own = folder / f"host{host}"
        own.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            ["ip", "netns", "exec", self.namespace(host), FWCOMPARE, *arguments, *TOGETHER,
             f"distributed.host={host}"],
            cwd=own, env={**os.environ, "COLUMNS": "160"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def prove(self, engine: str, folder: Path, *options: str) -> list[tuple[int, str]]:
        """Exit code and words of the proof on each host."""
        started = [
            self.start(host, folder, "parity", "--again", "--engines", engine, *options)
            for host in (0, 1)
        ]
        said = [each.communicate(timeout=280)[0] for each in started]
        return [(each.returncode, words) for each, words in zip(started, said, strict=True)]


def main(engines: Sequence[str]) -> int:
    """Prove engines across the two hosts, and show what the first of these says."""
    import tempfile

    worst = 0
    with TwoHosts() as hosts, tempfile.TemporaryDirectory() as folder:
        for engine in engines:
            before = hosts.carried()
            found = hosts.prove(engine, Path(folder), "model=cnn_bn", "optimizer=momentum")
            print(found[0][1])
            print(f"{engine}: {hosts.carried() - before:,} bytes sent by the first host\n")
            worst = max(worst, *(code for code, _ in found))
    return worst


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:] or ["pytorch", "jax", "tensorflow"]))
