"""Times and device's words as a person reads them."""

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


def length(ms: int) -> str:
    """A length of time in its two largest units: `8 s`, `4 min`, `2 h 5 min`, `3 d 4 h`."""
    ms = max(0, ms)
    if ms < MINUTE_MS:
        return f"{ms // 1_000} s"
    if ms < HOUR_MS:
        return f"{ms // MINUTE_MS} min"
    large, small, names = (HOUR_MS, MINUTE_MS, ("h", "min"))
    if ms >= DAY_MS:
        large, small, names = (DAY_MS, HOUR_MS, ("d", "h"))
    rest = ms % large // small
    return f"{ms // large} {names[0]}" + (f" {rest} {names[1]}" if rest else "")


def ago(wall_ms: int, now_ms: int) -> str:
    """When it was, seen from now; clocks of two machines differ a little."""
    if not wall_ms:
        return ""
    return "just now" if now_ms - wall_ms < 1_000 else f"{length(now_ms - wall_ms)} ago"


def clean(text: object) -> str:
    """What a device or a person wrote, as one line that a terminal only shows."""
    return "".join(one if one.isprintable() else "·" for one in str(text))
