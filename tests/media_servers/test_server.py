"""The embedded server as a process: who may command it, what it stands, whom it outlives."""

import asyncio
import os
import random
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from media_servers import verbs
from media_servers.embedded import wire
from media_servers.io import launch
from media_servers.io.client import Client
from media_servers.verbs import Refused, Session, Unreachable
from tests.media_servers.drivers import DEADLINE_MS, Media, embedded
from tests.media_servers.phones import DEADLINE_S, Phone, phone


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Media]:
    async with embedded(tmp_path) as running:
        yield running


async def wait_with_music(media: Media, caller: Phone, name: str = "call-1") -> Session:
    """A caller who hears music."""
    session = verbs.answer(Session(name, "main", 1), "caller", caller.offer())
    session = verbs.play(session, "caller", "music", loop=True, play=1)
    await media.dial(session, caller=caller)
    await caller.hears_music()
    return session


def ask_until_full(connection: socket.socket) -> None:
    """Send requests until no more are taken."""
    with suppress(BlockingIOError):
        for n in range(20_000):
            connection.send(wire.frame(wire.Measure(n, "")))


async def ended(connection: socket.socket) -> None:
    """Wait until the other side has closed it."""
    connection.setblocking(False)
    async with asyncio.timeout(DEADLINE_S):
        loop = asyncio.get_running_loop()
        try:
            while await loop.sock_recv(connection, 65_536):
                pass
        except ConnectionResetError:
            return


# --- who may command it ---


async def test_only_its_own_user_may_connect(server: Media) -> None:
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o600
    if os.getuid() != 0:
        return
    server.folder.chmod(0o755)
    for parent in (server.folder, *server.folder.parents[:-1]):
        parent.chmod(parent.stat().st_mode | 0o011)
    server.socket.chmod(0o666)  # even then
    code = (
        "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
        "s.settimeout(5); s.connect(sys.argv[1]); sys.exit(len(s.recv(1)))"
    )
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(server.socket), stderr=subprocess.PIPE
    )
    _, errors = await done.communicate()

    assert done.returncode == 0, errors  # connected, and was shown out at once


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x05junk!",
        b"GET / HTTP/1.1\r\n\r\n",
        wire.frame(wire.Query(1, "main", 5)),  # no hello before it
        wire.frame(wire.Done(1, None)),  # nothing to ask for
    ],
)
async def test_who_does_not_speak_the_protocol_is_cut_off_and_calls_go_on(
    server: Media, junk: bytes
) -> None:
    async with phone() as caller:
        await wait_with_music(server, caller)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(server.socket))
            connection.sendall(junk)
            await ended(connection)

        await caller.more(5)
        assert server.downs == 0
        assert caller.stream.missing == 0


async def test_any_noise_on_its_ports_disturbs_nobody(server: Media) -> None:
    noise = random.Random(7)
    async with phone(0) as caller, phone(1) as agent, phone(2, talks=False) as third:
        session = verbs.answer(Session("call-1", "main", 1), "caller", caller.offer())
        session = verbs.answer(session, "agent", agent.offer())
        session = verbs.connect(session, "caller", "agent")
        ports = (await server.dial(session, caller=caller, agent=agent)).ports
        await caller.hears(1000.0)

        third.to = ("127.0.0.1", ports["caller"])
        for _ in range(2_000):
            start = noise.choice((b"", b"\x80\x00", b"\x80\x65", b"\xb3\x00", b"\xa0\x08"))
            third.throw(start + noise.randbytes(noise.randrange(1, 200)))
        for size in (0, 1, 1_500, 9_000, 60_000):
            third.throw(bytes(size))
            caller.throw(b"\xff" * size)  # from the phone itself, too
        await agent.hears(400.0)
        await caller.hears(1000.0)

        assert third.heard == []
        assert server.events == []
        assert caller.stream.missing == agent.stream.missing == 0


async def test_a_nodes_newer_line_replaces_its_older_one(server: Media) -> None:
    newer = server.connect("node")
    await newer.start()
    await newer.wait_up(DEADLINE_MS)
    await server.until(lambda: server.downs >= 1)

    await newer.close()
    await server.client.wait_up(DEADLINE_MS)


async def test_only_the_newest_epoch_hears_of_events(server: Media) -> None:
    heard: list[str] = []
    new = Client(
        str(server.socket), "new", on_event=lambda shard, event: heard.append(type(event).__name__)
    )
    await new.start()
    await new.wait_up(DEADLINE_MS)
    new.watch("main", 2)
    await new.query("main", 2)
    async with phone() as caller:
        session = verbs.answer(Session("call-1", "main", 2), "caller", caller.offer())
        session = verbs.play(session, "caller", "welcome", loop=False, play=1)
        await new.apply(session, DEADLINE_MS)
        await caller.more(75)
        async with asyncio.timeout(DEADLINE_S):
            while not heard:
                await new.query("main", 2)
        await server.client.query("else", 1)

    assert heard == ["PlayEnded"]
    assert server.events == []
    await new.close()


# --- whom it outlives ---


