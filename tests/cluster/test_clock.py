"""Shard time over a takeover."""

from cluster.clock import ShardClock


def test_shard_time_never_goes_back() -> None:
    active, standby = ShardClock(5_000), ShardClock(900_000)
    stamps = [active.now(5_000 + n * 50) for n in range(20)]
    delays = [40, 3, 90, 5, 1, 60, 7, 8, 9, 2, 30, 4, 5, 6, 70, 8, 9, 1, 1, 200]
    for n, (stamp, delay) in enumerate(zip(stamps, delays, strict=True)):
        standby.heard(stamp, 900_000 + n * 50 + delay)
    standby.lead(900_000 + 20 * 50)
    # The least delayed beat took 1 ms: no way back, and no jump.
    assert standby.now(900_000 + 20 * 50) == active.now(5_000 + 20 * 50) - 1
