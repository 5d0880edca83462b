"""Virtual gateways on the wire: SNMP v2c and v3, traps, informs and SIP, an address for each."""

import asyncio
import ipaddress
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from gateway_mgmt.snmp import pdu, usm
from gateway_mgmt.snmp.ber import Malformed, octets_at
from gateway_mgmt.snmp.engine import Engine, Opened
from gateway_mgmt.snmp.inform import Community, User
from gateway_mgmt.snmp.pdu import Pdu
from loadtest import gateway_traps
from loadtest.fault_script import Fault
from loadtest.gateway import Gateway, Template
from loadtest.io.gateway_calls import CallPlan, GatewayCalls
from loadtest.io.notifier import Notifier
from sip.message import SipError, parse
from sip.uri import Address

MAX_DATAGRAM = 65_535
BATCH = 16
ENGINE_ID = b"\x80\x00\x1f\x88\x04"
COPIED = ("via", "from", "to", "call-id", "cseq")
NAMES = {"via": "Via", "from": "From", "to": "To", "call-id": "Call-ID", "cseq": "CSeq"}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is simulated."""

    count: int
    first: str = "127.1.0.1"
    port: int = 1_161
    sip_port: int = 0
    """0: no SIP side."""
    spans: int = 4
    community: bytes = b"public"
    user: bytes = b"noc"
    keys: usm.Master | None = None
    """None: SNMPv2c only."""
    traps: Address | None = None
    """Where traps go."""
    traps_v3: bool = False
    informs: Address | None = None
    """Where informs go."""
    informs_v3: bool = False
    same_engine: bool = False
    """All have one engine id, as devices have that were copied."""
    calls: CallPlan | None = None
    """None: the SIP side answers OPTIONS and places no calls."""


class Gateways:
    """All of a run. `start` must run on the loop."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.gateways: list[Gateway] = []
        self.asked = 0
        self._engines: list[Engine] = []
        self._sockets: list[socket.socket] = []
        self._timers: list[asyncio.TimerHandle] = []
        self.calls: GatewayCalls | None = None
        self.notifier = Notifier(
            self.host,
            traps=plan.traps,
            trap=self._trap,
            informs=plan.informs,
            speaker=self._speaker,
        )

    def start(self) -> None:
        """Raises OSError."""
        plan, now_s = self.plan, time.time()
        template = Template(plan.spans)
        users = {plan.user: plan.keys} if plan.keys else {}
        try:
            for number in range(1, plan.count + 1):
                who = 1 if plan.same_engine else number
                engine_id = ENGINE_ID + b"gw%06d" % who
                gateway = Gateway(number, template, engine_id, now_s)
                salt = int.from_bytes(os.urandom(8), "big")
                self.gateways.append(gateway)
                self._engines.append(Engine(engine_id, 1, now_s - 60 * number, users, salt=salt))
                host = self.host(number)
                sock = self._bind(host, plan.port)
                self._listen(sock, self._snmp, number)
            if plan.calls is not None:
                self.calls = GatewayCalls(plan.calls, self.gateways)
                for gateway in self.gateways:
                    self.calls.listen(gateway, (self.host(gateway.number), plan.sip_port))
                self.calls.start()
            elif plan.sip_port:
                for gateway in self.gateways:
                    number = gateway.number
                    sock = self._bind(self.host(number), plan.sip_port)
                    self._listen(sock, self._sip, number)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self.notifier.close()
        if self.calls is not None:
            self.calls.close()
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()
        self._sockets = []

    def host(self, number: int) -> str:
        return str(ipaddress.IPv4Address(self.plan.first) + number - 1)

    def play(self, faults: list[Fault], said: Callable[[Fault], None]) -> None:
        """Each at its time from now."""
        loop = asyncio.get_running_loop()

        def now(fault: Fault) -> None:
            self.apply(fault)
            said(fault)

        self._timers += [loop.call_later(one.at_ms / 1_000, now, one) for one in faults]

    def apply(self, fault: Fault) -> None:
        """Now, with what a device would tell of it, and with what becomes of its calls."""
        gateway, number = self.gateways[fault.gateway - 1], fault.gateway
        now_s = time.time()
        match fault.what:
            case "alive":
                gateway.is_dead = False
            case "dead":
                gateway.is_dead = True
                self._vanish(gateway, "dead")
            case "reboot":
                gateway.restart(now_s)
                self._engines[number - 1].restart(now_s)
                self._vanish(gateway, "reboot")
                self._tell(gateway, gateway_traps.cold_start(gateway, now_s))
            case what:
                self._change(gateway, fault, now_s)
                if self.calls is not None and not gateway.carries_calls(fault.span):
                    name = "d_channel down" if what == "d_channel" else what
                    self.calls.drop(number, fault.span, f"span {number}/{fault.span} {name}")

    def _change(self, gateway: Gateway, fault: Fault, now_s: float) -> None:
        """Of a line."""
        was_up = gateway.is_up(fault.span)
        match fault.what:
            case "d_channel":
                gateway.line(fault.span, now_s).d_channel_up = not fault.is_on
                return
            case "clear":
                gateway.clear(fault.span, now_s)
            case what:
                gateway.set_fault(fault.span, what, is_on=fault.is_on, now_s=now_s)
        if gateway.is_up(fault.span) != was_up:
            self._tell(gateway, gateway_traps.link(gateway, fault.span, now_s))
        self._tell(gateway, gateway_traps.line_status_change(gateway, fault.span, now_s))

    def _vanish(self, gateway: Gateway, what: str) -> None:
        """It says nothing more of what it did until now."""
        self.notifier.forget(gateway.number)
        if self.calls is not None:
            self.calls.vanish(gateway.number, f"gateway {gateway.number} {what}")

    def _tell(self, gateway: Gateway, told: gateway_traps.Told) -> None:
        if not gateway.is_dead:
            self.notifier.tell(gateway.number, told)

    def _trap(self, number: int, trap: Pdu) -> bytes:
        plan = self.plan
        if not plan.traps_v3:
            return pdu.encode_v2c(plan.community, trap)
        return self._engines[number - 1].notify(trap.request_id, plan.user, trap, time.time())

    def _speaker(self, number: int) -> Community | User:
        plan = self.plan
        if not plan.informs_v3:
            return Community(plan.community)
        assert plan.keys is not None, "the command line asks for them"
        return User(
            plan.user,
            plan.keys,
            context=self._engines[number - 1].engine_id,
            salt=int.from_bytes(os.urandom(8), "big"),
        )

    def _bind(self, host: str, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sockets.append(sock)
        sock.bind((host, port))
        return sock

    def _listen(
        self, sock: socket.socket, answer: Callable[[bytes, int], bytes], number: int
    ) -> None:
        def readable() -> None:
            for _ in range(BATCH):
                try:
                    datagram, source = sock.recvfrom(MAX_DATAGRAM)
                except OSError:
                    return
                if not self.gateways[number - 1].is_dead:
                    found = answer(datagram, number)
                    with suppress(OSError):
                        if found:
                            sock.sendto(found, source)

        asyncio.get_running_loop().add_reader(sock.fileno(), readable)

    def _snmp(self, datagram: bytes, number: int) -> bytes:
        self.asked += 1
        gateway, engine, now_s = self.gateways[number - 1], self._engines[number - 1], time.time()
        gateway.boots = engine.boots
        with suppress(Malformed):
            version, at, end = pdu.version_of(datagram)
            if version == pdu.V3:
                opened = engine.open(datagram, now_s)
                if not isinstance(opened, Opened):
                    return opened
                return engine.answer(opened, gateway.answer(opened.scoped.pdu, now_s), now_s)
            community, at = octets_at(datagram, at, end)
            if version == pdu.V2C and community == self.plan.community:
                asked = pdu.decode(datagram, at, end)
                return pdu.community_message(community, gateway.answer(asked, now_s))
        return b""

    def _sip(self, datagram: bytes, number: int) -> bytes:
        """200 to OPTIONS; what it cannot do, it says."""
        try:
            asked = parse(datagram)
        except SipError:
            return b""
        if not asked.method or asked.method == "ACK":
            return b""
        status = "200 OK" if asked.method == "OPTIONS" else "501 Not Implemented"
        lines = [f"SIP/2.0 {status}"]
        for name in COPIED:
            tag = f";tag=gw{number}" if name == "to" and "tag=" not in asked.get("to") else ""
            lines += [f"{NAMES[name]}: {value}{tag}" for value in asked.headers.get(name, ())]
        lines += ["Allow: OPTIONS", "Content-Length: 0", "", ""]
        return "\r\n".join(lines).encode()
