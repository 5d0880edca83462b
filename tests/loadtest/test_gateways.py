"""Virtual gateways: their lines in virtual time, their scripts, and net-snmp's view of them."""

import asyncio
import shutil

import pytest

from gateway_mgmt import ds1, oids
from gateway_mgmt.snmp import ber, pdu
from gateway_mgmt.snmp.pdu import Pdu, Value, Varbind
from loadtest.fault_script import BadScript, Fault, read_script
from loadtest.gateway import D_CHANNEL, Gateway, Template
from tests.gateway_mgmt.virtual import AUTH, COMMUNITY, PRIVACY, fault, simulated

NOW_S = 1_000 * ds1.INTERVAL_S + 100.0
TEMPLATE = Template(2)


def gateway() -> Gateway:
    return Gateway(1, TEMPLATE, b"\x80\x00\x00\x00\x05gw", NOW_S)


def ask(asked: Gateway, now_s: float, *names: str, kind: int = pdu.GET) -> list[Value]:
    request = Pdu(kind, 7, varbinds=[Varbind(ber.oid_bytes(oid), ber.NULL, b"") for oid in names])
    encoded = asked.answer(request, now_s)
    answer = pdu.decode(encoded, 0, len(encoded))
    assert answer.request_id == 7
    return [found.value for found in answer.varbinds]


def status(asked: Gateway, now_s: float, line: int) -> Value:
    (value,) = ask(asked, now_s, f"{oids.LINE['status']}.{line}")
    return value


def counted(asked: Gateway, now_s: float, name: str, interval: int = 0) -> Value:
    end = f"1.{interval}" if interval else "1"
    table = oids.INTERVAL if interval else oids.CURRENT
    return ask(asked, now_s, f"{table[name]}.{end}")[0]


def test_a_fault_of_one_line_is_of_that_line_of_that_gateway() -> None:
    one, other = gateway(), gateway()
    one.set_fault(2, "los", is_on=True, now_s=NOW_S)
    one.set_fault(2, "lof", is_on=True, now_s=NOW_S)
    assert [status(one, NOW_S, 1), status(one, NOW_S, 2), status(other, NOW_S, 2)] == [1, 96, 1]
    one.set_fault(2, "los", is_on=False, now_s=NOW_S)
    assert status(one, NOW_S, 2) == 32
    one.clear(2, NOW_S)
    assert status(one, NOW_S, 2) == 1


def test_seconds_without_signal_are_counted_and_kept_by_interval() -> None:
    found = gateway()
    found.set_fault(1, "los", is_on=True, now_s=NOW_S)
    assert counted(found, NOW_S + 8, "es") == 8
    assert counted(found, NOW_S + 30, "es") == 10, "ten severe ones, and the line is unavailable"
    assert counted(found, NOW_S + 30, "uas") == 20
    found.clear(1, NOW_S + 30)
    later_s = NOW_S + ds1.INTERVAL_S
    assert counted(found, later_s, "uas") == 0
    assert [counted(found, later_s, name, 1) for name in ("es", "ses", "uas")] == [10, 10, 20]
    assert counted(found, later_s + ds1.INTERVAL_S, "uas", 2) == 20
    assert counted(found, later_s, "uas", 97) is None


def test_a_reboot_forgets_lines_and_intervals() -> None:
    found = gateway()
    assert ask(found, NOW_S, oids.ENGINE_BOOTS) == [1]
    found.set_fault(1, "ais", is_on=True, now_s=NOW_S)
    found.line(1, NOW_S).d_channel_up = False
    assert ask(found, NOW_S, f"{D_CHANNEL}.0") == [1]
    found.restart(NOW_S + 5)
    assert ask(found, NOW_S + 6, oids.SYS_UPTIME, oids.ENGINE_BOOTS) == [100, 2]
    assert status(found, NOW_S + 6, 1) == 1
    assert ask(found, NOW_S + 6, f"{oids.LINE['intervals']}.1") == [0]
    assert ask(found, NOW_S + 2_000, f"{oids.LINE['intervals']}.1") == [2]


