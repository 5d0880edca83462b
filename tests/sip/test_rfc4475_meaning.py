"""RFC 4475 §3.2 and §3.3: well-formed messages whose meaning is at fault, or odd; one test each."""

from sip.dialog import origin, respond
from sip.message import parse
from sip.uri import parse_uri, uri_of
from tests.sip.torture import SDP, SOURCE, Stage, dropped, refused, taken, wire


def test_badbranch_a_branch_that_is_the_cookie_alone_does_not_join_two_calls() -> None:
    text = """
OPTIONS sip:user@example.com SIP/2.0
To: sip:user@example.com
From: sip:caller@example.org;tag=33242
Max-Forwards: 3
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK
Accept: application/sdp
Call-ID: badbranch.sadonfo23i420jv0as0derf3j3n
CSeq: 8 OPTIONS
l: 0

"""
    stage = Stage()
    stage.layer.receive(wire(text), SOURCE, 0)
    stage.layer.receive(wire(text), SOURCE, 0)
    stage.layer.receive(wire(text.replace("badbranch.", "other.")), SOURCE, 0)

    assert [msg.call_id.partition(".")[0] for msg in stage.requests] == ["badbranch", "other"]
    asked = origin(stage.requests[0], SOURCE)
    stage.layer.respond(asked, 200, respond(asked, 200, to_tag="t"), 0)
    assert parse(stage.sent[0][0]).get("via") == (
        "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK;received=192.0.2.77"
    )


def test_insuf_a_request_without_call_id_from_and_to_is_answered_400() -> None:
    answer = refused(
        """
INVITE sip:user@example.com SIP/2.0
CSeq: 193942 INVITE
Via: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj.insuf
Content-Type: application/sdp
l: 152

"""
        + SDP.format("192.0.2.95")
    )

    assert (answer.status, answer.reason) == (400, "Missing Call-ID")
    assert answer.branch == "z9hG4bKkdj.insuf"


def test_unkscm_an_unknown_scheme_in_the_request_uri_is_answered_416() -> None:
    answer = refused(
        """
OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0
To: sip:user@example.com
From: sip:caller@example.net;tag=384
Max-Forwards: 3
Call-ID: unkscm.nasdfasser0q239nwsdfasdkl34
CSeq: 3923423 OPTIONS
Via: SIP/2.0/TCP host9.example.com;branch=z9hG4bKkdjuw39234
Content-Length: 0

"""
    )

    assert answer.status == 416


def test_novelsc_a_known_scheme_that_is_not_sip_is_answered_416() -> None:
    answer = refused(
        """
OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0
To: sip:user@example.com
From: sip:caller@example.net;tag=384
Max-Forwards: 3
Call-ID: novelsc.asdfasser0q239nwsdfasdkl34
CSeq: 3923423 OPTIONS
Via: SIP/2.0/TCP host9.example.com;branch=z9hG4bKkdjuw39234
Content-Length: 0

"""
    )

    assert answer.status == 416


def test_unksm2_a_registration_of_something_that_is_no_sip_address_is_refused() -> None:
    text = """
REGISTER sip:example.com SIP/2.0
To: isbn:2983792873
From: <http://www.example.com>;tag=3234233
Call-ID: unksm2.daksdj@hyphenated-host.example.com
CSeq: 234902 REGISTER
Max-Forwards: 70
Via: SIP/2.0/UDP 192.0.2.21:5060;branch=z9hG4bKkdjuw
Contact: <name:John_Smith>
l: 0

"""
    answer = refused(text)

    assert (answer.status, answer.reason) == (400, "Malformed To")
    taken(text.replace("REGISTER", "OPTIONS"))  # elsewhere any scheme may stand there


def test_bext01_extensions_that_nobody_knows_are_listed_in_a_420() -> None:
    answer = refused(
        """
OPTIONS sip:user@example.com SIP/2.0
To: sip:j_user@example.com
From: sip:caller@example.net;tag=242etr
Max-Forwards: 6
Call-ID: bext01.0ha0isndaksdj
Require: nothingSupportsThis, nothingSupportsThisEither
Proxy-Require: noProxiesSupportThis, norDoAnyProxiesSupportThis
CSeq: 8 OPTIONS
Via: SIP/2.0/TLS fold-and-staple.example.com;branch=z9hG4bKkdjuw
Content-Length: 0

"""
    )

    assert answer.status == 420
    assert answer.all("unsupported") == ["nothingSupportsThis", "nothingSupportsThisEither"]


def test_invut_a_body_of_unknown_type_is_answered_415_with_what_we_take() -> None:
    answer = refused(
        """
INVITE sip:user@example.com SIP/2.0
Contact: <sip:caller@host5.example.net>
To: sip:j.user@example.com
From: sip:caller@example.net;tag=8392034
Max-Forwards: 70
Call-ID: invut.0ha0isndaksdjadsfij34n23d
CSeq: 235448 INVITE
Via: SIP/2.0/UDP somehost.example.com;branch=z9hG4bKkdjuw
Content-Type: application/unknownformat
Content-Length: 40

<audio>
 <pcmu port="443"/>
</audio>
"""
    )

    assert answer.status == 415
    assert answer.get("accept") == "application/sdp"


def test_regaut01_an_unknown_authorization_scheme_is_for_the_user_to_judge() -> None:
    msg = taken(
        """
REGISTER sip:example.com SIP/2.0
To: sip:j.user@example.com
From: sip:j.user@example.com;tag=87321hj23128
Max-Forwards: 8
Call-ID: regaut01.0ha0isndaksdj
CSeq: 9338 REGISTER
Via: SIP/2.0/TCP 192.0.2.253;branch=z9hG4bKkdjuw
Authorization: NoOneKnowsThisScheme opaque-data=here
Content-Length:0

"""
    )

    assert msg.get("authorization") == "NoOneKnowsThisScheme opaque-data=here"


