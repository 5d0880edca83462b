"""What all shards of a node ask of the store in one turn of the loop: few transactions.

When a node dies, a hundred shards read their keys in the same turn, and a turn later change them. A
transaction costs the store a round trip and a write to its disk however many keys are in it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cluster.store import Change, Outcome, Store, StoreAway

Found = tuple[int, bytes | None]
Spawn = Callable[[Coroutine[Any, Any, None]], object]
"""Starts a task and looks after it."""

T = TypeVar("T")


@dataclass(slots=True)
class _Asked:
    """What waits for the next turn."""

    reads: dict[str, list[asyncio.Future[Found | None]]] = field(default_factory=dict)
    changes: list[tuple[Change, asyncio.Future[Outcome]]] = field(default_factory=list)


class Gathering:
    """`read` and `cas` of a `Store`, with the same promises."""

    def __init__(self, store: Store, spawn: Spawn) -> None:
        self._store = store
        self._spawn = spawn
        self._asked: _Asked | None = None

    async def read(self, key: str) -> Found:
        answer: asyncio.Future[Found | None] = asyncio.get_running_loop().create_future()
        self._next_turn().reads.setdefault(key, []).append(answer)
        found = await answer
        if found is None:
            raise StoreAway
        return found

    async def cas(self, key: str, rev: int, value: bytes) -> Outcome:
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._next_turn().changes.append((Change(key, rev, value), answer))
        return await answer

    def _next_turn(self) -> _Asked:
        if self._asked is None:
            self._asked = _Asked()
            asyncio.get_running_loop().call_soon(self._turn)
        return self._asked

    def _turn(self) -> None:
        asked, self._asked = self._asked, None
        assert asked is not None
        if asked.reads:
            self._spawn(self._read(asked.reads))
        now: dict[str, tuple[Change, asyncio.Future[Outcome]]] = {}
        for change, answer in asked.changes:
            if change.key in now:  # two lives of one shard: a transaction names a key only once
                self._next_turn().changes.append((change, answer))
            else:
                now[change.key] = change, answer
        if now:
            self._spawn(self._change(list(now.values())))

    async def _read(self, asked: dict[str, list[asyncio.Future[Found | None]]]) -> None:
        found: list[Found] | list[None]
        try:
            found = await self._store.read_many(list(asked))
        except StoreAway:
            found = [None] * len(asked)
        for answers, one in zip(asked.values(), found, strict=True):
            for answer in answers:
                if not answer.done():
                    answer.set_result(one)

    async def _change(self, asked: list[tuple[Change, asyncio.Future[Outcome]]]) -> None:
        outcomes = await self._store.cas_many([change for change, _ in asked])
        for (_, answer), outcome in zip(asked, outcomes, strict=True):
            if not answer.done():
                answer.set_result(outcome)


class Shared:
    """Whoever asks what is being asked just then gets the same answer."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._answers: dict[str, asyncio.Future[Any]] = {}

    async def ask(self, question: str, ask: Callable[[], Awaitable[T]]) -> T:
        """`ask` does not raise."""
        if question not in self._answers:
            self._answers[question] = asyncio.get_running_loop().create_future()
            self._spawn(self._ask(question, ask))
        found: T = await asyncio.shield(self._answers[question])
        return found

    async def _ask(self, question: str, ask: Callable[[], Awaitable[object]]) -> None:
        try:
            self._answers[question].set_result(await ask())
        finally:
            del self._answers[question]
