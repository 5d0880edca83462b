"""Real processes with toy shards: killed, stopped, restarted; the address moves by `bind`."""

import json
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from tests.cluster.processes import Processes


def test_killed_actives_are_followed_by_others_and_nothing_is_lost(tmp_path: Path) -> None:
    with Processes(tmp_path) as toys:
        toys.in_sync("shard0", 3)
        toys.ask("shard0", "fill", fill=4_000, size=850, again_s=5)
        gaps_ms = []
        for n in range(3):
            active, epoch = toys.in_sync("shard0", 3)
            toys.ask("shard0", f"before{n}")
            at = toys.kill(active)
            toys.ask("shard0", f"after{n}")
            gaps_ms.append(time.monotonic() * 1000 - at)
            name, fact = toys.wait("reading", after=at)
            assert name != active
            assert fact["epoch"] == epoch + 1
            assert fact["records"] == 4_001
            toys.start(active)
        # fill, and two for each round: acknowledged once, never doubled.
        assert toys.ask("shard0", "last")["value"] == 8
        assert sorted(gaps_ms)[1] < 1_000


def test_a_stopped_active_is_ended_and_its_address_moves(tmp_path: Path) -> None:
    with Processes(tmp_path) as toys:
        active, epoch = toys.in_sync("shard0", 3)
        toys.ask("shard0", "before")
        stopped = toys.running[active]
        at = toys.signal(active, signal.SIGSTOP)
        assert toys.ask("shard0", "after")["value"] == 2
        name, fact = toys.wait("reading", after=at)
        assert name != active
        assert fact["epoch"] == epoch + 1
        assert fact["at"] - at < 2_000
        assert stopped.wait(5) == -signal.SIGKILL
        del toys.running[active]
        toys.start(active)
        toys.in_sync("shard0", 3)
        assert toys.ask("shard0", "last")["value"] == 3


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_standby_delays_nothing_by_more_than_half_a_second(
    tmp_path: Path, fault: signal.Signals
) -> None:
    with Processes(tmp_path) as toys:
        active, _ = toys.in_sync("shard0", 3)
        toys.ask("shard0", "before")
        standby = next(name for name in toys.names if name != active)
        if fault == signal.SIGKILL:
            toys.kill(standby)
        else:
            toys.signal(standby, fault)
        began = time.monotonic()
        longest = 0.0
        n = 0
        while time.monotonic() - began < 1.0:
            asked = time.monotonic()
            toys.ask("shard0", f"op{n}")
            longest = max(longest, time.monotonic() - asked)
            n += 1
        assert toys.in_sync("shard0", 2) == (active, 1)
        assert longest < 1.0
        if fault == signal.SIGSTOP:
            toys.signal(standby, signal.SIGCONT)
            toys.in_sync("shard0", 3)


def test_a_drill_of_two_shards_on_two_nodes(tmp_path: Path) -> None:
    with Processes(tmp_path, shards=2) as toys:
        one, _ = toys.in_sync("shard0", 3)
        two, _ = toys.in_sync("shard1", 3)
        assert one != two
        toys.ask("shard0", "before")
        toys.ask("shard1", "before")
        toys.kill(one)
        assert toys.ask("shard1", "after")["value"] == 2
        assert toys.ask("shard0", "after")["value"] == 2


def test_a_writer_stopped_inside_its_transaction_does_not_keep_others_from_the_store(
    tmp_path: Path,
) -> None:
    with Processes(tmp_path) as toys:
        active, _ = toys.in_sync("shard0", 3)
        toys.ask("shard0", "before")
        # The active takes the writer's lock and is stopped with it.
        at = toys.signal(active, signal.SIGUSR1)
        toys.wait("locked", names=active, after=at)
        stopped = toys.running[active]
        at = toys.signal(active, signal.SIGSTOP)
        assert toys.ask("shard0", "after")["value"] == 2
        assert stopped.wait(5) == -signal.SIGKILL
        others = [name for name in toys.names if name != active]
        facts = [fact for name in others for fact in toys.facts(name)]
        assert any(fact["what"] == "store locked" for fact in facts)
        assert time.monotonic() * 1000 - at < 3_000


def test_after_all_processes_were_killed_the_shard_starts_empty_and_says_so(tmp_path: Path) -> None:
    with Processes(tmp_path) as toys:
        _, epoch = toys.in_sync("shard0", 3)
        toys.ask("shard0", "before")
        for name in toys.names:
            toys.kill(name)
        for name in toys.names:
            toys.start(name)
        _, fact = toys.wait("reading")
        assert fact["lost"] is True
        assert fact["epoch"] == epoch + 1
        assert toys.ask("shard0", "after")["value"] == 1


def test_a_stopped_cluster_goes_on_where_it_was(tmp_path: Path) -> None:
    with Processes(tmp_path) as toys:
        _, epoch = toys.in_sync("shard0", 3)
        toys.ask("shard0", "before")
        for name in toys.names:
            toys.signal(name, signal.SIGTERM)
        for name in toys.names:
            assert toys.running.pop(name).wait(10) == 0
        with sqlite3.connect(tmp_path / "store.db") as db:
            (value,) = db.execute("select value from kv where key = 'shard/shard0'").fetchone()
        db.close()
        key = json.loads(value)
        assert (key["active"], key["in_sync"]) == ("", [])
        assert key["snapshot"].startswith("shard0-")
        for name in toys.names:
            toys.start(name)
        _, fact = toys.wait("reading")
        assert fact["lost"] is False
        assert fact["epoch"] > epoch
        assert toys.ask("shard0", "after")["value"] == 2


def test_an_orphan_of_an_earlier_takeover_is_found_by_its_socket(tmp_path: Path) -> None:
    """A hangs, B takes over and is killed before it could deal with A: C finds A on the address."""
    with Processes(tmp_path) as toys:
        first, _ = toys.in_sync("shard0", 3)
        toys.ask("shard0", "before")
        stopped = toys.running[first]
        at = toys.signal(first, signal.SIGSTOP)
        name, _ = toys.wait("elected", names="".join(n for n in toys.names if n != first), after=at)
        toys.kill(name)
        assert toys.ask("shard0", "after")["value"] == 2
        assert stopped.wait(5) == -signal.SIGKILL
