"""The operators' API between a real server and a real client, and how commands find a cluster."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from node.api import ApiClient, NotHere, Refused, Unreachable, Wanted, serve_api
from node.ask import NoCluster, cluster
from node.directory import Directory
from tests.node.test_merge import answer, shard


class Desk:
    """A node as the API sees it."""

    def __init__(self, documents: dict[str, Any], agents: tuple[str, ...] = ()) -> None:
        self.documents = documents
        self.agents = agents
        self.asked: list[tuple[Any, ...]] = []

    async def read(self, what: str, call: str, limit: int) -> Any:
        if what == "nodes":
            return {}
        self.asked.append((what, call, limit))
        if isinstance(self.documents[what], Exception):
            raise self.documents[what]
        return self.documents[what]

    async def drain(self, node: str, timeout_ms: int) -> Any:
        self.asked.append(("drain", node, timeout_ms))
        return {"drained": True}

    async def undrain(self, node: str) -> Any:
        return {"node": node}

    async def forget(self, node: str) -> Any:
        raise Refused(f"{node} is up")

    async def switchover(self, shard: str, to: str) -> Any:
        if shard not in self.documents["led"]:
            raise NotHere(f"shard {shard} is not active here")
        return {"shard": shard, "from": "n1", "to": to}

    async def promote(self, shard: str, *, yes: bool, read: str) -> Any:
        if read not in ("", "3/journal/2/7"):
            raise Refused("it has changed")
        return {"shard": shard, "promoted": yes, "offer": "3/journal/2/7"}

    async def set_agent(self, agent: str, state: str, reason: str) -> Any:
        if agent not in self.agents:
            raise NotHere(f"agent {agent} is not known here")
        return {"agent": agent, "state": state, "reason": reason}

    async def config(self, version: int) -> Any:
        return {"version": version}

    async def config_history(self) -> Any:
        return [{"version": 2}, {"version": 1}]

    async def apply(self, wanted: Wanted) -> Any:
        if wanted.based_on == 7:
            raise Refused("version 8 stands")
        return wanted._asdict()


@contextlib.asynccontextmanager
async def serving(desk: Desk) -> AsyncIterator[str]:
    """The address of a server that answers for the desk."""
    server = grpc.aio.server()
    serve_api(server, desk)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@pytest.fixture
async def client() -> AsyncIterator[ApiClient]:
    client = ApiClient()
    yield client
    await client.close()


async def test_a_document_arrives_as_it_was_answered(client: ApiClient) -> None:
    desk = Desk({"cdr": [{"call": "a", "queue": "Büro"}]})
    async with serving(desk) as address:
        cdr = await client.read(address, "cdr", call="a", limit=7, timeout_ms=5_000)

    assert cdr == [{"call": "a", "queue": "Büro"}]
    assert desk.asked == [("cdr", "a", 7)]


async def test_a_refusal_arrives_with_its_reason(client: ApiClient) -> None:
    async with serving(Desk({"trace": Refused("no such call")})) as address:
        with pytest.raises(Refused, match="no such call"):
            await client.read(address, "trace", timeout_ms=5_000)
        with pytest.raises(Refused, match="no document 'secrets'"):
            await client.read(address, "secrets", timeout_ms=5_000)


async def test_a_change_of_the_centre_arrives_whole_and_its_refusal_comes_back(
    client: ApiClient,
) -> None:
    wanted = Wanted("numbers: {}\n", "a.yaml", 0, 3, dry_run=True, by="anna@desk")
    async with serving(Desk({})) as address:
        assert await client.apply(address, wanted, timeout_ms=5_000) == wanted._asdict()
        with pytest.raises(Refused, match="version 8 stands"):
            await client.apply(address, wanted._replace(based_on=7), timeout_ms=5_000)
        assert await client.read(address, "config", version=4, timeout_ms=5_000) == {"version": 4}
        assert len(await client.read(address, "config_history", timeout_ms=5_000)) == 2


async def test_a_node_that_fails_says_so_and_answers_the_next_request(client: ApiClient) -> None:
    async with serving(Desk({"calls": ZeroDivisionError(), "queues": []})) as address:
        with pytest.raises(Unreachable, match="the node failed"):
            await client.read(address, "calls", timeout_ms=5_000)
        assert await client.read(address, "queues", timeout_ms=5_000) == []


async def test_a_node_that_is_gone_is_unreachable_within_the_deadline(client: ApiClient) -> None:
    async with serving(Desk({})) as address:
        pass
    with pytest.raises(Unreachable):
        await client.read(address, "status", timeout_ms=1_000)
    assert await client.read_each({"n1": address}, "status", timeout_ms=1_000) == {"n1": None}


def write_nodes(data: Path, **addresses: str) -> None:
    nodes = [
        {"name": name, "pid": 1, "api": api, "link": api, "metrics": "", "site": ""}
        for name, api in addresses.items()
    ]
    Directory(data).write_nodes(nodes)


async def test_the_cluster_of_a_directory_is_asked_node_by_node(tmp_path: Path) -> None:
    main = shard("main", "active", 5, "n2")
    first = Desk({"status": answer("n1", shard("main", "standby", 5, "n2"))})
    second = Desk({"status": answer("n2", main)}, agents=("1001",))
    async with serving(Desk({})) as lost:
        pass
    async with serving(first) as one, serving(second) as two, serving(Desk({})) as gone:
        write_nodes(tmp_path, n1=one, n2=two, n3=gone, n4=lost)
        async with cluster(tmp_path, None) as found:
            first.documents["status"]["shards"][0]["in_sync"] = []
            status = await found.status()
            assert status["shards"][0]["active"] == "n2"
            answered = await found.set_agent("1001", "not_ready", "lunch")
            assert answered == {"agent": "1001", "state": "not_ready", "reason": "lunch"}
            with pytest.raises(Refused, match="agent 1002 is not known here"):
                await found.set_agent("1002", "ready", "")
            await found.drain("n1", 3_000)
            assert ("drain", "", 3_000) in first.asked
            await found.drain("n4", 3_000)  # which does not answer: any other one notes it
            assert ("drain", "n4", 0) in first.asked
            assert await found.undrain("n4") == {"node": "n4"}
            with pytest.raises(Refused, match="n2 is up"):
                await found.forget("n2")
            with pytest.raises(Refused, match="no node 'n9'; known: n1, n2, n3, n4"):
                await found.drain("n9", 3_000)
            told = await found.promote("main", "n2", yes=False)
            done = await found.promote("main", "n2", yes=True, read=told["offer"])
            assert (told["promoted"], done["promoted"]) == (False, True)
            with pytest.raises(Refused, match="it has changed"):
                await found.promote("main", "n2", yes=True, read="3/journal/2/6")
            with pytest.raises(Refused, match="no node 'n9'; known: n1, n2, n3"):
                await found.promote("main", "n9", yes=True)


async def test_what_has_no_answer_is_named(tmp_path: Path) -> None:
    async with serving(Desk({})) as gone:
        pass
    write_nodes(tmp_path, n1=gone)
    async with cluster(tmp_path, None) as found:
        with pytest.raises(Unreachable, match=r"^node n1: no answer$"):
            await found.drain("n1", 500)
        with pytest.raises(Unreachable, match=r"^no node answers$"):
            await found.set_agent("1001", "ready", "")
    for address in (gone, "nowhere", "::", "127.0.0.1:http"):
        async with cluster(None, address) as found:
            with pytest.raises(Unreachable, match=f"^{address}: no answer$"):
                await found.status()


async def test_the_address_that_was_given_is_where_that_node_is(tmp_path: Path) -> None:
    """As through a tunnel: where the node says it listens, it cannot be reached from here."""
    async with serving(Desk({})) as gone:
        told = answer("n1", shard("main", "active", 5, "n1")) | {"peers": {"n1": gone}}
        async with serving(Desk({"status": told})) as one, cluster(None, one) as found:
            (node,) = (await found.status())["nodes"]
    assert node["alive"]


async def test_a_list_of_nodes_that_is_damaged_is_no_list(tmp_path: Path) -> None:
    for damage in ("{", '{"n1": 1}', '[1, {"name": "n1"}]', "[null]"):
        Directory(tmp_path).nodes.write_text(damage)
        assert Directory(tmp_path).known_nodes() == []
        assert Directory(tmp_path).holders() == []


async def test_one_address_leads_to_all_nodes(tmp_path: Path) -> None:
    second = Desk({"status": answer("n2", shard("main", "active", 5, "n2")), "calls": []})
    async with serving(second) as two:
        told = answer("n1", shard("main", "standby", 5, "n2"))
        first = Desk({"status": told | {"peers": {"n2": two}}, "calls": []})
        async with serving(first) as one, cluster(None, one) as found:
            status = await found.status()

    assert [(node["name"], node["alive"]) for node in status["nodes"]] == [
        ("n1", True),
        ("n2", True),
    ]


async def test_waiting_for_ready_ends_with_what_is_lacking(tmp_path: Path) -> None:
    async with cluster(tmp_path, None) as found:
        with pytest.raises(NoCluster, match=r"not ready after 0\.3 s: .* no cluster was started"):
            await found.ready(300)
    desk = Desk({"status": answer("n1", shard("main", "standby", 1, "", in_sync=[]))})
    async with serving(desk) as address:
        write_nodes(tmp_path, n1=address)
        async with cluster(tmp_path, None) as found:
            with pytest.raises(NoCluster, match="shard main has no serving node"):
                await found.ready(300)
            desk.documents["status"] = answer("n1", shard("main", "active", 1, "n1"))
            assert (await found.ready(5_000))["can_lose"] == 2


async def test_history_is_read_from_the_database_when_no_node_answers(tmp_path: Path) -> None:
    async with serving(Desk({})) as gone:
        write_nodes(tmp_path, n1=gone)
    async with cluster(tmp_path, None) as found:
        with pytest.raises(Unreachable, match="no node answers and there is no database"):
            await found.history("cdr")
        (tmp_path / "events.db").write_bytes(b"not a database" * 100)
        with pytest.raises(Unreachable, match=r"no node answers and .*: file is not a database"):
            await found.history("cdr")
        (tmp_path / "events.db").unlink()
    from node import events_db

    connection = events_db.connect(tmp_path / "events.db")
    fields = json.dumps({"number": "4001"}).encode()
    events_db.write(connection, [("main/1/1/0", "main", 1, 1, "ended", "main/1/0", fields)])
    connection.close()
    async with cluster(tmp_path, None) as found:
        assert [row["number"] for row in await found.history("cdr")] == ["4001"]
        trace = await found.trace("main/1/0")

    assert [step["kind"] for step in trace["steps"]] == ["ended"]


async def test_a_trace_joins_what_every_node_saw_with_the_events_in_order(tmp_path: Path) -> None:
    event = {"id": "main/1/1/0", "at": "", "wall_ms": 20, "kind": "queued", "call": "main/1/0"}
    invite = {"wall_ms": 10, "node": "n1", "way": "in", "peer": "a:1", "message": "INVITE"}
    bye = {"wall_ms": 30, "node": "n2", "way": "out", "peer": "a:1", "message": "BYE"}
    first = Desk({"trace": {"messages": [invite]}, "events": [event]})
    second = Desk({"trace": {"messages": [bye]}, "events": [event]})
    async with serving(first) as one, serving(second) as two:
        write_nodes(tmp_path, n1=one, n2=two)
        async with cluster(tmp_path, None) as found:
            trace = await found.trace("main/1/0")
            first.documents["trace"] = second.documents["trace"] = {"messages": []}
            first.documents["events"] = []
            with pytest.raises(Refused, match="no call 'nobody' is known"):
                await found.trace("nobody")

    assert trace["call"] == "main/1/0"
    seen = [(step.get("node"), step["kind"]) for step in trace["steps"]]
    assert seen == [("n1", "sip in"), (None, "queued"), ("n2", "sip out")]
