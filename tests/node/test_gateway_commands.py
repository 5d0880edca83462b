"""`keepline gateway` against nodes with the real API over real shards of alarms."""

import asyncio
import contextlib
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from node import ask_gateways
from node.api import Refused, Unreachable
from node.ask import cluster
from node.ask_gateways import Gateways, Heard
from node.cli import run
from tests.cluster.hosts import free_ports
from tests.node.gateway_desk import GatewayDesk, node, wall_ms
from tests.node.test_api import write_nodes

pytestmark = pytest.mark.real

DEADLINE_S = 15


class Site:
    """A cluster of two nodes on a loop of its own; n2 led the shard before n1."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.desk = GatewayDesk(epoch=3)
        self.deposed = GatewayDesk(epoch=2)
        self.ports = dict(zip(("n1", "n2"), free_ports(2), strict=True))
        self._stacks: dict[str, contextlib.AsyncExitStack] = {}
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)

    def call(self, work: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(DEADLINE_S)

    def do(self, what: Callable[[], None]) -> None:
        async def done() -> None:
            what()

        self.call(done())

    async def up(self, name: str, desk: GatewayDesk) -> None:
        stack = self._stacks[name] = contextlib.AsyncExitStack()
        await stack.enter_async_context(node(desk, name, self.ports[name]))

    async def down(self, name: str) -> None:
        await self._stacks.pop(name).aclose()

    def start(self) -> None:
        self._thread.start()
        self.call(self.up("n1", self.desk))
        self.call(self.up("n2", self.deposed))
        write_nodes(self.data, **{name: f"127.0.0.1:{port}" for name, port in self.ports.items()})

    def stop(self) -> None:
        for name in list(self._stacks):
            self.call(self.down(name))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE_S)
        self.loop.close()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Site, None, None]:
    found = Site(tmp_path)
    monkeypatch.setenv("KEEPLINE_DATA", str(tmp_path))
    monkeypatch.delenv("KEEPLINE_CONNECT", raising=False)
    found.start()
    found.desk.polled("tg1", slots_in_use=0b1110)
    found.do(lambda: found.desk.see("los", "on", "tg1/3"))
    yield found
    found.stop()


@pytest.fixture
def command(site: Site, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs one and answers its status, its output and what went wrong."""

    def done(*words: str) -> tuple[int, str, str]:
        status = run(["gateway", *words])
        said = capsys.readouterr()
        assert said.err.count("\n") <= 1
        return status, said.out, said.err

    return done


def document(command: Any, *words: str) -> Any:
    status, output, error = command(*words, "--json")
    assert (status, error) == (0, "")
    return json.loads(output)


def test_the_list_has_the_worst_first_and_what_is_read_is_shown(command: Any) -> None:
    rows = document(command, "list")
    assert [(row["gateway"], row["epoch"], row["state"]) for row in rows] == [
        ("tg1", 3, "up"),
        ("tg2", 3, "not asked yet"),
    ]
    _, output, _ = command("list")
    lines = output.splitlines()
    assert lines[2].startswith("tg1 ")
    assert " 1 critical " in lines[2]
    assert " 2 of 3 " in lines[2]
    assert " not asked yet " in lines[3]
    assert document(command, "list", "--site", "delhi") == rows


def test_one_gateway_is_shown_whole(command: Any) -> None:
    row = document(command, "show", "tg1")
    assert [one["name"] for one in row["raised"]] == ["los@tg1/3"]
    assert row["spans"][0]["in_use"] == 3
    assert row["spans"][0]["slots"][:6] == ["frame", "in_use", "in_use", "in_use", "idle", "idle"]
    assert row["spans"][2]["conditions"] == ["los"]
    assert row["spans"][0]["last_24_hours"]["es"] == 2
    status, output, _ = command("show", "tg1")
    assert status == 0
    for words in ("SNMPv3, user noc, keys env:TG1_AUTH and env:TG1_PRIVACY", " 3/30 ",
                  "F###.... ........ D....... ........", "100.000 %", "96 of 96"):  # fmt: skip
        assert words in output


