"""Tells Alertmanagers (API v2): changes at once, and what stands again each minute.

Alertmanager takes an alert for over at its `endsAt`. What stands is sent with one some minutes
ahead, and again before that; so an alert ends by itself if nobody is left who could say so.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import msgspec

from cluster.io.secret import NoSecret, secret
from gateway_mgmt.alarms.formats import alert
from gateway_mgmt.alarms.words import Message
from gateway_mgmt.io.courier import Refused, Unsent
from gateway_mgmt.io.http import check_url, post

AGAIN_MS = 60_000
STANDS_MS = 4 * AGAIN_MS

Standing = Callable[[], Awaitable[Sequence[Message]]]
"""The alarms that the receivers were told of and that are not cleared, as they are committed."""


class Alertmanager:
    """`gateway_mgmt.io.courier.Sender`, which also repeats by itself between `start` and `stop`.

    All `urls` are told, as the members of a cluster of Alertmanagers want it; one that takes it is
    enough.
    """

    most = 100
    apart_ms = 1_000

    def __init__(
        self,
        urls: Sequence[str],
        standing: Standing,
        *,
        token: str = "",
        labels: dict[str, str] | None = None,
        again_ms: int = AGAIN_MS,
        timeout_s: float = 10,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`token` is the reference of a bearer token; empty: none is needed."""
        for url in urls:
            check_url(url)
        self._urls = [url.rstrip("/") + "/api/v2/alerts" for url in urls]
        self._standing = standing
        self._token = token
        self._labels = labels
        self._again_ms = again_ms
        self._timeout_s = timeout_s
        self._tls = tls
        # A repeat that was made before a clear must not come after it.
        self._order = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._repeat())

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def send(self, messages: Sequence[Message]) -> None:
        async with self._order:
            await self._post(messages)

    async def _repeat(self) -> None:
        while True:
            async with self._order:
                standing = await self._standing()
                with suppress(Unsent, Refused, NoSecret):  # the courier tells, if it lasts
                    for at in range(0, len(standing), self.most):
                        await self._post(standing[at : at + self.most])
            await asyncio.sleep(self._again_ms / 1000)

    async def _post(self, messages: Sequence[Message]) -> None:
        stands_ms = int(time.time() * 1000) + max(STANDS_MS, 4 * self._again_ms)
        body = msgspec.json.encode(
            [
                alert(
                    message,
                    ends_wall_ms=message.notice.wall_ms
                    if message.notice.what == "cleared"
                    else stands_ms,
                    labels=self._labels,
                )
                for message in messages
            ]
        )
        headers = {"Authorization": f"Bearer {secret(self._token)}"} if self._token else {}
        told = await asyncio.gather(
            *(
                post(url, body, headers, timeout_s=self._timeout_s, tls=self._tls)
                for url in self._urls
            ),
            return_exceptions=True,
        )
        errors = [error for error in told if error is not None]
        if len(errors) == len(told):
            again = [error for error in errors if not isinstance(error, Refused)]
            raise (again or errors)[0]
