"""What call routing may use: without a soak out, and back only after all has been well for a while.

A condition that is not known changes nothing: only what was seen takes a trunk out. A shard of
calls is told of a trunk when its state changes, and again until it has it; an older state that
comes late changes nothing there.
"""

import msgspec

from gateway_mgmt.alarms.book import reasons
from gateway_mgmt.alarms.effects import Tell
from gateway_mgmt.alarms.kinds import Kind
from gateway_mgmt.alarms.records import Alarm, Line, Plan, Route
from gateway_mgmt.alarms.turn import Turn
from gateway_mgmt.observation import TRUNK, Observation
from gateway_mgmt.trunks import TrunkState, trunk_state


def observed(t: Turn, seen: Observation, kind: Kind) -> None:
    """Whatever is seen on takes its object out; what is off may bring it back later."""
    if seen.is_on is None or seen.path.startswith(TRUNK):
        return
    if not kind.takes_out and seen.path not in t.book.out:
        return
    line: Line | None = t.get(f"line/{seen.path}")
    if seen.is_on:
        if kind.takes_out and (line is None or seen.condition not in line.faults):
            if line is None:
                t.tx.put(f"line/{seen.path}", Line(seen.path, []))
            line = t.tx.edit(f"line/{seen.path}")
            line.faults = sorted([*line.faults, seen.condition])
            line.back_ms = 0
            _routed(t, line)
    elif line is not None and seen.condition in line.faults:
        line = t.tx.edit(f"line/{seen.path}")
        line.faults = [fault for fault in line.faults if fault != seen.condition]
        if not line.faults:
            line.last = seen.condition
            line.back_ms = t.now_ms + t.book.plan.return_ms
        _routed(t, line)


def due(t: Turn, line: Line) -> None:
    """The line, which is being edited, returns, unless one of its alarms flaps."""
    flapping_ms = 0
    for condition in t.book.active.get(line.path, ()):
        alarm: Alarm | None = t.alarm(line.path, condition)
        if alarm is not None and t.book.kind(line.path, condition).takes_out:
            flapping_ms = max(flapping_ms, alarm.stable_ms)
    if flapping_ms > t.now_ms:
        line.back_ms = flapping_ms
        return
    drop(t, line)


def drop(t: Turn, line: Line) -> None:
    """The line is out no more."""
    t.tx.delete(f"line/{line.path}")
    t.book.out.pop(line.path, None)
    for name in t.book.trunks_of(line.path):
        update(t, name)


def keep_to_plan(t: Turn, line: Line) -> None:
    """What is looked for no more keeps nothing out."""
    faults = line.faults or [line.last]
    left = [fault for fault in faults if t.book.is_looked_for(line.path, fault)]
    if not left:
        drop(t, line)
    elif left != faults:
        line = t.tx.edit(f"line/{line.path}")
        line.faults = left
        _routed(t, line)


def _routed(t: Turn, line: Line) -> None:
    t.book.out[line.path] = reasons(line)
    for name in t.book.trunks_of(line.path):
        update(t, name)


def update(t: Turn, name: str) -> bool:
    """Has the trunk's state changed, or is it new? Then the shards of calls hear of it."""
    plan = t.book.plan
    trunk = plan.trunks[name]
    state = trunk_state(name, trunk, t.book.out)
    route: Route | None = t.get(f"route/{name}")
    if route is not None and same(route.state, state):
        return False
    if route is None:
        t.tx.put(f"route/{name}", Route(state))
    route = t.tx.edit(f"route/{name}")
    if route.state.state != state.state:
        t.write("routing", f"{TRUNK}{name}", by=", ".join(state.why), note=state.state)
    route.state = msgspec.structs.replace(state, order=t.order)
    tell(t, route)
    return True


def tell(t: Turn, route: Route) -> None:
    """Tell the shards of calls that have not confirmed this state."""
    for shard in waiting(route, t.book.plan):
        t.emit(Tell(shard, f"trunk/{route.state.trunk}/{route.state.order}", route.state))


def told(t: Turn, name: str, shard: str, order: int) -> None:
    """A shard of calls has a state; an older one than the last does not count."""
    route: Route | None = t.get(f"route/{name}")
    if route is not None and route.confirmed.get(shard, 0) < order <= route.state.order:
        t.tx.edit(f"route/{name}").confirmed[shard] = order


def waiting(route: Route, plan: Plan) -> tuple[str, ...]:
    """The shards that have not confirmed the state."""
    return tuple(shard for shard in plan.shards if route.confirmed.get(shard) != route.state.order)


def same(one: TrunkState, other: TrunkState) -> bool:
    """Equal for whoever routes calls by it?"""
    return (one.state, one.channels, one.of, one.why) == (
        other.state,
        other.channels,
        other.of,
        other.why,
    )
