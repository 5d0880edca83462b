"""RFC 4475 §3.1.1 and §3.4: unusual and well-formed messages, one test each, named after the RFC's
file.
"""

from sip.uri import display_name_of, parse_uri, uri_of, user_of
from tests.sip.torture import SDP, refused, taken


def test_wsinv_a_short_tortuous_invite_is_taken_whole() -> None:
    msg = taken(
        r"""
INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0
TO :
 sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n
from   : "J Rosenberg \\\""       <sip:jdrosen@example.com>
  ;
  tag = 98asjd8
MaX-fOrWaRdS: 0068
Call-ID: wsinv.ndaksdj@192.0.2.1
Content-Length   : 150
cseq: 0009
  INVITE
Via  : SIP  /   2.0
 /UDP
    192.0.2.2;branch=390skdjuw
s :
NewFangledHeader:   newfangled value
 continued newfangled value
UnknownHeaderWithUnusualValue: ;;,,;;,;
Content-Type: application/sdp
Route:
 <sip:services.example.com;lr;unknownwith=value;unknown-no-value>
v:  SIP  / 2.0  / TCP     spindle.example.com   ;
  branch  =   z9hG4bK9ikj8  ,
 SIP  /    2.0   / UDP  192.168.255.111   ; branch=
 z9hG4bK30239
m:"Quoted string \"\"" <sip:jdrosen@example.com> ; newparam =
      newvalue ;
  secondparam ; q = 0.33

"""
        + SDP.format("192.0.2.3").replace("c=IN IP4 192.0.2.3", "c=IN IP4 192.0.2.4")
    )

    assert (msg.cseq, msg.cseq_method, msg.sent_by) == (9, "INVITE", "192.0.2.2")
    assert (msg.to_tag, msg.from_tag) == ("1918181833n", "98asjd8")
    assert uri_of(msg.get("from")) == "sip:jdrosen@example.com"
    assert display_name_of(msg.get("from")) == 'J Rosenberg \\"'
    assert len(msg.all("via")) == 3
    assert msg.get("subject") == ""
    assert msg.get("newfangledheader") == "newfangled value continued newfangled value"
    assert msg.get("unknownheaderwithunusualvalue") == ";;,,;;,;"
    assert uri_of(msg.all("contact")[0]) == "sip:jdrosen@example.com"
    assert len(msg.body) == 150
    assert msg.branch.startswith("390skdjuw~")  # made unique: it is no branch of RFC 3261


_UNUSUAL = "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"


def test_intmeth_a_wide_range_of_characters_is_understood_and_the_method_is_not() -> None:
    method = "!interesting-Method0123456789_*+`.%indeed'~"
    uri = f"{_UNUSUAL}:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com"
    text = f"""
{method} {uri} SIP/2.0
Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~
To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <{_UNUSUAL}@example.com>
From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\
"\xd1\x80\xd0\xb0\xd0\xb1\xd0\xbe\xd1\x82\xd0\xb0\xd1\x8e\xd1\x89\xd0\xb8\xd0\xb9"\
;tag=_token~1'+`*%!-.
Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/"][?}}{{
CSeq: 139122385 {method}
Max-Forwards: 255
extensionHeader-!.%*+_`'~:\xef\xbb\xbf\xe5\xa4\xa7\xe5\x81\x9c\xe9\x9b\xbb
Content-Length: 0

"""
    answer = refused(text)

    assert answer.status == 501  # and no 400: everything but the method is understood
    assert "INVITE" in answer.all("allow")
    assert answer.get("call-id") == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    assert answer.from_tag == "_token~1'+`*%!-."
    assert parse_uri(uri).password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"

    known = taken(text.replace(method, "INVITE"))
    assert display_name_of(known.get("to")) == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert known.branch == "z9hG4bK-.!%66*_+`'~"


