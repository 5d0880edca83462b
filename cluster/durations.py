"""Times as people write them: 500ms, 1.5s, 20s, 2m, 1h."""

import re

DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)")
UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def duration_ms(written: str) -> int | None:
    """Milliseconds; None when it is not a time. `0` needs no unit."""
    if written == "0":
        return 0
    found = DURATION.fullmatch(written)
    return round(float(found[1]) * UNIT_MS[found[2]]) if found else None


def in_words(value_ms: int) -> str:
    """As it may be written."""
    for unit in ("h", "m", "s"):
        if value_ms and value_ms % UNIT_MS[unit] == 0:
            return f"{value_ms // UNIT_MS[unit]}{unit}"
    return f"{value_ms}ms"
