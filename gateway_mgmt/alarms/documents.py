"""The alarms of a shard as JSON-able documents; docs/gateways.md names the fields."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import asdict

from gateway_mgmt.alarms import view
from gateway_mgmt.alarms.book import Book
from gateway_mgmt.alarms.kinds import CLEARED, SEVERITIES
from gateway_mgmt.alarms.records import Entry, Window
from gateway_mgmt.alarms.view import Shown
from gateway_mgmt.trunks import Trunk, TrunkState

Document = dict[str, Any]

LISTS = ("alarms", "history", "windows", "trunks", "receivers")


def document(
    records: Mapping[str, Any],
    book: Book,
    *,
    shard: str,
    epoch: int,
    history: int,
    shift_ms: int,
) -> Document:
    """All of a shard of alarms. `shift_ms`: Unix time of moment 0 of the shard's time."""
    own = {"shard": shard, "epoch": epoch}
    written = view.history(records)[-history:] if history else []
    waiting = view.waiting(records, book)
    return {
        "shards": {shard: epoch},
        "alarms": [alarm(one) | own for one in view.alarms(records, book)],
        "history": [entry(one) | own for one in written],
        "windows": [window(one, shift_ms) | own for one in view.windows(book)],
        "trunks": [
            trunk(one, book.plan.trunks[one.trunk]) | own
            for one in view.routes(records)
            if one.trunk in book.plan.trunks
        ],
        "receivers": [
            {
                "receiver": name,
                "waiting": sum(name in one.waiting for one in waiting),
                "oldest_at": at(
                    min((one.wall_ms for one in waiting if name in one.waiting), default=0)
                ),
                **own,
            }
            for name in book.plan.receivers
        ],
    }


def trunk(state: TrunkState, declared: Trunk) -> Document:
    return {
        **{"trunk": state.trunk, "state": state.state, "channels": state.channels, "of": state.of},
        "why": list(state.why),
        "carrier": declared.carrier,
        "numbers": list(declared.numbers),
        "queues": list(declared.queues),
        "spans": sorted(declared.spans),
    }


def alarm(shown: Shown) -> Document:
    found = asdict(shown)
    found["impact"] = {name: list(one) for name, one in asdict(shown.impact).items()}
    return {
        **found,
        "name": f"{shown.condition}@{shown.path}",
        "is_raised": is_raised(shown),
        "since_at": at(shown.since_wall_ms),
        "acked_at": at(shown.acked_wall_ms),
    }


def entry(one: Entry) -> Document:
    return {**asdict(one), "at": at(one.wall_ms)}


def window(one: Window, shift_ms: int) -> Document:
    return {
        "id": one.id,
        "path": one.prefix,
        "from_at": at(one.from_ms + shift_ms),
        "until_at": at(one.until_ms + shift_ms),
        "until_wall_ms": one.until_ms + shift_ms,
        "by": one.by,
        "note": one.note,
    }


def joined(documents: Sequence[Document]) -> Document:
    """Of several shards, as of one."""
    return {
        "shards": {name: epoch for one in documents for name, epoch in one["shards"].items()},
        **{name: [row for one in documents for row in one[name]] for name in LISTS},
    }


def counted(alarms: Sequence[Shown]) -> dict[str, int]:
    """How many are raised, by severity; those of 0 are left out."""
    found = [one.severity for one in alarms if is_raised(one)]
    return {one: found.count(one) for one in SEVERITIES if one != CLEARED and one in found}


def is_raised(alarm: Shown) -> bool:
    """Not only seen: raised, and not cleared yet."""
    return alarm.state in ("raised", "holding") or alarm.is_flapping


def at(wall_ms: int) -> str | None:
    """ISO 8601 in UTC, for people."""
    if not wall_ms:
        return None
    moment = datetime.fromtimestamp(wall_ms / 1_000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
