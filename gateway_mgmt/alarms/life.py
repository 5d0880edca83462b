"""An alarm's life: idle, soaking, raised, holding, idle; and what the receivers are told of it.

`told` is what they were told last. `settle` compares it with what is true and tells the difference,
unless a cause or a maintenance window makes a raise wait. So nothing that was held back is lost or
taken as said, and three things hold:

- only messages wait: every change of a state is made, and stands in the history;
- a clear never waits for a cause or a window;
- what waited uses up nothing: once its reason is gone, what is still wrong is told.

An alarm that comes on again FLAPS times flaps: one message says so, and the next one, once it has
been stable for FLAP_MS, what it has come to.
"""

from gateway_mgmt.alarms.effects import Look
from gateway_mgmt.alarms.kinds import Kind
from gateway_mgmt.alarms.records import (
    HOLDING,
    IDLE,
    RAISED,
    SOAKING,
    TOLD_FLAPPING,
    TOLD_RAISED,
    Alarm,
)
from gateway_mgmt.alarms.turn import Turn
from gateway_mgmt.observation import Observation, gateway_of

FLAPS = 5
FLAP_MS = 300_000
"""Coming on again FLAPS times in so long: flapping. Not once in so long: stable."""


def deadline(alarm: Alarm) -> int | None:
    if alarm.until_ms and alarm.stable_ms:
        return min(alarm.until_ms, alarm.stable_ms)
    return alarm.until_ms or alarm.stable_ms or None


def observed(t: Turn, seen: Observation, kind: Kind) -> None:
    """The condition was looked at. What is not known changes nothing but that it is so."""
    alarm = t.alarm(seen.path, seen.condition)
    if alarm is None:
        if seen.is_on:
            alarm = Alarm(seen.path, seen.condition)
            t.tx.put(alarm.key, alarm)
            _came_on(t, alarm, seen, kind)
        return
    is_known = seen.is_on is not None
    if alarm.is_known != is_known:
        t.edit(alarm).is_known = is_known
    if seen.is_on is None:
        return
    match alarm.state:
        case _ if alarm.state == IDLE:
            if seen.is_on:
                _came_on(t, t.edit(alarm), seen, kind)
        case _ if alarm.state == SOAKING:
            if not seen.is_on:
                _gone(t, t.edit(alarm))
        case _ if alarm.state == RAISED:
            if not seen.is_on:
                alarm = t.edit(alarm)
                alarm.state = HOLDING
                alarm.until_ms = t.now_ms + kind.hold_ms
                if not kind.hold_ms:
                    _cleared(t, alarm)
        case _ if alarm.state == HOLDING:
            if seen.is_on:
                alarm = t.edit(alarm)
                alarm.state = RAISED
                alarm.until_ms = 0
                _returned(t, alarm)
                settle(t, alarm)


def due(t: Turn, alarm: Alarm) -> None:
    """A deadline of the alarm, which is being edited, has come."""
    if alarm.until_ms and alarm.until_ms <= t.now_ms:
        if alarm.state == SOAKING:
            _raised(t, alarm)
        elif alarm.state == HOLDING:
            _cleared(t, alarm)
        else:
            alarm.until_ms = 0
    if alarm.stable_ms and alarm.stable_ms <= t.now_ms:
        alarm.stable_ms = 0
        settle(t, alarm)
        t.book.keep(alarm)
        if not alarm.is_active:
            release(t, alarm.name)
    if alarm.state == IDLE and deadline(alarm) is None:
        assert not alarm.told
        t.book.drop(alarm)
        t.tx.delete(alarm.key)


def settle(t: Turn, alarm: Alarm) -> None:
    """Tell the receivers what is true of the alarm, which is being edited, if they do not know."""
    wanted = _wanted(alarm)
    if wanted == alarm.told:
        t.book.unmute(alarm)
    elif not wanted:
        t.book.unmute(alarm)
        alarm.told = ""
        t.tell(alarm, "cleared")
    else:
        by = t.book.waits_for(alarm, t.now_ms)
        was = alarm.by
        t.book.unmute(alarm)
        if by:
            alarm.by = by
            t.book.keep(alarm)
            return
        alarm.told = wanted
        if was:
            t.write("told", alarm.path, alarm.condition, alarm=alarm.id, by=was)
        t.tell(alarm, wanted)
    if alarm.state == IDLE and not alarm.told:
        _end_occurrence(alarm)


