"""Commands to a running simulation: a JSON object a line, each answered by one.

{"mark": "fault"}              → {"ok": true, "ms": 81234}     a moment the verdict asks about
{"release": true}              → {"ok": true}                  talkers may end their talks
{"calls": 50, "rate": 20}      → {"ok": true}                  more callers
{"state": true}                → {"ok": true, "state": {...}}  how many wait, talk, ring
{"report": true}               → {"ok": true, "report": {...}} the verdict so far
{"hangup_all": true}           → {"ok": true}                  everybody hangs up
{"stop": true}                 → {"ok": true}                  and the run ends
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from loadtest.io.crowd import Crowd

LINE_MAX = 1 << 16
CALLS_MAX = 100_000


class _Command(msgspec.Struct, forbid_unknown_fields=True):
    mark: str = ""
    release: bool = False
    calls: int = 0
    rate: float = 0.0
    state: bool = False
    report: bool = False
    hangup_all: bool = False
    stop: bool = False


def command(crowd: Crowd, line: bytes) -> bytes:
    """Do what one line says; its answer, as a line. A bad line is answered with "error"."""
    try:
        wanted = msgspec.json.decode(line, type=_Command)
    except msgspec.DecodeError as error:
        return msgspec.json.encode({"ok": False, "error": str(error)}) + b"\n"
    answer: dict[str, Any] = {"ok": True}
    if wanted.mark:
        answer["ms"] = crowd.mark(wanted.mark)
    if wanted.release:
        crowd.release()
    if 0 < wanted.calls <= CALLS_MAX:
        crowd.call(wanted.calls, wanted.rate if wanted.rate > 0 else crowd.options.rate)
    if wanted.hangup_all:
        crowd.hang_up_all()
    if wanted.state:
        answer["state"] = crowd.state()
    if wanted.report:
        answer["report"] = crowd.report(ended=False)
    if wanted.stop:
        crowd.stop()
    return msgspec.json.encode(answer) + b"\n"


@asynccontextmanager
async def serve(crowd: Crowd) -> AsyncIterator[None]:
    """Take commands for `crowd` as its options say, while the context lasts."""
    server = None
    reader = None
    if crowd.options.control:
        server = await asyncio.start_unix_server(
            lambda incoming, outgoing: _converse(crowd, incoming, outgoing),
            crowd.options.control,
            limit=LINE_MAX,
        )
    if crowd.options.stdin:
        reader = asyncio.create_task(_listen(crowd))
    try:
        yield
    finally:
        if reader is not None:
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader
        if server is not None:
            server.close()
            await server.wait_closed()
            with suppress(FileNotFoundError):
                os.unlink(crowd.options.control)  # nothing that could block


async def _converse(
    crowd: Crowd, incoming: asyncio.StreamReader, outgoing: asyncio.StreamWriter
) -> None:
    try:
        while line := await incoming.readline():
            outgoing.write(command(crowd, line))
            await outgoing.drain()
    except (ConnectionError, ValueError):  # gone, or a line longer than LINE_MAX
        pass
    finally:
        outgoing.close()


async def _listen(crowd: Crowd) -> None:
    """Commands on standard input; its end ends the run."""
    incoming = asyncio.StreamReader(limit=LINE_MAX)
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(incoming), sys.stdin.buffer
    )
    try:
        while line := await incoming.readline():
            sys.stdout.buffer.write(command(crowd, line))
            sys.stdout.buffer.flush()
        crowd.stop()
    finally:
        pipe.close()