def test_multi01_what_must_stand_once_and_stands_twice_is_refused() -> None:
    answer = refused(
        """
INVITE sip:user@company.com SIP/2.0
Contact: <sip:caller@host25.example.net>
Via: SIP/2.0/UDP 192.0.2.25;branch=z9hG4bKkdjuw
Max-Forwards: 70
CSeq: 5 INVITE
Call-ID: multi01.98asdh@192.0.2.1
CSeq: 59 INVITE
Call-ID: multi01.98asdh@192.0.2.2
From: sip:caller@example.com;tag=3413415
To: sip:user@example.com
To: sip:other@example.net
From: sip:caller@example.net;tag=2923420123
Content-Type: application/sdp
l: 154
Contact: <sip:caller@host36.example.net>
Max-Forwards: 5

"""
        + SDP.format("192.0.2.25")
        + "\n"
    )

    assert (answer.status, answer.reason) == (400, "Multiple Call-ID")


def test_mcl01_two_content_lengths_are_refused() -> None:
    answer = refused(
        """
OPTIONS sip:user@example.com SIP/2.0
Via: SIP/2.0/UDP host5.example.net;branch=z9hG4bK293423
To: sip:user@example.com
From: sip:other@example.net;tag=3923942
Call-ID: mcl01.fhn2323orihawfdoa3o4r52o3irsdf
CSeq: 15932 OPTIONS
Content-Length: 13
Max-Forwards: 60
Content-Length: 5
Content-Type: text/plain

There's no way to know how many octets are supposed to be here.
"""
    )

    assert (answer.status, answer.reason) == (400, "Multiple Content-Length")


def test_bcast_a_response_with_another_hosts_via_on_top_is_dropped() -> None:
    assert dropped(
        """
SIP/2.0 200 OK
Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923
Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23
Call-ID: bcast.0384840201234ksdfak3j2erwedfsASdf
CSeq: 35 INVITE
From: sip:user@example.com;tag=11141343
To: sip:user@example.edu;tag=2229
Content-Length: 154
Content-Type: application/sdp
Contact: <sip:user@host28.example.com>

"""
        + SDP.format("192.0.2.198"),
        sent_by="192.0.2.1:5060",
    )


def test_zeromf_an_endpoint_answers_with_no_forwards_left_but_does_not_call_on() -> None:
    text = """
OPTIONS sip:user@example.com SIP/2.0
To: sip:user@example.com
From: sip:caller@example.net;tag=3ghsd41
Call-ID: zeromf.jfasdlfnm2o2l43r5u0asdfas
CSeq: 39234321 OPTIONS
Via: SIP/2.0/UDP host1.example.com;branch=z9hG4bKkdjuw2349i
Max-Forwards: 0
Content-Length: 0

"""
    assert taken(text).get("max-forwards") == "0"
    assert refused(text.replace("OPTIONS", "INVITE")).status == 483


def test_cparam01_a_parameter_outside_brackets_is_the_contacts() -> None:
    msg = taken(
        """
REGISTER sip:example.com SIP/2.0
Via: SIP/2.0/UDP saturn.example.com:5060;branch=z9hG4bKkdjuw
Max-Forwards: 70
From: sip:watson@example.com;tag=DkfVgjkrtMwaerKKpe
To: sip:watson@example.com
Call-ID: cparam01.70710@saturn.example.com
CSeq: 2 REGISTER
Contact: sip:+19725552222@gw1.example.net;unknownparam
l: 0

"""
    )

    assert uri_of(msg.get("contact")) == "sip:+19725552222@gw1.example.net"


def test_cparam02_a_parameter_inside_brackets_is_the_uris() -> None:
    msg = taken(
        """
REGISTER sip:example.com SIP/2.0
Via: SIP/2.0/UDP saturn.example.com:5060;branch=z9hG4bKkdjuw
Max-Forwards: 70
From: sip:watson@example.com;tag=838293
To: sip:watson@example.com
Call-ID: cparam02.70710@saturn.example.com
CSeq: 3 REGISTER
Contact: <sip:+19725552222@gw1.example.net;unknownparam>
l: 0

"""
    )

    assert parse_uri(uri_of(msg.get("contact"))).parameters == {"unknownparam": ""}


def test_regescrt_header_fields_inside_a_contacts_brackets_are_kept() -> None:
    msg = taken(
        """
REGISTER sip:example.com SIP/2.0
To: sip:user@example.com
From: sip:user@example.com;tag=8
Max-Forwards: 70
Call-ID: regescrt.k345asrl3fdbv@192.0.2.1
CSeq: 14398234 REGISTER
Via: SIP/2.0/UDP host5.example.com;branch=z9hG4bKkdjuw
M: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>
L:0

"""
    )

    assert parse_uri(uri_of(msg.get("contact"))).headers == "Route=%3Csip:sip.example.com%3E"


def test_sdp01_a_caller_who_takes_no_sdp_in_return_is_answered_406() -> None:
    answer = refused(
        """
INVITE sip:user@example.com SIP/2.0
To: sip:j_user@example.com
Contact: <sip:caller@host15.example.net>
From: sip:caller@example.net;tag=234
Max-Forwards: 5
Call-ID: sdp01.ndaksdj9342dasdd
Accept: text/nobodyKnowsThis
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.15;branch=z9hG4bKkdjuw
Content-Length: 150
Content-Type: application/sdp

"""
        + SDP.format("192.0.2.5")
    )

    assert answer.status == 406
