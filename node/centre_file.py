"""A centre as its file says it: what `node.config` reads, written again."""

from collections.abc import Mapping
from typing import Any

import yaml
from msgspec.structs import asdict

from calls.centre import Agent, Centre, Number, Queue, Shard
from node.config import DEFAULT_SHARD, DEFAULT_SIP
from node.inventory_file import inventory_as_file
from node.yaml_tree import in_words

Fields = dict[str, Any]


def as_yaml(centre: Centre) -> str:
    """A file that declares this very centre, without what it need not say."""
    written = yaml.dump(
        as_file(centre), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return str(written)


class _Dumper(yaml.SafeDumper):
    """With what cannot be printed escaped: PyYAML writes line breaks of Unicode as they are."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def as_file(centre: Centre, *, whole: bool = False) -> Fields:
    """The file as a document, with every field that is not as it is when left out; `whole`: all."""
    known = Centre(numbers={}, queues={}, agents={}, shards={})
    found: Fields = {}
    if whole or centre.shards != {DEFAULT_SHARD: Shard(sip=DEFAULT_SIP)}:
        found["shards"] = {
            name: _said(_shard(shard), _shard(Shard(("", 0))), whole)
            for name, shard in centre.shards.items()
        }
    for name in ("max_calls", "elsewhere"):
        if whole or getattr(centre, name) != getattr(known, name):
            found[name] = getattr(centre, name)
    needs_shard = len(centre.shards) > 1
    found["numbers"] = {
        name: _said(_number(number), _number(Number("")), whole)
        for name, number in centre.numbers.items()
    }
    found["queues"] = {
        name: _said(_queue(queue), _queue(Queue()), whole, *(("shard",) if needs_shard else ()))
        for name, queue in centre.queues.items()
    }
    found["agents"] = {
        name: _said(_agent(agent), _agent(Agent(name, "", ())), whole)
        for name, agent in centre.agents.items()
    }
    return found | inventory_as_file(centre.inventory, whole=whole)


def _said(fields: Fields, otherwise: Mapping[str, Any], whole: bool, *needed: str) -> Fields:
    return {
        name: value
        for name, value in fields.items()
        if whole or name in needed or value != otherwise[name]
    }


def _shard(shard: Shard) -> Fields:
    return {
        "sip": f"{shard.sip[0]}:{shard.sip[1]}",
        "preferred": list(shard.preferred),
        "weight": shard.weight,
        "elsewhere": shard.elsewhere,
        "far": list(shard.far),
    }


def _number(number: Number) -> Fields:
    return {"queue": number.queue, "prompt": number.prompt, "priority": number.priority}


def _queue(queue: Queue) -> Fields:
    pause_ms = queue.no_answer_pause_ms
    return {
        "shard": queue.shard,
        "strategy": queue.strategy,
        "offer_timeout": in_words(queue.offer_timeout_ms),
        "wrap_up": in_words(queue.wrap_up_ms),
        "no_answer": {"pause": in_words(pause_ms)} if pause_ms else "not_ready",
        "music": queue.music,
    }


def _agent(agent: Agent) -> Fields:
    return asdict(agent) | {"queues": list(agent.queues)}
