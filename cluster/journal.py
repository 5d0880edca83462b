"""The journal of one copy of a shard: how it is written, and what can be said of what is found.

A journal is a sequence of numbered frames, each with a CRC. It begins with all records as of a
commit index (`Part`, `Base`); every batch that the member took since follows (`Kept`). The newest
frames may lie not on the disk yet but in the journal's two tails, in memory that outlives the
process (`cluster.journaling` says who writes what, and when).

What a journal holds is everything that its member acknowledged, unless `Left.flaw` says why that
cannot be known. Only without a flaw is its reader as good as the member itself.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from zlib import crc32

import msgspec

from cluster.log import Log, unpack
from cluster.messages import Batch
from cluster.snapshot import Snapshot

MAGIC = b"keepline journal 1\n"
TAIL_MAGIC = b"keepline tail 1\n"

_HEAD = struct.Struct("<4sIIQ")
_MARK = b"\xf6klj"
"""Each frame begins so: mark, length of its body, CRC-32 of number and body, number."""


class Begin(msgspec.Struct, array_like=True, tag="begin"):
    """The first frame: whose copy this is, and where it was written."""

    shard: str
    member: str
    id: str
    """Random. Its tails are named by it."""
    sync: bool
    """Nothing was acknowledged before it lay safely on the disk."""
    place: str
    """Host and file: a copy of the file is at another one."""
    boot_id: str


class Part(msgspec.Struct, array_like=True, tag="part"):
    """Some of the records that it begins with."""

    records: bytes


class Kept(msgspec.Struct, array_like=True, tag="kept"):
    """Batches, one after the other; those the journal had from the first one's number on are void.

    And what the member knew when it took them.
    """

    batches: list[tuple[int, int, bytes]]
    """(epoch, seq, data)."""
    commit: int
    epoch: int
    shard_ms: int
    wall_ms: int


class Base(msgspec.Struct, array_like=True, tag="base"):
    """The parts are all there: records as of number `seq`, and the batches after it."""

    birth: int
    seq: int
    epoch: int
    """In which batch `seq` was written."""
    records: int
    kept: Kept


class Facts(msgspec.Struct, array_like=True, tag="facts"):
    """The shard's key as the member last saw it."""

    epoch: int
    in_sync: tuple[str, ...]


class Tail(msgspec.Struct, array_like=True, tag="tail"):
    """What a tail begins with."""

    id: str
    """Of its journal."""
    home: str
    """Where that lies."""


Entry = Begin | Part | Base | Kept | Facts | Tail

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


def frame(number: int, entry: Entry) -> bytes:
    """The entry as it is written."""
    body = _encode(entry)
    return _HEAD.pack(_MARK, len(body), _crc(number, body), number) + body


def tails(id: str) -> tuple[str, str]:
    """The names of a journal's two tails."""
    return f"{id}-0", f"{id}-1"


def begin_tail(id: str, home: str) -> bytes:
    """The first bytes of a tail."""
    return TAIL_MAGIC + frame(0, Tail(id, home))


def tail_begins(data: bytes) -> tuple[Tail, int] | None:
    """Whose tail it is, and where its frames begin; None: it was just begun."""
    if not data.startswith(TAIL_MAGIC) or (found := _frame_at(data, len(TAIL_MAGIC))) is None:
        return None
    try:
        entry = _decode(found[1])
    except msgspec.DecodeError:
        return None
    size = len(TAIL_MAGIC) + _HEAD.size + len(found[1])
    return (entry, size) if isinstance(entry, Tail) else None


def _crc(number: int, body: bytes) -> int:
    return crc32(body, number & 0xFFFFFFFF)


def _frame_at(data: bytes, at: int) -> tuple[int, bytes] | None:
    """Number and body of the frame that begins there, if it is whole."""
    if at + _HEAD.size > len(data):
        return None
    mark, length, crc, number = _HEAD.unpack_from(data, at)
    start = at + _HEAD.size
    if mark != _MARK or start + length > len(data):
        return None
    body = data[start : start + length]
    return (number, body) if _crc(number, body) == crc else None


class Frames(msgspec.Struct):
    """The whole frames that were found, up to the first that is not."""

    entries: list[tuple[int, Entry]]
    torn: int
    """Bytes behind them that are no whole frame."""
    damaged: bool
    """Behind those is a frame again: it was not the end that was lost."""


def read_frames(data: bytes, at: int) -> Frames:
    """The frames from offset `at` on. Never raises, whatever the bytes are."""
    entries: list[tuple[int, Entry]] = []
    while (found := _frame_at(data, at)) is not None:
        number, body = found
        if entries and number != entries[-1][0] + 1:
            break
        try:
            entry = _decode(body)
        except msgspec.DecodeError:
            break
        entries.append((number, entry))
        at += _HEAD.size + len(body)
    torn = len(data) - at
    return Frames(entries, torn, torn > 0 and _is_frame_after(data, at))


def _is_frame_after(data: bytes, at: int) -> bool:
    while (at := data.find(_MARK, at + 1)) >= 0:
        if _frame_at(data, at) is not None:
            return True
    return False


