"""Brings notices to one receiver: in order, gathered, again and again until it has them."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from cluster.io.secret import NoSecret
from gateway_mgmt.alarms.inputs import Sent
from gateway_mgmt.alarms.records import Notice
from gateway_mgmt.alarms.words import Callers, Message
from gateway_mgmt.trunks import Impact

RETRY_MS = (1_000, 2_000, 5_000, 15_000, 60_000)
"""Waits between attempts; the last one repeats."""
GATHER_MS = 50
"""What one poll has shown goes together."""


class Unsent(Exception):
    """The receiver may not have it. Trying again is safe: a notice has the same id each time."""


class Refused(Exception):
    """The receiver will never take it: trying again changes nothing."""


class Sender(Protocol):
    """One way to tell one receiver."""

    most: int
    """So many notices go into one message."""
    apart_ms: int
    """So far apart messages leave; what comes meanwhile is gathered."""

    async def send(self, messages: Sequence[Message]) -> None:
        """Returns when the receiver has them. Raises Unsent or Refused, with no secret in it."""


async def nobody_can_tell(impact: Impact) -> int | None:
    """Counts no callers."""


class Courier:
    """One receiver's messages on the active node. All is called in the event loop."""

    def __init__(
        self,
        receiver: str,
        sender: Sender,
        post: Callable[[Sent], object],
        callers: Callers = nobody_can_tell,
        retry_ms: Sequence[int] = RETRY_MS,
    ) -> None:
        self.receiver = receiver
        self.trouble = ""
        """Why the last attempt failed; empty: it did not."""
        self._sender = sender
        self._post = post
        self._callers = callers
        self._retry_ms = retry_ms
        self._waiting: dict[str, Notice] = {}
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def put(self, key: str, notice: Notice) -> None:
        """Bring this one too; harmless when it waits already or need not come."""
        if self.receiver in notice.waiting:
            self._waiting.setdefault(key, notice)
            self._some.set()
            if self._task is None:
                self._task = asyncio.create_task(self._run())

    @property
    def left(self) -> dict[str, Notice]:
        """What it has not brought yet, by key."""
        return dict(self._waiting)

    async def stop(self) -> None:
        """The shard is another node's now: it brings what is left."""
        self._waiting.clear()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def _run(self) -> None:
        failures = 0
        while True:
            await self._some.wait()
            await asyncio.sleep(GATHER_MS / 1000)
            batch = dict(list(self._waiting.items())[: self._sender.most])
            if await self._attempt(batch):
                failures = 0
                await asyncio.sleep(self._sender.apart_ms / 1000)
            else:
                wait_ms = self._retry_ms[min(failures, len(self._retry_ms) - 1)]
                failures += 1
                await asyncio.sleep(wait_ms / 1000)
            if not self._waiting:
                self._some.clear()

    async def _attempt(self, batch: dict[str, Notice]) -> bool:
        """Is this batch done with?"""
        messages = [
            Message(notice, await self._callers(notice.impact)) for notice in batch.values()
        ]
        try:
            await self._sender.send(messages)
        except (Unsent, NoSecret) as error:
            self.trouble = f"receiver {self.receiver}: {error}"
            return False
        except Exception as error:  # noqa: BLE001 - what cannot be written holds up nothing else
            if len(batch) == 1:
                why = str(error) if isinstance(error, Refused) else type(error).__name__
                self._done(batch, why)
                return True
            for key, notice in batch.items():  # which one is it?
                if not await self._attempt({key: notice}):
                    return False
            return True
        self.trouble = ""
        self._done(batch, "")
        return True

    def _done(self, batch: dict[str, Notice], refused: str) -> None:
        for key in batch:
            self._waiting.pop(key, None)
        self._post(Sent(self.receiver, tuple(batch), refused))
