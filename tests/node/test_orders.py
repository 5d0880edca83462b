"""Switchover by order: what is refused, and what becomes of who asks just then."""

import asyncio
from pathlib import Path

import pytest

from node.api import NotHere, Refused
from node.node import Node
from sip.message import Message
from tests.cluster.hosts import until
from tests.e2e.raw_phone import RawPhone
from tests.node.nodes import Nodes, nodes
from tests.node.test_node import locked


def other(two: Nodes, node: Node) -> Node:
    return next(one for one in two.up.values() if one is not node)


async def options(node: Node, timeout_s: float = 10.0) -> Message:
    """The answer to an OPTIONS that is sent once, to the shard's address."""
    with RawPhone("127.0.0.1", node.centre.shards["main"].sip) as phone:
        phone.send(phone.request("OPTIONS", "4001"))
        return await asyncio.to_thread(
            phone.await_message, lambda msg: msg.status >= 200, timeout_s
        )


async def test_a_shard_moves_by_order_and_keeps_both_copies(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as two:
        first = await two.serving(copies=2)
        second = other(two, first)
        names = [node.options.name for node in (first, second)]
        member = first.host.states()["main"].member
        assert await first.switchover("main", "") == {
            "shard": "main",
            "from": names[0],
            "to": names[1],
        }
        state = second.host.states()["main"]
        assert (state.epoch, state.in_sync) == (2, (state.member, member))
        await until(lambda: second.host.states()["main"].serving)
        assert (await options(second)).status == 200
        assert await second.switchover("main", names[0]) == {
            "shard": "main",
            "from": names[1],
            "to": names[0],
        }


async def test_what_cannot_be_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as two:
        first = await two.serving(copies=2)
        second = other(two, first)
        here, there = first.options.name, second.options.name
        with pytest.raises(Refused, match="no shard 'west'; known: main"):
            await first.switchover("west", "")
        with pytest.raises(Refused, match="no node 'n9'; known: n1, n2"):
            await first.switchover("main", "n9")
        with pytest.raises(Refused, match=f"shard main is led by {here} already"):
            await first.switchover("main", here)
        with pytest.raises(NotHere, match=f"shard main is not active on {there}"):
            await second.switchover("main", here)
        await two.up.pop(there).stop()
        await until(lambda: len(first.host.states()["main"].in_sync) == 1)
        with pytest.raises(Refused, match=f"{there} is not in sync with shard main; in sync: "):
            await first.switchover("main", there)
        with pytest.raises(Refused, match="no other node is in sync with shard main; it stays"):
            await first.switchover("main", "")


async def test_a_node_that_drains_leads_nothing_until_it_takes_part_again(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as two:
        first = await two.serving(copies=2)
        second = other(two, first)
        here, there = first.options.name, second.options.name
        assert await first.drain("", 5_000) == {"node": here, "moved": {"main": there}}
        await until(lambda: second.host.states()["main"].serving)
        await until(lambda: here in second.host.nodes.roster.draining)
        with pytest.raises(Refused, match=f"{here} drains; keepline undrain {here} ends that"):
            await second.switchover("main", here)
        with pytest.raises(Refused, match="no other node is in sync with shard main; it stays"):
            await second.switchover("main", "")
        with pytest.raises(Refused, match=f"no other node could take main; it stays with {there}"):
            await second.drain("", 5_000)
        document = await second.read("status", "", 0)
        assert document["draining"] == [here]
        assert await second.undrain(here) == {"node": here}
        with pytest.raises(Refused, match=f"{there} does not drain"):
            await second.undrain(there)
        await until(lambda: not first.host.nodes.roster.draining)
        await until(lambda: here in second.host.shard("main").core.successors())
        assert (await second.switchover("main", here))["to"] == here


async def test_who_is_up_or_always_missed_cannot_be_forgotten(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as two:
        first = await two.serving(copies=2)
        there = other(two, first).options.name
        with pytest.raises(Refused, match=f"{there} is up; stop it, and it is forgotten"):
            await first.forget(there)
        with pytest.raises(Refused, match="no node 'n9'; known: n1, n2"):
            await first.forget("n9")
        await two.up.pop(there).stop()
        await until(lambda: there not in first.host.shard("main").core.up)
        with pytest.raises(Refused, match=f"{there} is one of {first.options.name}'s --peers"):
            await first.forget(there)


async def test_orders_that_cannot_be_written_down_change_nothing(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as two:
        first = await two.serving(copies=2)
        here = first.options.name
        with locked(two.data / "store.db"):
            for order in (first.drain("", 5_000), first.drain("n2", 0), first.drain("n1", 0)):
                with pytest.raises(Refused, match="the store does not answer; nothing was changed"):
                    await order
            with pytest.raises(Refused, match=f"the store does not answer; main stays with {here}"):
                await first.switchover("main", "")
        assert first.host.states()["main"].epoch == 1


async def test_who_asks_while_a_shard_moves_is_answered_by_its_new_active(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as two:
        first = await two.serving(copies=2)
        second = other(two, first)
        is_held = asyncio.Event()
        hold = first.shards["main"].hold

        def holding(held: bool) -> None:
            hold(held)
            is_held.set()

        first.shards["main"].hold = holding  # type: ignore[method-assign]
        order = asyncio.create_task(first.switchover("main", ""))
        async with asyncio.timeout(5):
            await is_held.wait()
        asked = asyncio.create_task(options(first))
        await order
        assert (await asked).status == 200
        assert first.shards["main"].counters == {}
        assert second.shards["main"].counters["received"] >= 1


async def test_who_asks_while_a_move_fails_is_answered_where_the_shard_stays(
    tmp_path: Path,
) -> None:
    async with nodes(tmp_path, 2) as two:
        first = await two.serving(copies=2)
        # It is about to stop and leads no more, but has not said so yet.
        other(two, first).host.shard("main").core.leaving = True
        order = asyncio.create_task(first.switchover("main", ""))
        await until(lambda: first.host.shard("main").held_up)
        asked = asyncio.create_task(options(first))
        for n in range(3):  # what is no event is undone when it is stepped over: so it was
            first.shards["main"]._post(("late", n))
        with pytest.raises(Refused, match="no other node took shard main over within"):
            await order
        assert (await asked).status == 200
        assert first.host.shard("main").counters["poisoned"] == 3
        assert first.host.states()["main"].epoch == 1
