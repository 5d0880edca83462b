"""When a node gives a shard away although its links live: its own SIP side does not answer it.

A node asks each shard it serves by OPTIONS through the shard's address, as any phone would. Silence
counts only once an answer has come in this node's turn: what is wrong outside of the node, a filter
on the address say, moves along with the shard, and it must not wander for ever.
"""

from dataclasses import dataclass

ASK_MS = 500
"""So often it is asked; an answer that has not come by the next time is missed."""
MISSES = 3
"""So many in a row, and the shard is handed over."""


@dataclass(frozen=True, slots=True)
class Unproven:
    """No answer has come since this node serves the shard."""

    missed: int = 0


@dataclass(frozen=True, slots=True)
class Answering:
    """The last answers came, but for so many in a row."""

    missed: int = 0


Sight = Unproven | Answering


def step(sight: Sight, *, answered: bool, is_excused: bool) -> tuple[Sight, bool]:
    """What is known after one question, and whether the shard is to be handed over now.

    `is_excused`: the node itself was late, or nothing could be committed; then silence says nothing
    of the SIP side.
    """
    if answered:
        return Answering(), False
    if is_excused:
        return sight, False
    missed = sight.missed + 1
    if isinstance(sight, Answering) and missed >= MISSES:
        return Answering(), True
    return type(sight)(missed), False


def is_dead(sight: Sight) -> bool:
    """Is the silence so long that somebody must know?"""
    return sight.missed >= MISSES
