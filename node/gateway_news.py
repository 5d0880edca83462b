"""What watchers of gateways are told: of each thing the newest, so that who reads slowly is told
less, not later, and nothing grows with it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

Document = dict[str, Any]


class News:
    """The newest document about each thing, for any number of watchers."""

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, Document]] = {}
        """By the thing's name; the newest last."""
        self._told = 0
        self._news = asyncio.Event()

    def tell(self, name: str, document: Document) -> None:
        """This is so now. What is as it was is no news."""
        known = self._newest.pop(name, None)
        if known is not None and known[1] == document:
            self._newest[name] = known
            return
        self._told += 1
        self._newest[name] = (self._told, document)
        self._news.set()
        self._news = asyncio.Event()

    async def follow(self) -> AsyncGenerator[Document, None]:
        """What is known now, and then what changes, for ever."""
        seen = 0
        while True:
            news = self._news
            fresh = [one for one in self._newest.values() if one[0] > seen]
            for n, document in sorted(fresh, key=lambda one: one[0]):
                seen = n
                yield document
            if self._told == seen:
                await news.wait()
