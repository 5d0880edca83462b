"""Messages as protobuf and back. An adapter: it decides nothing."""

from typing import assert_never

from cluster.messages import (
    Ack,
    Append,
    Batch,
    HandOver,
    Hello,
    Leaving,
    Message,
    Position,
    Prepare,
    Prepared,
    Reject,
    Release,
    Released,
    Slice,
)
from keepline.v1 import replication_pb2 as pb


def put(frame: pb.Frame, shard: str, message: Message) -> None:
    """Add the message to a frame."""
    out = frame.messages.add(shard=shard, epoch=message.epoch)
    match message:
        case Append():
            append = out.append
            append.SetInParent()
            append.previous = message.previous
            append.previous_epoch = message.previous_epoch
            append.commit = message.commit
            append.stamp_ms = message.stamp_ms
            for batch in message.batches:
                append.batches.add(epoch=batch.epoch, records=batch.data)
        case Ack():
            ack = out.ack
            ack.member = message.member
            ack.end = message.end
            if message.snapshot:
                ack.snapshot = message.snapshot
                ack.next_slice = message.next_slice
        case Hello():
            out.hello.active = message.active
        case Position():
            out.position.member = message.member
            out.position.birth = message.birth
            out.position.commit = message.commit
            out.position.epochs.extend(message.epochs)
            out.position.snapshot = message.snapshot
            out.position.next_slice = message.next_slice
        case Slice():
            part = out.slice
            part.member = message.member
            part.snapshot = message.snapshot
            part.number = message.number
            part.birth = message.birth
            part.base = message.base
            part.base_epoch = message.base_epoch
            part.records = message.data
            part.last = message.last
            part.stamp_ms = message.stamp_ms
        case Reject():
            out.reject.SetInParent()
        case HandOver():
            out.hand_over.member = message.member
            out.hand_over.end = message.end
            out.hand_over.stays = message.stays
        case Leaving():
            out.leaving.member = message.member
        case Release():
            out.release.request = message.request
            out.release.inbox = message.inbox
        case Released():
            out.released.request = message.request
        case Prepare():
            out.prepare.request = message.request
        case Prepared():
            out.prepared.request = message.request
        case _:
            assert_never(message)


def weight(message: Message) -> int:
    """About how many bytes the message is."""
    match message:
        case Append(batches=batches):
            return sum(len(batch.data) for batch in batches) + 64
        case Slice(data=data):
            return len(data) + 64
        case _:
            return 64


def get(message: pb.ShardMessage) -> Message | None:
    """None: a kind that this version does not know."""
    epoch = message.epoch
    match message.WhichOneof("body"):
        case "append":
            append = message.append
            seq = append.previous
            batches = [
                Batch(batch.epoch, seq + n, batch.records)
                for n, batch in enumerate(append.batches, 1)
            ]
            return Append(
                epoch, seq, append.previous_epoch, append.commit, append.stamp_ms, batches
            )
        case "ack":
            ack = message.ack
            return Ack(epoch, ack.member, ack.end, ack.snapshot, ack.next_slice)
        case "hello":
            return Hello(epoch, message.hello.active)
        case "position":
            told = message.position
            return Position(
                epoch,
                told.member,
                told.birth,
                told.commit,
                tuple(told.epochs),
                told.snapshot,
                told.next_slice,
            )
        case "slice":
            part = message.slice
            return Slice(
                epoch,
                part.member,
                part.snapshot,
                part.number,
                part.birth,
                part.base,
                part.base_epoch,
                part.records,
                part.last,
                part.stamp_ms,
            )
        case "reject":
            return Reject(epoch)
        case "hand_over":
            over = message.hand_over
            return HandOver(epoch, over.member, over.end, over.stays)
        case "leaving":
            return Leaving(epoch, message.leaving.member)
        case "release":
            return Release(epoch, message.release.request, message.release.inbox)
        case "released":
            return Released(epoch, message.released.request)
        case "prepare":
            return Prepare(epoch, message.prepare.request)
        case "prepared":
            return Prepared(epoch, message.prepared.request)
        case _:
            return None
