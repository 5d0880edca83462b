"""A change of the plan: the newest version wins; of what is watched no more nothing is left, for
nobody would ever say that it is over."""

from gateway_mgmt.alarms import life, routing
from gateway_mgmt.alarms.inputs import Configure
from gateway_mgmt.alarms.records import Notice, Route, Settings
from gateway_mgmt.alarms.turn import Turn

NOT_WATCHED = "no longer watched"


def configure(t: Turn, event: Configure) -> None:
    """Decide by this version from now on, unless a newer one, or this one, is in force."""
    known: Settings | None = t.get("settings")
    if known is not None and event.version <= known.version:
        return
    settings = Settings(event.plan, event.version)
    t.tx.put("settings", settings)
    before = t.book.plan.trunks
    t.book.decide_by(settings)
    for key in sorted(t.book.alarms):
        alarm = t.get(key)
        if alarm is not None and not t.book.is_looked_for(alarm.path, alarm.condition):
            life.give_up(t, t.edit(alarm), NOT_WATCHED)
    for path in sorted(t.book.out):
        routing.keep_to_plan(t, t.get(f"line/{path}"))
    for name in sorted(before.keys() - event.plan.trunks.keys()):
        t.tx.delete(f"route/{name}")
    for name in sorted(event.plan.trunks):
        if not routing.update(t, name):
            route: Route = t.get(f"route/{name}")
            routing.tell(t, route)  # a shard may be new
    for key in list(t.book.notices):
        _wait_for_less(t, key)
    for by in sorted(t.book.muted):  # a trunk may have other spans now
        life.release(t, by)


def _wait_for_less(t: Turn, key: str) -> None:
    """Receivers that are declared no more are waited for no more."""
    notice: Notice = t.get(key)
    left = [receiver for receiver in notice.waiting if receiver in t.book.plan.receivers]
    if not left:
        t.forget_notice(key)
    elif left != notice.waiting:
        t.tx.edit(key).waiting = left
