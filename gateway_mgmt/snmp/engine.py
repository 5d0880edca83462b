"""An engine that others ask (RFC 3414 §3.2): an agent, or whoever is sent informs.

It opens what is for it and answers the rest with the report that tells the asker what to change.
"""

from collections.abc import Mapping
from typing import NamedTuple

from gateway_mgmt.snmp import ber, pdu, usm
from gateway_mgmt.snmp.pdu import Pdu
from gateway_mgmt.snmp.usm import Head, Master


class Opened(NamedTuple):
    """What was asked, and by whom."""

    head: Head
    scoped: usm.Scoped


class Engine:
    """`boots` grows with each start, `started_s` is when it was by the clock that `now_s` is of."""

    def __init__(
        self,
        engine_id: bytes,
        boots: int,
        started_s: float,
        users: Mapping[bytes, Master],
        *,
        salt: int,
    ) -> None:
        """`salt`: drawn anew at each start; none may be used twice with one key."""
        self.engine_id = engine_id
        self.boots = boots
        self._started_s = started_s
        self._keys = {name: usm.localized(keys, engine_id) for name, keys in users.items()}
        self._salt = salt & (1 << 64) - 1
        self.refused: dict[str, int] = {}
        """What was wrong with messages, by the OID of the report, and how often."""

    def restart(self, now_s: float) -> None:
        self.boots += 1
        self._started_s = now_s

    def time_s(self, now_s: float) -> int:
        return int(now_s - self._started_s)

    def open(self, datagram: bytes, now_s: float) -> Opened | bytes:
        """What it asks, or the report to send back. Raises Malformed."""
        head = usm.read_head(datagram)
        if head.engine_id != self.engine_id:
            return self._report(head, usm.UNKNOWN_ENGINE, now_s)
        keys = self._keys.get(head.user)
        if keys is None:
            return self._report(head, usm.UNKNOWN_USER, now_s)
        if head.flags & 3 != usm.AUTH | usm.PRIVACY:
            return self._report(head, usm.UNSUPPORTED_LEVEL, now_s)
        try:
            usm.check_digest(datagram, head, keys)
            is_now = abs(head.time_s - self.time_s(now_s)) <= usm.WINDOW_S
            if head.boots != self.boots or not is_now:
                return self._report(head, usm.NOT_IN_WINDOW, now_s)
            return Opened(head, usm.unseal(datagram, head, keys))
        except usm.WrongDigest:
            return self._report(head, usm.WRONG_DIGEST, now_s)
        except usm.Undecipherable:
            return self._report(head, usm.DECRYPTION_ERROR, now_s)

    def answer(self, opened: Opened, body: bytes, now_s: float) -> bytes:
        """`body`: the encoded PDU that answers."""
        head = opened.head
        scoped = ber.tlv(ber.SEQUENCE, opened.scoped.context + body)
        return self._seal(head.message_id, 0, head.user, scoped, now_s)

    def notify(self, message_id: int, user: bytes, trap: Pdu, now_s: float) -> bytes:
        """A trap of this engine's."""
        return self._seal(message_id, 0, user, usm.scoped_pdu(self.engine_id, trap), now_s)

    def _seal(self, message_id: int, flags: int, user: bytes, scoped: bytes, now_s: float) -> bytes:
        self._salt = self._salt + 1 & (1 << 64) - 1
        return usm.seal(
            message_id=message_id,
            flags=flags,
            engine_id=self.engine_id,
            boots=self.boots,
            time_s=self.time_s(now_s),
            user=user,
            scoped=scoped,
            keys=self._keys.get(user),
            salt=self._salt,
        )

    def _report(self, head: Head, why: str, now_s: float) -> bytes:
        count = self.refused[why] = self.refused.get(why, 0) + 1
        report = Pdu(pdu.REPORT, 0, varbinds=[pdu.number(why, count, ber.COUNTER32)])
        scoped = usm.scoped_pdu(self.engine_id, report)
        # Only a report about time is authentic: it is what a clock is set by.
        user = head.user if why == usm.NOT_IN_WINDOW else b""
        return self._seal(head.message_id, 0, user, scoped, now_s)
