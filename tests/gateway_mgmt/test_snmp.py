"""Our own BER and SNMPv3: against known answers, and against whatever bytes there may be."""

from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway_mgmt import oids
from gateway_mgmt.snmp import ber, pdu, usm
from gateway_mgmt.snmp.ber import Malformed
from gateway_mgmt.snmp.engine import Engine, Opened
from gateway_mgmt.snmp.pdu import Pdu
from gateway_mgmt.traps import Desk, Sender

ENGINE = bytes.fromhex("000000000000000000000002")
KEYS = usm.master("sha", b"authpass123", b"privpass123")
OTHER_AUTH = usm.master("sha", b"another-one", b"privpass123")
OTHER_PRIVACY = usm.master("sha", b"authpass123", b"another-one")

oid_texts = st.builds(
    lambda first, rest: ".".join(map(str, (1, first, *rest))),
    st.integers(0, 39),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20),
)
varbinds = st.one_of(
    st.builds(pdu.number, oid_texts, st.integers(-(2**31), 2**31 - 1)),
    st.builds(pdu.number, oid_texts, st.integers(0, 2**64 - 1), st.just(ber.COUNTER64)),
    st.builds(pdu.text, oid_texts, st.binary(max_size=300)),
    st.builds(pdu.name, oid_texts, oid_texts),
)
pdus = st.builds(
    Pdu,
    st.sampled_from((pdu.GET, pdu.RESPONSE, pdu.TRAP, pdu.INFORM)),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 18),
    st.integers(0, 100),
    st.lists(varbinds, max_size=8),
)


def test_keys_are_those_of_rfc_3414() -> None:
    """§A.3.2: the password maplesyrup."""
    master = usm.master_key("sha", b"maplesyrup")
    assert master.hex() == "9fb5cc0381497b3793528939ff788d5d79145211"
    keys = usm.localized(usm.Master("sha", master, master), ENGINE)
    assert keys.auth.hex() == "6695febc9288e36282235fc7151f128497b38f3f"
    assert keys.privacy == keys.auth[:16]


@settings(deadline=None)
@given(oid_texts)
def test_an_oid_is_read_as_it_was_written(oid: str) -> None:
    assert ber.oid_text(ber.oid_bytes(oid)) == oid


@settings(deadline=None)
@given(pdus, st.binary(max_size=40))
def test_a_message_is_read_as_it_was_written(sent: Pdu, community: bytes) -> None:
    assert pdu.decode_v2c(pdu.encode_v2c(community, sent)) == (community, sent)


@settings(deadline=None)
@given(pdus, st.integers(0, 2**64 - 1), st.sampled_from(("sha", "sha256")))
def test_a_sealed_message_is_read_as_it_was_written(sent: Pdu, salt: int, protocol: str) -> None:
    keys = usm.localized(KEYS._replace(protocol=protocol), ENGINE)
    sealed = usm.seal(
        message_id=5,
        flags=usm.REPORTABLE,
        engine_id=ENGINE,
        boots=2,
        time_s=77,
        user=b"noc",
        scoped=usm.scoped_pdu(ENGINE, sent),
        keys=keys,
        salt=salt,
    )
    head = usm.read_head(sealed)
    assert (head.engine_id, head.boots, head.time_s, head.user) == (ENGINE, 2, 77, b"noc")
    assert usm.unseal(sealed, head, keys).pdu == sent


def sealed(keys: usm.Master, *, boots: int = 1, time_s: int = 0, user: bytes = b"noc") -> bytes:
    return usm.seal(
        message_id=5,
        flags=usm.REPORTABLE,
        engine_id=ENGINE,
        boots=boots,
        time_s=time_s,
        user=user,
        scoped=usm.scoped_pdu(ENGINE, Pdu(pdu.GET, 9)),
        keys=usm.localized(keys, ENGINE),
        salt=7,
    )


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (sealed(OTHER_AUTH), usm.WRONG_DIGEST),
        (sealed(OTHER_PRIVACY), usm.DECRYPTION_ERROR),
        (sealed(KEYS, user=b"nobody"), usm.UNKNOWN_USER),
        (sealed(KEYS, boots=2), usm.NOT_IN_WINDOW),
        (sealed(KEYS, time_s=1_000), usm.NOT_IN_WINDOW),
        (usm.discovery(5), usm.UNKNOWN_ENGINE),
    ],
)
def test_an_engine_says_what_is_wrong(asked: bytes, why: str) -> None:
    engine = Engine(ENGINE, 1, 0.0, {b"noc": KEYS}, salt=0)
    report = engine.open(asked, 10.0)
    assert isinstance(report, bytes)
    head = usm.read_head(report)
    keys = usm.localized(KEYS, ENGINE) if head.flags & usm.AUTH else None
    assert (keys is not None) == (why == usm.NOT_IN_WINDOW), "what a clock is set by is authentic"
    (said,) = usm.unseal(report, head, keys).pdu.varbinds
    assert (ber.oid_text(said.oid), said.value) == (why, 1)
    assert isinstance(engine.open(sealed(KEYS), 10.0), Opened)


