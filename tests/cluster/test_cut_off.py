"""Nodes on hosts of their own, whose links, and way to the store, are cut packet by packet."""

import os
from collections.abc import Iterator

import pytest

from loadtest.io.store_servers import ServersFailed
from tests.cluster.apart import Apart, apart
from tests.cluster.namespaces import missing

pytestmark = pytest.mark.real

CUT_S = 2.0
SILENT_MS = 700
"""Of the promise: so long may a shard whose active is cut off acknowledge nothing."""


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    if why := missing():
        pytest.skip(why)
    try:
        with apart(tmp_path_factory.mktemp("apart")) as found:
            yield found
    except ServersFailed as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))


@pytest.mark.parametrize(
    ("out", "into"), [(True, True), (True, False), (False, True)], ids=["both", "out", "into"]
)
def test_an_active_that_is_cut_off_is_followed_and_nothing_acknowledged_is_lost(
    toys: Apart, out: bool, into: bool
) -> None:
    active, epoch = toys.in_sync("shard0", 3)
    toys.traffic(0.3)
    cut_ms = toys.net.cut(active, out=out, into=into)
    try:
        silent_ms = toys.traffic(CUT_S)
        successor, now = toys.in_sync("shard0", 2)
    finally:
        toys.net.heal()

    assert successor != active
    assert now > epoch
    toys.wait("deposed", names=active, after=cut_ms)
    toys.in_sync("shard0", 3)
    assert toys.running[active].poll() is None  # nobody can end a process of another host
    toys.traffic(0.3)
    assert {epoch: len(names) for epoch, names in toys.leaders().items()} == dict.fromkeys(
        range(1, now + 1), 1
    )
    assert silent_ms <= SILENT_MS


def test_a_standby_that_is_cut_off_costs_no_acknowledgement(toys: Apart) -> None:
    active, epoch = toys.in_sync("shard0", 3)
    standby = next(name for name in toys.names if name != active)
    toys.net.cut(standby, out=True, into=True)
    try:
        silent_ms = toys.traffic(CUT_S)
        assert toys.in_sync("shard0", 2) == (active, epoch)
    finally:
        toys.net.heal()

    assert toys.in_sync("shard0", 3) == (active, epoch)
    toys.traffic(0.3)
    assert silent_ms <= SILENT_MS
