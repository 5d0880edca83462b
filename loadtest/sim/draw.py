"""Where a simulation's chances come from: a generator that is handed in, seeded by whoever made it.

Nothing in here draws by itself, so one seed is one run.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from loadtest import scenario

T = TypeVar("T")


class Draw(scenario.Draw, Protocol):
    """What is used of random.Random."""

    def randrange(self, below: int, /) -> int: ...
    def choice(self, among: Sequence[T], /) -> T: ...
    def expovariate(self, lambd: float, /) -> float: ...
    def randbytes(self, n: int, /) -> bytes: ...
