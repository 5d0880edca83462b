"""Asks SIP hosts by OPTIONS, all from one socket."""

import asyncio
import os
import socket
from contextlib import suppress

from gateway_mgmt.inventory import Address
from gateway_mgmt.liveness import DEADLINE_MS, RETRY_MS, is_alive, options
from sip.message import SipError, parse

MAX_DATAGRAM = 4_096
BATCH = 64


class SipAsker:
    """`start` must run on the loop."""

    def __init__(self, host: str = "0.0.0.0") -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sock.bind((host, 0))
        self._waiting: dict[str, tuple[Address, asyncio.Future[bool]]] = {}
        self._salt = os.urandom(6).hex()
        self._asked = 0

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._readable)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        self._sock.close()

    async def is_alive(self, target: Address) -> bool:
        """Does it answer, in time?"""
        self._asked += 1
        token = f"{self._salt}{self._asked:x}"
        question = options(target, self._source(target), token)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[f"z9hG4bK{token}"] = (target, answer)
        try:
            async with asyncio.timeout(DEADLINE_MS / 1_000):
                for wait_ms in (*RETRY_MS, DEADLINE_MS):
                    with suppress(OSError):
                        self._sock.sendto(question, target)
                    done, _ = await asyncio.wait((answer,), timeout=wait_ms / 1_000)
                    if done:
                        return answer.result()
        except TimeoutError:
            pass
        finally:
            del self._waiting[f"z9hG4bK{token}"]
        return False

    def _source(self, target: Address) -> Address:
        """The address it is asked from, for Via; answers come back to the port by rport anyway."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
            probe.connect(target)
            return probe.getsockname()[0], self._sock.getsockname()[1]
        return "0.0.0.0", self._sock.getsockname()[1]

    def _readable(self) -> None:
        for _ in range(BATCH):
            try:
                datagram, source = self._sock.recvfrom(MAX_DATAGRAM)
            except OSError:
                return
            with suppress(SipError):
                message = parse(datagram)
                target, answer = self._waiting.get(message.branch, (None, None))
                if answer is None or source != target or answer.done():
                    continue
                if message.status >= 200:
                    answer.set_result(is_alive(message.status))