def test_esc01_escapes_are_read_where_they_mean_something() -> None:
    msg = taken(
        """
INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0
To: sip:%75se%72@example.com
From: <sip:I%20have%20spaces@example.net>;tag=938
Max-Forwards: 87
i: esc01.239409asdfakjkn23onasd0-3234
CSeq: 234234 INVITE
Via: SIP/2.0/UDP host5.example.net;branch=z9hG4bKkdjuw
C: application/sdp
Contact:
  <sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31>
Content-Length: 150

"""
        + SDP.format("192.0.2.1")
    )

    assert user_of(msg.uri) == "sips:user@example.com"
    assert user_of(uri_of(msg.get("to"))) == "user"
    assert user_of(uri_of(msg.get("from"))) == "I have spaces"
    contact = parse_uri(uri_of(msg.get("contact")))
    assert contact.parameters == {"%6c%72": "", "n%61me": "v%61lue%25%34%31"}


def test_escnull_an_escaped_null_does_not_end_a_name() -> None:
    msg = taken(
        """
REGISTER sip:example.com SIP/2.0
To: sip:null-%00-null@example.com
From: sip:null-%00-null@example.com;tag=839923423
Max-Forwards: 70
Call-ID: escnull.39203ndfvkjdasfkq3w4otrq0adsfdfnavd
CSeq: 14398234 REGISTER
Via: SIP/2.0/UDP host5.example.com;branch=z9hG4bKkdjuw
Contact: <sip:%00@host5.example.com>
Contact: <sip:%00%00@host5.example.com>
L:0

"""
    )

    assert user_of(uri_of(msg.get("to"))) == "null-\0-null"
    assert [user_of(uri_of(contact)) for contact in msg.all("contact")] == ["\0", "\0\0"]


def test_esc02_a_percent_sign_elsewhere_is_just_a_percent_sign() -> None:
    text = """
RE%47IST%45R sip:registrar.example.com SIP/2.0
To: "%Z%45" <sip:resource@example.com>
From: "%Z%45" <sip:resource@example.com>;tag=f232jadfj23
Call-ID: esc02.asdfnqwo34rq23i34jrjasdcnl23nrlknsdf
Via: SIP/2.0/TCP host.example.com;branch=z9hG4bK209%fzsnel234
CSeq: 29344 RE%47IST%45R
Max-Forwards: 70
Contact: <sip:alias1@host1.example.com>
C%6Fntact: <sip:alias2@host2.example.com>
Contact: <sip:alias3@host3.example.com>
l: 0

"""
    assert refused(text).status == 501  # it is not REGISTER

    msg = taken(text.replace("RE%47IST%45R", "REGISTER"))
    assert len(msg.all("contact")) == 2
    assert msg.branch == "z9hG4bK209%fzsnel234"


def test_lwsdisp_a_name_may_touch_its_bracket() -> None:
    msg = taken(
        """
OPTIONS sip:user@example.com SIP/2.0
To: sip:user@example.com
From: caller<sip:caller@example.com>;tag=323
Max-Forwards: 70
Call-ID: lwsdisp.1234abcd@funky.example.com
CSeq: 60 OPTIONS
Via: SIP/2.0/UDP funky.example.com;branch=z9hG4bKkdjuw
l: 0

"""
    )

    assert display_name_of(msg.get("from")) == "caller"
    assert msg.from_tag == "323"


