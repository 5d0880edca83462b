"""The audio of all simulated phones: one socket each, one epoll for all, one 20 ms clock.

A phone's packets go out at its own place in the 20 ms, so that load is even. Everything that came
is read each SLOT_MS; packets bear the kernel's time of arrival (SO_TIMESTAMPNS), so that this
process being late does not look like a gap of the network. Being late itself is measured, too:
whoever hears these phones hears it as a gap.
"""

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable

from loadtest.effects import Speak
from loadtest.facts import Audio, Window
from loadtest.hearing import AFTER_MS, Ear
from loadtest.identity import LAWS, Ears, Voice, frame
from rtp import dtmf
from rtp.packet import FRAME_MS, FRAME_SAMPLES, HEADER, MARKER, VERSION
from sip.uri import Address

SLOT_MS = 2
SLOTS = FRAME_MS // SLOT_MS
CATCH_UP_MAX = 5 * SLOTS
"""Slots that are made up for after a delay; packets of a longer one are left out, as by a phone
that was stopped: timestamps go on, sequence numbers have no hole. `skipped` counts frames."""
READ_MAX = 8
"""Packets read from one socket in a slot."""
BACKLOG_MAX = 4_096
"""Packets read at the end of a call, if this process was so late."""
SWEEP_SLOTS = 1_000 // SLOT_MS
PORT_TRIES = 1_000
MARKS_MAX = 32

_SO_TIMESTAMPNS = 35  # Linux
_STAMP = struct.Struct("qq")
_SPACE = socket.CMSG_SPACE(_STAMP.size)
_SEQUENCE = struct.Struct(">HI")


class Line:
    """One phone's audio: its socket, and the call it is in, if any."""

    __slots__ = (
        "_keys",
        "address",
        "call",
        "dropped",
        "ear",
        "frames",
        "key_type",
        "law",
        "on_change",
        "packet",
        "remote",
        "sends",
        "sent",
        "seq",
        "slot",
        "sock",
        "ssrc",
        "strays",
        "timestamp",
    )

    def __init__(self, sock: socket.socket, frames: dict[int, bytes], ssrc: int, slot: int) -> None:
        self.sock = sock
        self.address: Address = sock.getsockname()[:2]
        self.frames = frames
        self.ssrc = ssrc
        self.slot = slot
        self.call = ""
        self.on_change: Callable[[str, str], None] | None = None
        self.ear: Ear | None = None
        self.remote: Address = ("", 0)
        self.sends = False
        self.law = -1
        self.key_type: int | None = None
        self.packet = bytearray()
        self.seq = ssrc & 0x7FFF
        self.timestamp = ssrc >> 1
        self.sent = 0
        self.dropped = 0
        self.strays = 0
        self._keys: deque[tuple[bytes, int, bool]] = deque()

    def press(self, digits: str) -> None:
        """Send digits as events (RFC 4733), each 160 ms; nothing if the other side takes none."""
        if self.key_type is None:
            return
        timestamp = self.timestamp
        for digit in digits:
            payloads = dtmf.payloads(digit)
            for n, payload in enumerate(payloads):
                self._keys.append((payload, timestamp & 0xFFFFFFFF, n == 0))
            pause = 3
            self._keys.extend([(b"", 0, False)] * pause)
            timestamp += (len(payloads) + pause) * FRAME_SAMPLES

    def send(self) -> None:
        """This frame's packet."""
        self.timestamp = self.timestamp + FRAME_SAMPLES & 0xFFFFFFFF
        if self._keys:
            self._send_key()
            return
        self.seq = self.seq + 1 & 0xFFFF
        _SEQUENCE.pack_into(self.packet, 2, self.seq, self.timestamp)
        try:
            self.sock.sendto(self.packet, self.remote)
        except OSError:
            self.dropped += 1
        else:
            self.sent += 1

    def _send_key(self) -> None:
        payload, timestamp, first = self._keys.popleft()
        if not payload:
            return
        self.seq = self.seq + 1 & 0xFFFF
        second = (self.key_type or 0) | (MARKER if first else 0)
        packet = HEADER.pack(VERSION, second, self.seq, timestamp, self.ssrc) + payload
        try:
            self.sock.sendto(packet, self.remote)
        except OSError:
            self.dropped += 1
        else:
            self.sent += 1


