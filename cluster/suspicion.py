"""Who is missed, and is his process gone? Both are hints of when to try, never proofs."""

from typing import TYPE_CHECKING

from cluster.roles import Active, Candidate, Follower, Stopped
from cluster.store import node_of

if TYPE_CHECKING:
    from cluster.core import Core

BEAT_TIMEOUT_MS = 250
"""No beat for this long: suspect the active (beats every 50 ms)."""
PROBE_AGAIN_MS = 20
PROBES = 10
"""The active's connection broke and its port still answers: so often it is asked, so far apart;
then the beats decide."""


def suspects(core: "Core") -> list[str]:
    """Nodes that should have been heard of and were not."""
    now_ms = core._outside.now_ms()
    match core.role:
        case Active(key=key, replicas=replicas):
            peers = [replicas.peers.get(node_of(member)) for member in key.in_sync]
            return [peer.node for peer in peers if peer and now_ms - peer.seen_ms > BEAT_TIMEOUT_MS]
        case Follower(heard_ms=heard_ms, leader=leader):
            return [leader] if leader and now_ms - heard_ms > BEAT_TIMEOUT_MS else []
        case Candidate(old_node=old_node):
            return [old_node] if old_node else []
        case Stopped():
            return []


def probe_standby(core: "Core", role: Active, node: str) -> None:
    """If the standby's process is gone, it need not be waited for."""

    def answered(is_gone: bool) -> None:
        if is_gone and core.role is role:
            peer = role.replicas.peers[node]
            # What it said last may still be on its way: it is not taken in again for that.
            peer.dead, peer.answered = True, False
            core._check_members(role, core._outside.now_ms())

    if node in role.replicas.peers:
        core._outside.probe(node, answered)


def probe_leader(core: "Core", role: Follower, node: str, tries: int = PROBES) -> None:
    """Is the active's process gone? A dying one may close its connections before its port."""
    heard = role.heard

    def again() -> None:
        if core.role is role and role.heard == heard and node not in core.up:
            probe_leader(core, role, node, tries - 1)

    def answered(is_gone: bool) -> None:
        if core.role is not role or node != role.leader:
            return
        if is_gone:
            core._campaign(role, "process gone")
        elif tries > 1:
            core._outside.later(PROBE_AGAIN_MS, again)

    core._outside.probe(node, answered)
