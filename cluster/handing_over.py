"""An active that names its successor: planned, or because its journal cannot be written.

Planned, it has stopped stepping and everything is committed: the successor takes over exactly that.
An active that cannot write may acknowledge nothing more; whatever the successor holds, it may take
over at any time, for it is in sync.
"""

from typing import TYPE_CHECKING

from cluster import membership
from cluster.messages import HandOver
from cluster.roles import Active, Follower, Found, HandingOver, Start
from cluster.store import decode_key, node_of

if TYPE_CHECKING:
    from cluster.core import Core

HAND_OVER_MS = 1_000
"""The successor must have taken over by then, else the old active goes on."""
AT_ONCE = 0
"""`HandOver.end` of an active that cannot go on."""


def successors(core: "Core") -> list[str]:
    """In-sync nodes that could take over at once, the preferred one first."""
    role = core.role
    return sorted(membership.succeeding(role), key=core._rank) if isinstance(role, Active) else []


def begin(core: "Core", node: str) -> bool:
    """Name the successor; the owner has stopped stepping. False: it cannot be that node."""
    role = core.role
    if not isinstance(role, Active) or node not in successors(core):
        return False
    until_ms = core._outside.now_ms() + HAND_OVER_MS
    member = role.replicas.peers[node].member
    role.handing = HandingOver(member, until_ms, stays=not core.leaving)
    press(core, role)
    return True


def press(core: "Core", role: Active) -> None:
    """Once all is committed, tell the successor (again with each beat)."""
    handing = role.handing
    log = core.log
    if handing is None or role.changing or log.commit != log.end:
        return
    asked = HandOver(core.epoch, handing.member, log.end, handing.stays)
    core._outside.send(node_of(handing.member), asked)


def go_on(core: "Core", role: Active, now_ms: int) -> None:
    """With each tick: press, or call it off."""
    if role.handing is None:
        if core.journal.failed and (able := successors(core)):
            member = role.replicas.peers[able[0]].member
            core._outside.send(able[0], HandOver(core.epoch, member, AT_ONCE))
    elif now_ms > role.handing.until_ms:
        call_off(core, role)
    else:
        press(core, role)


def call_off(core: "Core", role: Active) -> None:
    """The successor did not come, or is lost: this member still leads."""
    role.handing = None
    core._owner.hand_over_failed()


def take_over(core: "Core", role: Follower, asked: HandOver) -> None:
    """The active asked for it: no need to wait for a turn."""
    is_meant = asked.member == core.member and asked.end in (AT_ONCE, core.log.end)
    if not is_meant or role.reading or core.leaving or core.journal.failed:
        return
    role.turn = -1
    role.reading = True
    asked_ms = core._outside.now_ms()

    def got(found: Found | None) -> None:
        if core.role is not role:
            return
        role.reading = False
        key = None if found is None else decode_key(found[1])
        if found is None or key is None:
            return
        core.key = key
        if key.epoch == core.epoch and key.active and core._may_take(key):
            role.suspicion = ("hand-over", asked_ms)
            core._take(found[0], key, Start(old_active=key.active), asked=asked)

    core._outside.read(got)
