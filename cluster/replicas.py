"""The active's view of its standbys: how far each one is, and what it must be sent.

A snapshot goes out in slices while steps go on. Its slices hold committed records, each as of the
moment its slice was made; the batches after the snapshot's base complete them. So a joiner is whole
once it holds what was committed when the last slice was made, and it holds nothing that a later
active may lack.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from cluster.log import Log, pack
from cluster.messages import Ack, Append, CoreMessage, Hello, Position, Slice

COPIES = 3
"""A shard has this many copies, or one on every node when there are fewer nodes."""
BEAT_MS = 50
SILENT_MS = 200
"""A standby silent for this long is removed from in_sync while another one is heard: before it
would suspect us (250 ms without a beat), for the one that is cut off is then it."""
IN_SYNC_TIMEOUT_MS = 300
"""And for this long while none is heard: after the others would suspect us, for it may be us."""
FORGET_MS = 4 * IN_SYNC_TIMEOUT_MS
"""A node silent for this long is asked again where it stands before it is sent anything."""
SLICE_RECORDS = 200
SLICES_AHEAD = 4
STALL_MS = 1_000
"""A snapshot without progress for this long is sent again from the last acknowledged slice."""
SAME_MS = 100
"""A position told again within this time was told before our answer to it came: a standby that
was stopped answers every hello of that time, and a rewind for each would stop us, too."""
APPEND_BYTES = 4 << 20
"""No more in one message; the rest follows the acknowledgement."""


@dataclass(slots=True)
class Sending:
    """A snapshot under way to one standby."""

    number: int
    keys: list[str]
    base: int
    base_epoch: int
    sent: int = 0
    acknowledged: int = 0
    progress_ms: int = 0

    @property
    def slices(self) -> int:
        return max(1, -(-len(self.keys) // SLICE_RECORDS))


@dataclass(slots=True)
class Standby:
    """One peer node as the active knows it."""

    node: str
    seen_ms: int
    member: str = ""
    match: int = 0
    """It holds everything up to here under this epoch."""
    next: int = 1
    answered: bool = False
    """It told its position in this epoch, and has been heard since."""
    dead: bool = False
    """Its process was seen to be gone, or says it is leaving."""
    leaving: str = ""
    sent_ms: int = -(1 << 60)
    sending: Sending | None = None
    told: Position | None = None
    """Its last position that was acted on, at `told_ms`."""
    told_ms: int = 0


@dataclass(slots=True)
class Replicas:
    """All peers of one active in one epoch."""

    epoch: int
    me: str
    log: Log
    peers: dict[str, Standby]
    send: Callable[[str, CoreMessage], None]
    shard_ms: Callable[[int], int]
    snapshots: int = field(default=0)

    def know(self, nodes: Sequence[str], now_ms: int) -> None:
        """The peers there are now: new ones are greeted, and who left is forgotten."""
        for node in nodes:
            if node not in self.peers:
                self.peers[node] = Standby(node, now_ms)
                self.hello(node, now_ms)
        for node in [node for node in self.peers if node not in nodes]:
            del self.peers[node]
        self._pin()

    def hello(self, node: str, now_ms: int) -> None:
        peer = self.peers[node]
        peer.sent_ms = now_ms
        peer.told = None
        self.send(node, Hello(self.epoch, self.me))

    def on_position(self, node: str, told: Position, now_ms: int, *, may_replace: bool) -> None:
        """A peer told where it stands: send it what it lacks.

        Without `may_replace` its copy counts for acknowledgements: if it does not fit ours, it must
        be out of in_sync before a snapshot replaces it.
        """
        peer = self.peers[node]
        if peer.member != told.member:
            peer.member, peer.match, peer.sending = told.member, 0, None
            peer.dead = False
            self._pin()
        peer.seen_ms = now_ms
        if peer.answered and told == peer.told and now_ms - peer.told_ms < SAME_MS:
            return
        peer.answered = True
        peer.told, peer.told_ms = told, now_ms
        match = self._common(told)
        if match is not None:
            # What a member held once in this epoch it holds for ever: a late message takes
            # nothing back.
            peer.match = max(match, peer.match)
        if match is not None or peer.match:
            if self.log.since(peer.match) is not None:
                if peer.sending is not None:
                    peer.sending = None
                    self._pin()
                peer.next = peer.match + 1
                self.push(peer, now_ms)
                return
            peer.match = 0
        if not may_replace:
            peer.dead = True
            peer.answered = False
            return
        sending = peer.sending
        if sending is None:
            self._begin(peer, now_ms)
        elif told.snapshot == sending.number:
            sending.acknowledged = max(sending.acknowledged, told.next_slice)
            sending.sent = sending.acknowledged
            self._pump(peer, now_ms)
        elif now_ms - sending.progress_ms > IN_SYNC_TIMEOUT_MS:
            self._begin(peer, now_ms)

    def _common(self, told: Position) -> int | None:
        """The last batch that both logs hold; None if the other one is of another birth."""
        log = self.log
        if told.birth != log.birth or told.commit > log.end:
            return None
        match = told.commit
        for seq, epoch in enumerate(told.epochs, told.commit + 1):
            if seq > log.end or log.epoch_at(seq) != epoch:
                break
            match = seq
        return match

    def on_ack(self, node: str, ack: Ack, now_ms: int) -> None:
        peer = self.peers[node]
        if peer.member != ack.member:
            peer.answered = False
            return
        peer.seen_ms = now_ms
        peer.dead = False
        sending = peer.sending
        if sending is not None:
            if ack.snapshot != sending.number or ack.next_slice <= sending.acknowledged:
                return
            sending.acknowledged = ack.next_slice
            sending.progress_ms = now_ms
            if ack.next_slice < sending.slices:
                self._pump(peer, now_ms)
                return
            peer.sending = None
            peer.next = sending.base + 1
            self._pin()
            self.push(peer, now_ms)  # what it holds counts once it has heard shard time, too
            return
        if ack.end > peer.match and ack.end <= self.log.end and not ack.snapshot:
            peer.match = ack.end
        if peer.next <= self.log.end and peer.answered:
            self.push(peer, now_ms)

    def push(self, peer: Standby, now_ms: int) -> None:
        """Send what it lacks; a beat if it lacks nothing."""
        log = self.log
        previous = peer.next - 1
        batches = log.since(previous)
        if batches is None:  # it fell behind what is kept
            peer.answered = False
            return
        if len(batches) > 1:
            total = 0
            for n, batch in enumerate(batches):
                total += len(batch.data)
                if total > APPEND_BYTES and n:
                    del batches[n:]
                    break
        peer.next = previous + len(batches) + 1
        peer.sent_ms = now_ms
        before = log.epoch_at(previous) or 0
        self.send(
            peer.node,
            Append(self.epoch, previous, before, log.commit, self.shard_ms(now_ms), batches),
        )

    def flush(self, now_ms: int, targets: Iterable[str]) -> None:
        """Send new batches to those of `targets` who follow."""
        end = self.log.end
        for node in targets:
            peer = self.peers[node]
            if peer.answered and peer.sending is None and peer.next <= end:
                self.push(peer, now_ms)

    def beat(self, now_ms: int, targets: Iterable[str]) -> None:
        """Whoever was sent nothing in these BEAT_MS gets a beat; strangers are asked first."""
        for node in targets:
            peer = self.peers[node]
            # In step with the node's other shards, so that their beats share one message.
            if now_ms // BEAT_MS == peer.sent_ms // BEAT_MS:
                continue
            if peer.answered and now_ms - peer.seen_ms > FORGET_MS:
                peer.answered = False
            if not peer.answered:
                self.hello(node, now_ms)
            elif peer.sending is not None:
                self._keep_sending(peer, now_ms)
            else:
                self.push(peer, now_ms)

    def _keep_sending(self, peer: Standby, now_ms: int) -> None:
        sending = peer.sending
        assert sending is not None
        if self.log.since(sending.base) is None:
            peer.sending = None
            peer.answered = False  # too slow: its base is no longer kept; start again
            self._pin()
            return
        if now_ms - sending.progress_ms > STALL_MS:
            sending.sent = sending.acknowledged
            sending.progress_ms = now_ms
        self._pump(peer, now_ms)
        peer.sent_ms = now_ms
        self.send(peer.node, Append(self.epoch, 0, 0, 0, self.shard_ms(now_ms), []))

    def _begin(self, peer: Standby, now_ms: int) -> None:
        self.snapshots += 1
        log = self.log
        base_epoch = log.epoch_at(log.commit)
        peer.sending = Sending(
            self.snapshots,
            list(log.records),
            log.commit,
            base_epoch or 0,
            progress_ms=now_ms,
        )
        self._pin()
        self._pump(peer, now_ms)

    def _pump(self, peer: Standby, now_ms: int) -> None:
        sending = peer.sending
        assert sending is not None
        records = self.log.records
        while sending.sent < min(sending.slices, sending.acknowledged + SLICES_AHEAD):
            number = sending.sent
            keys = sending.keys[number * SLICE_RECORDS : (number + 1) * SLICE_RECORDS]
            part = [(key, records[key]) for key in keys if key in records]
            sending.sent += 1
            self.send(
                peer.node,
                Slice(
                    self.epoch,
                    peer.member,
                    sending.number,
                    number,
                    self.log.birth,
                    sending.base,
                    sending.base_epoch,
                    pack(part),
                    sending.sent == sending.slices,
                    self.shard_ms(now_ms),
                ),
            )

    def _pin(self) -> None:
        bases = [peer.sending.base for peer in self.peers.values() if peer.sending is not None]
        self.log.pin = min(bases, default=None)
