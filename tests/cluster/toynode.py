"""One real process with toy shards: `python -m tests.cluster.toynode CONFIG.json`.

A shard's address is a UDP socket, moved by the `bind` driver. A datagram is JSON
`{"key", "op"}`; the answer leaves once the operation is committed. Every fact is a line of JSON on
stdout, with the monotonic time in ms.
"""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from cluster.io.etcd import EtcdStore
from cluster.io.host import KEEP_ADDRESS_MS, Host, ShardSpec
from cluster.io.journal import TAILS
from cluster.io.process import this_process
from cluster.io.security import Secure, files_in
from cluster.io.sqlite import SqliteStore
from cluster.placement import Policy
from cluster.store import Store
from failover.io.bind import BindDriver
from failover.io.inbox import SocketInbox, pass_socket
from loadtest.sim.toy import Add, Done
from tests.cluster.toy import Fill, Toy


def say(what: str, **fields: object) -> None:
    at = time.monotonic() * 1000
    print(json.dumps({"what": what, "at": at, **fields}, default=str), flush=True)


class ToyNode:
    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        name = self.name = config["name"]
        folder = Path(config["folder"])
        self.sockets: dict[str, socket.socket] = {}
        self.inbox: SocketInbox
        self.askers: dict[str, tuple[str, Any]] = {}
        self.store: Store = SqliteStore(folder / "store.db")
        if "etcd" in config:
            places = [(host, port) for host, port in config["etcd"]]
            self.store = EtcdStore(endpoints=places, prefix="toys")
        self.address = config.get("address", "127.0.0.1")
        """Of its shards' sockets."""
        self.over = asyncio.Event()
        self.host = Host(
            node=name,
            peers=config["peers"],
            store=self.store,
            shards={
                shard: ShardSpec(
                    machine=Toy,
                    perform=self.perform,
                    preferred=preferred,
                    move_address=lambda shard, old: self.driver.move(shard, old),
                    on_serving=self.serving,
                    on_deposed=self.deposed,
                    on_held=self.held,
                    let_go=self.let_go,
                )
                for shard, preferred in config["shards"].items()
            },
            data_dir=folder,
            policy=Policy(steady_ms=config["steady_ms"]),
            note=say,
            broken=self.broken,
            fence=lambda process: self.driver.fence(process),
            security=Secure(files_in(Path(config["tls"])), node=name) if config["tls"] else None,
            journal=config.get("journal", "off"),
            tails=Path(os.environ.get("KEEPLINE_TAILS", TAILS)),
        )
        self.inbox = SocketInbox(f"toy-{name}-{self.host.incarnation}")
        self.driver = BindDriver(
            me=this_process(name, self.host.incarnation, "", 0),
            peers=self.host,
            bind=self.bind,
            address=lambda shard: (self.address, config["ports"][shard]),
            note=say,
            inbox=self.inbox,
            adopt=self.adopt,
        )

    def broken(self, error: BaseException) -> None:
        say("broken", error=repr(error))
        os._exit(3)

    def adopt(self, shard: str, port: socket.socket) -> None:
        self.close(shard)
        self.sockets[shard] = port
        say("passed on", shard=shard)

    def bind(self, shard: str) -> None:
        self.close(shard)
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        port.setblocking(False)
        try:
            port.bind((self.address, self.config["ports"][shard]))
        except OSError:
            port.close()
            raise
        self.sockets[shard] = port
        say("bound", shard=shard)

    def serving(self, shard: str, lost: bool) -> None:
        state = self.host.states()[shard]
        say("reading", shard=shard, epoch=state.epoch, lost=lost, records=state.records)
        self.host.loop.add_reader(self.sockets[shard], self.read, shard)

    def held(self, shard: str, held: bool) -> None:
        loop = asyncio.get_running_loop()
        if held:
            loop.remove_reader(self.sockets[shard])
        else:
            loop.add_reader(self.sockets[shard], self.read, shard)

    def deposed(self, shard: str) -> None:
        """Read no more: whoever leads now asks for the socket, or never does."""
        port = self.sockets.get(shard)
        if port is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(port)
            loop.call_later(KEEP_ADDRESS_MS / 1000, self.give_up, shard, port)

    def give_up(self, shard: str, port: socket.socket) -> None:
        if self.sockets.get(shard) is port and not self.host.states()[shard].serving:
            self.close(shard)

    def let_go(self, shard: str, inbox: str) -> None:
        if inbox and shard in self.sockets:
            pass_socket(self.sockets[shard], shard, inbox)
        self.close(shard)

    def close(self, shard: str) -> None:
        port = self.sockets.pop(shard, None)
        if port is not None:
            asyncio.get_running_loop().remove_reader(port)
            port.close()

    def read(self, shard: str) -> None:
        for _ in range(64):
            try:
                data, source = self.sockets[shard].recvfrom(65536)
            except (BlockingIOError, KeyError):
                return
            asked = json.loads(data)
            if "fill" in asked:
                self.host.post(shard, Fill(asked["fill"], asked["size"], asked.get("first", 0)))
            self.askers[asked["op"]] = (shard, source)
            self.host.post(shard, Add(asked["key"], asked["op"]))

    def perform(self, effect: Any) -> None:
        if isinstance(effect, Done):
            shard, source = self.askers.pop(effect.op, ("", None))
            port = self.sockets.get(shard)
            if port is not None:
                port.sendto(msgspec.json.encode(effect), source)

    def lock(self) -> None:
        """Hold the store's lock from now on."""
        self.locking = sqlite3.connect(Path(self.config["folder"]) / "store.db", timeout=5)
        self.locking.execute("begin immediate")
        say("locked")

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.over.set)
        loop.add_signal_handler(signal.SIGUSR1, self.lock)
        if self.config["nice"]:
            with suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, 0, self.config["nice"])
        await self.store.open()
        self.inbox.open(loop)
        await self.host.start()
        say("up", pid=os.getpid())
        await self.over.wait()
        await self.host.stop()
        await self.store.close()
        say("stopped", states={n: s.role for n, s in self.host.states().items()})


if __name__ == "__main__":
    asyncio.run(ToyNode(json.loads(Path(sys.argv[1]).read_text())).run())
