"""What one shard decides by: its part of the declared centre, and what it still serves out.

A queue that is declared no more while calls are in it is closing: no number leads to it, and those
who served it when it was declared go on serving it until its last call has ended, also those who
are declared no more themselves. So nobody waits where nobody answers.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from calls.centre import Centre, ClosingQueue


def in_force(declared: Centre, shard: str, closing: Mapping[str, ClosingQueue]) -> Centre:
    """The declared centre with the queues and agents of `shard` alone, the closing ones too.

    An agent whom another shard decides for by now is none of this shard's, whatever he served.
    """
    queues = {name: queue for name, queue in declared.queues.items() if queue.shard == shard}
    agents = {name: agent for name, agent in declared.agents.items() if agent.queues[0] in queues}
    for name, was in closing.items():
        queues[name] = was.queue
        for who, agent in was.agents.items():
            if who in agents:
                agents[who] = replace(agents[who], queues=(*agents[who].queues, name))
            elif who not in declared.agents:
                agents[who] = replace(agent, queues=(name,))
    return replace(declared, queues=queues, agents=agents)
