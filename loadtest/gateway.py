"""A gateway with E1 lines that is not there: what it answers to SNMP, and how its lines fare.

Pure: the clock comes with each question. What all gateways of a run have in common is encoded once.
"""

from bisect import bisect_right
from collections import deque

from gateway_mgmt import ds1, oids
from gateway_mgmt.snmp import ber, pdu
from gateway_mgmt.snmp.pdu import Pdu, Varbind

OBJECT_ID = "1.3.6.1.4.1.5003.8.1.1.99"
DESCRIPTION = b"keepline virtual gateway"
E1_BITS_PER_S = 2_048_000
OCTETS_PER_S = 8_000
D_CHANNEL = "1.3.6.1.4.1.5003.9.10.9.2.1.1.1.6"
TRUNK_ALARM = "1.3.6.1.4.1.5003.9.10.9.2.1.1.1.7"
SLOTS_IN_USE = "1.3.6.1.4.1.5003.10.10.2.21.1.3"
"""acPMTrunkUtilizationVal; its index is the trunk, and 0 for now."""
FAULT_OF_ALARM = {"los": 2, "lof": 2, "ais": 3, "rai": 4}
SEVERE = frozenset(("los", "lof", "ais"))
UNAVAILABLE_AFTER_S = 10
"""So many severely errored seconds, and those that follow are unavailable (G.826)."""
RESPONSE_BYTES_MAX = 1_300
NOT_WRITABLE = 17
BIT_OF = {name: bit for bit, name in reversed(ds1.BITS.items())}

NO_ERRORS = dict.fromkeys(oids.COUNTERS, 0)


