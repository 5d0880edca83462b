"""Who counts: whose acknowledgement a commit waits for, who leaves in_sync, joins it, may succeed.

What the active of an epoch reads off its key and its view of the standbys. To remove or take in a
member it must change the key; until that is done the old one counts.
"""

from collections.abc import Collection, Container, Sequence

from cluster.log import Log
from cluster.replicas import IN_SYNC_TIMEOUT_MS, SILENT_MS
from cluster.roles import Active
from cluster.store import node_of

NEAR_BATCHES = 1_000
"""A standby this close behind is waited for, so that it can join in_sync."""


def acknowledged(role: Active, log: Log) -> int:
    """The last batch that every member that counts holds."""
    me = role.key.active
    lowest = log.end
    peers = role.replicas.peers
    for member in (*role.key.in_sync, *role.pending):
        if member != me:
            peer = peers.get(node_of(member))
            match = peer.match if peer is not None and peer.member == member else 0
            lowest = min(lowest, match)
    return lowest


def staying(
    role: Active, now_ms: int, wanted: Container[str] | None, far: Container[str] = ()
) -> tuple[str, ...]:
    """The in-sync members that are still with us, and on a node that shall hold a copy."""
    return tuple(
        member
        for member in role.key.in_sync
        if member == role.key.active
        or (
            _is_here(role, member, now_ms)
            and (wanted is None or node_of(member) in wanted)
            and node_of(member) not in far
        )
    )


def _is_here(role: Active, member: str, now_ms: int) -> bool:
    peer = role.replicas.peers.get(node_of(member))
    if peer is None or peer.dead or peer.leaving == member:
        return False
    if peer.member not in ("", member):
        return False
    silent_ms = now_ms - peer.seen_ms
    if silent_ms <= SILENT_MS:
        return True
    others = (other for other in role.replicas.peers.values() if other is not peer)
    is_alone = all(now_ms - other.seen_ms > SILENT_MS for other in others)
    return is_alone and silent_ms <= IN_SYNC_TIMEOUT_MS


def may_be_cut_off(role: Active, now_ms: int) -> bool:
    """Has it heard nobody at all for a while, and is nobody known to have gone?"""
    peers = role.replicas.peers.values()
    return not any(
        peer.dead or peer.leaving or now_ms - peer.seen_ms <= SILENT_MS for peer in peers
    )


def joining(
    role: Active,
    log: Log,
    copies: int,
    now_ms: int,
    wanted: Collection[str] | None,
    far: Container[str] = (),
) -> dict[str, int]:
    """Members that may soon be taken into in_sync, and up to where each holds the log."""
    in_sync = role.key.in_sync
    if wanted is not None:
        copies = len(wanted)
    near = [
        peer
        for peer in role.replicas.peers.values()
        if peer.answered
        and (wanted is None or peer.node in wanted)
        and peer.node not in far
        and peer.sending is None
        and not peer.dead
        and peer.member not in in_sync
        and peer.leaving != peer.member
        and now_ms - peer.seen_ms < SILENT_MS
        and peer.match > 0
        and log.end - peer.match <= NEAR_BATCHES
    ]
    return {peer.member: peer.match for peer in near[: max(0, copies - len(in_sync))]}


def succeeding(role: Active) -> list[str]:
    """In-sync nodes that could take over at once."""
    peers = role.replicas.peers
    return [
        node_of(member)
        for member in role.key.in_sync
        if member != role.key.active
        and (peer := peers.get(node_of(member))) is not None
        and peer.member == member
        and peer.leaving != member
        and not peer.dead
    ]


def holding(
    role: Active,
    peers: Sequence[str],
    copies: int,
    up: Container[str],
    wanted: Container[str] | None,
    far: Container[str] = (),
) -> Sequence[str]:
    """Those of `peers` (preferred first) that hold copies, or shall: `wanted`, if it is known, or
    so many as there are to be. And every one that is far: it is none of those."""
    if wanted is not None:
        holds = [node_of(member) for member in (*role.key.in_sync, *role.pending)]
        return [node for node in peers if node in wanted or node in holds or node in far]
    near = [node for node in peers if node not in far]
    if copies > len(near):
        return peers
    chosen = [node for node in map(node_of, role.key.in_sync) if node in near]
    for node in near:
        if len(chosen) >= copies - 1:
            break
        if node not in chosen and node in up:
            chosen.append(node)
    return chosen + [node for node in peers if node in far]
