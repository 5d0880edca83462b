"""The embedded media server's loop: one thread, one epoll, RTP first.

RTP is read one datagram a port and turn, the 20 ms clock is looked at after each batch, and
commands get a millisecond of each turn, so that a node that re-applies a thousand sessions after a
takeover is not heard by those who talk.
"""

import os
import select
import time
import traceback
from collections.abc import Callable

from media_servers.embedded import wire
from media_servers.embedded.clock import Clock
from media_servers.embedded.engine import Engine
from media_servers.embedded.io.control import MAX_CONNECTIONS, Connection, Control
from media_servers.embedded.io.lines import Lines, UdpLine
from media_servers.embedded.io.recordings import Recordings
from media_servers.embedded.io.sounds import Sounds
from media_servers.embedded.leg import Leg, Line
from media_servers.embedded.players import Sound
from media_servers.embedded.recording import Recorder
from media_servers.verbs import Event

BATCH = 128
"""Descriptors served before the clock is looked at."""

GATHER_S = 0.000_3
"""After RTP was heard, what comes in this time is read with it: a third less CPU when many talk."""

COMMANDS_NS = 1_000_000
"""Of each turn for commands."""

HOUSEKEEPING_NS = 100_000_000

LATE_NS = 100_000_000
LATE_WINDOWS = 10
"""For a second, each 100 ms had a slot that was 100 ms late: too much load for new sessions."""

MAX_BUGS_SAID = 100
"""So many bugs are written to the log; all are counted."""

Receiver = tuple[UdpLine, Leg]


