"""What one node asks another's process for a shard, beside the protocol, and waits for."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from cluster.messages import Message, Prepared, Released

if TYPE_CHECKING:
    from cluster.io.host import Host


class Asking:
    """The questions of one node that have no answer yet."""

    def __init__(self, host: "Host") -> None:
        self._host = host
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._request = 0

    async def ask(
        self, node: str, shard: str, make: Callable[[int, int], Message], timeout_ms: int
    ) -> bool:
        """`make` makes the message of epoch and request. False: no answer in time."""
        host = self._host
        if not host.links.is_up(node):
            return False
        self._request += 1
        request = self._request
        answer = self._waiting[request] = host.loop.create_future()
        host.links.send(node, shard, make(host.shards[shard].core.epoch, request))
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await answer
        except TimeoutError:
            return False
        else:
            return True
        finally:
            del self._waiting[request]

    def answered(self, message: Released | Prepared) -> None:
        answer = self._waiting.get(message.request)
        if answer is not None and not answer.done():
            answer.set_result(None)