def test_it_is_walked_in_order_and_to_the_end() -> None:
    found = gateway()
    after = "1.3"
    seen: list[tuple[int, ...]] = []
    while True:
        request = Pdu(pdu.GET_NEXT, 1, varbinds=[Varbind(ber.oid_bytes(after), ber.NULL, b"")])
        encoded = found.answer(request, NOW_S)
        (bound,) = pdu.decode(encoded, 0, len(encoded)).varbinds
        if bound.tag == ber.END_OF_VIEW:
            break
        after = ber.oid_text(bound.oid)
        seen.append(tuple(map(int, after.split("."))))
    assert seen == sorted(set(seen))
    assert len(seen) == len(TEMPLATE.order)


def test_a_script_is_read_in_order_of_its_times() -> None:
    text = """
    at 5s span 1/3 LOS     # a line is cut
    at 250ms span 2/1 d_channel down
    at 1m span 1/3 clear
    at 6s span 1/3 clear los
    span 1/1 ais
    at 1.5s gateway 2 reboot
    """
    assert [fault._replace(written="") for fault in read_script(text, gateways=2, spans=4)] == [
        Fault(0, 1, 1, "ais"),
        Fault(250, 2, 1, "d_channel", True),
        Fault(1_500, 2, 0, "reboot"),
        Fault(5_000, 1, 3, "los"),
        Fault(6_000, 1, 3, "los", False),
        Fault(60_000, 1, 3, "clear"),
    ]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("at soon span 1/1 LOS", "line 1: 'soon' is no time like 5s or 250ms"),
        ("at", "line 1: '' is no time like 5s or 250ms"),
        ("span 3/1 LOS", "line 1: there is no span 3/1: 2 gateways of 4 spans"),
        ("span one LOS", "line 1: 'one' is no span; write GATEWAY/SPAN, like 1/3"),
        ("span 1/1", "line 1: '' is no fault; known: rai, "),
        ("gateway 9 dead", "line 1: there is no gateway 9: there are 2"),
        ("gateway 1 asleep", "line 1: write span 1/3 LOS, "),
        ("at 5s", "line 1: write span 1/3 LOS, "),
    ],
)
def test_a_mistake_in_a_script_names_its_line(line: str, wrong: str) -> None:
    with pytest.raises(BadScript) as error:
        read_script(line, gateways=2, spans=4)
    assert str(error.value).startswith(wrong)


@pytest.mark.real
@pytest.mark.parametrize("version", ["2c", "3"])
async def test_net_snmp_walks_it(version: str) -> None:
    if shutil.which("snmpbulkwalk") is None:
        pytest.fail("needs net-snmp: apt-get install snmp")
    words = ["-v2c", "-c", COMMUNITY]
    if version == "3":
        words = ["-v3", "-l", "authPriv", "-u", "noc", "-a", "SHA", "-A", AUTH]
        words += ["-x", "AES", "-X", PRIVACY]
    with simulated(2, spans=2) as gateways:
        fault(gateways, "span 2/2 LOS")
        process = await asyncio.create_subprocess_exec(
            *("snmpbulkwalk", *words, "-Onqe", "-Cr20", f"{gateways.host(2)}:1161", "1.3.6.1"),
            env={"MIBS": "", "PATH": "/usr/bin:/bin", "SNMP_PERSISTENT_DIR": "/nonexistent"},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
    lines = [line for line in out.decode().splitlines() if "No more variables" not in line]
    assert len(lines) == len(Template(2).order)
    assert f".{oids.LINE['status']}.2 64" in lines
    assert f'.{oids.SYS_NAME} "gw2"' in lines


async def test_what_it_cannot_read_it_does_not_answer() -> None:
    with simulated(1) as gateways:
        host = gateways.host(1)
        loop = asyncio.get_running_loop()
        answers: asyncio.Queue[bytes] = asyncio.Queue()

        class Client(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                answers.put_nowait(data)

        transport, _ = await loop.create_datagram_endpoint(Client, remote_addr=(host, 1_161))
        request = Pdu(pdu.GET, 3, varbinds=[Varbind(ber.oid_bytes(oids.SYS_NAME), ber.NULL, b"")])
        for junk in (b"", b"junk", bytes(200), pdu.encode_v2c(b"other", request)):
            transport.sendto(junk)
        transport.sendto(pdu.encode_v2c(COMMUNITY.encode(), request))
        answer = pdu.decode_v2c(await asyncio.wait_for(answers.get(), 10)).pdu
        assert (answer.request_id, answer.varbinds[0].value) == (3, b"gw1")
        assert answers.empty()
        transport.close()
