"""Toy nodes as real processes, and a client that asks them over UDP."""

import json
import os
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cluster.placement import STEADY_MS
from tests.cluster.hosts import free_ports
from tests.cluster.papers import Papers

ROOT = Path(__file__).parents[2]


class Processes:
    """`with Processes(folder) as toys:` three nodes; ends those it started."""

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 3,
        shards: int = 1,
        preferred: bool = True,
        steady_ms: int = STEADY_MS,
        nice: int = 0,
        papers: Papers | None = None,
        journal: str = "off",
    ) -> None:
        """`preferred`: each shard has a node that it prefers, one after the other; `nice`: the
        nodes', where permitted; `papers`: the links show certificates."""
        self.folder = folder
        self.papers = papers
        self.journal = journal
        self.names = "abcde"[:nodes]
        ports = free_ports(nodes + shards)
        self.peers = {
            name: f"127.0.0.1:{port}" for name, port in zip(self.names, ports, strict=False)
        }
        names = [f"shard{n}" for n in range(shards)]
        self.ports = dict(zip(names, ports[nodes:], strict=True))
        self.shards = {
            shard: [*self.names[n % nodes :], *self.names[: n % nodes]] if preferred else []
            for n, shard in enumerate(names)
        }
        self.steady_ms = steady_ms
        self.nice = nice
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.ended: list[subprocess.Popen[bytes]] = []
        self.logs: dict[str, Path] = {}
        self.starts = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.hosts = ["127.0.0.1"]
        """Where a shard may be found."""

    def __enter__(self) -> Self:
        for name in self.names:
            self.start(name)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.running.values():
            process.kill()
        for process in [*self.running.values(), *self.ended]:
            process.wait(10)
        self.socket.close()

    def join(self, name: str) -> None:
        """Start a node that knows only itself, and the store."""
        (port,) = free_ports(1)
        self.start(name, {name: f"127.0.0.1:{port}"})

    def start(self, name: str, peers: dict[str, str] | None = None) -> None:
        self.starts += 1
        config = self.folder / f"{name}.json"
        config.write_text(
            json.dumps(
                {
                    "name": name,
                    "folder": str(self.folder),
                    "peers": peers or self.peers,
                    "steady_ms": self.steady_ms,
                    "nice": self.nice,
                    "ports": self.ports,
                    "shards": self.shards,
                    "tls": str(Path(self.papers.give(name).cert).parent) if self.papers else "",
                    "journal": self.journal,
                    **self.more(name),
                }
            )
        )
        log = self.logs[name] = self.folder / f"{name}-{self.starts}.log"
        with log.open("wb") as out:
            self.running[name] = subprocess.Popen(
                self.command(name, [sys.executable, "-m", "tests.cluster.toynode", str(config)]),
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
            )

    def more(self, name: str) -> dict[str, Any]:
        """More of its configuration."""
        return {}

    def command(self, name: str, words: list[str]) -> list[str]:
        """What starts it where it belongs."""
        return words

    def signal(self, name: str, number: int) -> float:
        """The monotonic time in ms just before."""
        at = time.monotonic() * 1000
        os.kill(self.running[name].pid, number)
        return at

    def kill(self, name: str) -> float:
        at = self.signal(name, signal.SIGKILL)
        self.ended.append(self.running.pop(name))
        return at

    def facts(self, name: str) -> list[dict[str, Any]]:
        """What the node has said in this life."""
        found = []
        for line in self.logs[name].read_text().splitlines():
            if not line.startswith("{"):
                raise AssertionError(f"{name} said: {self.logs[name].read_text()[-2000:]}")
            found.append(json.loads(line))
        return found

    def wait(
        self,
        what: str,
        *,
        names: str = "",
        after: float = 0.0,
        within_s: float = 20.0,
        **fields: Any,
    ) -> tuple[str, dict[str, Any]]:
        """The first fact of this kind that some node states."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            for name in names or list(self.running):
                for fact in self.facts(name):
                    is_it = fact["what"] == what and fact["at"] >= after
                    if is_it and all(fact.get(k) == v for k, v in fields.items()):
                        return name, fact
            time.sleep(0.005)
        raise AssertionError(
            f"nobody said {what} {fields}: { {n: self.facts(n) for n in self.running} }"
        )

    def ask(
        self, shard: str, op: str, *, within_s: float = 10.0, again_s: float = 0.01, **more: Any
    ) -> dict[str, Any]:
        """Repeat the operation until it is acknowledged."""
        data = json.dumps({"key": "k", "op": op, **more}).encode()
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            for host in self.hosts:
                self.socket.sendto(data, (host, self.ports[shard]))
            if select.select([self.socket], [], [], again_s)[0]:
                try:
                    answer: dict[str, Any] = json.loads(self.socket.recv(65536))
                except ConnectionRefusedError:
                    continue
                if answer["op"] == op:
                    return answer
        raise AssertionError(f"{op} was not acknowledged")

    def in_sync(self, shard: str, copies: int, within_s: float = 20.0) -> tuple[str, int]:
        """(active node, epoch) once so many members are in sync, as the store says."""
        end = time.monotonic() + within_s
        key = None
        while time.monotonic() < end:
            key = self.key(f"shard/{shard}")
            if key is not None and len(key["in_sync"]) == copies:
                return key["active"].split(":")[0], key["epoch"]
            time.sleep(0.01)
        raise AssertionError(f"not {copies} in sync: {key}")

    def key(self, name: str) -> Any:
        """What the store has of it; None if nothing yet."""
        db = sqlite3.connect(self.folder / "store.db")
        try:
            row = db.execute("select value from kv where key = ?", (name,)).fetchone()
        except sqlite3.OperationalError:
            return None
        finally:
            db.close()
        return json.loads(row[0]) if row else None
