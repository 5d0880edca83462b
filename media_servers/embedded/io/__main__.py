"""`python -m media_servers.embedded.io`: the embedded media server.

Started before any node, it outlives them all. SIGTERM or SIGINT: exit 0. Exit 3: another one
serves this socket. Exit 2: it cannot start, one line on stderr says why.
"""

import argparse
import gc
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from media_servers.embedded.io.control import AlreadyRunning, Control
from media_servers.embedded.io.lines import Lines
from media_servers.embedded.io.recordings import Recordings
from media_servers.embedded.io.server import Server
from media_servers.embedded.io.sounds import Sounds

REAL_TIME = 5
NICE = -10
FILES = 65_536
SHIPPED = Path(__file__).resolve().parent.parent / "sounds"


def main(argv: list[str] | None = None) -> int:
    args = _arguments(argv)
    first, last = args.ports
    socket_path: Path = args.socket
    cache: Path = args.cache or socket_path.with_name(f"{socket_path.name}.sounds")
    recordings: Path = args.recordings or socket_path.with_name("recordings")
    try:
        socket.inet_aton(args.address)
        socket_path.parent.mkdir(parents=True, exist_ok=True)
        cache.mkdir(parents=True, exist_ok=True)
        control = Control(socket_path)
        place = socket_path.with_name(f"{socket_path.name}.next")
        lines = Lines(args.address, first, last, place)
    except AlreadyRunning:
        _say(f"another media server serves {socket_path}")
        return 3
    except OSError as error:
        _say(f"cannot serve {args.address} at {socket_path}: {error}")
        return 2
    files = _raise_limit(resource.RLIMIT_NOFILE, FILES)
    priority = _prioritise(args.priority)
    awake, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sounds = Sounds((*args.sounds, SHIPPED), cache)
    sounds.load()
    server = Server(
        control=control,
        address=args.address,
        lines=lines,
        sounds=sounds,
        recordings=Recordings(recordings),
        wake=awake.fileno(),
        say=_say,
    )
    # What lives as long as the process need not be looked at by each collection; cycles that calls
    # leave behind are few, for legs let go of each other.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    _say(
        f"serving address={args.address} ports={first}-{last} files={files} "
        f"priority={priority} pid={os.getpid()}"
    )
    server.run()
    _say("stopped")
    return 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="media_servers.embedded.io", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="control socket")
    parser.add_argument("--address", default="127.0.0.1", help="IPv4 address of RTP")
    parser.add_argument("--ports", type=_range, default=(10000, 19999), metavar="FIRST-LAST")
    parser.add_argument("--sounds", type=_folders, default=(), metavar="DIR[:DIR]")
    parser.add_argument("--recordings", type=Path, help="folder; beside the socket if not given")
    parser.add_argument("--cache", type=Path, help="encoded sounds; beside the socket if not given")
    parser.add_argument("--priority", choices=("auto", "normal"), default="auto")
    return parser.parse_args(argv)


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    ports = int(first), int(last or first)
    if not 1024 <= ports[0] < ports[1] <= 65535:
        raise ValueError(text)
    return ports


def _folders(text: str) -> tuple[Path, ...]:
    return tuple(Path(part) for part in text.split(":") if part)


def _raise_limit(which: int, wanted: int) -> int:
    """As much as we are allowed; what that is."""
    soft, hard = resource.getrlimit(which)
    for limits in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
        if soft >= wanted:
            break
        with suppress(ValueError, OSError):
            resource.setrlimit(which, limits)
            soft = limits[0]
    return soft


def _prioritise(wish: str) -> str:
    """Be served before others if we may; what was obtained. Children do not inherit it."""
    if wish == "normal":
        return "normal"
    _raise_limit(resource.RLIMIT_RTPRIO, REAL_TIME)
    with suppress(OSError):
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(REAL_TIME))
        return f"real-time {REAL_TIME}"
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
        return f"nice {NICE}"
    return "normal"


def _say(line: str) -> None:
    sys.stderr.write(f"media server: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
