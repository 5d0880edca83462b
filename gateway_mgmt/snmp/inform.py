"""Sending informs (RFC 3416 §4.2.7): what goes out, and what an answer to it means.

Of SNMPv3 the receiver's engine is the one that counts (RFC 3414 §1.5.1): who it is, is discovered,
and its clock is taken from what it says authentically. Its reports only ever cost a message more.
"""

from enum import Enum, auto

from gateway_mgmt.snmp import ber, pdu, usm
from gateway_mgmt.snmp.ber import Malformed
from gateway_mgmt.snmp.pdu import Pdu

REFUSALS = {
    usm.UNSUPPORTED_LEVEL: "unsupported level",
    usm.UNKNOWN_USER: "unknown user",
    usm.WRONG_DIGEST: "wrong key",
    usm.DECRYPTION_ERROR: "wrong privacy key",
}


class Outcome(Enum):
    """What a datagram means for an inform."""

    NOTHING = auto()
    ACKNOWLEDGED = auto()
    DECLINED = auto()
    """It was understood, and is not taken: `declined` says by which error-status."""
    AGAIN = auto()
    """What is sent now will be understood better."""


class Community:
    """How SNMPv2c speaks to a receiver."""

    refused_by = ""

    def __init__(self, community: bytes) -> None:
        self.declined = 0
        self._community = community

    def message(self, told: Pdu, now_s: float) -> bytes:
        return pdu.encode_v2c(self._community, told)

    def receive(self, datagram: bytes, told: Pdu, now_s: float) -> Outcome:
        """Whatever it is, nothing is raised."""
        try:
            community, found = pdu.decode_v2c(datagram)
        except Malformed:
            return Outcome.NOTHING
        outcome = _answer(found, told, community == self._community)
        self.declined = found.error if outcome is Outcome.DECLINED else self.declined
        return outcome


class User:
    """How SNMPv3 (authPriv) speaks to a receiver, of which it learns all but the keys."""

    def __init__(self, user: bytes, keys: usm.Master, *, context: bytes, salt: int) -> None:
        """`context`: whose objects are told, our engine id; empty: we have none, the receiver's.
        `salt`: drawn anew at each start."""
        self.engine_id = b""
        self.declined = 0
        self.refused_by = ""
        """OID of why the receiver took nothing, when it last said so: one of REFUSALS."""
        self._user = user
        self._master = keys
        self._keys: usm.Keys | None = None
        self._context = context
        self._salt = salt
        self._boots = 0
        self._started_s: float | None = None
        """When the receiver started, by our clock. None: its time is not known."""

    def message(self, told: Pdu, now_s: float) -> bytes:
        """The inform; or the question who the receiver is, while that is not known."""
        if self._keys is None:
            return usm.discovery(told.request_id)
        self._salt = self._salt + 1 & (1 << 64) - 1
        return usm.seal(
            message_id=told.request_id,
            flags=usm.REPORTABLE,
            engine_id=self.engine_id,
            boots=self._boots,
            time_s=0 if self._started_s is None else int(now_s - self._started_s),
            user=self._user,
            scoped=usm.scoped_pdu(self._context or self.engine_id, told),
            keys=self._keys,
            salt=self._salt,
        )

    def receive(self, datagram: bytes, told: Pdu, now_s: float) -> Outcome:
        """Whatever it is, nothing is raised."""
        try:
            head = usm.read_head(datagram)
            if head.message_id != told.request_id:
                return Outcome.NOTHING
            is_authentic = bool(head.flags & usm.AUTH)
            is_private = head.flags & 3 == usm.AUTH | usm.PRIVACY
            if is_authentic:
                if self._keys is None or head.engine_id != self.engine_id:
                    return Outcome.NOTHING
                # A report about time may be in clear (RFC 3414 §3.2 7a).
                usm.check_digest(datagram, head, self._keys)
            found = usm.unseal(datagram, head, self._keys if is_private else None).pdu
        except (Malformed, usm.WrongDigest, usm.Undecipherable):
            return Outcome.NOTHING
        if found.kind == pdu.REPORT:
            return self._reported(found, head, now_s, is_authentic=is_authentic)
        outcome = _answer(found, told, is_private)
        self.declined = found.error if outcome is Outcome.DECLINED else self.declined
        return outcome

    def _reported(self, found: Pdu, head: usm.Head, now_s: float, *, is_authentic: bool) -> Outcome:
        whys = (*REFUSALS, usm.UNKNOWN_ENGINE, usm.NOT_IN_WINDOW)
        told = [bound.oid for bound in found.varbinds]
        why = next((why for why in whys if ber.oid_bytes(why) in told), "")
        least, most = usm.ENGINE_ID_BYTES
        if why == usm.UNKNOWN_ENGINE and least <= len(head.engine_id) <= most:
            self.engine_id = head.engine_id
            self._keys = usm.localized(self._master, head.engine_id)
            self._boots, self._started_s = 0, None
            return Outcome.AGAIN
        if why == usm.NOT_IN_WINDOW and is_authentic:
            self._boots, self._started_s = head.boots, now_s - head.time_s
            return Outcome.AGAIN
        self.refused_by = why if why in REFUSALS else self.refused_by
        return Outcome.NOTHING


def _answer(found: Pdu, told: Pdu, is_theirs: bool) -> Outcome:
    if not (is_theirs and found.kind == pdu.RESPONSE and found.request_id == told.request_id):
        return Outcome.NOTHING
    return Outcome.DECLINED if found.error else Outcome.ACKNOWLEDGED