async def test_it_outlives_whoever_started_it_and_commands_it(tmp_path: Path) -> None:
    path = tmp_path / "media.sock"
    code = (
        "import os, signal, sys; from media_servers.io import launch;"
        "print(launch.start(sys.argv[1], ports=(31000, 31999)).pid, flush=True);"
        "os.killpg(0, signal.SIGKILL)"
    )
    starter = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, str(path)), stdout=subprocess.PIPE, start_new_session=True
    )
    out, _ = await starter.communicate()
    pid = int(out)
    try:
        assert starter.returncode == -signal.SIGKILL
        assert await asyncio.to_thread(launch.serving, path) == pid
    finally:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            os.kill(pid, signal.SIGTERM)
            await ended(connection)


async def test_a_node_that_dies_or_hangs_is_not_heard_by_the_caller(server: Media) -> None:
    async with phone() as caller:
        await wait_with_music(server, caller)
        with socket.socket(socket.AF_UNIX) as hanging:  # asks and asks, and never reads
            hanging.connect(str(server.socket))
            hanging.sendall(wire.frame(wire.Hello("hanging", {"main": 1})))
            hanging.setblocking(False)
            await asyncio.to_thread(ask_until_full, hanging)
            await caller.more(20)
            assert (await server.client.measure())["server"]["slots_left_out"] == 0
            await server.client.close()
            await caller.more(20)

        assert caller.stream.missing == 0


# --- start, stop, restart ---


async def test_sigterm_ends_it_with_zero(server: Media) -> None:
    server.process.terminate()

    assert await asyncio.to_thread(server.process.wait, 5) == 0
    assert not server.socket.exists()


async def test_a_second_server_at_the_same_socket_says_so_and_ends(server: Media) -> None:
    with pytest.raises(Unreachable, match="ended with 3"):
        await asyncio.to_thread(launch.start, server.socket, log=server.folder / "second.log")

    assert (server.folder / "second.log").read_text().count("\n") == 1
    assert await asyncio.to_thread(launch.serving, server.socket) == server.process.pid


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--address", "nowhere"), 2),
        (("--ports", "9-1"), 2),
        (("--ports", "many"), 2),
        (("--socket", "/proc/nothing/here.sock"), 2),
    ],
)
def test_what_it_cannot_serve_is_one_clear_line(
    tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "media_servers.embedded.io"),
            *("--socket", str(tmp_path / "media.sock"), *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert arguments[1].split("/")[0] in done.stderr


async def test_a_killed_server_is_noticed_and_its_successor_is_another(server: Media) -> None:
    first = server.client.server
    pending = asyncio.gather(
        *(server.client.query("main", 1) for _ in range(50)), return_exceptions=True
    )
    await asyncio.sleep(0)
    await server.kill()
    await pending
    await server.until(lambda: server.downs == 1)
    with pytest.raises(Unreachable):
        await server.client.query("main", 1)

    await server.restart()

    assert server.servers == [first, server.client.server]
    assert first != server.client.server


async def test_a_stopped_server_is_unreachable_by_the_deadline_and_catches_up(
    server: Media,
) -> None:
    async with phone() as caller:
        session = await wait_with_music(server, caller)
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unreachable):
                await server.client.query("main", 1, deadline_ms=50)
        finally:
            os.kill(server.process.pid, signal.SIGCONT)

        assert await server.client.query("main", 1) == {"call-1": session.counter}
        await caller.more(5)
        assert caller.stream.missing == 0


async def test_a_session_too_big_for_a_frame_is_refused_and_the_line_stays(server: Media) -> None:
    session = verbs.answer(Session("call-1", "main", 1), "caller", "x" * wire.MAX_FRAME)

    with pytest.raises(Refused, match="overload"):
        await server.client.apply(session, DEADLINE_MS)

    assert await server.client.query("main", 1) == {}
    assert server.downs == 0


async def test_a_thousand_sessions_at_once_are_not_heard_by_those_who_listen(
    server: Media,
) -> None:
    async with phone(0) as caller:
        await wait_with_music(server, caller)
        offer = caller.offer()
        many = [verbs.answer(Session(f"call-{n}", "other", 1), "caller", offer) for n in range(90)]
        for epoch in range(1, 12):
            again = (Session(one.id, one.shard, epoch, one.counter, legs=one.legs) for one in many)
            await asyncio.gather(*(server.client.apply(one, DEADLINE_MS) for one in again))

        assert caller.stream.missing == 0
        assert (await server.client.measure())["server"]["slots_left_out"] == 0


async def test_when_all_ports_are_taken_it_says_so_and_takes_the_next_when_one_is_free(
    server: Media,
) -> None:
    async with phone(talks=False) as caller:
        sessions = [
            verbs.answer(Session(f"call-{n}", "main", 1), "caller", caller.offer())
            for n in range(101)  # at 100 even ports, of which some may be others'
        ]
        done = await asyncio.gather(
            *(server.client.apply(one, DEADLINE_MS) for one in sessions), return_exceptions=True
        )
        refused = [one for one in done if isinstance(one, Refused)]
        assert 0 < len(refused) < 50
        assert {one.reason for one in refused} == {"no_ports"}

        await server.delete(sessions[0])
        await server.apply(sessions[-1])
