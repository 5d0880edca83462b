"""A standby's side: what it takes from the active of its epoch into its copy of the log.

It acknowledges a batch only when it holds everything before it. Batches of an older epoch are
dropped only in exchange for the new active's batch of the same number: until then this member may
be the only one that holds what was acknowledged.
"""

from dataclasses import dataclass, field

from cluster.log import EVERYTHING, Log, unpack
from cluster.messages import Ack, Append, Batch, Position, Slice


@dataclass(slots=True)
class Receiving:
    """A snapshot that is coming in; the old copy stays until it is whole."""

    snapshot: int
    birth: int
    base: int
    base_epoch: int
    records: dict[str, bytes] = field(default_factory=dict)
    next_slice: int = 0


class Copy:
    """One member's copy of the log and what it says about it."""

    def __init__(self, member: str) -> None:
        self.member = member
        self.log = Log()
        self.held = EVERYTHING
        """It says of nothing above this that it has it: the journal does not, yet."""
        self.receiving: Receiving | None = None
        self._newest = (0, 0)  # (epoch, snapshot) of the newest snapshot that began

    def follow(self) -> None:
        """A new active: what was half received from the old one is void."""
        self.receiving = None

    def lead_no_more(self) -> None:
        """It was the active's own, and is a standby's from here on; all of it is committed."""
        assert self.log.commit == self.log.end
        self.log.pin = None
        self.receiving = None

    def position(self, epoch: int) -> Position | None:
        """Where it stands; None: that is not to be said yet."""
        log = self.log
        end = min(log.end, self.held)
        commit = min(log.commit, end)
        epochs = tuple(log.epoch_at(seq) for seq in range(commit, end + 1))
        if None in epochs:
            return None
        receiving = self.receiving
        return Position(
            epoch,
            self.member,
            log.birth,
            commit,
            tuple(known for known in epochs[1:] if known is not None),
            receiving.snapshot if receiving else 0,
            receiving.next_slice if receiving else 0,
        )

    def on_append(self, message: Append) -> Ack | Position | None:
        """Take the batches, or tell where we stand because something is missing."""
        log = self.log
        epoch = message.epoch
        if self.receiving is not None and not message.batches:
            return self._progress(epoch)
        previous = message.previous
        if previous > log.end or not log.birth:
            return self.position(epoch)
        if previous > log.commit and log.epoch_at(previous) != message.previous_epoch:
            return self.position(epoch)
        seq = previous
        for batch in message.batches:
            seq += 1
            if seq <= log.commit:
                continue
            if seq <= log.end:
                if log.epoch_at(seq) == batch.epoch:
                    continue
                log.cut(seq - 1)
            log.append(Batch(batch.epoch, seq, batch.data))
        # Only what this message spoke of is known to be the active's too.
        log.commit_to(min(message.commit, seq))
        return Ack(epoch, self.member, seq)

    def on_slice(self, part: Slice) -> Ack | Position | None:
        """Take a slice that is the next one; answer which one is."""
        receiving = self.receiving
        if part.number == 0 and (part.epoch, part.snapshot) > self._newest:
            self._newest = (part.epoch, part.snapshot)
            receiving = self.receiving = Receiving(
                part.snapshot, part.birth, part.base, part.base_epoch
            )
        if receiving is None or receiving.snapshot != part.snapshot:
            return self.position(part.epoch)
        if self._has(part):
            self.receiving = None
            return self.position(part.epoch)
        if part.number != receiving.next_slice:
            return self._progress(part.epoch)
        for key, value in unpack(part.data):
            if value is not None:
                receiving.records[key] = value
        receiving.next_slice += 1
        if part.last:
            self.log = Log.restored(
                receiving.birth,
                receiving.records,
                base=receiving.base,
                base_epoch=receiving.base_epoch,
            )
            self.receiving = None
        return Ack(part.epoch, self.member, self.log.end, receiving.snapshot, receiving.next_slice)

    def _has(self, part: Slice) -> bool:
        """Is all of the snapshot here already? Then it is late, by a link of before: what was
        acknowledged since is not to be given up for it."""
        log, base = self.log, part.base
        is_here = base <= log.commit or log.epoch_at(base) == part.base_epoch
        return is_here and part.birth == log.birth

    def _progress(self, epoch: int) -> Ack:
        receiving = self.receiving
        assert receiving is not None
        return Ack(epoch, self.member, self.log.end, receiving.snapshot, receiving.next_slice)