class Left(msgspec.Struct):
    """What an earlier life of this node left of a shard."""

    member: str
    epoch: int
    """The newest one in which it took anything."""
    end: int
    commit: int
    wall_ms: int
    """When it wrote for the last time."""
    in_sync: tuple[str, ...]
    """Members in sync as it last knew, in epoch `in_sync_epoch`."""
    in_sync_epoch: int
    records: int
    torn: int
    """Bytes at the end that were not written whole, and are not used."""
    flaw: str
    """Why it may lack something that its member acknowledged; "": it lacks nothing."""
    snapshot: Snapshot | None = None
    """All records as of `end`; None: not kept in memory."""


class _Replay:
    """The log that frame after frame made."""

    def __init__(self) -> None:
        self.begin: Begin | None = None
        self.facts = Facts(0, ())
        self.log: Log | None = None
        self.last: Kept | None = None
        self._parts: dict[str, bytes] = {}

    def take(self, entry: Entry) -> None:
        """AssertionError or DecodeError: these frames are no journal."""
        match entry:
            case Begin():
                assert self.begin is None
                self.begin = entry
            case Part():
                assert self.log is None
                for key, value in unpack(entry.records):
                    if value is not None:
                        self._parts[key] = value
            case Base():
                assert self.begin is not None
                assert len(self._parts) == entry.records
                self.log = Log.restored(
                    entry.birth, self._parts, base=entry.seq, base_epoch=entry.epoch
                )
                self._keep(entry.kept)
            case Kept():
                self._keep(entry)
            case Facts():
                self.facts = entry
            case Tail():
                raise AssertionError("a tail inside a journal")

    def _keep(self, kept: Kept) -> None:
        log = self.log
        assert log is not None
        for epoch, seq, data in kept.batches:
            if seq <= log.end:
                log.cut(seq - 1)
            log.append(Batch(epoch, seq, data))
        log.commit_to(kept.commit)
        self.last = kept


class BadJournal(Exception):
    """It was changed after it was written, and cannot be read any more."""


def begins(disk: bytes) -> Begin | None:
    """Whose journal it is, by its first bytes; None: it was not begun."""
    found = read_frames(disk, len(MAGIC)).entries if disk.startswith(MAGIC) else []
    return found[0][1] if found and isinstance(found[0][1], Begin) else None


def newest(
    journals: Iterable[tuple[str, Callable[[], Left | None]]], note: Callable[..., None]
) -> Left | None:
    """What the newest of a shard's journals brings that brings anything.

    `journals`: each one's file and how to read it, the newest first.
    """
    unread = ""
    for file, read in journals:
        try:
            left = read()
        except BadJournal as error:
            note("journal not read", file=file, error=str(error))
            unread = file
            continue
        if left is not None:
            if left.torn:
                note("journal torn", file=file, bytes=left.torn)
            if unread:
                left.flaw = f"a newer one, {unread}, cannot be read"
            return left
    return None


def read_journal(
    disk: bytes, tails_of: Callable[[str], Sequence[bytes | None]], *, place: str, boot_id: str
) -> Left | None:
    """What the journal brings; None: its first checkpoint never came to its end. BadJournal.

    `tails_of`: the bytes of the tails of the journal with this id, None for one that is not there.
    `place`, `boot_id`: of the file and of the host now.
    """
    frames = read_frames(disk, len(MAGIC))
    if not disk.startswith(MAGIC) or not frames.entries:
        if frames.damaged:
            raise BadJournal("it does not begin as a journal does")
        return None
    replay = _Replay()
    try:
        for _, entry in frames.entries:
            replay.take(entry)
        begin = replay.begin
        assert begin is not None
        flaw = ""
        if not begin.sync:
            more, flaw = _continued(frames.entries[-1][0], begin, tails_of(begin.id), boot_id)
            for entry in more:
                replay.take(entry)
        log, last = replay.log, replay.last
        if log is None or last is None:
            if frames.damaged:
                raise BadJournal("its checkpoint is damaged")
            return None
        records = log.at_end()
    except (AssertionError, msgspec.DecodeError) as error:
        raise BadJournal("its frames do not fit together") from error
    if begin.place != place:
        flaw = "it was copied to where it is"
    elif frames.damaged:
        flaw = f"it is damaged {frames.torn} bytes before its end"
    return Left(
        member=begin.member,
        epoch=max(last.epoch, log.epoch_at(log.end) or 0),
        end=log.end,
        commit=log.commit,
        wall_ms=last.wall_ms,
        in_sync=replay.facts.in_sync,
        in_sync_epoch=replay.facts.epoch,
        records=len(records),
        torn=frames.torn,
        flaw=flaw,
        snapshot=Snapshot(begin.shard, last.epoch, last.shard_ms, last.wall_ms, records),
    )


def _continued(
    number: int, begin: Begin, tails: Sequence[bytes | None], boot_id: str
) -> tuple[list[Entry], str]:
    """The entries after frame `number` that the tails hold, and what they lack."""
    found: dict[int, Entry] = {}
    missing = ""
    for tail in tails:
        if tail is None:
            missing = "its newest part was in memory that is gone"
        elif (head := tail_begins(tail)) is not None and head[0].id == begin.id:
            found.update(read_frames(tail, head[1]).entries)
    if begin.boot_id != boot_id:
        missing = "the host was restarted before it was on the disk"
    more: list[Entry] = []
    while (entry := found.get(number + 1)) is not None:
        number += 1
        more.append(entry)
    if not missing and any(n > number for n in found):
        missing = "something is missing in it"
    return more, missing