class Server:
    """Serves until `stop`. Its own World, see the engine."""

    def __init__(
        self,
        *,
        control: Control,
        address: str,
        lines: Lines,
        sounds: Sounds,
        recordings: Recordings,
        wake: int,
        say: Callable[[str], None],
    ) -> None:
        self._say = say
        self._epoll = select.epoll()
        self._control = control
        self._lines = lines
        self._sounds = sounds
        self._recordings = recordings
        self._wake = wake
        self._clock = Clock(time.monotonic_ns(), lambda _, error: self._bug(error))
        self._engine = Engine(self, address, self._clock)
        self._receivers: dict[int, Receiver] = {}
        self._connections: dict[int, Connection] = {}
        self._writing: set[int] = set()
        self._encoding: int | None = None
        self._welcome = wire.Welcome(os.urandom(8).hex(), os.getpid())
        self._worst_turn_ns = 0
        self._late_windows = 0
        self._bugs = 0
        self._said = False
        self._running = True
        self._epoll.register(control.socket.fileno(), select.EPOLLIN)
        self._epoll.register(wake, select.EPOLLIN)

    # --- the engine's world ---

    def open_line(self, port: int) -> Line:
        return self._lines.open(port, self._closed)

    def attach(self, line: Line, leg: Leg) -> None:
        assert isinstance(line, UdpLine)
        self._receivers[line.fd] = (line, leg)
        self._epoll.register(line.fd, select.EPOLLIN)

    def find_sound(self, name: str) -> Sound | None:
        return self._sounds.find(name)

    def open_recording(self, name: str) -> Recorder:
        return self._recordings.open(name)

    def draw(self) -> int:
        return int.from_bytes(os.urandom(4), "big")

    def emit(self, shard: str, event: Event) -> None:
        for connection in self._connections.values():
            epoch = connection.shards.get(shard)
            if epoch is not None and self._engine.is_current(shard, epoch):
                connection.say(wire.Happened(shard, event))
                self._said = True

    # --- the loop ---

    def stop(self) -> None:
        """End the loop after this turn."""
        self._running = False

    def run(self) -> None:
        """Serve until stopped."""
        poll = self._epoll.poll
        receivers = self._receivers
        clock = self._clock
        data = bytearray(2048)
        view = memoryview(data)
        housekeeping_ns = time.monotonic_ns()
        busy = heard = False
        while self._running:
            now_ns = time.monotonic_ns()
            if busy:
                wait = 0.0
            else:
                due_ns = clock.next_ns()
                until_ns = housekeeping_ns if due_ns is None else min(due_ns, housekeeping_ns)
                wait = max(0, until_ns - now_ns) / 1e9
            others: list[tuple[int, int]] = []
            ready = poll(0.0 if heard else wait, BATCH)
            if heard and wait and not ready:
                time.sleep(min(GATHER_S, wait))
                ready = poll(max(0.0, wait - GATHER_S), BATCH)
            start_ns = time.monotonic_ns()
            now_ms = start_ns // 1_000_000
            for fd, events in ready:
                receiver = receivers.get(fd)
                if receiver is None:
                    others.append((fd, events))
                    continue
                line, leg = receiver
                try:
                    size, source = line.recv(data)
                except OSError:
                    continue
                try:
                    leg.receive(data, view, size, source, now_ms)
                except Exception as error:  # noqa: BLE001 - the boundary that _bug names
                    self._bug(error)
            clock.run(time.monotonic_ns())
            heard = len(ready) > len(others)
            for fd, events in others:
                self._other(fd, events)
            if others or busy:
                busy = self._commands(now_ms)
                self._said = True
            if self._said:
                self._said = False
                self._flush()
            now_ns = time.monotonic_ns()
            if now_ns >= housekeeping_ns:
                self._keep_house(now_ms)
                housekeeping_ns = now_ns + HOUSEKEEPING_NS
            if now_ns - start_ns > self._worst_turn_ns:
                self._worst_turn_ns = now_ns - start_ns
        self._close()

    def _other(self, fd: int, events: int) -> None:
        connection = self._connections.get(fd)
        if connection is not None:
            if events & ~select.EPOLLOUT:
                connection.read()
            if events & select.EPOLLOUT:
                connection.flush()
                if not connection.wants_to_write:
                    self._writing.discard(fd)
                    self._epoll.modify(fd, select.EPOLLIN)
        elif fd == self._control.socket.fileno():
            self._accept()
        elif fd == self._wake:
            os.read(self._wake, 64)
            self.stop()
        elif fd == self._encoding:
            self._epoll.unregister(fd)
            self._encoding = None
            self._sounds.finish()

    def _accept(self) -> None:
        sock = self._control.accept()
        if sock is None:
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            sock.close()
            return
        connection = Connection(sock, self._engine, self._welcome, self._measured, self._bug)
        self._connections[connection.fd] = connection
        self._epoll.register(connection.fd, select.EPOLLIN)

    def _commands(self, now_ms: int) -> bool:
        """Answer requests for a millisecond; true if some are left."""
        until_ns = time.monotonic_ns() + COMMANDS_NS
        left = True
        while left:
            left = False
            for connection in tuple(self._connections.values()):
                node = connection.node
                left |= connection.step(now_ms)
                if connection.node != node:
                    self._replace(connection)
                if left and time.monotonic_ns() > until_ns:
                    return True
        return False

    def _replace(self, newer: Connection) -> None:
        """A node has one connection: what an older one still holds was given up by the node."""
        for other in self._connections.values():
            if other is not newer and other.node == newer.node:
                other.broken = True

    def _flush(self) -> None:
        for connection in tuple(self._connections.values()):
            if connection.wants_to_write and connection.fd not in self._writing:
                connection.flush()
            if connection.broken:
                self._drop(connection)
            elif connection.wants_to_write and connection.fd not in self._writing:
                self._writing.add(connection.fd)
                self._epoll.modify(connection.fd, select.EPOLLIN | select.EPOLLOUT)

    def _drop(self, connection: Connection) -> None:
        del self._connections[connection.fd]
        self._writing.discard(connection.fd)
        self._epoll.unregister(connection.fd)
        connection.socket.close()

    def _closed(self, line: UdpLine) -> None:
        if self._receivers.pop(line.fd, None) is not None:
            self._epoll.unregister(line.fd)

    def _keep_house(self, now_ms: int) -> None:
        self._engine.expire(now_ms)
        self._sounds.look_again()
        behind_ns, self._clock.behind_ns = self._clock.behind_ns, 0
        self._late_windows = self._late_windows + 1 if behind_ns > LATE_NS else 0
        self._engine.overloaded = self._late_windows >= LATE_WINDOWS
        while self._sounds.failed:
            name, reason = self._sounds.failed.pop()
            self._say(f"sound not usable name={name} reason={reason!r}")
        if self._encoding is None:
            self._encoding = self._sounds.start(now_ms)
            if self._encoding is not None:
                self._epoll.register(self._encoding, select.EPOLLIN)
        else:
            self._sounds.hurry(now_ms)

    def _bug(self, error: Exception) -> None:
        """A packet, a frame or a command brought out a bug: that one is lost, the others go on.

        All calls of the site are in this process, and what comes from a phone may be anything.
        """
        self._bugs += 1
        if self._bugs <= MAX_BUGS_SAID:
            self._say(f"bug {''.join(traceback.format_exception(error))!r}")

    def _measured(self, session: str) -> dict[str, dict[str, float]]:
        if session:
            return self._engine.measured(session)
        times = os.times()
        worst, self._worst_turn_ns = self._worst_turn_ns, 0
        return {
            "server": {
                "sessions": self._engine.sessions,
                "lines": len(self._receivers),
                "cpu_seconds": times.user + times.system,
                "worst_turn_ms": worst / 1e6,
                "slots_left_out": self._clock.left_out,
                "bugs": self._bugs,
                "recording_dropped": self._recordings.dropped,
            }
        }

    def _close(self) -> None:
        for connection in tuple(self._connections.values()):
            connection.flush()
            self._drop(connection)
        self._engine.close()
        self._sounds.close()
        self._recordings.close()
        self._control.close()
        self._epoll.close()