def test_longreq_long_values_and_many_vias_are_no_fault() -> None:
    long_user = "amazinglylongcallername" * 5
    long_branch = "very" + "long" * 50 + "branchvalue"
    spellings: tuple[str, ...] = (
        "Via",
        "v",
        "V",
        "Via",
        "ViA",
        "VIa",
        "VIA",
        "via",
        "viA",
        "vIa",
        "vIA",
    )
    spellings += ("V ", "v ", "V  ", "v  ", "Via ", "Via  ") + ("Via",) * 16
    vias = [f"{name}: SIP/2.0/TCP sip{33 - i}.example.com" for i, name in enumerate(spellings)]
    msg = taken(
        f"""
INVITE sip:user@example.com SIP/2.0
To: "I have a user name of {"extreme" * 10} proportion"<sip:user@example.com:6000;\
unknownparam1=very{"long" * 20}value;longparam{"name" * 25}=shortvalue;\
very{"long" * 25}ParameterNameWithNoValue>
F: sip:{long_user}@example.net;tag=1{"2982" * 50}424;unknownheaderparam{"name" * 20}=\
unknowheaderparam{"value" * 15};unknownValueless{"paramname" * 10}
Call-ID: longreq.one{"really" * 20}longcallid
CSeq: 3882340 INVITE
Unknown-{"Long" * 20}-Name: unknown-{"long" * 20}-value; unknown-{"long" * 20}-parameter-name =\
 unknown-{"long" * 20}-parameter-value
"""
        + "\n".join(vias)
        + f"""
Via: SIP/2.0/TCP host.example.com;received=192.0.2.5;branch={long_branch}
Max-Forwards: 70
Contact: <sip:{long_user}@host5.example.net>
Content-Type: application/sdp
l: 150

"""
        + SDP.format("192.0.2.1")
    )

    assert len(msg.all("via")) == 34
    assert msg.from_tag == "1" + "2982" * 50 + "424"
    assert user_of(uri_of(msg.get("contact"))) == long_user
    assert len(msg.body) == 150


def test_dblreq_what_follows_the_content_length_in_a_datagram_is_ignored() -> None:
    msg = taken(
        """
REGISTER sip:example.com SIP/2.0
To: sip:j.user@example.com
From: sip:j.user@example.com;tag=43251j3j324
Max-Forwards: 8
I: dblreq.0ha0isndaksdj99sdfafnl3lk233412
Contact: sip:j.user@host.example.com
CSeq: 8 REGISTER
Via: SIP/2.0/UDP 192.0.2.125;branch=z9hG4bKkdjuw23492
Content-Length: 0


INVITE sip:joe@example.com SIP/2.0
t: sip:joe@example.com
From: sip:caller@example.net;tag=141334
Max-Forwards: 8
Call-ID: dblreq.0ha0isnda977644900765@192.0.2.15
CSeq: 8 INVITE
Via: SIP/2.0/UDP 192.0.2.15;branch=z9hG4bKkdjuw380234
Content-Type: application/sdp
Content-Length: 150

"""
        + SDP.format("192.0.2.15").replace("m=video", "m =video")
    )

    assert msg.method == "REGISTER"
    assert msg.body == ""


def test_semiuri_a_semicolon_before_the_at_belongs_to_the_user() -> None:
    msg = taken(
        """
OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0
To: sip:j_user@example.com
From: sip:caller@example.org;tag=33242
Max-Forwards: 3
Call-ID: semiuri.0ha0isndaksdj
CSeq: 8 OPTIONS
Accept: application/sdp, application/pkcs7-mime,
        multipart/mixed, multipart/signed,
        message/sip, message/sipfrag
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKkdjuw
l: 0

"""
    )

    uri = parse_uri(msg.uri)
    assert (uri.user, uri.host, uri.parameters) == ("user;par=u%40example.net", "example.com", {})
    assert user_of(msg.uri) == "user;par=u@example.net"
    assert len(msg.all("accept")) == 6


def test_transports_a_via_may_name_any_transport() -> None:
    msg = taken(
        """
OPTIONS sip:user@example.com SIP/2.0
To: sip:user@example.com
From: <sip:caller@example.com>;tag=323
Max-Forwards: 70
Call-ID:  transports.kijh4akdnaqjkwendsasfdj
Accept: application/sdp
CSeq: 60 OPTIONS
Via: SIP/2.0/UDP t1.example.com;branch=z9hG4bKkdjuw
Via: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKklasjdhf
Via: SIP/2.0/TLS t3.example.com;branch=z9hG4bK2980unddj
Via: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en
Via: SIP/2.0/TCP t5.example.com;branch=z9hG4bK0a9idfnee
l: 0

"""
    )

    assert len(msg.all("via")) == 5
    assert msg.sent_by == "t1.example.com"


