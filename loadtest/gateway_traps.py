"""What a virtual gateway tells by itself: the objects of its traps and informs."""

from gateway_mgmt import oids
from gateway_mgmt.snmp import ber, pdu
from gateway_mgmt.snmp.pdu import Varbind
from loadtest.gateway import Gateway

Told = list[Varbind]


def _of(gateway: Gateway, kind: str, now_s: float) -> Told:
    return [
        pdu.number(oids.SYS_UPTIME, gateway.ticks(now_s), ber.TIMETICKS),
        pdu.name(oids.TRAP_OID, kind),
    ]


def cold_start(gateway: Gateway, now_s: float) -> Told:
    return _of(gateway, oids.COLD_START, now_s)


def link(gateway: Gateway, number: int, now_s: float) -> Told:
    """linkDown or linkUp (RFC 2863)."""
    is_up = gateway.is_up(number)
    return [
        *_of(gateway, oids.LINK_UP if is_up else oids.LINK_DOWN, now_s),
        pdu.number(f"{oids.IF_ENTRY}.1.{number}", number),
        pdu.number(f"{oids.INTERFACE['admin']}.{number}", 1),
        pdu.number(f"{oids.INTERFACE['oper']}.{number}", 1 if is_up else 2),
    ]


def line_status_change(gateway: Gateway, number: int, now_s: float) -> Told:
    """dsx1LineStatusChange (RFC 4805)."""
    line = gateway.line(number, now_s)
    return [
        *_of(gateway, oids.LINE_STATUS_CHANGE, now_s),
        pdu.number(f"{oids.LINE['status']}.{number}", line.status),
        pdu.number(
            f"{oids.LINE['changed_ticks']}.{number}", gateway.ticks(line.changed_s), ber.TIMETICKS
        ),
    ]
