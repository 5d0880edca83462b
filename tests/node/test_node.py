"""One node as its operators see it: in this process, with real links and store and no media."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node import events_db
from node.api import Refused
from node.directory import Directory, DirectoryError
from tests.cluster.hosts import free_ports, until
from tests.node.nodes import nodes
from tests.node.running import KEEPLINE, free_udp_port, write_centre


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process keeps everybody from writing."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


async def test_before_the_first_call_there_is_no_history_and_no_error(tmp_path: Path) -> None:
    async with nodes(tmp_path, 1) as one:
        node = await one.serving(copies=1)
        events = one.data / "events.db"
        assert await node.read("cdr", "", 0) == []
        await until(events.exists)  # "configured"
        assert await node.read("cdr", "", 0) == []


async def test_a_history_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with nodes(tmp_path, 1) as one:
        node = await one.serving(copies=1)
        await until((one.data / "events.db").exists)
        node.directory.events = tmp_path / "other.db"
        node.directory.events.write_bytes(b"not a database" * 100)
        for what in ("cdr", "events", "trace"):
            with pytest.raises(Refused, match="events cannot be read: file is not a database"):
                await node.read(what, "x", 0)


async def test_a_node_that_leads_nothing_is_drained_and_says_so(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as two:
        active = await two.serving(copies=2)
        (other,) = (node for node in two.up.values() if node is not active)
        assert await other.drain("", 5_000) == {"node": other.options.name, "moved": {}}


async def test_the_last_node_cannot_be_drained_and_says_why(tmp_path: Path) -> None:
    async with nodes(tmp_path, 1) as one:
        node = await one.serving(copies=1)
        with pytest.raises(Refused, match="no other node could take main; it stays with n1"):
            await node.drain("", 5_000)
        assert node.host.states()["main"].serving


async def test_a_drain_that_takes_too_long_is_refused_with_what_stands(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as two:
        node = await two.serving(copies=2)
        with (
            locked(two.data / "store.db"),
            pytest.raises(Refused, match=r"the store does not answer"),
        ):
            await node.drain("", 200)


async def test_a_shard_that_cannot_commit_answers_status_with_an_alarm(tmp_path: Path) -> None:
    async with nodes(tmp_path, 2) as two:
        active = await two.serving(copies=2)
        (name,) = (name for name, node in two.up.items() if node is not active)
        with locked(two.data / "store.db"):
            gone = two.up.pop(name)  # and cannot be taken out of in_sync
            await gone.host.close()
            gone.inbox.close()
            active.host.post("main", _something())
            await until(lambda: active.host.shard("main").commit_age_ms() > 1_500)
            document = await asyncio.wait_for(active.read("status", "", 0), 1.0)
        assert document["shards"][0]["serving"] is True
        (alarm,) = (alarm for alarm in document["alarms"] if "committed nothing" in alarm)
        assert alarm.startswith("shard main has committed nothing for ")


def _something() -> Any:
    from calls.inputs import SetAgent

    return SetAgent("1001", "not_ready", "lunch")


async def test_a_store_that_was_removed_under_a_living_cluster_is_an_alarm(tmp_path: Path) -> None:
    async with nodes(tmp_path, 1) as one:
        node = await one.serving(copies=1)
        await until((one.data / "events.db").exists)
        for file in one.data.glob("store.db*"):
            file.unlink()
        alarms = (await node.read("status", "", 0))["alarms"]
        assert any(alarm.startswith(f"{one.data / 'store.db'} was removed") for alarm in alarms)
        # Nor does a node that starts now begin a second history in a store of its own.
        with pytest.raises(DirectoryError, match=r"store.db: is missing, but events.db is there"):
            Directory(one.data).check_store()


def run_node(folder: Path, *words: str) -> tuple[int, list[str]]:
    """`keepline node` that is expected to end by itself: its status and what it said."""
    centre = write_centre(folder, free_udp_port())
    port = free_ports(1)[0]
    done = subprocess.run(
        [*KEEPLINE, "node", "--name=n1", f"--data={folder / 'data'}", f"--centre={centre}",
         f"--listen=127.0.0.1:{port}", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stderr.splitlines()


def test_a_store_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    store = tmp_path / "data" / "store.db"
    store.write_bytes(b"not a database" * 100)
    assert run_node(tmp_path) == (
        1,
        [f"keepline node n1: cannot start: {store}: file is not a database"],
    )


def test_a_store_that_was_removed_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    events_db.connect(tmp_path / "data" / "events.db").close()
    status, (line,) = run_node(tmp_path)
    assert status == 2
    assert line == (
        f"keepline: {tmp_path / 'data' / 'store.db'}: is missing, but events.db is there; "
        "bring it back, or start with an empty directory"
    )


def test_a_locked_store_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    store = tmp_path / "data" / "store.db"
    sqlite3.connect(store).close()
    code = (
        "import sys, sqlite3, time\n"
        f"sys.path[:0] = {sys.path!r}\n"
        f"db = sqlite3.connect({str(store)!r}, isolation_level=None)\n"
        "db.execute('pragma journal_mode = wal')\n"
        "db.execute('create table kv (key text primary key, rev integer, value blob)')\n"
        "db.execute('begin immediate'); print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        status, (line,) = run_node(tmp_path)
        other.kill()
    assert status == 1
    assert line.startswith(f"keepline node n1: cannot start: {store}")


def test_a_metrics_port_in_use_is_one_line_and_no_shard_was_touched(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, (line,) = run_node(tmp_path, f"--metrics-port={port}")
    assert status == 1
    assert line == (
        f"keepline node n1: cannot start: cannot serve /metrics on 127.0.0.1:{port}: "
        "Address already in use"
    )
    with sqlite3.connect(tmp_path / "data" / "store.db") as db:
        assert db.execute("select key from kv").fetchall() == [("cluster",)]
    db.close()


def test_a_log_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    log = tmp_path / "data" / "logs" / "n1.log"
    log.mkdir(parents=True)
    status, (line,) = run_node(tmp_path)
    assert status == 2
    assert line == f"keepline: {log}: cannot be written: {os.strerror(21)}"
