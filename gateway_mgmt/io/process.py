"""The process that polls, from outside: started, told what to watch, listened to, ended."""

import asyncio
import sys
from collections.abc import AsyncGenerator

import msgspec

from gateway_mgmt.io.watch import Counted, Report
from gateway_mgmt.wire import Configure, Poll, Started

LINE_BYTES_MAX = 64 << 20
END_S = 2

Message = Report | Started | Counted
_decoder = msgspec.json.Decoder(Message)


class PollingEnded(Exception):
    """It ended by itself; the text says with what status. Start another one, and configure it."""


class Polling:
    """One such process. Its environment, with the secrets that it is referred to, is ours."""

    def __init__(self, *, poller: str = "auto", timeout_ms: int = 2_000) -> None:
        self._words = ["--poller", poller, "--timeout-ms", str(timeout_ms)]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "gateway_mgmt.io", *self._words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )

    @property
    def pid(self) -> int:
        assert self._process is not None, "start() comes first"
        return self._process.pid

    async def ask(self, wanted: Configure | Poll) -> None:
        """Configure comes first, and may come again: `Started` is its answer.

        Raises PollingEnded.
        """
        assert self._process is not None, "start() comes first"
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(wanted) + b"\n")
            await self._process.stdin.drain()
        except ConnectionError:
            raise PollingEnded("the process that polls has ended") from None

    async def messages(self) -> AsyncGenerator[Message, None]:
        """What it says, for ever. Raises PollingEnded."""
        assert self._process is not None, "start() comes first"
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            yield _decoder.decode(line)
        status = await self._process.wait()
        raise PollingEnded(f"the process that polls ended with status {status}")

    async def close(self) -> None:
        """End it, gently first."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), END_S)
        except TimeoutError:
            process.kill()
            await process.wait()
