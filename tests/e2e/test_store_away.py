"""The store is away and a copy is lost: audio goes on, nothing is acknowledged, all comes back."""

import signal
import sqlite3
from pathlib import Path

import pytest

from tests.e2e.cluster import own_address, running, until
from tests.e2e.raw_phone import RawPhone

pytestmark = pytest.mark.real


def test_new_calls_are_turned_away_at_once_while_nothing_can_be_committed(tmp_path: Path) -> None:
    host = own_address()
    centre = f"""
numbers: {{"4001": {{queue: support, prompt: ""}}}}
queues: {{support: {{}}}}
agents: {{"1001": {{phone: "sip:1001@{host}:7001", queues: [support], state: not_ready}}}}
shards: {{main: {{sip: "{host}:5060"}}}}
"""
    with (
        running(tmp_path, centre, nodes=2) as cluster,
        RawPhone(host, (host, 5060)) as waiting,
    ):
        assert waiting.call("4001").status == 200
        _, standby = cluster.standby()
        store = sqlite3.connect(cluster.data / "store.db", isolation_level=None)
        try:
            store.execute("begin immediate")
            cluster.kill(standby, signal.SIGKILL)

            def turned_away() -> bool:
                with RawPhone(host, (host, 5060)) as caller:
                    invite = caller.request("INVITE", "4001", body=caller.sdp())
                    caller.send(invite)
                    return any(got.startswith(b"SIP/2.0 503 ") for got in caller.drain(0.3))

            until("a new call gets its 503", turned_away)
            waiting.send(probe := waiting.request("OPTIONS", "4001"))
            assert waiting.drain(0.5) == []  # what is not committed is not answered
        finally:
            store.execute("rollback")
            store.close()

        assert waiting.answer_to(probe).status == 200
        until("two copies again", lambda: len(cluster.shard()["in_sync"]) == 2, 30)
        with RawPhone(host, (host, 5060)) as caller:
            assert caller.call("4001").status == 200
        ledger = cluster.ask("status")["ledger"]
        assert ledger["refused"] >= 1
        assert ledger["unaccounted"] == 0
