"""Calls to a ZooKeeper over kazoo, on an asyncio loop: which server is asked, who asks, how long.

kazoo has threads of its own: what they find out comes back by `call_soon_threadsafe`, and nothing
here blocks on them. While the connection is lost (SUSPENDED) nothing is sent; what was under way
then has no answer, and is neither done nor not done.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import (
    ConnectionClosedError,
    ConnectionLoss,
    NoAuthError,
    NoNodeError,
    SessionExpiredError,
)
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.states import KazooState
from kazoo.security import CREATOR_ALL_ACL

from cluster.io.clock import now_ms

CONNECT_S = 1.0
"""A server that has not taken a connection within this is left for the next one."""

PATIENCE_S_MAX = 8.0
REFUSED_AGAIN_S = 1.0

_RETRY = {"max_tries": -1, "delay": 0.05, "backoff": 2, "max_delay": 0.5, "max_jitter": 0.4}
_SILENT = logging.getLogger("keepline.kazoo")
"""kazoo logs its requests, those with passwords too; who uses this tells what matters."""
_SILENT.disabled = True

_OURS = (ConnectionLoss, ConnectionClosedError, SessionExpiredError)
"""What kazoo says for want of an answer."""

Ask = Callable[[], Any]
"""Sends one request and answers kazoo's AsyncResult."""


class ZooKeeperAway(Exception):
    """Nothing was sent; the text says what stands in the way."""


class _Lines(SequentialThreadingHandler):  # type: ignore[misc]  # kazoo has no types
    """kazoo's threads, and the connection that they use.

    So a server that hangs can be left; kazoo by itself would wait for two thirds of the session.
    And kazoo's own TLS would trust every CA of the system besides the one that it is given.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tls: ssl.SSLContext | None = None
        self.line: socket.socket | None = None
        self.since_ms = 0
        self.why = "no connection yet"
        """What stood in the way of a connection the last time."""

    def create_connection(
        self, address: tuple[str, int], *, hostname: str | None = None, **options: Any
    ) -> socket.socket:
        try:
            line = socket.create_connection(address, CONNECT_S)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                line = self.tls.wrap_socket(line, server_hostname=hostname)
        except OSError as error:
            self.why = f"{hostname}:{address[1]}: {error.strerror or error}"
            raise
        self.line, self.since_ms = line, now_ms()
        self.why = f"{hostname}:{address[1]}: takes the connection and does not answer"
        return line

    def leave(self) -> None:
        """End the connection: kazoo goes on to the next server."""
        if self.line is not None:
            with suppress(OSError):  # closed by now
                # Not the TLS socket's own shutdown: a thread of kazoo's still reads from it.
                socket.socket.shutdown(self.line, socket.SHUT_RDWR)


class ZooKeeperCalls:
    """Start it with `start`, end it with `close`."""

    def __init__(
        self,
        hosts: str,
        root: str,
        *,
        session_s: float,
        timeout_s: float,
        user: str | None,
        password: str | None,
        lost: Callable[[str], None],
    ) -> None:
        """`root`: the node that all others lie under. `lost(why)`: the connection was."""
        self._root = root
        self._timeout_s = timeout_s
        self._lost = lost
        self._lines = _Lines()
        self.zk: Any = KazooClient(
            hosts=hosts,
            timeout=session_s,
            handler=self._lines,
            connection_retry=_RETRY,
            logger=_SILENT,
            auth_data=[("digest", f"{user}:{password}")] if user else None,
            default_acl=CREATOR_ALL_ACL if user else None,
        )
        self._loop: asyncio.AbstractEventLoop
        self._is_open = False
        self._heard_ms = 0
        self._patience_s = timeout_s
        self._settled = asyncio.Event()
        """Connected, and the root is there."""
        self._settling: asyncio.Task[None] | None = None
        self.refusal = ""
        """Why we may not use what is there; "": we may."""

    def start(self, tls: ssl.SSLContext | None) -> None:
        self._lines.tls = tls
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self.zk.add_listener(lambda state: self.soon(lambda: self._on_state(state)))
        self.zk.start_async()

    async def close(self) -> None:
        """May be called again."""
        if not self._is_open:
            return
        self._is_open = False
        self._settled.clear()
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.gather(self._settling, return_exceptions=True)
        stopping = asyncio.create_task(asyncio.to_thread(self.zk.stop))
        done, _ = await asyncio.wait([stopping], timeout=self._timeout_s)
        if not done:  # a server that hangs takes no goodbye
            self._lines.leave()
        await stopping
        self.zk.close()

    async def calls(self, asks: Sequence[Ask], *, timeout_s: float | None = None) -> list[Any]:
        """Sent one after another over one connection: each one's answer, or what went wrong.

        ZooKeeperAway if nothing could be sent.
        """
        until = self._loop.time() + (timeout_s or self._timeout_s)
        await self._connection(until)
        answers = [self._linked(ask()) for ask in asks]
        if answers:
            _, missing = await asyncio.wait(answers, timeout=max(0, until - self._loop.time()))
            if missing:
                self._leave_if_silent()
        return [
            answer.result() if answer.done() else TimeoutError("no answer in time")
            for answer in answers
        ]

    async def _connection(self, until: float) -> None:
        """Wait for one. ZooKeeperAway."""
        if not self._is_open:
            raise ZooKeeperAway("closed")
        try:
            async with asyncio.timeout_at(until):
                await self._settled.wait()
        except TimeoutError:
            self._leave_if_silent()
            raise ZooKeeperAway(self._lines.why) from None
        if self.refusal:
            raise ZooKeeperAway(self.refusal)

    def _linked(self, result: Any) -> "asyncio.Future[Any]":
        """kazoo's answer or error, on our loop."""
        answer: asyncio.Future[Any] = self._loop.create_future()

        def settle() -> None:
            found = result.value if result.exception is None else result.exception
            if not isinstance(found, _OURS):
                self._heard_ms = now_ms()
                self._patience_s = self._timeout_s
            if not answer.done():
                answer.set_result(found)

        result.rawlink(lambda _: self.soon(settle))
        return answer

    def _leave_if_silent(self) -> None:
        """Nothing is heard for a deadline: the server hangs. Or all of them are slow: so each next
        one is given more time, or nobody would ever get through."""
        since_ms = max(self._heard_ms, self._lines.since_ms)
        if now_ms() - since_ms >= 0.9 * self._patience_s * 1000:
            self._lines.leave()
            self._patience_s = min(2 * self._patience_s, PATIENCE_S_MAX)

    def soon(self, call: Callable[[], None]) -> None:
        """From any thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call)

    def _on_state(self, state: Any) -> None:
        self._settled.clear()
        if self._settling is not None:
            self._settling.cancel()
        if not self._is_open:
            return
        if state == KazooState.CONNECTED:
            self._settling = self._loop.create_task(self._settle())
        else:
            self._lost("the connection was lost")

    async def _settle(self) -> None:
        """See that the root is there and that we may use it; until then nothing is asked."""
        parts = self._root.strip("/").split("/")
        paths = ["/" + "/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        while True:
            for path in paths:
                # Not simply made: where we may not, "not permitted" would hide that it is there.
                if await self._linked(self.zk.exists_async(path)) is None:
                    await self._linked(self.zk.create_async(path))
            answer = await self._linked(self.zk.get_children_async(self._root))
            if not isinstance(answer, BaseException):
                self.refusal = ""
                self._settled.set()
                return
            if not isinstance(answer, (NoAuthError, NoNodeError)):
                return  # the connection is lost again: the next one comes here
            self.refusal = "not permitted"
            self._settled.set()
            await asyncio.sleep(REFUSED_AGAIN_S)