class AudioEngine:
    """All lines. `tick` is to be called every SLOT_MS; it reads, then sends what is due."""

    def __init__(self, ears: Ears, ports: tuple[int, int]) -> None:
        self._ears = ears
        self._ports = ports
        self._next_port = ports[0]
        self._epoll = select.epoll()
        self._by_fd: dict[int, Line] = {}
        self._slots: list[list[Line]] = [[] for _ in range(SLOTS)]
        self._opened = 0
        self._start_ns = time.monotonic_ns()
        self._slot = 0
        self._swept = 0
        self._stamp_offset_ms = 0.0
        self._late_ms = 0.0
        self._late_buckets: list[tuple[float, float]] = []
        self.late_ms_max = 0.0
        self.skipped = 0
        self.packets = 0
        self.marks: list[tuple[str, float]] = []
        self._learn_offset()

    # -- lines -------------------------------------------------------------------------------------

    def open(self, host: str, voice: Voice, ssrc: int) -> Line:
        """A phone's RTP port, even, of `ports`. Raises OSError when none is free."""
        self._ears.add(voice)
        sock = self._bind(host)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        line = Line(sock, {law: frame(voice, law) for law in LAWS}, ssrc, self._opened % SLOTS)
        self._opened += 1
        self._by_fd[sock.fileno()] = line
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        return line

    def _bind(self, host: str) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        low, high = self._ports
        for _ in range(PORT_TRIES):
            port = self._next_port
            self._next_port = port + 2 if port + 2 <= high else low
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                sock.bind((host, port))
            except OSError:
                sock.close()
                continue
            return sock
        raise OSError(f"no free RTP port on {host} in {low}-{high}")

    def close(self, line: Line) -> None:
        """Give the port up. May be called again."""
        self.forget(line)
        if line.sock.fileno() >= 0:
            self._epoll.unregister(line.sock.fileno())
            del self._by_fd[line.sock.fileno()]
            line.sock.close()

    def close_all(self) -> None:
        """Give everything up."""
        for line in list(self._by_fd.values()):
            self.close(line)
        self._epoll.close()

    def speak(self, line: Line, wanted: Speak, on_change: Callable[[str, str], None]) -> None:
        """Send and hear in this call; `on_change(call, what)` when what is heard changes."""
        now_ms = self.now_ms()
        if line.call != wanted.call or line.ear is None:
            self.forget(line)
            line.call = wanted.call
            line.ear = Ear(self._ears, now_ms)
            line.on_change = on_change
            line.sent = 0
            self._slots[line.slot].append(line)
        if wanted.law != line.law:
            line.law = wanted.law
            line.packet = bytearray(
                HEADER.pack(VERSION, wanted.law, 0, 0, line.ssrc) + line.frames[wanted.law]
            )
        line.remote = wanted.remote
        line.key_type = wanted.keys
        line.sends = wanted.sends and wanted.remote[1] > 0 and wanted.remote[0] != "0.0.0.0"
        if wanted.listens:
            line.ear.resume(now_ms)
        else:
            line.ear.hold(now_ms)

    def forget(self, line: Line) -> None:
        """Neither send nor hear on this line."""
        if line.ear is not None:
            self._slots[line.slot].remove(line)
            line.ear = None
            line.call = ""
            line.sends = False

    def finish(self, line: Line, who: str) -> Audio | None:
        """What this line has heard, packets that wait to be read included; then it is forgotten."""
        ear = line.ear
        if ear is None:
            return None
        for _ in range(BACKLOG_MAX):
            try:
                data, control, _flags, _source = line.sock.recvmsg(1500, _SPACE)
            except OSError:
                break
            ear.packet(data, self._stamped(control))
        heard = self.audio(line, who)
        self.forget(line)
        return heard

    def audio(self, line: Line, who: str) -> Audio | None:
        """What this line has heard in its call up to now; None when it is in none."""
        ear = line.ear
        if ear is None:
            return None
        now_ms = self.now_ms()
        missing, duplicates, ssrcs = ear.counted()
        silent = ear.listening and ear.packets
        return Audio(
            ms=round(now_ms),
            who=who,
            call=line.call,
            heard=ear.sounds(),
            packets=ear.packets,
            missing=missing,
            duplicates=duplicates,
            ssrcs=ssrcs,
            gap_ms=round(ear.gap_ms),
            gap_at_ms=round(ear.gap_at_ms),
            silent_ms=round(now_ms - max(ear.last_ms, ear.since_ms)) if silent else 0,
            windows=[
                self._window(ear, name, at_ms, now_ms)
                for name, at_ms in self.marks
                if at_ms >= ear.began_ms
            ],
            late=ear.late,
            sent=line.sent,
            held_ms=round(ear.held_ms),
        )

    def _window(self, ear: Ear, name: str, at_ms: float, now_ms: float) -> Window:
        late = [ms for end, ms in self._late_buckets if at_ms < end <= at_ms + AFTER_MS]
        if now_ms < at_ms + AFTER_MS:
            late.append(self._late_ms)
        return ear.window(name, at_ms, now_ms, max(late, default=0.0))

    # -- time --------------------------------------------------------------------------------------

    def now_ms(self) -> float:
        """The monotonic clock, in milliseconds."""
        return time.monotonic_ns() / 1e6

    def _learn_offset(self) -> None:
        """Kernel stamps are wall-clock time; the wall clock may be set while we run."""
        self._stamp_offset_ms = (time.time_ns() - time.monotonic_ns()) / 1e6

    def mark(self, name: str) -> float:
        """Remember this moment; measure gaps before and after it apart. Answers its time."""
        now_ms = self.now_ms()
        self._sweep(now_ms)
        if len(self.marks) < MARKS_MAX:
            self.marks.append((name, now_ms))
        return now_ms

    def _sweep(self, now_ms: float) -> None:
        for slot in self._slots:
            for line in slot:
                if line.ear is not None:
                    line.ear.sweep(now_ms)
        self._late_buckets.append((now_ms, self._late_ms))
        self._late_ms = 0.0

    def begin(self) -> None:
        """Start the clock; before, nothing is late."""
        self._start_ns = time.monotonic_ns() - self._slot * SLOT_MS * 1_000_000

    def next_tick_s(self) -> float:
        """When the next slot is due, on the monotonic clock, in seconds."""
        return (self._start_ns + self._slot * SLOT_MS * 1_000_000) / 1e9

    def tick(self) -> None:
        """Read everything, send all slots that are due; once a second close the gaps' buckets."""
        self._read()
        now_ns = time.monotonic_ns()
        due = (now_ns - self._start_ns) // (SLOT_MS * 1_000_000) + 1
        behind = due - self._slot
        if behind <= 0:
            return
        late_ms = (now_ns - self._start_ns) / 1e6 - self._slot * SLOT_MS
        if late_ms > self._late_ms:
            self._late_ms = late_ms
            self.late_ms_max = max(self.late_ms_max, late_ms)
        if behind > CATCH_UP_MAX:
            frames = (behind - CATCH_UP_MAX + SLOTS - 1) // SLOTS
            self.skipped += frames
            self._slot += frames * SLOTS
            for line in self._by_fd.values():
                line.timestamp += frames * FRAME_SAMPLES
        slots = self._slots
        for n in range(self._slot, due):
            for line in slots[n % SLOTS]:
                if line.sends:
                    line.send()
        self._slot = due
        if due - self._swept >= SWEEP_SLOTS:
            self._swept = due
            self._learn_offset()
            self._sweep(now_ns / 1e6)

    def _stamped(self, control: list[tuple[int, int, bytes]]) -> float:
        """When the kernel got the packet, on the monotonic clock in ms; now if it did not say."""
        if not control:
            return time.monotonic_ns() / 1e6
        seconds, nanoseconds = _STAMP.unpack_from(control[0][2])
        return float(seconds * 1e3 + nanoseconds / 1e6 - self._stamp_offset_ms)

    def _read(self) -> None:
        by_fd, poll = self._by_fd, self._epoll.poll
        size = max(64, len(by_fd))
        for _ in range(READ_MAX):
            ready = poll(0, size)
            if not ready:
                return
            self.packets += len(ready)
            for fd, _events in ready:
                line = by_fd.get(fd)
                if line is None:  # closed by whoever heard the packet before
                    continue
                try:
                    data, control, _flags, _source = line.sock.recvmsg(1500, _SPACE)
                except OSError:
                    continue
                ear = line.ear
                if ear is None:
                    line.strays += 1
                    continue
                if ear.packet(data, self._stamped(control)) and line.on_change is not None:
                    line.on_change(line.call, ear.hears)
