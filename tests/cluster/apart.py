"""Toy nodes, each a host of its own, and an etcd that is one too: what is between can be cut."""

import base64
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loadtest.io import store_servers
from tests.cluster.namespaces import Namespaces
from tests.cluster.papers import Papers
from tests.cluster.processes import Processes

NODES = "abc"
STORE = "store"
PACE_S = 0.005


class Etcd(store_servers.EtcdServers):
    """One member, on a host of its own. Asked by us from outside, which nothing cuts."""

    def __init__(self, folder: Path, net: Namespaces) -> None:
        super().__init__(folder, 1, "127.0.0.1")
        self.host = net.outside(STORE)
        self.net = net

    def command(self, member: int) -> Sequence[str]:
        listen = "--listen-client-urls="
        words = [word for word in super().command(member) if not word.startswith(listen)]
        everywhere = f"{listen}http://0.0.0.0:{self.ports[member]}"
        return self.net.command(STORE, [*words, everywhere])

    def value(self, key: str) -> Any:
        """None if there is none yet."""
        wanted = base64.b64encode(key.encode()).decode()
        found = self.post(0, "kv/range", key=wanted).get("kvs", [])
        return json.loads(base64.b64decode(found[0]["value"])) if found else None


class Apart(Processes):
    """Each node is a host: it has its own network, name, machine id and certificate."""

    def __init__(self, folder: Path, net: Namespaces, etcd: Etcd) -> None:
        super().__init__(folder, nodes=len(NODES), papers=Papers(folder / "certs"))
        self.net = net
        self.etcd = etcd
        self.peers = {
            name: f"{net.inside(name)}:{at.split(':')[1]}" for name, at in self.peers.items()
        }
        self.hosts = [net.outside(name) for name in self.names]
        self.acknowledged = 0
        """Operations of `traffic`; each added one."""

    def command(self, name: str, words: list[str]) -> list[str]:
        return self.net.command_as_host(name, words)

    def more(self, name: str) -> dict[str, Any]:
        etcd = [(self.net.inside(STORE), port) for port in self.etcd.ports]
        return {"etcd": etcd, "address": self.net.outside(name)}

    def key(self, name: str) -> Any:
        return self.etcd.value(f"toys/{name}")

    def traffic(self, for_s: float, within_s: float = 10.0) -> float:
        """One operation after the other, each until it is acknowledged; the longest wait, in ms.

        Every node is asked, also one that is cut off from the others. That each answer counts all
        operations before it, and none twice, is asserted.
        """
        longest = 0.0
        end = time.monotonic() + for_s
        while time.monotonic() < end:
            began = time.monotonic()
            answer = self.ask("shard0", f"op{self.acknowledged}", within_s=within_s)
            longest = max(longest, time.monotonic() - began)
            self.acknowledged += 1
            assert answer["value"] == self.acknowledged, answer
            time.sleep(PACE_S)
        return longest * 1_000

    def leaders(self) -> dict[int, list[str]]:
        """Epoch to the nodes that began to serve in it, in any of their lives."""
        found: dict[int, list[str]] = {}
        for name in self.names:
            for fact in self.facts(name):
                if fact["what"] == "reading":
                    found.setdefault(fact["epoch"], []).append(name)
        return found


@contextmanager
def apart(folder: Path) -> Iterator[Apart]:
    """Raises NoNamespaces, ServersFailed."""
    with (
        Namespaces(folder, [*NODES, STORE]) as net,
        store_servers.served(Etcd(folder, net)) as etcd,
        Apart(folder, net, etcd) as toys,
    ):
        yield toys
