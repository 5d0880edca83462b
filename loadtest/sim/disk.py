"""Where a simulated node keeps the journal of a shard: what outlives its process, and its host."""

from collections.abc import Callable
from typing import Protocol

from cluster.journal import Left, begins, newest, read_journal, tails
from loadtest.sim.draw import Draw


class Writer(Protocol):
    """The process that writes."""

    def at(self, delay_ms: float, call: Callable[[], None]) -> None:
        """Later, unless it has died by then."""


class Disk:
    """Outlives the node's processes; `reboot` takes what was not fsynced."""

    def __init__(self, node: str, draw: Draw) -> None:
        self.node = node
        self.draw = draw
        self.files: dict[str, bytearray] = {}
        self.synced: dict[str, int] = {}
        self.tails: dict[str, bytearray] = {}
        self.boots = 1
        self.error = ""
        """What every write fails with; "": it does not."""
        self.slow_ms = 0

    @property
    def boot_id(self) -> str:
        return f"boot {self.boots}"

    def reboot(self) -> None:
        """The host lost its power: of what was not fsynced any part may be there."""
        self.boots += 1
        self.tails.clear()
        for name, data in self.files.items():
            synced = self.synced[name]
            kept = synced + self.draw.randrange(len(data) + 1 - synced)
            del data[kept:]
            self.synced[name] = kept

    def journals(self) -> list[tuple[str, str]]:
        """Files, oldest first, and the id of each."""
        found = []
        for name in sorted(self.files):
            begin = begins(bytes(self.files[name]))
            found.append((name, begin.id if begin is not None else ""))
        return found

    def left(self, note: Callable[..., None] = lambda what, **fields: None) -> Left | None:
        def read(name: str) -> Left | None:
            return read_journal(
                bytes(self.files[name]),
                lambda id: [self._tail(tail) for tail in tails(id)],
                place=f"{self.node}/{name}",
                boot_id=self.boot_id,
            )

        names = sorted(self.files, reverse=True)
        return newest([(name, lambda name=name: read(name)) for name in names], note)  # type: ignore[misc]

    def _tail(self, name: str) -> bytes | None:
        data = self.tails.get(name)
        return None if data is None else bytes(data)


class DiskStorage:
    """`cluster.journaling.Storage` of one process."""

    def __init__(self, disk: Disk, writer: Writer) -> None:
        self._disk = disk
        self._writer = writer
        self._jobs: list[Callable[[float], None]] = []

    @property
    def boot_id(self) -> str:
        return self._disk.boot_id

    @property
    def home(self) -> str:
        return self._disk.node

    def name(self) -> str:
        return self._disk.draw.randbytes(8).hex()

    def create(self, file: str, done: Callable[[str, str], None]) -> None:
        disk = self._disk

        def work(share: float) -> None:
            if not disk.error:
                disk.files[file] = bytearray()
                disk.synced[file] = 0
            if share == 1:
                done(disk.error, f"{disk.node}/{file}")

        self._ask(work)

    def write(self, file: str, data: bytes, *, sync: bool, done: Callable[[str], None]) -> None:
        disk = self._disk

        def work(share: float) -> None:
            room = disk.draw.random() if disk.error else share
            disk.files[file] += data[: int(room * len(data))]
            if share < 1:
                return
            if sync and not disk.error:
                disk.synced[file] = len(disk.files[file])
            done(disk.error)

        self._ask(work)

    def remove(self, file: str) -> None:
        def work(share: float) -> None:
            self._disk.files.pop(file, None)
            self._disk.synced.pop(file, None)

        self._ask(work)

    def begin_tail(self, tail: str, data: bytes) -> None:
        self._disk.tails[tail] = bytearray(data)

    def add_tail(self, tail: str, data: bytes) -> None:
        self._disk.tails[tail] += data

    def remove_tails(self, tails: tuple[str, str]) -> None:
        for tail in tails:
            self._disk.tails.pop(tail, None)

    # One thread does one thing after the other.

    def _ask(self, work: Callable[[float], None]) -> None:
        self._jobs.append(work)
        if len(self._jobs) == 1:
            self._next()

    def _next(self) -> None:
        delay_ms = self._disk.slow_ms or self._disk.draw.choice((0, 0, 1, 8))
        self._writer.at(delay_ms, self._do)

    def _do(self) -> None:
        job = self._jobs[0]
        job(1.0)
        self._jobs.pop(0)
        if self._jobs:
            self._next()

    def died(self) -> None:
        """The process was killed: the write that was under way is there in part."""
        if self._jobs:
            self._jobs.pop(0)(self._disk.draw.random() * 0.999)
        self._jobs.clear()
