"""URIs and addresses: parts, tags, and where a literal address leads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.uri import (
    BadUri,
    display_name_of,
    host_port,
    is_address,
    is_ip,
    is_plain,
    parse_uri,
    split_host,
    tag_of,
    uri_of,
    user_of,
)


def test_the_parts_of_a_sip_uri() -> None:
    uri = parse_uri("SIP:alice:secret@[2001:db8::1]:5070;Transport=UDP;lr?Subject=x")

    assert (uri.scheme, uri.user, uri.password) == ("sip", "alice", "secret")
    assert (uri.host, uri.port) == ("[2001:db8::1]", 5070)
    assert uri.parameters == {"transport": "UDP", "lr": ""}
    assert uri.headers == "Subject=x"
    assert parse_uri("tel:+49-30").opaque == "+49-30"


@pytest.mark.parametrize(
    "text",
    [
        "", "sip", "sip:", "sip:@host", "sip:a@", "sip:a@b c", "sip:a@b:x", "sip:a@b:0",
        "sip:a@b:65536", "sip:a@b:99999999999", "sip:a b@c", "sip:a%4@b", "sip:a%zz@b",
        "sip:a@[::1", "sip:a@b>", "<sip:a@b>", "sip:a@-b", "sip:a@b;x=%4", 'sip:"a"@b', "1sip:a",
        "tel:", "x:a b", "sip:\xe9@b", "sip:a@b\0",
    ],
)  # fmt: skip
def test_what_is_no_uri(text: str) -> None:
    with pytest.raises(BadUri):
        parse_uri(text)
    assert not is_plain(text)


@given(st.text(alphabet='sipSIPtel:@;?=%&[].<>" 0129aZ-_+,\0\xe9', max_size=40))
def test_what_looks_plain_is_well_formed(text: str) -> None:
    for candidate in (text, f"sip:{text}"):
        if is_plain(candidate):
            parse_uri(candidate)
            assert is_address(f"<{candidate}>")
        try:
            parse_uri(candidate)
            host_port(candidate)
        except BadUri:
            pass
        for read in (uri_of, tag_of, user_of, display_name_of):
            read(candidate)


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("sip:1001@127.0.0.1:7001", ("127.0.0.1", 7001)),
        ("sip:127.0.0.1", ("127.0.0.1", 5060)),
        ("sip:a@[::1]:5070;transport=udp", ("::1", 5070)),
        ("sip:a@name.example;maddr=192.0.2.1", ("192.0.2.1", 5060)),
    ],
)
def test_where_a_literal_address_leads(uri: str, address: tuple[str, int]) -> None:
    assert host_port(uri) == address


@pytest.mark.parametrize(
    "uri",
    ["sip:a@name.example", "tel:+4930", "sip:a@1.2.3", "sip:a@1.2.3.256", "sip:a@1.2.3.4.5", ""],
)
def test_a_name_leads_nowhere(uri: str) -> None:
    with pytest.raises(BadUri):
        host_port(uri)


@pytest.mark.parametrize(
    ("value", "uri", "name", "tag"),
    [
        ("sip:a@b;tag=1;x", "sip:a@b", "", "1"),
        ("<sip:a@b;tag=no>;x=y;tag=1", "sip:a@b;tag=no", "", "1"),
        ("<sip:a@b;tag=no>", "sip:a@b;tag=no", "", ""),
        ('"x <sip:no> \\" ;tag=no" <sip:a@b>; TAG = 1 ;y', "sip:a@b", 'x <sip:no> " ;tag=no', "1"),
        ("Bob  Smith <sip:a@b>", "sip:a@b", "Bob  Smith", ""),
        ('"never closed <sip:a@b>', "", "", ""),
        ("<sip:a@b", "", "", ""),
        ("", "", "", ""),
    ],
)
def test_what_an_address_value_says(value: str, uri: str, name: str, tag: str) -> None:
    assert uri_of(value) == uri
    assert tag_of(value) == tag
    if uri:
        assert display_name_of(value) == name


@pytest.mark.parametrize(
    ("uri", "user"),
    [
        ("sip:4001@127.0.0.1", "4001"),
        ("sip:+49%2030:secret@b", "+49 30"),
        ("tel:+4930;phone-context=x", "+4930"),
        ("sip:example.com", ""),
        ("nonsense", ""),
    ],
)
def test_whom_a_uri_names(uri: str, user: str) -> None:
    assert user_of(uri) == user


def test_what_is_a_literal_address() -> None:
    assert [
        is_ip(host) for host in ("0.0.0.0", "255.1.2.3", "::1", "fe80::1:2", "::ffff:1.2.3.4")
    ] == [True] * 5
    assert [
        is_ip(host) for host in ("", "a", "1.2.3.", "01.2.3.4", "1.2.3.4 ", ":", "a:b", "1:2")
    ] == [False] * 8


def test_a_sent_by_is_split_with_its_default_port() -> None:
    assert split_host("host.example") == ("host.example", 5060)
    assert split_host("[::1]:5062") == ("::1", 5062)
    for bad in ("", "a:0", "a:70000", "a b", "[::1"):
        with pytest.raises(BadUri):
            split_host(bad)
