"""`keepline` as a later version may be, started as a script: records with more fields, a record of
a new kind, frames with more in them.

`up` starts a node as this version once `NODE.next` lies in the data directory, and as the present
one before. Both are this script, so that one cluster can be half old and half new.
"""

import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from calls import records
from cluster.io import wire
from keepline.v1 import replication_pb2 as pb
from node import up
from node.cli import main

UNKNOWN_FIELD = b"\xfa\x7e\x04next"
"""Field 2031 of any message, four bytes long: protobuf's way to say what an older one skips."""


class Call(records.Call, array_like=True, gc=False):
    mood: str = "calm"
    history: list[str] = msgspec.field(default_factory=list)


class Leg(records.Leg, array_like=True, gc=False):
    codec: str = "PCMA"


class AgentState(records.AgentState, array_like=True, gc=False):
    skills: dict[str, int] = msgspec.field(default_factory=dict)


class Note(msgspec.Struct, array_like=True):
    """A kind of record that the present version has never heard of."""

    steps: int


def plant() -> None:
    """Make this process one of the next version."""
    from calls import agents, flow, legs, machine, media, signalling, turn, view

    for new in (Call, Leg, AgentState):
        for module in (records, agents, flow, legs, machine, media, signalling, turn, view):
            if hasattr(module, new.__name__):
                setattr(module, new.__name__, new)
    for kind, type_ in {"call": Call, "leg": Leg, "agent": AgentState, "note": Note}.items():
        machine._DECODERS[kind] = msgspec.msgpack.Decoder(type_)
    step, put = machine.Calls.step, wire.put

    def noting(self: machine.Calls, tx: Any, event: Any) -> None:
        step(self, tx, event)
        note = tx.get("note/steps")
        tx.put("note/steps", Note(note.steps + 1 if note else 1))

    def adding(frame: pb.Frame, shard: str, message: Any) -> None:
        put(frame, shard, message)
        frame.messages[-1].MergeFromString(UNKNOWN_FIELD)
        frame.messages.add(shard=shard).MergeFromString(UNKNOWN_FIELD)
        frame.MergeFromString(UNKNOWN_FIELD)

    patch.object(machine.Calls, "step", noting).start()
    patch.object(wire, "put", adding).start()


def keepline(*words: str) -> list[str]:
    return [sys.executable, "-P", __file__, *words]


if __name__ == "__main__":
    options = dict(word.split("=", 1) for word in sys.argv if "=" in word)
    own = Path(options.get("--data", "")) / f"{options.get('--name')}.next"
    if own.exists():
        plant()
        own.write_text("it runs")
    patch.object(up, "keepline", keepline).start()
    main()
