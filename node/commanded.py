"""A child process that is commanded over its socket: a JSON object a line, each answered by one."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

START_MS = 10_000
ANSWER_MS = 10_000


class CommandFailed(Exception):
    """The process ended, does not answer or refuses; the text says what it said last."""


class Commanded:
    """One process, run as `python -m MODULE WORDS --control SOCKET`."""

    def __init__(
        self, folder: Path, name: str, module: str, words: Sequence[str], *, title: str
    ) -> None:
        """`title`: what it is called in messages."""
        self.name = name
        self._module = module
        self._title = title
        self._socket = folder / f"{name}.sock"
        self._errors = folder / f"{name}.err"
        self._words = [*words, "--control", str(self._socket)]
        self._process: asyncio.subprocess.Process | None = None
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def start(self) -> None:
        """Start it; it begins at once. Raises CommandFailed."""
        with self._errors.open("wb") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", self._module, *self._words),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_MS / 1_000):
                while self._process.returncode is None:
                    with contextlib.suppress(OSError):
                        self._stream = await asyncio.open_unix_connection(
                            self._socket, limit=1 << 24
                        )
                        return
                    await asyncio.sleep(0.02)
        raise self._failed()

    def _failed(self) -> CommandFailed:
        said = self._errors.read_text(errors="replace").strip() if self._errors.exists() else ""
        why = said.splitlines()[-1] if said else "no answer"
        return CommandFailed(f"{self._title} failed: {why}")

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None, "start() comes first"
        return self._process.pid

    @property
    def is_over(self) -> bool:
        return self._process is None or self._process.returncode is not None

    async def ask(self, **command: Any) -> dict[str, Any]:
        """Give one command and answer its answer. Raises CommandFailed."""
        assert self._stream is not None, "start() comes first"
        reader, writer = self._stream
        try:
            async with asyncio.timeout(ANSWER_MS / 1_000):
                writer.write(json.dumps(command).encode() + b"\n")
                await writer.drain()
                line = await reader.readline()
        except (OSError, TimeoutError):
            line = b""
        if not line:
            raise self._failed()
        answer: dict[str, Any] = json.loads(line)
        if not answer["ok"]:
            raise CommandFailed(f"{self._title}: {answer.get('error')}")
        return answer

    async def ended(self, timeout_ms: int, statuses: Sequence[int] = (0,)) -> None:
        """Wait until it has ended by itself, with one of `statuses`. Raises CommandFailed."""
        assert self._process is not None
        try:
            status = await asyncio.wait_for(self._process.wait(), timeout_ms / 1_000)
        except TimeoutError:
            raise CommandFailed(f"{self._title}: does not end") from None
        if status not in statuses:
            raise self._failed()

    async def close(self) -> None:
        """End it now, whatever it does."""
        if self._stream is not None:
            self._stream[1].close()
            with contextlib.suppress(OSError):
                await self._stream[1].wait_closed()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