def release(t: Turn, by: str) -> None:
    """This has changed: what waited for it is told, or waits for something else, or on."""
    for key in sorted(t.book.muted.get(by, ())):
        settle(t, t.tx.edit(key))


def acknowledge(t: Turn, alarm: Alarm, by: str, note: str) -> None:
    """Somebody takes care of this occurrence."""
    alarm.acked_by = by
    alarm.acked_wall_ms = t.tx.wall_ms
    alarm.note = note
    t.write("acknowledged", alarm.path, alarm.condition, alarm=alarm.id, by=by, note=note)


def give_up(t: Turn, alarm: Alarm, why: str) -> None:
    """Forget the alarm; whoever was told of it hears that it is over. Then others may go."""
    alarm.state, alarm.stable_ms = IDLE, 0
    t.write("cleared", alarm.path, alarm.condition, alarm=alarm.id, note=why)
    if alarm.told:
        alarm.told = ""
        t.tell(alarm, "cleared", why)
    t.book.drop(alarm)
    t.tx.delete(alarm.key)
    release(t, alarm.name)


def _wanted(alarm: Alarm) -> str:
    """What the receivers should know. While it soaks or holds, what they know already."""
    if alarm.stable_ms:
        return TOLD_FLAPPING
    if alarm.state == RAISED:
        return TOLD_RAISED
    return "" if alarm.state == IDLE else alarm.told


def _came_on(t: Turn, alarm: Alarm, seen: Observation, kind: Kind) -> None:
    if alarm.until_ms:  # an idle one that is remembered: it was on shortly before
        _returned(t, alarm)
    if not alarm.told:
        alarm.since_wall_ms = seen.at_ms
    alarm.state = SOAKING
    alarm.until_ms = t.now_ms + kind.soak_ms
    t.book.keep(alarm)
    if not kind.soak_ms:
        _raised(t, alarm)
        return
    settle(t, alarm)
    t.emit(Look(gateway_of(alarm.path)))


def _raised(t: Turn, alarm: Alarm) -> None:
    alarm.state = RAISED
    alarm.until_ms = 0
    _name(t, alarm)
    settle(t, alarm)
    by = alarm.by or (TOLD_FLAPPING if alarm.stable_ms else "")
    t.write("raised", alarm.path, alarm.condition, alarm=alarm.id, by=by)


def _cleared(t: Turn, alarm: Alarm) -> None:
    by = alarm.by or (TOLD_FLAPPING if alarm.stable_ms else "")
    t.write("cleared", alarm.path, alarm.condition, alarm=alarm.id, by=by)
    _gone(t, alarm)


def _gone(t: Turn, alarm: Alarm) -> None:
    """It is idle, remembered for a while in case that it comes on again."""
    alarm.state = IDLE
    alarm.until_ms = t.now_ms + FLAP_MS
    settle(t, alarm)
    t.book.keep(alarm)
    if not alarm.is_active:
        release(t, alarm.name)


def _returned(t: Turn, alarm: Alarm) -> None:
    """It has come on again shortly after it went off."""
    recent = [at for at in alarm.returns if at > t.now_ms - FLAP_MS]
    alarm.returns = [*recent, t.now_ms][-FLAPS:]
    if alarm.stable_ms:
        alarm.stable_ms = t.now_ms + FLAP_MS
    elif len(alarm.returns) == FLAPS:
        alarm.stable_ms = t.now_ms + FLAP_MS
        _name(t, alarm)
        t.write("flapping", alarm.path, alarm.condition, alarm=alarm.id)


def _name(t: Turn, alarm: Alarm) -> None:
    if not alarm.id:
        alarm.id = t.new_id()


def _end_occurrence(alarm: Alarm) -> None:
    alarm.id, alarm.seq = "", 0
    alarm.acked_by, alarm.acked_wall_ms, alarm.note = "", 0, ""
