"""What a trap asks for: a poll of the device that it comes from, and nothing else.

It is a hint; the poll is the truth. So a lost trap costs a cycle, a forged one a poll, and nothing
that a trap says is believed. Who is not declared is dropped before it is read.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gateway_mgmt import oids
from gateway_mgmt.snmp import pdu, usm
from gateway_mgmt.snmp.ber import Malformed
from gateway_mgmt.snmp.engine import Engine, Opened
from gateway_mgmt.snmp.pdu import Pdu

COUNTS = (
    "taken",
    "informs",
    "strangers",
    "malformed",
    "wrong_community",
    "wrong_user",
    "wrong_key",
    "reports",
)


class Sender(NamedTuple):
    """A device that may send traps."""

    device: str
    community: bytes | None = None
    user: bytes = b""
    keys: usm.Master | None = None


class Hint(NamedTuple):
    """What follows from a datagram."""

    device: str = ""
    """To be polled now; empty: none is."""
    trap: str = ""
    """Its name, or its OID."""
    reply: bytes = b""


NOTHING = Hint()


class Desk:
    """Reads what arrives. `engine_id`, `boots`: ours, which informs of v3 are for."""

    def __init__(
        self,
        senders: Mapping[str, Iterable[Sender]],
        *,
        engine_id: bytes,
        boots: int,
        started_s: float,
        salt: int,
    ) -> None:
        """`senders`: by IP address."""
        self.counts = dict.fromkeys(COUNTS, 0)
        self._senders = {host: tuple(known) for host, known in senders.items()}
        self._keys: dict[str, tuple[bytes, usm.Keys]] = {}
        self._ours = (engine_id, boots, started_s, salt)
        self._engines: dict[tuple[bytes, usm.Master | None], Engine] = {}

    def receive(self, datagram: bytes, host: str, now_s: float) -> Hint:
        """Whatever it is, nothing is raised."""
        known = self._senders.get(host)
        if known is None:
            self.counts["strangers"] += 1
            return NOTHING
        try:
            version, _, _ = pdu.version_of(datagram)
            hint = (
                self._v3(datagram, known, now_s)
                if version == pdu.V3
                else self._v2c(datagram, known)
            )
        except Malformed:
            self.counts["malformed"] += 1
            return NOTHING
        if hint.device:
            self.counts["taken"] += 1
        return hint

    def _v2c(self, datagram: bytes, known: Iterable[Sender]) -> Hint:
        community, found = pdu.decode_v2c(datagram)
        sender = next((one for one in known if one.community == community), None)
        if sender is None:
            self.counts["wrong_community"] += 1
            return NOTHING
        trap = name_of(found)
        if found.kind == pdu.INFORM:
            self.counts["informs"] += 1
            answer = found._replace(kind=pdu.RESPONSE)
            return Hint(sender.device, trap, pdu.encode_v2c(community, answer))
        return Hint(sender.device, trap)

    def _v3(self, datagram: bytes, known: Iterable[Sender], now_s: float) -> Hint:
        head = usm.read_head(datagram)
        sender = next((one for one in known if one.keys and one.user == head.user), None)
        if head.engine_id in (b"", self._ours[0]):
            return self._inform(datagram, sender, now_s)
        if sender is None:
            self.counts["wrong_user"] += 1
            return NOTHING
        least, most = usm.ENGINE_ID_BYTES
        if head.flags & 3 != usm.AUTH | usm.PRIVACY or not least <= len(head.engine_id) <= most:
            raise Malformed("no authentic trap")
        try:
            scoped = usm.unseal(datagram, head, self._keys_of(sender, head.engine_id))
        except (usm.WrongDigest, usm.Undecipherable):
            self.counts["wrong_key"] += 1
            return NOTHING
        return Hint(sender.device, name_of(scoped.pdu))

    def _inform(self, datagram: bytes, sender: Sender | None, now_s: float) -> Hint:
        engine = self._engine(sender)
        opened = engine.open(datagram, now_s)
        if not isinstance(opened, Opened) or sender is None:
            self.counts["reports"] += 1
            return Hint(reply=opened) if isinstance(opened, bytes) else NOTHING
        trap = name_of(opened.scoped.pdu)
        self.counts["informs"] += 1
        answer = opened.scoped.pdu._replace(kind=pdu.RESPONSE)
        return Hint(sender.device, trap, engine.answer(opened, pdu.encode(answer), now_s))

    def _keys_of(self, sender: Sender, engine_id: bytes) -> usm.Keys:
        assert sender.keys is not None
        kept = self._keys.get(sender.device)
        if kept is None or kept[0] != engine_id:
            kept = engine_id, usm.localized(sender.keys, engine_id)
            self._keys[sender.device] = kept
        return kept[1]

    def _engine(self, sender: Sender | None) -> Engine:
        """Ours, as this sender knows it: two devices may have other keys for a user of one name."""
        known = (sender.user, sender.keys) if sender else (b"", None)
        if known not in self._engines:
            engine_id, boots, started_s, salt = self._ours
            users = {sender.user: sender.keys} if sender and sender.keys else {}
            self._engines[known] = Engine(engine_id, boots, started_s, users, salt=salt)
        return self._engines[known]


def name_of(found: Pdu) -> str:
    """What kind of trap it is. Raises Malformed when it is none."""
    if found.kind not in (pdu.TRAP, pdu.INFORM) or len(found.varbinds) < 2:
        raise Malformed("no trap")
    kind = found.varbinds[1].value  # the second one is snmpTrapOID.0 (RFC 3416 §4.2.6)
    if not isinstance(kind, str):
        raise Malformed("no trap")
    return oids.TRAPS.get(kind, kind)
