"""A hundred shards change hands in few transactions of the store."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from cluster.io.gathering import Gathering
from cluster.io.sqlite import SqliteStore
from cluster.store import Lost, Outcome, StoreAway, Unknown, Won
from tests.cluster.hosts import cluster, counted, until

SHARDS = [f"s{number:02}" for number in range(100)]
TRANSACTIONS_MAX = 12
"""By both nodes that are left, for the takeover of all shards and the reads before it.

Who lives is looked up apart from it."""


async def test_a_hundred_shards_change_hands_in_few_transactions(tmp_path: Path) -> None:
    # `a` leads all; `b` and `c` are each the next for half of them.
    shards = {name: ("a", *("bc" if n % 2 else "cb")) for n, name in enumerate(SHARDS)}
    async with cluster(tmp_path, shards=shards) as three:
        for shard in SHARDS:
            assert (await three.served(shard, copies=3, within_s=30)).name == "a"

        counts = [counted(node.store) for name, node in three.nodes.items() if name != "a"]
        await three.kill("a")

        await until(lambda: all(three.active(shard) is not None for shard in SHARDS), 10)
        asked = sum(counts, Counter())
        assert asked["cas_many"] + asked["read_many"] <= TRANSACTIONS_MAX, asked


async def test_each_asker_of_one_turn_gets_the_answer_of_his_own_key(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    asked = counted(store)
    async with asyncio.TaskGroup() as tasks:
        keys = Gathering(store, tasks.create_task)

        async def change(key: str, rev: int) -> Outcome:
            return await keys.cas(key, rev, key.encode())

        assert list(await asyncio.gather(change("a", 0), change("b", 7), change("a", 1))) == [
            Won(1),
            Lost(0, None),
            Won(2),
        ]
        assert asked == {"cas_many": 2}  # a transaction names a key only once
        reads = [keys.read(key) for key in ("a", "b", "a")]
        assert list(await asyncio.gather(*reads)) == [(2, b"a"), (0, None), (2, b"a")]
        assert asked == {"cas_many": 2, "read_many": 1}
        await store.close()
        with pytest.raises(StoreAway):
            await keys.read("a")
        assert await keys.cas("a", 2, b"") == Unknown()