class Line:
    """One E1 line that something happened to."""

    def __init__(self, now_s: float) -> None:
        self.faults: set[str] = set()
        self.d_channel_up = True
        self.changed_s = now_s
        self.current = dict(NO_ERRORS)
        self.intervals = deque((dict(NO_ERRORS) for _ in range(96)), maxlen=96)
        """The newest first."""
        self._severe_s = 0
        self._until_s = int(now_s)

    @property
    def status(self) -> int:
        return sum(BIT_OF[fault] for fault in self.faults) or ds1.NO_ALARM

    def advance(self, now_s: float) -> None:
        """Count the seconds until now."""
        until_s = int(now_s)
        if until_s - self._until_s > 97 * ds1.INTERVAL_S:
            self._until_s = until_s - 97 * ds1.INTERVAL_S
        if not self.faults & SEVERE:
            self._severe_s = 0
            while self._until_s < until_s:  # nothing to count but whole intervals
                self._until_s = min(until_s, (self._until_s // ds1.INTERVAL_S + 1) * ds1.INTERVAL_S)
                self._roll()
            return
        while self._until_s < until_s:
            self._until_s += 1
            self._severe_s += 1
            is_lost = self._severe_s > UNAVAILABLE_AFTER_S
            for name in ("uas",) if is_lost else ("es", "ses", "sefs"):
                self.current[name] += 1
            self._roll()

    def _roll(self) -> None:
        if self._until_s % ds1.INTERVAL_S == 0:
            self.intervals.appendleft(self.current)
            self.current = dict(NO_ERRORS)


class Template:
    """What all gateways of a run have: their objects in order, encoded."""

    def __init__(self, spans: int) -> None:
        self.spans = spans
        self.fixed: dict[bytes, bytes] = {}
        self.live: dict[bytes, tuple[str, int, str, int]] = {}
        """What a gateway is asked for itself: (kind, line, name, interval)."""
        self._fixed(pdu.text("1.3.6.1.2.1.1.1.0", DESCRIPTION))
        self._fixed(pdu.name(oids.SYS_OBJECT_ID, OBJECT_ID))
        for oid in (oids.SYS_UPTIME, oids.SYS_NAME, oids.ENGINE_ID, oids.ENGINE_BOOTS):
            self._live(oid, oid)
        for index in range(1, spans + 2):
            self._interface(index, is_line=index <= spans)
        for line in range(1, spans + 1):
            self._line(line)
        texts = {raw: ber.oid_text(raw) for raw in (*self.fixed, *self.live)}
        self.order = sorted((tuple(map(int, text.split("."))), raw) for raw, text in texts.items())

    def _fixed(self, found: Varbind) -> None:
        self.fixed[found.oid] = varbind(found)

    def _live(self, oid: str, kind: str, line: int = 0, name: str = "", interval: int = 0) -> None:
        self.live[ber.oid_bytes(oid)] = (kind, line, name, interval)

    def _interface(self, index: int, *, is_line: bool) -> None:
        entry = oids.IF_ENTRY
        kind = 18 if is_line else 6  # ds1, ethernetCsmacd
        self._fixed(pdu.number(f"{entry}.1.{index}", index))
        self._fixed(pdu.text(f"{entry}.2.{index}", b"E1 %d" % index if is_line else b"eth0"))
        self._fixed(pdu.number(f"{entry}.3.{index}", kind))
        self._fixed(pdu.number(f"{entry}.5.{index}", E1_BITS_PER_S, ber.GAUGE32))
        self._fixed(pdu.number(f"{oids.INTERFACE['admin']}.{index}", 1))
        for name in ("in_errors", "out_errors"):
            self._fixed(pdu.number(f"{oids.INTERFACE[name]}.{index}", 0, ber.COUNTER32))
        self._live(f"{oids.INTERFACE['oper']}.{index}", "oper", index)
        for name in ("in_octets", "out_octets"):
            self._live(f"{oids.INTERFACE[name]}.{index}", "octets", index)

    def _line(self, line: int) -> None:
        for name, oid in oids.LINE.items():
            self._live(f"{oid}.{line}", "line", line, name)
        for column, value in ((5, 7), (6, 3), (7, 1), (9, 1), (12, 1), (17, 1)):
            self._fixed(pdu.number(f"{oids.DS1_CONFIG}.{column}.{line}", value))
        self._live(f"{D_CHANNEL}.{line - 1}", "d_channel", line)
        self._live(f"{TRUNK_ALARM}.{line - 1}", "trunk_alarm", line)
        self._live(f"{SLOTS_IN_USE}.{line - 1}.0", "slots_in_use", line)
        for name, oid in oids.CURRENT.items():
            self._live(f"{oid}.{line}", "current", line, name)
        for interval in range(1, ds1.INTERVALS_MAX + 1):
            for name, oid in oids.INTERVAL.items():
                self._live(f"{oid}.{line}.{interval}", "interval", line, name, interval)
            self._fixed(pdu.number(f"{oids.INTERVAL_VALID}.{line}.{interval}", 1))


class Gateway:
    """One of them. `now_s` is Unix time everywhere."""

    def __init__(self, number: int, template: Template, engine_id: bytes, now_s: float) -> None:
        self.number = number
        self.name = f"gw{number}"
        self.engine_id = engine_id
        self.boots = 1
        self.is_dead = False
        self.lines: dict[int, Line] = {}
        self.in_use: dict[int, set[int]] = {}
        """Time slots with a call, by span."""
        self.started_s = now_s - 3_600
        self._is_fresh = False
        self._template = template

    @property
    def spans(self) -> int:
        return self._template.spans

    def line(self, number: int, now_s: float) -> Line:
        """For a change of it."""
        line = self.lines.setdefault(number, Line(now_s))
        line.advance(now_s)
        return line

    def set_fault(self, number: int, fault: str, *, is_on: bool, now_s: float) -> None:
        line = self.line(number, now_s)
        (line.faults.add if is_on else line.faults.discard)(fault)
        line.changed_s = now_s

    def clear(self, number: int, now_s: float) -> None:
        line = self.line(number, now_s)
        line.faults.clear()
        line.d_channel_up = True
        line.changed_s = now_s

    def restart(self, now_s: float) -> None:
        """As when its power was cut: its lines are well, and it remembers no interval."""
        self.boots += 1
        self.started_s = now_s
        self.lines = {}
        self.in_use = {}
        self._is_fresh = True

    def is_up(self, number: int) -> bool:
        """ifOperStatus of a line."""
        line = self.lines.get(number)
        return line is None or not line.faults & SEVERE

    def carries_calls(self, number: int) -> bool:
        line = self.lines.get(number)
        return not self.is_dead and self.is_up(number) and (line is None or line.d_channel_up)

    def ticks(self, at_s: float) -> int:
        return int((at_s - self.started_s) * 100) % (1 << 32)

    def answer(self, asked: Pdu, now_s: float) -> bytes:
        """The response, encoded. Raises Malformed when it is no request."""
        for line in self.lines.values():
            line.advance(now_s)
        found: list[bytes] = []
        match asked.kind:
            case pdu.GET:
                found = [self._get(one.oid, now_s) for one in asked.varbinds]
            case pdu.GET_NEXT:
                found = [self._next(one.oid, now_s)[1] for one in asked.varbinds]
            case pdu.GET_BULK:
                found = self._bulk(asked, now_s)
            case pdu.SET:
                refused = asked._replace(kind=pdu.RESPONSE, error=NOT_WRITABLE, error_index=1)
                return pdu.encode(refused)
            case _:
                raise ber.Malformed("no request")
        head = ber.integer(asked.request_id) + ber.integer(0) + ber.integer(0)
        return ber.tlv(pdu.RESPONSE, head + ber.tlv(ber.SEQUENCE, b"".join(found)))

    def _bulk(self, asked: Pdu, now_s: float) -> list[bytes]:
        once = max(0, asked.error)
        found = [self._next(one.oid, now_s)[1] for one in asked.varbinds[:once]]
        following = [one.oid for one in asked.varbinds[once:]]
        size = sum(map(len, found))
        for _ in range(asked.error_index):
            step = [self._next(oid, now_s) for oid in following]
            found += [encoded for _, encoded in step]
            size += sum(len(encoded) for _, encoded in step)
            if size > RESPONSE_BYTES_MAX or all(raw is None for raw, _ in step):
                break
            following = [raw or oid for (raw, _), oid in zip(step, following, strict=True)]
        return found

    def _next(self, after: bytes, now_s: float) -> tuple[bytes | None, bytes]:
        arcs = tuple(map(int, ber.oid_text(after).split(".")))
        order = self._template.order
        place = bisect_right(order, arcs, key=lambda one: one[0])
        if place == len(order):
            return None, varbind(Varbind(after, ber.END_OF_VIEW, b""))
        raw = order[place][1]
        return raw, self._get(raw, now_s)

    def _get(self, oid: bytes, now_s: float) -> bytes:
        fixed = self._template.fixed.get(oid)
        if fixed is not None:
            return fixed
        live = self._template.live.get(oid)
        if live is None:
            return varbind(Varbind(oid, ber.NO_SUCH_INSTANCE, b""))
        tag, content = self._live(*live, now_s)
        return varbind(Varbind(oid, tag, content))

    def _live(
        self, kind: str, number: int, name: str, interval: int, now_s: float
    ) -> tuple[int, bytes]:
        line = self.lines.get(number)
        match kind:
            case oids.SYS_UPTIME:
                return ber.TIMETICKS, ber.number_bytes(self.ticks(now_s))
            case oids.SYS_NAME:
                return ber.OCTETS, self.name.encode()
            case oids.ENGINE_ID:
                return ber.OCTETS, self.engine_id
            case oids.ENGINE_BOOTS:
                return ber.INTEGER, ber.number_bytes(self.boots)
            case "oper":
                return ber.INTEGER, b"\1" if self.is_up(number) else b"\2"
            case "octets":
                octets = int((now_s - self.started_s) * OCTETS_PER_S) * number
                return ber.COUNTER64, ber.number_bytes(octets)
            case "d_channel":
                return ber.INTEGER, b"\0" if line is None or line.d_channel_up else b"\1"
            case "trunk_alarm":
                return ber.INTEGER, bytes((alarm_of(line),))
            case "slots_in_use":
                return ber.GAUGE32, bytes((len(self.in_use.get(number, ())),))
            case "current":
                return ber.GAUGE32, ber.number_bytes(line.current[name]) if line else b"\0"
            case "interval":
                if interval > self._intervals(now_s):
                    return ber.NO_SUCH_INSTANCE, b""
                value = line.intervals[interval - 1][name] if line else 0
                return ber.GAUGE32, ber.number_bytes(value)
        assert kind == "line"
        return self._line(name, line, now_s)

    def _line(self, name: str, line: Line | None, now_s: float) -> tuple[int, bytes]:
        match name:
            case "elapsed_s":
                return ber.INTEGER, ber.number_bytes(int(now_s) % ds1.INTERVAL_S)
            case "intervals":
                return ber.INTEGER, ber.number_bytes(self._intervals(now_s))
            case "status":
                return ber.INTEGER, ber.number_bytes(line.status if line else ds1.NO_ALARM)
            case "changed_ticks":
                changed_s = max(line.changed_s, self.started_s) if line else self.started_s
                return ber.TIMETICKS, ber.number_bytes(self.ticks(changed_s))
        assert name == "loopback"
        is_looped = line is not None and "loopback" in line.faults
        return ber.INTEGER, b"\2" if is_looped else b"\1"

    def _intervals(self, now_s: float) -> int:
        """How many whole ones it remembers."""
        if not self._is_fresh:
            return ds1.INTERVALS_MAX
        whole = int(now_s) // ds1.INTERVAL_S - int(self.started_s) // ds1.INTERVAL_S
        return min(ds1.INTERVALS_MAX, whole)


def alarm_of(line: Line | None) -> int:
    """acTrunkStatusAlarm: 1 is none."""
    if line is None:
        return 1
    if not line.d_channel_up and not line.faults:
        return 5
    return next((alarm for fault, alarm in FAULT_OF_ALARM.items() if fault in line.faults), 1)


def varbind(found: Varbind) -> bytes:
    oid, tag, content = found
    return ber.tlv(ber.SEQUENCE, ber.tlv(ber.OID, oid) + ber.tlv(tag, content))
