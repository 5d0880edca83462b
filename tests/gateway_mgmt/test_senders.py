"""Notices reach real receivers, in order, again until they have them, with no secret in sight."""

import asyncio
import json
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from cluster.io.secret import NoSecret, secret
from gateway_mgmt.alarms.formats import is_genuine, octet_counted, syslog_line
from gateway_mgmt.alarms.inputs import Sent
from gateway_mgmt.alarms.records import Notice
from gateway_mgmt.alarms.view import standing
from gateway_mgmt.alarms.words import Message
from gateway_mgmt.io.alertmanager import Alertmanager
from gateway_mgmt.io.courier import Courier, Sender
from gateway_mgmt.io.mail import Mail
from gateway_mgmt.io.syslog import Syslog
from gateway_mgmt.io.webhook import Webhook
from gateway_mgmt.trunks import Impact
from tests.cluster.certificates import Authority
from tests.gateway_mgmt.receivers import Http, Mails, SyslogServer, contexts, udp_socket
from tests.gateway_mgmt.world import World

PLANTED = "s3cr3t-Planted-Value"


def notices() -> dict[str, Notice]:
    """By key: a loss that is raised and cleared, as a shard of alarms makes them."""
    world = World()
    world.answers = False
    world.see("los", "on", "tg1/3")
    world.run_until(5_000)
    world.see("los", "off", "tg1/3")
    world.run_until(20_000)
    found = {key: world.records[key] for key in world.machine.book.notices}
    assert [notice.what for notice in found.values()] == ["raised", "cleared"]
    return found


