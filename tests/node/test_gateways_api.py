"""The gateways' API between a real server and a real client, over a real shard of alarms."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from keepline.v1 import gateways_pb2
from node import gateways_api
from node.api import ApiClient, NoAnswer, NotHere, Refused, Unreachable
from node.gateway_news import News
from node.gateways_api import GatewaysClient, serve_gateways_api, with_beats
from tests.cluster.ends import End
from tests.cluster.hosts import free_ports
from tests.cluster.papers import Papers
from tests.node.gateway_desk import SHARD, GatewayDesk, node, wall_ms

pytestmark = pytest.mark.real

WAIT = 5_000
HOUR_MS = 3_600_000
CALLS = [method.name for method in gateways_pb2.DESCRIPTOR.services_by_name["Gateways"].methods]
READING = ["Read", "Watch"]
ALLOWED = {"node": CALLS, "operator": CALLS, "reader": READING}


@pytest.fixture
async def client() -> AsyncIterator[GatewaysClient]:
    channels = ApiClient()
    yield GatewaysClient(channels)
    await channels.close()


async def all_of(changes: AsyncGenerator[dict[str, Any], None]) -> list[dict[str, Any]]:
    return [one async for one in changes]


async def test_gateways_and_alarms_arrive_with_their_shard_and_epoch(
    client: GatewaysClient,
) -> None:
    desk = GatewayDesk(epoch=3)
    desk.polled("tg1")
    desk.see("los", "on", "tg1/3")
    async with node(desk) as address:
        rows = await client.read(address, "gateways", timeout_ms=WAIT)
        found = await client.read(address, "alarms", history=1, timeout_ms=WAIT)
        with pytest.raises(Refused, match="no document 'secrets'"):
            await client.read(address, "secrets", timeout_ms=WAIT)

    assert [(row["gateway"], row["shard"], row["epoch"]) for row in rows] == [
        ("tg1", SHARD, 3),
        ("tg2", SHARD, 3),
    ]
    assert found["shards"] == {SHARD: 3}
    (alarm,) = found["alarms"]
    assert (alarm["name"], alarm["severity"], alarm["epoch"]) == ("los@tg1/3", "critical", 3)
    assert [one["what"] for one in found["history"]] == ["raised"]


async def test_an_alarm_is_acknowledged_and_a_maintenance_set_replaced_and_ended(
    client: GatewaysClient,
) -> None:
    desk = GatewayDesk()
    desk.see("los", "on", "tg1/3")
    until_ms = wall_ms() + HOUR_MS
    async with node(desk) as address:
        (alarm,) = (await client.read(address, "alarms", timeout_ms=WAIT))["alarms"]
        await client.acknowledge(address, alarm["id"], by="anna", note="a digger", timeout_ms=WAIT)
        for note in ("new card", "two new cards"):
            window = await client.set_window(
                address, "w1", "tg1", from_ms=wall_ms(), until_ms=until_ms, by="anna", note=note,
                timeout_ms=WAIT,
            )  # fmt: skip
        found = await client.read(address, "alarms", timeout_ms=WAIT)
        await client.end_window(address, "w1", by="anna", timeout_ms=WAIT)
        with pytest.raises(NotHere, match="no maintenance w1 is set"):
            await client.end_window(address, "w1", by="anna", timeout_ms=WAIT)

    assert (found["alarms"][0]["acked_by"], found["alarms"][0]["note"]) == ("anna", "a digger")
    assert [(one["path"], one["note"]) for one in found["windows"]] == [("tg1", "two new cards")]
    assert abs(window["until_wall_ms"] - until_ms) < 50
    assert desk.document(0)["windows"] == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"path": "tg1/3/4/5"}, "'tg1/3/4/5' is no object like tg1, tg1/3"),
        ({"path": ""}, "'' is no object"),
        ({"until_ms": 1}, "tg1: a maintenance ends after it begins, and within a year"),
        ({"until_ms": 1 << 60}, "tg1: a maintenance ends after it begins, and within a year"),
        ({"note": "two\nlines"}, "a note is one line of at most 500 characters"),
        ({"note": "x" * 501}, "a note is one line of at most 500 characters"),
        ({"by": "a\x1b[2J"}, "who asks has a name of one line"),
        ({"id": "a b"}, "'a b' is no id"),
        ({"path": "tg9"}, "tg9: is not declared"),
    ],
)
async def test_a_maintenance_that_makes_no_sense_is_refused_in_one_line(
    client: GatewaysClient, change: dict[str, Any], why: str
) -> None:
    desk = GatewayDesk()
    now_ms = wall_ms()
    given: dict[str, Any] = {"id": "w1", "path": "tg1", "by": "anna", "note": ""}
    given |= {"from_ms": now_ms, "until_ms": now_ms + HOUR_MS}
    async with node(desk) as address:
        with pytest.raises(Refused) as refused:
            await client.set_window(address, **given | change, timeout_ms=WAIT)

    assert str(refused.value).startswith(why)
    assert desk.document(0)["windows"] == []


async def test_a_watcher_gets_what_is_known_and_then_each_change(client: GatewaysClient) -> None:
    desk = GatewayDesk()
    async with node(desk) as address, aclosing(client.watch(address)) as changes:
        first = [await anext(changes) for _ in range(4)]
        desk.see("los", "on", "tg1/3")
        then = [await anext(changes) for _ in range(2)]

    assert [one["kind"] for one in first] == ["beat", "gateway", "gateway", "alarms"]
    assert [(one["kind"], one.get("gateway")) for one in then] == [
        ("gateway", "tg1"),
        ("alarms", None),
    ]
    assert then[0]["alarms"] == {"critical": 1}
    assert [one["name"] for one in then[1]["alarms"]] == ["los@tg1/3"]


async def test_a_watcher_learns_at_once_that_its_node_is_gone(client: GatewaysClient) -> None:
    async with node(GatewayDesk()) as address:
        watching = client.watch(address)
        await anext(watching)
    with pytest.raises(NoAnswer):
        await asyncio.wait_for(all_of(watching), 5)
    with pytest.raises(NoAnswer):
        await anext(client.watch(address))


async def test_a_node_that_hangs_is_taken_for_gone(
    client: GatewaysClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways_api, "BEAT_S", 60.0)  # as if it could not send them
    async with node(GatewayDesk()) as address:
        with pytest.raises(NoAnswer, match=r"nothing was heard for 0\.2 s"):
            await all_of(client.watch(address, silent_s=0.2))


async def test_a_quiet_node_is_not_taken_for_gone(
    client: GatewaysClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways_api, "BEAT_S", 0.01)
    async with node(GatewayDesk()) as address, aclosing(client.watch(address)) as changes:
        kinds = [(await anext(changes))["kind"] for _ in range(20)]

    assert kinds[-3:] == ["beat", "beat", "beat"]


async def test_a_reader_that_fails_is_told_and_the_next_request_is_answered(
    client: GatewaysClient,
) -> None:
    desk = GatewayDesk()
    desk.breaks = ZeroDivisionError()
    async with node(desk) as address:
        with pytest.raises(Unreachable, match="the node failed"):
            await client.read(address, "gateways", timeout_ms=WAIT)
        with pytest.raises(Unreachable, match="the node failed"):
            await all_of(client.watch(address))
        desk.breaks = None
        assert len(await client.read(address, "gateways", timeout_ms=WAIT)) == 2


@pytest.mark.parametrize("refusal", [Refused("not now"), NotHere("not now")])
async def test_a_watcher_is_refused_with_the_reason(
    client: GatewaysClient, refusal: Exception
) -> None:
    desk = GatewayDesk()
    desk.breaks = refusal
    async with node(desk) as address:
        with pytest.raises(type(refusal), match="not now"):
            await all_of(client.watch(address))


async def test_only_so_many_watch_one_node_and_one_that_leaves_makes_room(
    client: GatewaysClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways_api, "WATCHERS_MAX", 1)
    async with node(GatewayDesk()) as address:
        async with aclosing(client.watch(address)) as watching:
            await anext(watching)
            with pytest.raises(Refused, match="1 watch this node already"):
                await anext(client.watch(address))
        async with asyncio.timeout(5):
            while True:
                try:
                    await anext(client.watch(address))
                    break
                except Refused:
                    await asyncio.sleep(0.01)


async def test_a_slow_watcher_gets_the_newest_of_each_thing_and_nothing_twice() -> None:
    news = News()
    async with aclosing(news.follow()) as slow:
        for n in range(1_000):
            news.tell(f"thing/{n % 2}", {"n": n})
        assert [await anext(slow), await anext(slow)] == [{"n": 998}, {"n": 999}]
        news.tell("thing/1", {"n": 999})  # as it was
        news.tell("thing/0", {"n": 1_000})
        assert await anext(slow) == {"n": 1_000}


async def test_changes_that_end_end_the_beats() -> None:
    async def changes() -> AsyncGenerator[dict[str, Any], None]:
        yield {"kind": "gateway"}

    kinds = [one["kind"] async for one in with_beats(changes(), 5)]
    assert kinds == ["beat", "gateway"]


# Who may.


async def code_of(channel: grpc.aio.Channel, call: str) -> tuple[grpc.StatusCode, str]:
    method = f"/keepline.v1.Gateways/{call}"
    try:
        if call == "Watch":
            watch: Any = channel.unary_stream(method)
            stream = watch(b"", timeout=5)
            await stream.read()
            stream.cancel()
        else:
            ask: Any = channel.unary_unary(method)
            await ask(b"", timeout=5)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


@pytest.mark.parametrize("role", list(ALLOWED))
async def test_each_role_gets_every_call_it_is_for_and_no_other(tmp_path: Path, role: str) -> None:
    papers = Papers(tmp_path)
    who = papers.secure("n2" if role == "node" else "ann", role)
    (port,) = free_ports(1)
    desk = GatewayDesk()
    end = End(
        "n1",
        {"n1": f"127.0.0.1:{port}"},
        papers.secure("n1"),
        lambda server: serve_gateways_api(server, desk),
    )
    await end.links.start()
    try:
        async with who.channel(end.peers["n1"], []) as channel:
            answers = {call: await code_of(channel, call) for call in CALLS}
    finally:
        await end.links.stop()
    denied = {
        call: details
        for call, (code, details) in answers.items()
        if code is grpc.StatusCode.PERMISSION_DENIED
    }

    assert CALLS == ["Read", "Acknowledge", "SetWindow", "EndWindow", "Watch"]
    assert [call for call in CALLS if call not in denied] == ALLOWED[role]
    assert denied == {call: f"{role} ann may not ask for {call} here" for call in denied}
    assert answers["Watch"] == (grpc.StatusCode.OK, "")


async def test_a_certificate_without_a_role_watches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    papers = Papers(tmp_path)
    (port,) = free_ports(1)
    desk = GatewayDesk()
    monkeypatch.setattr("cluster.io.guard.caller_of", lambda context: None)
    end = End(
        "n1",
        {"n1": f"127.0.0.1:{port}"},
        papers.secure("n1"),
        lambda server: serve_gateways_api(server, desk),
    )
    await end.links.start()
    try:
        channels = ApiClient(papers.secure("ann", "operator"))
        client = GatewaysClient(channels)
        with pytest.raises(Refused, match="a certificate without a role may not ask for Watch"):
            await anext(client.watch(end.peers["n1"]))
        await channels.close()
    finally:
        await end.links.stop()


async def test_an_acknowledgement_is_signed_by_whose_certificate_it_came_with(
    tmp_path: Path,
) -> None:
    papers = Papers(tmp_path)
    (port,) = free_ports(1)
    desk = GatewayDesk()
    desk.see("los", "on", "tg1/3")
    end = End(
        "n1",
        {"n1": f"127.0.0.1:{port}"},
        papers.secure("n1"),
        lambda server: serve_gateways_api(server, desk),
    )
    await end.links.start()
    try:
        channels = ApiClient(papers.secure("ann", "operator"))
        done = await GatewaysClient(channels).acknowledge(
            end.peers["n1"], desk.shown()[0].id, by="somebody else", note="", timeout_ms=WAIT
        )
        await channels.close()
    finally:
        await end.links.stop()

    assert done["by"] == desk.shown()[0].acked_by == "operator ann"