def test_mpart01_a_binary_body_arrives_byte_for_byte() -> None:
    binary = "".join(map(chr, range(256)))  # the RFC has an S/MIME signature here
    body = (
        "--7a9cbec02ceef655\nContent-Type: text/plain\nContent-Transfer-Encoding: binary\n\nHello\n"
        "--7a9cbec02ceef655\nContent-Type: application/octet-stream\n"
        f"Content-Transfer-Encoding: binary\n\n{binary}\n--7a9cbec02ceef655--\n"
    ).replace("\n", "\r\n")
    msg = taken(
        f"""
MESSAGE sip:kumiko@example.org SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK-d87543-4dade06d0bdb11ee-1--d87543-;rport
Max-Forwards: 70
Route: <sip:127.0.0.1:5080>
Identity: r5mwreLuyDRYBi/0TiPwEsY3rEVsk/G2WxhgTV1PF7hHuLIK0YWVKZhKv9Mj8UeXqkMVbnVq37CD+813gvYjcBU=
Contact: <sip:fluffy@127.0.0.1:5070>
To: <sip:kumiko@example.org>
From: <sip:fluffy@example.com>;tag=2fb0dcc9
Call-ID: 3d9485ad0c49859b@Zmx1ZmZ5LW1hYy0xNi5sb2NhbA..
CSeq: 1 MESSAGE
Content-Transfer-Encoding: binary
Content-Type: multipart/mixed;boundary=7a9cbec02ceef655
Date: Sat, 15 Oct 2005 04:44:56 GMT
User-Agent: SIPimp.org/0.2.5 (curses)
Content-Length: {len(body)}

"""
        + body.replace("\r\n", "\n")
    )

    assert msg.body == body


def test_unreason_a_reason_phrase_may_be_in_any_script() -> None:
    reason = "= 2**3 * 5**2 но сто девяносто девять - простое".encode().decode("latin-1")
    msg = taken(
        f"""
SIP/2.0 200 {reason}
Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923
Call-ID: unreason.1234ksdfak3j2erwedfsASdf
CSeq: 35 INVITE
From: sip:user@example.com;tag=11141343
To: sip:user@example.edu;tag=2229
Content-Length: 154
Content-Type: application/sdp
Contact: <sip:user@host198.example.com>

"""
        + SDP.format("192.0.2.198")
    )

    assert (msg.status, msg.reason) == (200, reason)


def test_noreason_a_reason_phrase_may_be_empty() -> None:
    msg = taken(
        """
SIP/2.0 100\x20
Via: SIP/2.0/UDP 192.0.2.105;branch=z9hG4bK2398ndaoe
Call-ID: noreason.asndj203insdf99223ndf
CSeq: 35 INVITE
From: <sip:user@example.com>;tag=39ansfi3
To: <sip:user@example.edu>;tag=902jndnke3
Content-Length: 0
Contact: <sip:user@host105.example.com>

"""
    )

    assert (msg.status, msg.reason) == (100, "")


def test_inv2543_an_invite_of_the_old_standard_is_taken() -> None:
    msg = taken(
        """
INVITE sip:UserB@example.com SIP/2.0
Via: SIP/2.0/UDP iftgw.example.com
From: <sip:+13035551111@ift.client.example.net;user=phone>
Record-Route: <sip:UserB@example.com;maddr=ss1.example.com>
To: sip:+16505552222@ss1.example.net;user=phone
Call-ID: inv2543.1717@ift.client.example.com
CSeq: 56 INVITE
Content-Type: application/sdp

v=0
o=mhandley 29739 7272939 IN IP4 192.0.2.5
s=-
c=IN IP4 192.0.2.5
t=0 0
m=audio 49217 RTP/AVP 0
"""
    )

    assert msg.body.endswith("m=audio 49217 RTP/AVP 0\r\n")  # no Content-Length: all there is
    assert uri_of(msg.get("to")) == "sip:+16505552222@ss1.example.net"
    assert msg.sent_by == "iftgw.example.com"
