"""A bound socket passes from one process of this host to another, with all that is unread in it.

Between closing an address and binding it elsewhere, whatever arrives is lost, and a SIP phone asks
again only after half a second. The socket itself (SCM_RIGHTS, unix(7)) leaves no such moment: at
any time at least one process holds the address, and what came before is read by the next one.

The inbox is an abstract Unix-domain socket: it needs no file and is gone with its process. Anyone
on this host may send to it, so it takes only what its own user or root sends, and only a UDP socket
that is bound to the very address that was asked for.
"""

import asyncio
import os
import socket
import struct
from contextlib import suppress

Address = tuple[str, int]

KEPT_MS = 2_000
"""A socket that nobody takes for so long is closed: held here, it would keep others from it."""
MESSAGES = 64
"""Read in one go."""
MAX_MESSAGE = 256
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_DESCRIPTOR = struct.Struct("i")


def pass_socket(sock: socket.socket, shard: str, inbox: str) -> bool:
    """Give a copy of `sock` to the process whose inbox this is. False: there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as out:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, _DESCRIPTOR.pack(sock.fileno()))
        try:
            out.sendmsg([shard.encode()], [rights], 0, f"\0{inbox}")
        except OSError:
            return False
    return True


class SocketInbox:
    """What other processes of this host have passed to this one."""

    def __init__(self, name: str) -> None:
        """`name` must be this process's alone."""
        self.name = name
        self._kept: dict[str, tuple[socket.socket, asyncio.TimerHandle]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sock: socket.socket | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to receive. OSError if the name is taken."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            sock.bind(f"\0{self.name}")
        except BaseException:
            sock.close()
            raise
        self._sock = sock
        self._loop = loop
        loop.add_reader(sock.fileno(), self._read)

    def close(self) -> None:
        """Receive no more, and close what was not taken. May be called again."""
        if self._sock is not None and self._loop is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
        self._sock = None
        for shard in list(self._kept):
            self.discard(shard)

    def take(self, shard: str, address: Address) -> socket.socket | None:
        """The shard's socket if one was passed; it is bound to `address`."""
        self._read()
        found = self._kept.pop(shard, None)
        if found is None:
            return None
        sock, timer = found
        timer.cancel()
        if _is_bound(sock, address):
            return sock
        sock.close()
        return None

    def discard(self, shard: str) -> None:
        """Whoever passed this shard's socket meant it for its active, and we are not it."""
        found = self._kept.pop(shard, None)
        if found is not None:
            found[1].cancel()
            found[0].close()

    def _read(self) -> None:
        sock, loop = self._sock, self._loop
        if sock is None or loop is None:
            return
        for _ in range(MESSAGES):
            try:
                message = _receive(sock)
            except OSError:
                return
            if message is None:
                continue
            shard, passed = message
            self.discard(shard)
            timer = loop.call_later(KEPT_MS / 1000, self.discard, shard)
            self._kept[shard] = (passed, timer)


def _receive(sock: socket.socket) -> tuple[str, socket.socket] | None:
    """One message; None: it is not what a node of ours sends. BlockingIOError: there is none."""
    room = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(_DESCRIPTOR.size)
    data, ancillary, _, _ = sock.recvmsg(MAX_MESSAGE, room, socket.MSG_CMSG_CLOEXEC)
    uid = -1
    passed: list[socket.socket] = []
    for level, kind, value in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_CREDENTIALS:
            _, uid, _ = _CREDENTIALS.unpack(value[: _CREDENTIALS.size])
        elif kind == socket.SCM_RIGHTS:
            for start in range(0, len(value) - _DESCRIPTOR.size + 1, _DESCRIPTOR.size):
                (descriptor,) = _DESCRIPTOR.unpack_from(value, start)
                with suppress(OSError):  # it is no socket
                    passed.append(socket.socket(fileno=descriptor))
                    continue
                os.close(descriptor)
    if len(passed) == 1 and uid in (0, os.getuid()):
        with suppress(UnicodeDecodeError):
            return data.decode(), passed[0]
    for one in passed:
        one.close()
    return None


def _is_bound(sock: socket.socket, address: Address) -> bool:
    """Is it a UDP socket of this address?"""
    if sock.family != socket.AF_INET or sock.type != socket.SOCK_DGRAM:
        return False
    own: Address = sock.getsockname()
    return own == address
