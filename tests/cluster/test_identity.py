"""Who a certificate names, what each role may call, and which addresses stay on this machine."""

import pytest

from cluster.identity import Identity, identity_of, is_loopback, may_call

LINK = "/keepline.v1.Replication/Link"
READ = "/keepline.v1.Api/Read"
DRAIN = "/keepline.v1.Api/Drain"
WATCH = "/keepline.v1.Gateways/Watch"
ACKNOWLEDGE = "/keepline.v1.Gateways/Acknowledge"
METHODS = (LINK, READ, DRAIN, WATCH, ACKNOWLEDGE)


@pytest.mark.parametrize(
    ("dns_names", "who"),
    [
        (["n1.node.keepline", "node.keepline"], Identity("n1", "node")),
        (["node.keepline", "n1.node.keepline"], Identity("n1", "node")),
        (["ann.operator.keepline"], Identity("ann", "operator")),
        (["a.b.reader.keepline", "a.example.org"], Identity("a.b", "reader")),
        (["node.node.keepline"], Identity("node", "node")),
        ([], None),
        (["node.keepline"], None),
        (["n1.example.org"], None),
        (["n1.boss.keepline"], None),
        (["n1.node.keepline.example.org"], None),
        ([".node.keepline"], None),
        (["n1.node.keepline", "n2.node.keepline"], None),
        (["ann.operator.keepline", "ann.reader.keepline"], None),
    ],
)
def test_a_certificate_names_one_holder_or_nobody(
    dns_names: list[str], who: Identity | None
) -> None:
    assert identity_of(dns_names) == who


@pytest.mark.parametrize("who", [Identity("n1", "node"), Identity("a.b", "operator")])
def test_a_holder_is_found_again_by_its_name(who: Identity) -> None:
    assert identity_of([who.dns_name]) == who


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("node", list(METHODS)),
        ("operator", [READ, DRAIN, WATCH, ACKNOWLEDGE]),
        ("reader", [READ, WATCH]),
        ("boss", []),
    ],
)
def test_each_role_may_call_what_it_is_for(role: str, allowed: list[str]) -> None:
    assert [method for method in METHODS if may_call(role, method)] == allowed


def test_what_is_added_to_the_api_is_nothing_for_readers() -> None:
    assert not may_call("reader", "/keepline.v1.Api/ReadAndForget")
    assert not may_call("operator", "/keepline.v1.Another/Read")


@pytest.mark.parametrize(
    ("address", "is_here"),
    [
        ("127.0.0.1:5000", True),
        ("127.255.3.4:5000", True),
        ("0.0.0.0:5000", False),
        ("192.0.2.1:5000", False),
        ("128.0.0.1:5000", False),
        ("[::1]:5000", False),
        ("localhost:5000", False),
        ("", False),
    ],
)
def test_only_loopback_is_of_this_machine(address: str, is_here: bool) -> None:
    assert is_loopback(address) == is_here
