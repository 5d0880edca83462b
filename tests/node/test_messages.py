"""The ring of messages behind `keepline trace`."""

from node.messages import KEPT_BYTES, MessageRing

PEER = ("192.0.2.1", 5060)


def test_long_datagrams_do_not_fill_the_memory() -> None:
    ring = MessageRing()
    long = b"INVITE sip:4001@x SIP/2.0\r\nCall-ID: a@b\r\n\r\n" + b"x" * 60_000
    ring.saw("main", "in", long, PEER)

    (seen,) = ring.of({"a@b"}, "n1")
    assert seen["message"].startswith("INVITE sip:4001@x")
    assert max(len(datagram) for *_, datagram in ring._ring) == KEPT_BYTES
    assert ring.of({"nobody"}, "n1") == []
