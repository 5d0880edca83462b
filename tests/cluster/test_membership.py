"""Which standbys stay in sync: who is silent leaves before he would suspect us, unless it is we."""

import pytest

from cluster.log import Log
from cluster.membership import joining, staying
from cluster.messages import CoreMessage
from cluster.replicas import BEAT_MS, IN_SYNC_TIMEOUT_MS, SILENT_MS, Replicas, Standby
from cluster.roles import Active
from cluster.store import ShardKey
from cluster.suspicion import BEAT_TIMEOUT_MS

NOW = 10_000


def active(**silent_ms: int) -> Active:
    """n1 leads; how long it has heard nothing of the others."""

    def send(node: str, message: CoreMessage) -> None:
        pass

    peers = {
        node: Standby(node, NOW - ms, member=f"{node}:x", answered=True, match=1)
        for node, ms in silent_ms.items()
    }
    in_sync = ("n1:x", *(f"{node}:x" for node in silent_ms))
    return Active(
        1, ShardKey(1, "n1:x", in_sync), Replicas(1, "n1:x", Log(birth=1), peers, send, int)
    )


@pytest.mark.parametrize(
    ("silent_ms", "stays"),
    [
        ({"n2": 0, "n3": 0}, ["n2", "n3"]),
        ({"n2": 0, "n3": SILENT_MS}, ["n2", "n3"]),
        ({"n2": 0, "n3": SILENT_MS + 1}, ["n2"]),
        ({"n2": SILENT_MS + 1, "n3": SILENT_MS + 1}, ["n2", "n3"]),
        ({"n2": IN_SYNC_TIMEOUT_MS, "n3": IN_SYNC_TIMEOUT_MS}, ["n2", "n3"]),
        ({"n2": IN_SYNC_TIMEOUT_MS + 1, "n3": IN_SYNC_TIMEOUT_MS + 1}, []),
        ({"n2": SILENT_MS + 1}, ["n2"]),
        ({"n2": IN_SYNC_TIMEOUT_MS + 1}, []),
    ],
)
def test_one_silent_standby_leaves_soon_and_all_of_them_only_after_they_would_suspect_us(
    silent_ms: dict[str, int], stays: list[str]
) -> None:
    assert staying(active(**silent_ms), NOW, None) == ("n1:x", *(f"{node}:x" for node in stays))


def test_who_is_cut_off_is_out_before_he_may_take_over_and_cannot_keep_a_shard_to_himself() -> None:
    """Found by `keepline chaos --fault cut`: a node cut off from all others took a shard from a
    healthy active, which was then ended; its own shard's new active ended it; all calls were lost.
    """
    assert SILENT_MS + BEAT_MS <= BEAT_TIMEOUT_MS
    assert BEAT_TIMEOUT_MS + BEAT_MS <= IN_SYNC_TIMEOUT_MS


def test_who_would_have_to_leave_again_does_not_join() -> None:
    role = active(n2=0, n3=SILENT_MS)
    role.key = ShardKey(1, "n1:x", ("n1:x", "n2:x"))
    assert joining(role, Log(birth=1), 3, NOW, None) == {}
    assert list(joining(role, Log(birth=1), 3, NOW - 1, None)) == ["n3:x"]
