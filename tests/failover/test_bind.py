"""What the `bind` driver compares before it ends a process; how it finds who holds an address."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import IO

import msgspec
import pytest

from cluster.io.process import running_since, this_process
from cluster.store import Process, node_of, process_of
from failover import plan
from failover.io.bind import BindDriver
from tests.cluster.hosts import until

ME = this_process("me", "mine", "", 0)


class Peers:
    """Knows the given processes; answers what it is told to."""

    def __init__(
        self,
        *known: Process,
        releases: bool = False,
        refused: bool = False,
        leads: bool = True,
        handed: bool = False,
        reached: bool = True,
    ) -> None:
        """`reached`: whoever knocks is answered, be it by a refusal."""
        self.reached = reached
        self.known = list(known)
        self.releases = releases
        self.refused = refused
        self.is_leader = leads
        self.handed = handed
        self.asked: list[str] = []

    async def ask_release(self, node: str, shard: str, timeout_ms: int, inbox: str) -> bool:
        self.asked.append(node)
        return self.releases

    def was_handed(self, shard: str) -> bool:
        return self.handed

    async def is_refused(self, node: str) -> bool:
        if not self.reached:
            await asyncio.Event().wait()
        return self.refused

    async def leads(self, shard: str) -> bool:
        return self.is_leader

    async def process_of(self, member: str) -> Process | None:
        own = (node_of(member), process_of(member))
        return next((p for p in self.known if (p.node, p.incarnation) == own), None)

    async def all_processes(self) -> list[Process]:
        return self.known


@pytest.fixture
def running() -> Iterator[tuple[Process, int, IO[bytes]]]:
    """A process that holds a UDP port and answers nobody; it lets go when it is written a line."""
    code = (
        "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        "s.bind(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True);"
        "sys.stdin.readline(); s.close(); sys.stdin.read()"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert running.stdout is not None
    assert running.stdin is not None
    port = int(running.stdout.readline())
    since = running_since(running.pid)
    assert since is not None
    process = msgspec.structs.replace(
        ME, node="old", incarnation="theirs", pid=running.pid, start_time=since
    )
    yield process, port, running.stdin
    running.stdin.close()
    running.stdout.close()
    running.kill()
    running.wait(5)


@pytest.fixture
def holder(running: tuple[Process, int, IO[bytes]]) -> tuple[Process, int]:
    return running[:2]


@pytest.fixture
def stopped(holder: tuple[Process, int]) -> tuple[Process, int]:
    """The same one, once it has been stopped."""
    os.kill(holder[0].pid, signal.SIGSTOP)
    os.waitid(os.P_PID, holder[0].pid, os.WSTOPPED | os.WNOWAIT)
    return holder


class Driven(BindDriver):
    """With a socket of its own."""

    def __init__(self, peers: Peers, port: int) -> None:
        self.bound: socket.socket | None = None
        super().__init__(
            me=ME,
            peers=peers,
            bind=self.take,
            address=lambda shard: ("127.0.0.1", port),
            note=lambda what, **fields: self.notes.append(what),
        )
        self.notes: list[str] = []
        self.port = port

    def take(self, shard: str) -> None:
        attempt = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            attempt.bind(("127.0.0.1", self.port))
        except OSError:
            attempt.close()
            raise
        self.bound = attempt

    def close(self) -> None:
        if self.bound is not None:
            self.bound.close()


async def test_a_silent_old_active_is_ended_and_its_address_taken(
    holder: tuple[Process, int],
) -> None:
    process, port = holder
    driver = Driven(Peers(process), port)
    await driver.move("main", "old:theirs.2")  # a later life of the shard in that process
    assert driver.bound is not None
    assert running_since(process.pid) is None
    driver.close()


async def test_a_silent_old_active_that_lets_go_by_itself_lives_on(
    running: tuple[Process, int, IO[bytes]],
) -> None:
    """It was cut off: it asked the store, found that it leads no more, and closed its socket. To
    end it would take the calls of its other shards, for which it may be the only copy."""
    process, port, line = running
    driver = Driven(Peers(process), port)
    moving = asyncio.create_task(driver.move("main", "old:theirs"))
    await asyncio.sleep(2 * plan.BIND_AGAIN_MS / 1_000)
    line.write(b"let go\n")
    line.flush()
    await moving
    assert driver.bound is not None
    assert running_since(process.pid) == process.start_time
    driver.close()


async def test_a_stopped_old_active_is_not_asked_and_waited_for(
    stopped: tuple[Process, int],
) -> None:
    process, port = stopped
    peers = Peers(process)
    driver = Driven(peers, port)
    await driver.move("main", "old:theirs")
    assert peers.asked == []
    assert driver.bound is not None
    driver.close()


async def test_who_slept_through_the_next_election_ends_nobody(
    holder: tuple[Process, int],
) -> None:
    """It was elected, stopped before it moved the address, and another one leads by now."""
    process, port = holder
    driver = Driven(Peers(process, leads=False), port)
    with pytest.raises(OSError, match="address in use"):
        await driver.move("main", "old:theirs")
    assert running_since(process.pid) == process.start_time


async def test_a_process_with_another_start_time_is_not_touched(
    holder: tuple[Process, int],
) -> None:
    process, port = holder
    driver = Driven(Peers(process), port)
    reused = msgspec.structs.replace(process, start_time=process.start_time - 1)
    assert await driver.fence(reused)  # the process that was meant is gone
    assert running_since(process.pid) == process.start_time


async def test_the_address_of_a_host_that_is_cut_off_is_taken_without_a_word_of_it(
    holder: tuple[Process, int],
) -> None:
    """Its kernel was waited for after its process had been: 100 ms more, for no other outcome."""
    elsewhere = msgspec.structs.replace(holder[0], host="another")
    driver = Driven(Peers(elsewhere, reached=False), port=0)  # an address of this host is free
    await asyncio.wait_for(driver.move("main", "old:theirs"), 5)
    assert driver.bound is not None
    assert driver.notes == []  # nobody can end it from here
    driver.close()


@pytest.mark.parametrize("field", ["host", "boot_id"])
async def test_a_process_of_another_host_is_not_touched(
    holder: tuple[Process, int], field: str
) -> None:
    process, port = holder
    elsewhere = msgspec.structs.replace(process, **{field: "another"})
    ended = await Driven(Peers(process), port).fence(elsewhere)
    assert ended is (field == "boot_id")  # before this host's restart: certainly gone
    assert running_since(process.pid) == process.start_time


async def test_a_node_never_ends_itself() -> None:
    assert not await Driven(Peers(), 1).fence(ME)
    assert running_since(os.getpid()) == ME.start_time


async def test_who_handed_over_lives_on_however_long_it_does_not_answer(
    holder: tuple[Process, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, port = holder
    monkeypatch.setattr(plan, "HANDED_ASKS", 1_000)
    peers = Peers(process, handed=True)
    driver = Driven(peers, port)
    moving = asyncio.create_task(driver.move("main", "old:theirs"))
    await until(lambda: len(peers.asked) == 10)
    assert running_since(process.pid) == process.start_time
    moving.cancel()
    driver.close()


async def test_an_address_that_a_stranger_holds_is_given_up_with_one_clear_line() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        port = stranger.getsockname()[1]
        with pytest.raises(OSError, match=f"address in use: 127.0.0.1:{port}"):
            await Driven(Peers(), port).move("main", "")


async def test_who_holds_the_address_is_found_among_our_processes(
    holder: tuple[Process, int],
) -> None:
    process, port = holder
    other = msgspec.structs.replace(ME, node="other", incarnation="innocent")
    driver = Driven(Peers(other, process), port)
    await driver.move("main", "")
    assert driver.bound is not None
    assert running_since(process.pid) is None
    driver.close()


async def test_an_old_active_that_lets_go_lives_on(holder: tuple[Process, int]) -> None:
    process, port = holder
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    peers = Peers(process, releases=True)
    driver = Driven(peers, port)
    await driver.move("main", "old:theirs")
    assert peers.asked == ["old"]
    assert running_since(process.pid) == process.start_time
    driver.close()
