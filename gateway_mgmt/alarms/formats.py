"""Messages as bytes for the receivers: JSON with a signature, Alertmanager's, RFC 5424, e-mail."""

import hmac
from collections.abc import Sequence
from email.message import EmailMessage
from hashlib import sha256
from typing import Any

import msgspec

from gateway_mgmt.alarms.kinds import CRITICAL, INDETERMINATE, MAJOR, MINOR, SEVERITIES, WARNING
from gateway_mgmt.alarms.records import Notice
from gateway_mgmt.alarms.words import (
    Message,
    headline,
    hits,
    moment,
    perceived,
    sentence,
    words_of,
)
from gateway_mgmt.observation import gateway_of

# Signed webhooks.

SIGNATURE_SCHEME = "v1"


def webhook_body(message: Message) -> bytes:
    notice = message.notice
    return msgspec.json.encode(
        {
            "id": notice.id,
            "alarm": notice.alarm,
            "seq": notice.seq,
            "what": notice.what,
            "path": notice.path,
            "condition": notice.condition,
            "severity": perceived(notice),
            "since_at": moment(notice.since_wall_ms),
            "at": moment(notice.wall_ms),
            "trunks": notice.impact.trunks,
            "numbers": notice.impact.numbers,
            "queues": notice.impact.queues,
            "callers": message.callers,
            "text": sentence(message),
            "note": notice.note,
        }
    )


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 over the time of sending (Unix seconds), a full stop and the body."""
    mac = hmac.new(secret.encode(), timestamp.encode() + b"." + body, sha256)
    return f"{SIGNATURE_SCHEME}={mac.hexdigest()}"


def is_genuine(
    secret: str, timestamp: str, body: bytes, signed: str, *, now_s: int, within_s: int = 300
) -> bool:
    """What whoever receives a webhook should ask before he believes it."""
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > 12:
        return False
    is_fresh = abs(now_s - int(timestamp)) <= within_s
    return is_fresh and hmac.compare_digest(
        signature(secret, timestamp, body).encode(), signed.encode()
    )


# Alertmanager (API v2).


def alert(
    message: Message, *, ends_wall_ms: int, labels: dict[str, str] | None = None
) -> dict[str, Any]:
    """One alert. Equal labels are one alert to Alertmanager: nothing in them changes."""
    notice = message.notice
    hit = notice.impact
    annotations = {
        "summary": headline(notice),
        "description": sentence(message),
        "alarm": notice.alarm,
        "trunks": ", ".join(hit.trunks),
        "numbers": ", ".join(hit.numbers),
        "queues": ", ".join(hit.queues),
        "callers": "" if message.callers is None else str(message.callers),
        "flapping": "yes" if notice.what == "flapping" else "",
    }
    return {
        "labels": {
            **(labels or {}),
            "alertname": notice.condition,
            "gateway": gateway_of(notice.path),
            "path": notice.path,
            "severity": notice.severity,
        },
        "annotations": {name: value for name, value in annotations.items() if value},
        "startsAt": moment(notice.since_wall_ms),
        "endsAt": moment(ends_wall_ms),
    }


# Syslog (RFC 5424), with the structured data of RFC 5674.

_RFC_5674 = {CRITICAL: 1, MAJOR: 2, MINOR: 3, WARNING: 4, INDETERMINATE: 5}
LOCAL4 = 20
BOM = "\ufeff"


def syslog_line(
    message: Message, *, host: str, sd_id: str = "keepline@32473", facility: int = LOCAL4
) -> bytes:
    """One syslog message, without framing. 32473 is the number for examples (RFC 5612)."""
    notice = message.notice
    severity = perceived(notice)
    alarm = _element(
        "alarm",
        resource=notice.path,
        probableCause=words_of(notice.condition).cause,
        perceivedSeverity=severity,
    )
    ours = _element(
        sd_id,
        id=notice.id,
        alarm=notice.alarm,
        seq=str(notice.seq),
        what=notice.what,
        condition=notice.condition,
        since=moment(notice.since_wall_ms),
        trunks=",".join(notice.impact.trunks),
        numbers=",".join(notice.impact.numbers),
        queues=",".join(notice.impact.queues),
        callers="" if message.callers is None else str(message.callers),
    )
    priority = facility * 8 + _RFC_5674.get(severity, 5)
    header = f"<{priority}>1 {moment(notice.wall_ms)} {_name(host)} keepline - {notice.what}"
    return f"{header} {alarm}{ours} {BOM}{sentence(message)}".encode()


def octet_counted(line: bytes) -> bytes:
    """As it goes over TCP (RFC 6587 §3.4.1) and TLS (RFC 5425)."""
    return b"%d %s" % (len(line), line)


def _name(text: str) -> str:
    """PRINTUSASCII without spaces, at most 255 of them."""
    return "".join(one for one in text if "!" <= one <= "~")[:255] or "-"


def _element(name: str, **values: str) -> str:
    escaped = {
        key: value.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
        for key, value in values.items()
        if value
    }
    return "[" + " ".join([name, *(f'{key}="{value}"' for key, value in escaped.items())]) + "]"


# E-mail.


def mail(messages: Sequence[Message], *, sender: str, to: Sequence[str]) -> EmailMessage:
    """A digest: the worst first. Its Message-ID follows from what is in it."""
    worst = sorted(messages, key=lambda one: SEVERITIES.index(perceived(one.notice)))
    first = worst[0].notice
    more = f" (and {len(worst) - 1} more)" if len(worst) > 1 else ""
    made = EmailMessage()
    made["From"] = sender
    made["To"] = ", ".join(to)
    made["Subject"] = f"[{perceived(first)}] {headline(first)}{more}"
    digest = sha256("\n".join(one.notice.id for one in messages).encode()).hexdigest()[:32]
    made["Message-ID"] = f"<{digest}@{sender.rpartition('@')[2].strip('<> ')}>"
    made["Auto-Submitted"] = "auto-generated"
    made.set_content("\n".join(_paragraph(one) for one in worst))
    return made


def _paragraph(message: Message) -> str:
    notice: Notice = message.notice
    lines = [
        f"{perceived(notice).upper()}  {headline(notice)}",
        f"  {notice.what} {moment(notice.wall_ms)}, since {moment(notice.since_wall_ms)}",
    ]
    if hit := hits(message):
        lines.append(f"  hits: {hit}")
    if notice.what != "cleared":
        lines.append(f"  next: {words_of(notice.condition).action}")
    if notice.note:
        lines.append(f"  note: {notice.note}")
    return "\n".join([*lines, f"  id: {notice.id}", ""])
