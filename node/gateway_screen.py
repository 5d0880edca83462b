"""The terminal that the board of gateways is drawn on, and left as it was found."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import AsyncGenerator, Generator
from typing import Any

from rich.console import Console
from rich.text import Text

from node.ask_gateways import Heard
from node.gateway_board import Board, frame

ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
"""The other screen, no cursor, nothing goes on in the next line."""
LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
KEYS = {
    **dict.fromkeys((b"q", b"Q", b"\x03", b"\x04"), "end"),
    **dict.fromkeys((b"j", b"\x1b[B", b"\x1bOB"), "down"),
    **dict.fromkeys((b"k", b"\x1b[A", b"\x1bOA"), "up"),
    **dict.fromkeys((b" ", b"\x1b[6~"), "page down"),
    **dict.fromkeys((b"b", b"\x1b[5~"), "page up"),
}
AGAIN_S = 30.0
"""Ages of alarms stand in minutes: so often they are looked at, though nothing changed."""
GATHER_S = 0.05
"""Changes that come together are drawn once."""


class Screen:
    """Draws only the lines that are others than before."""

    def __init__(self) -> None:
        self._drawn: list[str] = []
        self._console = Console(force_terminal=True, highlight=False, soft_wrap=True)

    def again(self) -> None:
        """All is to be drawn."""
        self._drawn = []
        write("\x1b[2J")

    def draw(self, lines: list[Text]) -> None:
        out = ""
        made = [self._ansi(line) for line in lines]
        for n, line in enumerate(made):
            if n >= len(self._drawn) or self._drawn[n] != line:
                out += f"\x1b[{n + 1};1H\x1b[K{line}"
        for n in range(len(made), len(self._drawn)):
            out += f"\x1b[{n + 1};1H\x1b[K"
        self._drawn = made
        if out:
            write(out)

    def _ansi(self, line: Text) -> str:
        with self._console.capture() as captured:
            self._console.print(line, end="")
        return captured.get()


def write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


@contextlib.contextmanager
def taken() -> Generator[None, None, None]:
    """The terminal is ours: keys come one by one. At the end it is as before."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)

    def take() -> None:
        tty.setcbreak(keyboard)
        write(ENTER)

    def leave() -> None:
        write(LEAVE)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)

    def pause(*_: Any) -> None:
        """Ctrl-Z: the shell gets its terminal, and we get it again with `fg`."""
        leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        take()
        os.kill(os.getpid(), signal.SIGWINCH)

    take()
    paused = signal.signal(signal.SIGTSTP, pause)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, paused)
        leave()


def keys(pressed: bytes) -> list[str]:
    """What was asked for; a key that means nothing is passed over."""
    found: list[str] = []
    while pressed:
        key = next((key for key in KEYS if pressed.startswith(key)), pressed[:1])
        found += [KEYS[key]] if key in KEYS else []
        pressed = pressed[len(key) :]
    return found


async def show(heard: AsyncGenerator[Heard, None]) -> None:
    """The board, live, until somebody ends it. What watching raises is raised."""
    loop = asyncio.get_running_loop()
    board, screen = Board(), Screen()
    changed, end = asyncio.Event(), asyncio.Event()
    scroll = 0
    most = 0

    async def listen() -> None:
        async for one in heard:
            if board.take(one):
                changed.set()

    def key() -> None:
        nonlocal scroll
        pressed = os.read(sys.stdin.fileno(), 64)
        page = max(1, shutil.get_terminal_size().lines - 4)
        steps = {"down": 1, "up": -1, "page down": page, "page up": -page}
        for word in keys(pressed) if pressed else ["end"]:
            if word == "end":
                end.set()
            scroll = max(0, min(most, scroll + steps.get(word, 0)))
        changed.set()

    def resized() -> None:
        screen.again()
        changed.set()

    def draw() -> None:
        nonlocal scroll, most
        size = shutil.get_terminal_size()
        picture = frame(
            board,
            width=size.columns,
            height=size.lines,
            scroll=scroll,
            now_ms=time.time_ns() // 1_000_000,
        )
        most = picture.scroll_most
        scroll = min(scroll, most)
        screen.draw(picture.lines)

    with taken():
        loop.add_reader(sys.stdin.fileno(), key)
        loop.add_signal_handler(signal.SIGWINCH, resized)
        for ending in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            loop.add_signal_handler(ending, end.set)
        listening = asyncio.create_task(listen())
        ended = asyncio.create_task(end.wait())
        try:
            while not end.is_set() and not listening.done():
                changed.clear()
                draw()
                waiting = asyncio.create_task(changed.wait())
                await asyncio.wait(
                    (waiting, ended, listening),
                    timeout=AGAIN_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                waiting.cancel()
                if not end.is_set():
                    await asyncio.sleep(GATHER_S)
        finally:
            loop.remove_reader(sys.stdin.fileno())
            ended.cancel()
            listening.cancel()
            await asyncio.wait((listening, ended))
    if not listening.cancelled() and listening.exception():
        raise listening.exception() or AssertionError
