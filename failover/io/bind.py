"""The `bind` driver: a shard's address moves between processes of one host.

Carries out `failover.plan`. An old active that lets go passes its socket, with what is unread in
it; otherwise the address is bound anew. A process is ended by pidfd, so that the signal reaches the
very process whose start time was compared, and not one that got its pid meanwhile.
"""

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, assert_never

from cluster.process import is_stopped, start_time
from cluster.store import Process
from failover import plan
from failover.io.inbox import SocketInbox

END_MS = 500
"""A process that was sent SIGKILL is waited for this long."""

Address = tuple[str, int]


class Peers(Protocol):
    """What the driver needs of `cluster.io.host.Host`."""

    async def ask_release(self, node: str, shard: str, timeout_ms: int, inbox: str) -> bool: ...

    async def is_refused(self, node: str) -> bool: ...

    def was_handed(self, shard: str) -> bool: ...

    async def leads(self, shard: str) -> bool: ...

    async def process_of(self, member: str) -> Process | None: ...

    async def all_processes(self) -> list[Process]: ...


class BindDriver:
    """Moves the addresses of a node's shards here."""

    def __init__(
        self,
        *,
        me: Process,
        peers: Peers,
        bind: Callable[[str], None],
        address: Callable[[str], Address],
        note: Callable[..., None],
        inbox: SocketInbox | None = None,
        adopt: Callable[[str, socket.socket], None] = lambda shard, sock: sock.close(),
    ) -> None:
        """`bind(shard)` binds its socket, without reading from it; OSError if it cannot.

        `address(shard)` is what it binds to (UDP). `adopt(shard, sock)` has it instead, bound, as
        the old active passed it to `inbox`.
        """
        self._me = me
        self._peers = peers
        self._bind = bind
        self._address = address
        self._note = note
        self._inbox = inbox
        self._adopt = adopt

    async def move(self, shard: str, old_active: str) -> None:
        """The address of `shard` is bound here when this returns.

        OSError: something holds it that is not ours, or that cannot be ended; try again later.
        Only the member that leads the shard may call it.
        """
        old = await self._peers.process_of(old_active) if old_active else None
        state = plan.begin(old, me=self._me, handed=self._peers.was_handed(shard))
        while True:
            match state:
                case plan.Moved():
                    return
                case plan.Failed(reason):
                    host, port = self._address(shard)
                    raise OSError(errno.EADDRINUSE, f"{reason}: {host}:{port}")
                case _:
                    state = plan.step(state, await self._do(shard, state))

    async def _do(
        self,
        shard: str,
        state: plan.Asking | plan.Waiting | plan.Ending | plan.Binding | plan.Searching,
    ) -> plan.Outcome:
        match state:
            case plan.Asking(process, again=again):
                until = asyncio.get_running_loop().time() + plan.RELEASE_MS / 1000
                outcome = await self._ask(shard, process)
                if again and isinstance(outcome, plan.Silent | plan.Alive):
                    # Its link may be down: then the answer was there at once.
                    await asyncio.sleep(until - asyncio.get_running_loop().time())
                return outcome
            case plan.Ending(process):
                # We may have slept since we asked, and it may lead a later epoch by now.
                if not await self._peers.leads(shard):
                    return plan.NotEnded()
                if self._is_here(process):
                    self._note(
                        "ending a silent process", shard=shard, node=process.node, pid=process.pid
                    )
                return plan.Gone() if await self.fence(process) else plan.NotEnded()
            case plan.Binding(tries=tries) | plan.Waiting(tries=tries):
                if tries:
                    await asyncio.sleep(plan.BIND_AGAIN_MS / 1000)
                return self._try_to_bind(shard)
            case plan.Searching():
                for process in await self._peers.all_processes():
                    if process.incarnation != self._me.incarnation and self._holds(process, shard):
                        return plan.Held(process)
                return plan.NotHeld()
            case _:
                assert_never(state)

    async def _ask(self, shard: str, process: Process) -> plan.Outcome:
        if _since(process.pid) != process.start_time and self._is_here(process):
            return plan.Gone()
        if process.node == self._me.node:
            return plan.Silent()  # an earlier process of this very node: it has no link to ask by
        if self._is_here(process) and _is_stopped(process.pid):
            return plan.Stopped()  # no need to wait for an answer
        if not self._is_here(process):
            return await self._ask_elsewhere(shard, process.node)
        inbox = self._inbox.name if self._inbox is not None else ""
        if await self._peers.ask_release(process.node, shard, plan.RELEASE_MS, inbox):
            return plan.Released()
        if await self._peers.is_refused(process.node):
            return plan.Gone()
        return plan.Stopped() if _is_stopped(process.pid) else plan.Alive()

    async def _ask_elsewhere(self, shard: str, node: str) -> plan.Outcome:
        """A process of another host, which may be cut off: RELEASE_MS is all that is waited."""
        loop = asyncio.get_running_loop()
        until = loop.time() + plan.RELEASE_MS / 1000
        refused = asyncio.create_task(self._peers.is_refused(node))
        try:
            if await self._peers.ask_release(node, shard, plan.RELEASE_MS, ""):
                return plan.Released()
            await asyncio.wait([refused], timeout=max(0.0, until - loop.time()))
            return plan.Gone() if refused.done() and refused.result() else plan.Silent()
        finally:
            refused.cancel()

    def _try_to_bind(self, shard: str) -> plan.Outcome:
        if self._take(shard):
            return plan.Bound()
        try:
            self._bind(shard)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return plan.InUse()
        return plan.Bound()

    def _take(self, shard: str) -> bool:
        """Was the socket itself passed to us?"""
        if self._inbox is None:
            return False
        passed = self._inbox.take(shard, self._address(shard))
        if passed is None:
            return False
        self._adopt(shard, passed)
        return True

    def _is_here(self, process: Process) -> bool:
        return (process.host, process.boot_id) == (self._me.host, self._me.boot_id)

    def _holds(self, process: Process, shard: str) -> bool:
        if not self._is_here(process) or _since(process.pid) != process.start_time:
            return False
        return _holds(process.pid, _inodes(self._address(shard)))

    async def fence(self, process: Process) -> bool:
        """End the process. True: it certainly runs no more. False: it may still run.

        Safe to repeat. Nothing is done to a process whose start time or host is another.
        """
        if process.host != self._me.host:
            return False
        if process.boot_id != self._me.boot_id:
            return True
        if process.pid == os.getpid():
            return False
        try:
            handle = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return True
        try:
            if _since(process.pid) != process.start_time:
                return True  # the pid belongs to another one by now
            try:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            except ProcessLookupError:
                return True
            except PermissionError:
                return False
            return await _ended(handle)
        finally:
            os.close(handle)


async def _ended(handle: int) -> bool:
    """A pidfd becomes readable when its process has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(END_MS / 1000):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(handle)
    return True


def _since(pid: int) -> int | None:
    try:
        return start_time(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def _is_stopped(pid: int) -> bool:
    """Has every thread of it been stopped?"""
    stats = _threads(pid)
    return bool(stats) and all(is_stopped(stat) for stat in stats)


def _threads(pid: int) -> list[str]:
    """The stat of each thread; none if they cannot be looked at."""
    try:
        return [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []


def _inodes(address: Address) -> tuple[str, ...]:
    """Inodes of the UDP sockets bound to this address, or to its port on every address."""
    host, port = address
    reversed_hex = bytes(reversed(bytes(int(part) for part in host.split(".")))).hex().upper()
    wanted = (f"{reversed_hex}:{port:04X}", f"00000000:{port:04X}")
    rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return tuple(row[9] for row in rows if row[1] in wanted)


def _holds(pid: int, inodes: tuple[str, ...]) -> bool:
    names = {f"socket:[{inode}]" for inode in inodes}
    try:
        handles = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False  # gone, or of another user
    for handle in handles:
        try:
            if str(handle.readlink()) in names:
                return True
        except OSError:
            continue
    return False