def test_an_alarm_is_taken_care_of_by_its_name_or_its_id(command: Any, site: Site) -> None:
    status, output, _ = command("ack", "los@tg1/3", "--note", "a digger")
    assert status == 0
    assert output.startswith("los@tg1/3 is taken care of by ")
    found = document(command, "alarms", "--history", "2")
    (alarm,) = found["alarms"]
    assert alarm["note"] == "a digger"
    assert [one["what"] for one in found["history"]] == ["raised", "acknowledged"]
    assert document(command, "ack", alarm["id"])["alarm"] == alarm["id"]
    _, output, _ = command("alarms", "--history", "5")
    assert "raised, taken care of" in output
    assert "trunk carrier-b, number 4003, queue sales" in output
    assert "(a digger)" not in output  # the second note is empty


def test_maintenance_is_set_seen_and_ended(command: Any) -> None:
    status, output, _ = command("maintenance", "tg1", "--for", "2h", "--note", "new card")
    assert status == 0
    (window,) = document(command, "alarms")["windows"]
    assert output.startswith(f"maintenance {window['id']} of tg1 until ")
    assert abs(window["until_wall_ms"] - wall_ms() - 7_200_000) < 60_000
    assert window["note"] == "new card"
    assert "new card" in command("alarms")[1]
    status, output, _ = command("maintenance", "--end", window["id"])
    assert (status, output) == (0, f"maintenance {window['id']} is over\n")
    assert document(command, "alarms")["windows"] == []


def test_trunks_say_what_is_left_and_why(command: Any) -> None:
    rows = document(command, "trunks")
    assert [(row["trunk"], row["state"], row["channels"]) for row in rows] == [
        ("carrier-b", "out", 0),
        ("carrier-a", "in", 60),
    ]
    assert "los@tg1/3" in command("trunks")[1]


def test_one_picture_of_the_board(command: Any) -> None:
    status, output, _ = command("watch", "--once")
    assert status == 0
    assert "Fxxxxxxx xxxxxxxx !xxxxxxx xxxxxxxx  3/30 los" in output
    found = document(command, "watch", "--once")
    assert len(found["gateways"]) == 2
    assert len(found["alarms"]) == 1


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("list", "--site", "mumbai"), 1, "no gateway of site 'mumbai' is watched; sites: delhi"),
        (("show", "tg9"), 1, "no gateway 'tg9' is watched; known: tg1, tg2"),
        (("ack", "ais@tg1/3"), 1, "no alarm 'ais@tg1/3' stands; these do: los@tg1/3"),
        (("ack", "los@tg1/3", "--note", "x" * 501), 1, "a note is one line of at most 500"),
        (("maintenance", "tg9", "--for", "2h"), 1, "tg9: is not declared"),
        (("maintenance", "--end", "w-1"), 1, "no maintenance w-1 is set"),
        (("maintenance", "tg1"), 2, "PATH and --for TIME are needed, or --end ID"),
        (("maintenance", "tg1", "--for", "soon"), 2, "'soon' is no time like 30s"),
        (("maintenance", "tg1/x", "--for", "2h"), 2, "'tg1/x' is no object like tg1, tg1/3"),
        (("maintenance", "tg1", "--for", "9000h"), 2, "ends after it begins, and within a year"),
        (("maintenance", "tg1", "--end", "w-1"), 2, "--end ID stands alone"),
        (("watch",), 2, "the board needs a terminal; --once or --json needs none"),
        (("alarms", "--history", "-1"), 2, "Invalid value for '--history'"),
    ],
)
def test_what_cannot_be_is_one_line(
    command: Any, words: tuple[str, ...], status: int, line: str
) -> None:
    done, output, error = command(*words)

    assert (done, output) == (status, "")
    assert error.startswith("keepline: ")
    assert line in error


def test_a_cluster_that_does_not_answer_is_one_line(command: Any, site: Site) -> None:
    site.call(site.down("n1"))
    site.call(site.down("n2"))
    for words in (("list",), ("alarms",), ("trunks",), ("watch", "--once"), ("watch", "--json")):
        assert command(*words) == (1, "", "keepline: no node answers\n")


# Watching.


@contextlib.asynccontextmanager
async def watching(data: Path) -> AsyncIterator[Callable[..., Awaitable[Heard]]]:
    async with cluster(data, None) as found:
        changes = Gateways(found).watch()

        async def until(wanted: Callable[[Heard], object]) -> Heard:
            async with asyncio.timeout(DEADLINE_S):
                async for one in changes:
                    if wanted(one):
                        return one
            raise AssertionError("it ended")

        try:
            yield until
        finally:
            await changes.aclose()


