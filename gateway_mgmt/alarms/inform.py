"""A message as an SNMP notification (RFC 3416 §4.2.7), under an enterprise's arc.

ENTERPRISE.0.1  raised      ENTERPRISE.0.2  cleared      ENTERPRISE.0.3  flapping
ENTERPRISE.1.N.0            its objects; each notification has all of them, in this order
"""

from collections.abc import Sequence

from gateway_mgmt import oids
from gateway_mgmt.alarms.words import Message, headline, moment, perceived, words_of
from gateway_mgmt.receivers import ENTERPRISE
from gateway_mgmt.snmp import ber, pdu
from gateway_mgmt.snmp.pdu import Pdu

NOTIFICATIONS = {"raised": 1, "cleared": 2, "flapping": 3}

TEXT_BYTES_MAX = 255
"""Of SnmpAdminString (RFC 3411 §5). A longer text loses its end; a list, whole names."""
NOBODY_KNOWS = -1
"""Callers, when nobody can count them just then."""


def inform(message: Message, *, request_id: int, ticks: int, enterprise: str = ENTERPRISE) -> Pdu:
    """`ticks`: sysUpTime, in hundredths of a second."""
    notice = message.notice
    is_over = notice.what == "cleared"
    texts = (
        _cut(notice.id),
        _cut(notice.alarm),
        _cut(notice.path),
        _cut(notice.condition),
        _cut(perceived(notice)),
        _cut(moment(notice.since_wall_ms)),
        _cut(headline(notice)),
        _cut("" if is_over else words_of(notice.condition).action),
        _listed(notice.impact.trunks),
        _listed(notice.impact.numbers),
        _listed(notice.impact.queues),
    )
    arc = f"{enterprise}.1"
    callers = NOBODY_KNOWS if message.callers is None else message.callers
    return Pdu(
        pdu.INFORM,
        request_id,
        varbinds=[
            pdu.number(oids.SYS_UPTIME, ticks % (1 << 32), ber.TIMETICKS),
            pdu.name(oids.TRAP_OID, f"{enterprise}.0.{NOTIFICATIONS[notice.what]}"),
            *(pdu.text(f"{arc}.{n}.0", text) for n, text in enumerate(texts, start=1)),
            pdu.number(f"{arc}.{len(texts) + 1}.0", callers),
        ],
    )


def _cut(text: str) -> bytes:
    return text.encode()[:TEXT_BYTES_MAX].decode(errors="ignore").encode()


def _listed(names: Sequence[str]) -> bytes:
    """All of them, or as many as there is room for and how many more there are."""
    text = ",".join(names).encode()
    left = len(names)
    while len(text) > TEXT_BYTES_MAX:
        left -= 1
        text = ",".join([*names[:left], f"and {len(names) - left} more"]).encode()
    return text
