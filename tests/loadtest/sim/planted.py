"""Bugs that the simulation must find: each a piece of the product put out of order.

Nothing here is ever part of the product: `planted(bug)` swaps the piece for as long as it is open.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import heappop
from types import ModuleType
from typing import Any
from unittest.mock import patch

from calls.machine import Calls
from calls.records import WAITING, Call, Leg, Outbox
from cluster import comeback, core, journal, key_change, membership
from cluster.answers import Answers
from cluster.copy import Copy
from cluster.core import Core
from cluster.journaling import Journal
from cluster.kept_events import KeptEvents
from cluster.log import EVERYTHING, Log
from cluster.machine import Step
from cluster.messages import Ack, Append
from cluster.replicas import Replicas
from cluster.roles import Found
from cluster.runtime import Held, Shard
from cluster.store import Lost, ShardKey, Unknown, Won, decode_key, encode_key
from cluster.timers import Timers
from loadtest.sim.process import Process
from sip.transaction import Layer


@dataclass(frozen=True)
class Bug:
    """`where.name` is `instead` while the bug is planted."""

    where: type | ModuleType
    name: str
    instead: Any


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    with patch.object(bug.where, bug.name, bug.instead):
        yield


# -- whom a commit waits for -----------------------------------------------------------------------

_change_members = Core._change_members
_acknowledged = membership.acknowledged
_position = Copy.position
_on_append = Copy.on_append
_begin = Replicas._begin


def shrink_without_asking(core: Any, role: Any, in_sync: Any, pending: Any) -> None:
    """A silent standby is no longer waited for, whatever the store says."""
    if len(in_sync) < len(role.key.in_sync):
        role.key = ShardKey(role.key.epoch, role.key.active, in_sync)
        core._advance(role)
    else:
        _change_members(core, role, in_sync, pending)


def grow_in_one_step(role: Any, log: Any) -> int:
    """Acknowledgements do not wait for a joiner before it is in in_sync."""
    pending, role.pending = role.pending, ()
    try:
        return _acknowledged(role, log)
    finally:
        role.pending = pending


def cut_at_once(copy: Any, epoch: int) -> Any:
    """A standby throws its tail away before the new active has replaced it."""
    copy.log.cut(copy.log.commit)
    return _position(copy, epoch)


def keep_the_tail(copy: Any, message: Append) -> Any:
    """A standby keeps its own batch where the new active has another one."""
    own = copy.log.since(message.previous)
    if own and copy.receiving is None:
        kept = own[: len(message.batches)]
        message = Append(
            message.epoch,
            message.previous,
            message.previous_epoch,
            message.commit,
            message.stamp_ms,
            [*kept, *message.batches[len(kept) :]],
        )
    return _on_append(copy, message)


def acknowledge_a_gap(copy: Any, message: Append) -> Any:
    """A standby acknowledges the end of a message whose beginning it lacks."""
    _on_append(copy, message)
    return Ack(message.epoch, copy.member, message.previous + len(message.batches))


def whole_before_its_snapshot_is(replicas: Any, peer: Any, now_ms: int) -> None:
    """A joiner counts as whole before its snapshot is."""
    _begin(replicas, peer, now_ms)
    if peer.sending is not None:
        peer.match = peer.sending.base
        peer.sending = None
        peer.next = peer.match + 1


# -- the store -------------------------------------------------------------------------------------


def take_an_unknown_outcome_for_a_failure(
    outside: Any, rev: int, wanted: ShardKey, decided: Any
) -> None:
    def answered(answer: Won | Lost | Unknown) -> None:
        match answer:
            case Won(won_rev):
                decided(True, won_rev, wanted)
            case Lost(lost_rev, value):
                decided(False, lost_rev, decode_key(value))
            case _:
                decided(False, rev, wanted)

    outside.cas(rev, encode_key(wanted), answered)


def repeat_an_unknown_change_blindly(
    outside: Any, rev: int, wanted: ShardKey, decided: Any
) -> None:
    """It asks for the same again, at whatever revision stands there by now."""

    def answered(answer: Won | Lost | Unknown) -> None:
        match answer:
            case Won(won_rev):
                decided(True, won_rev, wanted)
            case Lost(lost_rev, value):
                decided(False, lost_rev, decode_key(value))
            case _:
                outside.read(again)

    def again(found: Found | None) -> None:
        if found is None:
            outside.later(key_change.RETRY_MS, lambda: outside.read(again))
        else:
            outside.cas(found[0], encode_key(wanted), answered)

    outside.cas(rev, encode_key(wanted), answered)


# -- lives -----------------------------------------------------------------------------------------

_try_serve = Shard._try_serve
_forget = Shard._forget
_process = Process.__init__


def keep_the_name(core: Any) -> None:
    """A member that has dropped its copy goes on under its old name."""
    core.copy = Copy(core.member)


def stay_in_sync_with_nothing(copy: Copy) -> None:
    """An active that handed over drops its records and is still called in sync."""
    copy.log = Log()


def restart_under_the_same_name(process: Any, world: Any, node: str, incarnation: str) -> None:
    """A process that has forgotten everything is taken for the one before it."""
    _process(process, world, node, "same")


def serve_without_a_barrier(shard: Any, opening: Any) -> None:
    opening.barrier = 0
    _try_serve(shard, opening)


def keep_old_timers(shard: Any) -> None:
    """Timers that were armed in a former life as active are still there in the next."""
    timers = getattr(shard, "_timers", None)
    _forget(shard)
    if timers is not None:
        shard._timers = timers


def take_any_timer(timers: Any, now_ms: int) -> tuple[int, str] | None:
    """A timer fires though its record wants another one by now, or none."""
    heap = timers._heap
    if heap and heap[0][0] <= now_ms:
        deadline_ms, _, key = heappop(heap)
        return deadline_ms, key
    return None


# -- journals --------------------------------------------------------------------------------------

_put = Journal._put
_give_up = Journal._give_up
_continued = journal._continued


def write_the_tail_later(kept: Any, file: Any, entry: Any) -> None:
    """A batch is acknowledged before it is in memory that outlives the process."""
    has_tails, file.has_tails = file.has_tails, False
    _put(kept, file, entry)
    file.has_tails = has_tails


def give_up_silently(kept: Any, why: str) -> None:
    """A journal that is given up goes on to claim that it lacks nothing."""
    with patch.object(kept._storage, "remove_tails", lambda tails: None):
        _give_up(kept, why)


def believe_it(number: int, begin: Any, tails: Any, boot_id: str) -> Any:
    """What may be missing at the end of a journal is not looked for."""
    return _continued(number, begin, tails, boot_id)[0], ""


# -- effects ---------------------------------------------------------------------------------------


def hold_nothing(shard: Any) -> Held:
    """Effects leave before their batch is committed."""
    held = Held(shard.core.log.commit)
    shard._held.append(held)
    return held


def redrive_nothing(shard: Any) -> None:
    shard._redrive.clear()


# -- calls -----------------------------------------------------------------------------------------

_redrive = Calls.redrive


def queue_by_arrival_here(calls: Any, tx: Step, key: str) -> None:
    """The new active lets those who wait arrive anew, at itself."""
    call = tx.get(key)
    if isinstance(call, Call) and call.state == WAITING:
        tx.edit(key).arrived_ms = tx.now_ms
    _redrive(calls, tx, key)


def redrive_all_but(kind: type) -> Callable[..., None]:
    def redrive(calls: Any, tx: Step, key: str) -> None:
        if not isinstance(tx.get(key), kind):
            _redrive(calls, tx, key)

    return redrive


def ask_anew(calls: Any, tx: Step, key: str) -> None:
    """A request is repeated as another one: with a branch of its own."""
    leg = tx.get(key)
    if isinstance(leg, Leg) and leg.outgoing is not None:
        tx.edit(key).outgoing.branch += "x"
    _redrive(calls, tx, key)


def drop_what_comes(held: Any, event: Any) -> None:
    """Events of a shard that is being handed over are not kept for the case that it stays."""
    if not held.is_held:
        held._hand_on(event)


CORE: dict[str, Bug] = {
    "take over without being in sync": Bug(Core, "_may_take", lambda core, key: True),
    "acknowledge before all in sync hold it": Bug(
        membership, "acknowledged", lambda role, log: log.end
    ),
    "shrink without asking": Bug(Core, "_change_members", shrink_without_asking),
    "accept an older epoch": Bug(Core, "_is_stale", lambda core, epoch: False),
    "drop the copy and keep the name": Bug(Core, "_drop_copy", keep_the_name),
    "stay in sync with nothing": Bug(Copy, "lead_no_more", stay_in_sync_with_nothing),
    "restart under the same name": Bug(Process, "__init__", restart_under_the_same_name),
    "serve without a barrier": Bug(Shard, "_try_serve", serve_without_a_barrier),
    "take an unknown outcome for a failure": Bug(
        core, "change_key", take_an_unknown_outcome_for_a_failure
    ),
    "repeat an unknown change blindly": Bug(core, "change_key", repeat_an_unknown_change_blindly),
    "grow in one step": Bug(membership, "acknowledged", grow_in_one_step),
    "cut the tail at once": Bug(Copy, "position", cut_at_once),
    "keep a tail that the active lacks": Bug(Copy, "on_append", keep_the_tail),
    "acknowledge over a gap": Bug(Copy, "on_append", acknowledge_a_gap),
    "whole before its snapshot is": Bug(Replicas, "_begin", whole_before_its_snapshot_is),
    "effects before commit": Bug(Shard, "_holder", hold_nothing),
    "redrive nothing": Bug(Shard, "_redrive_some", redrive_nothing),
    "keep timers of a past life": Bug(Shard, "_forget", keep_old_timers),
    "fire a timer that was changed": Bug(Timers, "take", take_any_timer),
    "acknowledge before the tail is written": Bug(Journal, "_put", write_the_tail_later),
    "acknowledge before the disk has it": Bug(Journal, "held", property(lambda _: EVERYTHING)),
    "say more than the journal has": Bug(Answers, "say", lambda _, answer, held, is_whole: answer),
    "come back with an incomplete journal": Bug(journal, "_continued", believe_it),
    "come back whatever it lacks": Bug(
        comeback, "_lacks_nothing", lambda left, key: left.member in key.in_sync
    ),
    "come back without having been in sync": Bug(
        comeback, "_lacks_nothing", lambda left, key: left.flaw == ""
    ),
    "a journal that was given up claims to be whole": Bug(Journal, "_give_up", give_up_silently),
}

CALLS: dict[str, Bug] = {
    "queue by arrival at the new active": Bug(Calls, "redrive", queue_by_arrival_here),
    "drop the outbox at a takeover": Bug(Calls, "redrive", redrive_all_but(Outbox)),
    "forget what legs have pending": Bug(Calls, "redrive", redrive_all_but(Leg)),
    "repeat a request as another one": Bug(Calls, "redrive", ask_anew),
    "ask on though it was answered": Bug(
        Layer, "_answered_before_asked", lambda layer, msg, source: None
    ),
    "drop what comes while handing over": Bug(KeptEvents, "post", drop_what_comes),
    "effects before commit": Bug(Shard, "_holder", hold_nothing),
    "take over without being in sync": Bug(Core, "_may_take", lambda core, key: True),
}