async def test_a_node_that_dies_is_told_and_heard_again_when_it_is_back(site: Site) -> None:
    async with watching(site.data) as until:
        await until(lambda it: it.node == "n1" and it.change and it.change["kind"] == "alarms")
        await until(lambda it: it.node == "n2" and it.change)
        await asyncio.to_thread(site.call, site.down("n2"))
        lost = await until(lambda it: it.change is None)
        assert (lost.node, lost.trouble != "") == ("n2", True)
        await asyncio.to_thread(site.do, lambda: site.desk.see("ais", "on", "tg1/1"))
        change = await until(lambda it: it.change and it.change["kind"] == "alarms")
        assert change.node == "n1"
        await asyncio.to_thread(site.call, site.up("n2", site.deposed))
        await until(lambda it: it.node == "n2" and it.change)


async def test_nodes_that_come_are_watched_and_those_that_go_no_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask_gateways, "LOOK_S", 0.05)
    addresses = {name: f"127.0.0.1:{port}" for name, port in site.ports.items()}
    write_nodes(site.data, n1=addresses["n1"])
    async with watching(site.data) as until:
        await until(lambda it: it.node == "n1" and it.change)
        write_nodes(site.data, **addresses)
        await until(lambda it: it.node == "n2" and it.change)
        await asyncio.to_thread(site.call, site.down("n2"))
        write_nodes(site.data, n1=addresses["n1"])
        await until(lambda it: it == Heard("n2", None, ""))


async def test_of_two_nodes_that_answer_the_deposed_one_is_not_listened_to(site: Site) -> None:
    site.deposed.see("ais", "on", "tg1/1")
    async with cluster(site.data, None) as found:
        alarms = await Gateways(found).alarms(10)
        rows = await Gateways(found).rows()
        with pytest.raises(Refused, match=r"no alarm 'ais@tg1/1' stands; these do: los@tg1/3"):
            await Gateways(found).acknowledge("ais@tg1/1", "")
        site.desk.breaks = site.deposed.breaks = ZeroDivisionError()
        with pytest.raises(Unreachable, match="no node answers"):
            await Gateways(found).rows()

    assert [one["name"] for one in alarms["alarms"]] == ["los@tg1/3"]
    assert {one["epoch"] for one in alarms["history"]} == {row["epoch"] for row in rows} == {3}


class Terminal:
    """`keepline gateway watch` on a terminal of its own."""

    def __init__(self, data: Path) -> None:
        self.screen = ""
        self._ours, self._its = pty.openpty()
        ioctl(self._its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(self._its)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "node", "gateway", "watch", "--data", str(data)],
            stdin=self._its,
            stdout=self._its,
            stderr=self._its,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )

    def until(self, text: str) -> None:
        give_up = time.monotonic() + DEADLINE_S
        while text not in self.screen:
            assert time.monotonic() < give_up, (text, self.screen)
            if select.select([self._ours], [], [], 0.1)[0]:
                self.screen += os.read(self._ours, 65_536).decode(errors="replace")

    def press(self, key: bytes) -> None:
        os.write(self._ours, key)

    def ended(self) -> int:
        status = self.process.wait(DEADLINE_S)
        self.until("\x1b[?1049l")
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)
        os.close(self._its)


@pytest.fixture
def terminal(site: Site) -> Generator[Terminal, None, None]:
    found = Terminal(site.data)
    yield found
    found.close()


@pytest.mark.parametrize("how", ["q", "interrupt", "terminate"])
def test_the_board_lives_and_leaves_the_terminal_as_it_was(
    terminal: Terminal, site: Site, how: str
) -> None:
    terminal.until("tg1")
    terminal.screen = ""
    site.do(lambda: site.desk.see("ais", "on", "tg1/1"))
    terminal.until("ais")
    assert "tg2" not in terminal.screen  # only what changed is drawn
    site.call(site.down("n2"))
    terminal.until("n2: no answer; watching n1")
    if how == "q":
        terminal.press(b"q")
    else:
        sent = signal.SIGINT if how == "interrupt" else signal.SIGTERM
        terminal.process.send_signal(sent)

    assert terminal.ended() == 0
    assert "\x1b[?25h" in terminal.screen  # there is a cursor again
    assert termios.tcgetattr(terminal._its) == terminal.before