def test_keys_do_not_show_themselves() -> None:
    assert "authpass" not in repr(KEYS)
    assert repr(KEYS) == "Master(sha)"
    assert repr(usm.localized(KEYS, ENGINE)) == "Keys(sha)"


TRAP = Pdu(
    pdu.TRAP,
    1,
    varbinds=[
        pdu.number(oids.SYS_UPTIME, 5, ber.TIMETICKS),
        pdu.name(oids.TRAP_OID, oids.LINE_STATUS_CHANGE),
    ],
)
V2C = pdu.encode_v2c(b"public", TRAP)
V3 = Engine(ENGINE, 1, 0.0, {b"noc": KEYS}, salt=0).notify(1, b"noc", TRAP, 1.0)
INFORM = usm.seal(
    message_id=1,
    flags=usm.REPORTABLE,
    engine_id=b"ours-engine",
    boots=1,
    time_s=0,
    user=b"noc",
    scoped=usm.scoped_pdu(b"ours-engine", TRAP._replace(kind=pdu.INFORM)),
    keys=usm.localized(KEYS, b"ours-engine"),
    salt=1,
)


def desk() -> Desk:
    senders = {"10.0.0.1": [Sender("tg1", b"public"), Sender("tg2", user=b"noc", keys=KEYS)]}
    return Desk(senders, engine_id=b"ours-engine", boots=1, started_s=0.0, salt=0)


def test_traps_and_informs_name_their_device() -> None:
    found = desk()
    assert found.receive(V2C, "10.0.0.1", 1.0)[:2] == ("tg1", "line_status_change")
    assert found.receive(V3, "10.0.0.1", 1.0)[:2] == ("tg2", "line_status_change")
    hint = found.receive(INFORM, "10.0.0.1", 1.0)
    assert hint.device == "tg2"
    head = usm.read_head(hint.reply)
    answer = usm.unseal(hint.reply, head, usm.localized(KEYS, b"ours-engine")).pdu
    assert (answer.kind, answer.request_id) == (pdu.RESPONSE, 1)
    inform = pdu.encode_v2c(b"public", TRAP._replace(kind=pdu.INFORM))
    answered = pdu.decode_v2c(found.receive(inform, "10.0.0.1", 1.0).reply)
    assert answered.pdu == TRAP._replace(kind=pdu.RESPONSE)
    assert (found.counts["taken"], found.counts["informs"]) == (4, 2)


@pytest.mark.parametrize(
    ("datagram", "host", "count"),
    [
        (V2C, "10.0.0.9", "strangers"),
        (pdu.encode_v2c(b"private", TRAP), "10.0.0.1", "wrong_community"),
        (pdu.encode_v2c(b"public", Pdu(pdu.GET, 1)), "10.0.0.1", "malformed"),
        (V3.replace(b"noc", b"abc"), "10.0.0.1", "wrong_user"),
        (V3[:-1] + bytes((V3[-1] ^ 1,)), "10.0.0.1", "wrong_key"),
        (INFORM.replace(b"noc", b"abc"), "10.0.0.1", "reports"),
        (b"", "10.0.0.1", "malformed"),
    ],
)
def test_what_asks_for_no_poll_is_counted(datagram: bytes, host: str, count: str) -> None:
    found = desk()
    assert found.receive(datagram, host, 1.0).device == ""
    assert found.counts[count] == 1
    assert sum(found.counts.values()) == 1


def torn(whole: bytes) -> st.SearchStrategy[bytes]:
    """A message with bytes changed, cut off or put in."""
    places = st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=6)

    def tear(changes: list[tuple[int, int]], end: int, more: bytes) -> bytes:
        out = bytearray(whole)
        for at, byte in changes:
            out[at] = byte
        return bytes(out[:end]) + more

    return st.builds(tear, places, st.integers(0, len(whole)), st.binary(max_size=8))


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=200), torn(V2C), torn(V3), torn(INFORM)))
@example(b"\x30\x84\xff\xff\xff\xff")
@example(b"\x30\x80")
def test_junk_is_survived(datagram: bytes) -> None:
    found = desk()
    hint = found.receive(datagram, "10.0.0.1", 1.0)
    assert sum(found.counts.values()) >= 1
    if datagram not in (V3, INFORM) and hint.device == "tg2":
        raise AssertionError("what is not authentic was taken")
    assert found.receive(V2C, "10.0.0.1", 1.0).device == "tg1", "and the next one is read"


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_whatever_the_bytes_nothing_but_malformed_is_raised(data: bytes) -> None:
    for read in (pdu.decode_v2c, usm.read_head):
        with suppress(Malformed):
            read(data)