async def until(is_so: Callable[[], object], what: Callable[[], object] = lambda: "") -> None:
    for _ in range(1_000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(what())


async def twelve(impact: Impact) -> int | None:
    assert impact.trunks == ("carrier-b",)
    return 12


@asynccontextmanager
async def brought(sender: Sender, **made_of: Notice) -> AsyncIterator[tuple[Courier, list[Sent]]]:
    """A courier at work on these notices, and what it says of them."""
    sent: list[Sent] = []
    courier = Courier("noc", sender, sent.append, callers=twelve, retry_ms=(10, 20))
    for key, notice in (made_of or notices()).items():
        courier.put(key, notice)
    try:
        yield courier, sent
    finally:
        await courier.stop()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NOC_SECRET", PLANTED)
    return "env:NOC_SECRET"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca")


async def test_a_webhook_is_signed_and_a_repeat_has_the_same_key(key: str) -> None:
    with Http(503) as server:
        async with brought(Webhook(f"{server.url}/in?x=1", key)) as (courier, sent):
            await until(lambda: len(sent) == 2, lambda: courier.trouble)
        keys = [headers["Idempotency-Key"] for _, headers, _ in server.got]
        assert keys == [keys[0], keys[0], keys[2]]
        assert keys[0] != keys[2]
        path, headers, body = server.got[0]
        assert path == "/in?x=1"
        said = json.loads(body)
        assert said["what"] == "raised"
        assert said["severity"] == "critical"
        assert said["numbers"] == ["4003"]
        assert said["callers"] == 12
        assert said["id"] == keys[0]
        assert json.loads(server.got[2][2])["severity"] == "cleared"
        proof = (headers["Keepline-Timestamp"], body, headers["Keepline-Signature"])
        now_s = int(time.time())
        assert is_genuine(PLANTED, *proof, now_s=now_s)
        assert not is_genuine("another", *proof, now_s=now_s)
        assert not is_genuine(PLANTED, proof[0], body + b" ", proof[2], now_s=now_s)
        assert not is_genuine(PLANTED, *proof, now_s=now_s + 400)
        assert not is_genuine(PLANTED, "junk", body, proof[2], now_s=now_s)


async def test_what_a_receiver_refuses_holds_up_nothing_else(key: str) -> None:
    with Http(400) as server:
        async with brought(Webhook(server.url, key)) as (_, sent):
            await until(lambda: len(sent) == 2)
        assert [one.refused for one in sent] == ["answers 400", ""]


async def test_a_receiver_that_is_not_there_is_trouble_and_loses_nothing(key: str) -> None:
    with Http() as server:
        url = server.url
    async with brought(Webhook(url, key, timeout_s=1)) as (courier, sent):
        await until(lambda: courier.trouble)
        assert courier.trouble == "receiver noc: 127.0.0.1: ConnectionRefusedError"
        assert courier.waiting == 2
        assert sent == []


async def test_a_notice_that_cannot_be_written_holds_up_nothing_else() -> None:
    with Mails() as server:
        good, other = notices().values()
        bad = Notice(**{field: getattr(good, field) for field in Notice.__struct_fields__})
        bad.path = "tg1\nBcc: all@example.net"
        mail = Mail(server.address, sender="kl@example.net", to=["noc@example.net"],
                    security="none", digest_ms=10)  # fmt: skip
        async with brought(mail, a=bad, b=other) as (_, sent):
            await until(lambda: len(sent) == 2)
        assert [one.refused for one in sent] == ["ValueError", ""]
        assert len(server.envelopes) == 1


async def test_alertmanagers_are_told_at_once_and_again_while_it_stands(key: str) -> None:
    world = World()
    world.see("los", "on", "tg1/3")
    world.run_until(5_000)

    async def stands() -> list[Message]:
        return [Message(one) for one in standing(world.records, world.machine.book)]

    with Http() as server:
        sender = Alertmanager([server.url, "http://127.0.0.1:9"], stands, token=key, again_ms=20)
        sender.start()
        try:
            await until(lambda: len(server.got) >= 3)
        finally:
            await sender.stop()
        path, headers, body = server.got[0]
        assert path == "/api/v2/alerts"
        assert headers["Authorization"] == f"Bearer {PLANTED}"
        (again,) = json.loads(body)
        assert again["endsAt"] > again["startsAt"]
        del server.got[:]
        async with brought(sender) as (_, sent):
            await until(lambda: sent)
        assert len(sent[0].notices) == 2
        raised, cleared = json.loads(server.got[0][2])
        assert raised["labels"] == cleared["labels"] == again["labels"]
        assert again["labels"] == {
            "alertname": "los",
            "gateway": "tg1",
            "path": "tg1/3",
            "severity": "critical",
        }
        assert cleared["endsAt"] < raised["endsAt"]
        assert raised["annotations"]["callers"] == "12"


async def test_an_older_repeat_never_comes_after_a_clear() -> None:
    raised, cleared = notices().values()
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow() -> list[Message]:
        asked.set()
        await go.wait()
        return [Message(raised)]

    with Http() as server:
        sender = Alertmanager([server.url], slow)
        sender.start()
        try:
            await asked.wait()
            sending = asyncio.create_task(sender.send([Message(cleared)]))
            await asyncio.sleep(0.2)
            go.set()
            await sending
        finally:
            await sender.stop()
        ends = [json.loads(body)[0]["endsAt"] for _, _, body in server.got]
        assert len(ends) == 2
        assert ends[0] > ends[1]


async def test_no_alertmanager_that_takes_it_is_trouble() -> None:
    async def nothing() -> list[Message]:
        return []

    with Http(500, 500) as server:
        async with brought(Alertmanager([server.url], nothing)) as (courier, sent):
            await until(lambda: courier.trouble)
            await until(lambda: sent)
            assert courier.trouble == ""


LINE = re.compile(
    rb"<(\d+)>1 (\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z) n1 keepline - (raised|cleared) "
    rb'\[alarm resource="tg1/3" probableCause="lossOfSignal" perceivedSeverity="(\w+)"\]'
    rb'\[keepline@32473 id="([^"]+)" .*trunks="carrier-b".*callers="12"\] '
    rb"\xef\xbb\xbf(tg1/3: .*)",
    re.DOTALL,
)


def check_lines(lines: list[bytes]) -> None:
    raised, cleared = (LINE.fullmatch(line) for line in lines)
    assert raised
    assert cleared
    assert raised[1] == b"161"  # local4, alert (RFC 5674)
    assert raised[4] == b"critical"
    assert b"check cable" in raised[6]
    assert (cleared[1], cleared[4]) == (b"165", b"cleared")
    assert raised[5] != cleared[5]


def test_no_name_breaks_the_form_of_a_syslog_message() -> None:
    notice = next(iter(notices().values()))
    notice.condition = 'a]b"c\\d'
    line = syslog_line(Message(notice), host="a host\n")
    assert rb'condition="a\]b\"c\\d"' in line
    assert line.split(b" ")[2] == b"ahost"
    assert octet_counted("ü".encode()) == b"2 \xc3\xbc"


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_syslog_counts_as_sent_when_the_server_has_read_it(
    transport: str, authority: Authority
) -> None:
    server_tls, tls = contexts(authority.sign("log", "127.0.0.1"), authority.cert)
    is_tls = transport == "tls"
    async with SyslogServer(server_tls if is_tls else None, drops=1) as server:
        syslog = Syslog(server.address, transport=transport, host="n1", tls=tls)
        async with brought(syslog) as (_, sent):
            await until(lambda: sent)
        assert server.dropped == 1
        check_lines(server.lines)


async def test_syslog_over_tls_wants_a_certificate_it_trusts(authority: Authority) -> None:
    server_tls, _ = contexts(authority.sign("log", "127.0.0.1"), authority.cert)
    async with SyslogServer(server_tls) as server:
        syslog = Syslog(server.address, transport="tls", host="n1")
        async with brought(syslog) as (courier, sent):
            await until(lambda: courier.trouble)
        assert "syslog 127.0.0.1" in courier.trouble
        assert (sent, server.lines) == ([], [])


async def test_syslog_goes_over_udp_too() -> None:
    with udp_socket() as udp:
        async with brought(Syslog(udp.getsockname(), transport="udp", host="n1")) as (_, sent):
            await until(lambda: sent)
        check_lines([udp.recv(4_096), udp.recv(4_096)])


async def test_a_digest_holds_what_came_together_the_worst_first(
    key: str, authority: Authority
) -> None:
    server_tls, tls = contexts(authority.sign("mail", "127.0.0.1"), authority.cert)
    with Mails(server_tls, login=("kl", PLANTED)) as server:
        server.answers = ["451 later"]
        mail = Mail(server.address, sender="kl@example.net", to=["noc@example.net"], user="kl",
                    password=key, digest_ms=10, tls=tls)  # fmt: skip
        async with brought(mail) as (courier, sent):
            await until(lambda: sent, lambda: courier.trouble)
        (envelope,) = server.envelopes
        content = envelope.content
        assert isinstance(content, bytes)
        read = message_from_bytes(content, policy=policy.default)
        assert read["Subject"] == "[critical] tg1/3: receives no signal (and 1 more)"
        text = read.get_content()
        assert text.index("CRITICAL") < text.index("CLEARED")
        assert "12 live callers" in text
        assert envelope.rcpt_tos == ["noc@example.net"]


async def test_a_later_mail_waits_for_the_digest() -> None:
    raised, cleared = notices().items()
    with Mails() as server:
        mail = Mail(server.address, sender="kl@example.net", to=["noc@example.net"],
                    security="none", digest_ms=3_600_000)  # fmt: skip
        async with brought(mail, **dict([raised])) as (courier, sent):
            await until(lambda: sent)
            courier.put(*cleared)
            await asyncio.sleep(0.2)
            assert courier.waiting == 1
            assert len(server.envelopes) == 1


@pytest.mark.parametrize("answer", ["550 no such user", "554 no"])
async def test_a_mail_that_is_refused_for_good_is_not_repeated(answer: str) -> None:
    raised, _ = notices().items()
    with Mails() as server:
        server.answers = [answer]
        mail = Mail(server.address, sender="kl@example.net", to=["noc@example.net"],
                    security="none", digest_ms=10)  # fmt: skip
        async with brought(mail, **dict([raised])) as (_, sent):
            await until(lambda: sent)
        assert answer[:3] in sent[0].refused


def test_what_is_put_twice_is_sent_once_and_what_another_waits_for_never() -> None:
    async def run() -> None:
        with udp_socket() as udp:
            syslog = Syslog(udp.getsockname(), transport="udp", host="n1")
            async with brought(syslog) as (courier, sent):
                for key, notice in notices().items():
                    courier.put(key, notice)
                (key, notice), *_ = notices().items()
                notice.waiting = ["mail"]
                courier.put(key + "x", notice)
                await until(lambda: sent)
                assert courier.waiting == 0
                assert len(sent[0].notices) == 2

    asyncio.run(run())


# Secrets.


async def test_no_secret_is_in_what_is_said_when_all_goes_wrong(
    key: str, authority: Authority, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    caplog.set_level(0)
    server_tls, tls = contexts(authority.sign("mail", "127.0.0.1"), authority.cert)
    said: list[str] = []

    async def nothing() -> list[Message]:
        return []

    with (
        Mails(server_tls, login=("kl", "another password")) as mails,
        Http(*[503] * 50) as http,
        socket.socket() as closed,
    ):
        closed.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{closed.getsockname()[1]}/{PLANTED}"
        senders: list[Sender] = [
            Mail(mails.address, sender="k@example.net", to=["n@example.net"], user="kl",
                 password=key, digest_ms=10, tls=tls),
            Webhook(f"{http.url}/{PLANTED}", key),
            Webhook(gone, key, timeout_s=1),
            Alertmanager([f"{http.url}/{PLANTED}"], nothing, token=key),
        ]  # fmt: skip
        for sender in senders:
            async with brought(sender) as (courier, sent):
                await until(lambda: courier.trouble)
                said += [courier.trouble, repr(sent), repr(courier), repr(sender)]
    out = capsys.readouterr()
    text = "\n".join([*said, caplog.text, out.out, out.err])
    assert "login refused (535)" in text
    assert "answers 503" in text
    assert PLANTED not in text


def test_a_bad_reference_is_one_line_that_names_it_and_no_value(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(PLANTED + "\n")
    file.chmod(0o644)
    for reference, why in (
        (PLANTED, "env:NAME or file:PATH"),
        (f"pass:{PLANTED}", "env:NAME or file:PATH"),
        ("env:NO_SUCH_SECRET", "env:NO_SUCH_SECRET: no such variable"),
        (f"file:{file}", f"chmod 600 {file}"),
        (f"file:{tmp_path}/none", "No such file"),
    ):
        with pytest.raises(NoSecret) as caught:
            secret(reference)
        assert why in str(caught.value)
        assert PLANTED not in str(caught.value)
        assert "\n" not in str(caught.value)
    file.chmod(0o600)
    assert secret(f"file:{file}") == PLANTED


def test_a_login_never_goes_in_the_clear() -> None:
    with pytest.raises(ValueError, match="needs starttls or tls"):
        Mail(("127.0.0.1", 25), sender="a@b", to=["c@d"], security="none", user="kl")


def test_a_url_that_is_none_is_said_without_it() -> None:
    for url in ("ftp://x", PLANTED, "http:///x"):
        with pytest.raises(ValueError, match="not an http") as caught:
            Webhook(url, "env:X")
        assert url not in str(caught.value)


async def test_a_mail_server_without_tls_gets_nothing(key: str) -> None:
    with Mails() as server:
        mail = Mail(server.address, sender="a@example.net", to=["b@example.net"],
                    tls=ssl.create_default_context())  # fmt: skip
        async with brought(mail) as (courier, _):
            await until(lambda: courier.trouble)
        assert server.envelopes == []
