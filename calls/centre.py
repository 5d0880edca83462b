"""What a centre is made of: the configuration that every replica of a shard decides by.

A `Centre` is committed to the shard as one versioned record, so a takeover never meets another
configuration than the one that took the calls. Files are read and checked in `node/config.py`.
"""

import msgspec

from gateway_mgmt.inventory import NONE, Inventory

Address = tuple[str, int]
"""IP address and UDP port."""


class Shard(msgspec.Struct, frozen=True):
    """A set of numbers, queues and agents that belong together."""

    sip: Address
    """Where its calls arrive, whichever node is active."""
    preferred: tuple[str, ...] = ()
    """Nodes that should be active, best first; none: any, so that load is even."""
    weight: int = 1
    """How much load it is, beside other shards."""
    elsewhere: str = ""
    """What becomes of calls to another shard's number: relay, redirect or refuse; empty: as the
    centre says."""
    far: tuple[str, ...] = ()
    """Nodes that get a copy nobody waits for, and lead the shard only by order of an operator."""


class Number(msgspec.Struct, frozen=True):
    """A number that callers dial."""

    queue: str
    prompt: str = "welcome.wav"
    """Played once before the queue; empty for none."""
    priority: int = 0
    """Higher is served first."""
    ring_ms: int = 0
    """So long the caller hears ringing before he is answered."""


class Queue(msgspec.Struct, frozen=True):
    """Where callers wait."""

    shard: str = "main"
    strategy: str = "longest_idle"
    offer_timeout_ms: int = 20_000
    wrap_up_ms: int = 5_000
    no_answer_pause_ms: int = 0
    """Pause of an agent who did not take an offer; 0 makes him not ready, with the reason."""
    music: str = "music.wav"


class Agent(msgspec.Struct, frozen=True):
    """A person with a phone."""

    name: str
    phone: str
    """SIP URI that is called for him."""
    queues: tuple[str, ...]
    state: str = "ready"
    """In which he starts: ready, not_ready or signed_out."""


class ClosingQueue(msgspec.Struct, frozen=True):
    """A queue that is declared no more, as it was declared last, with the agents who served it."""

    queue: Queue
    agents: dict[str, Agent]


class Centre(msgspec.Struct, frozen=True):
    """All that is declared in one file."""

    numbers: dict[str, Number]
    queues: dict[str, Queue]
    agents: dict[str, Agent]
    shards: dict[str, Shard]
    max_calls: int = 10_000
    """Calls at once in one shard; more are refused with 503."""
    elsewhere: str = "relay"
    """What becomes of a call to a number of a shard other than the one it came to."""
    closing: dict[str, Shard] = {}
    """Shards that are declared no more, until their calls have ended: no file says this, it follows
    from what was declared before."""
    inventory: Inventory = NONE
    """Gateways and lines. Shards of calls are told of its trunks."""
    closing_sites: tuple[str, ...] = ()
    """Sites that have no devices any more, until their last messages about alarms are told."""

    def shard_of_number(self, number: str) -> str:
        """The shard that takes calls to `number`. Raises KeyError when it is unknown."""
        return self.queues[self.numbers[number].queue].shard

    def shard_of_agent(self, agent: str) -> str:
        """The shard that decides for `agent`. Raises KeyError when he is unknown."""
        return self.queues[self.agents[agent].queues[0]].shard
