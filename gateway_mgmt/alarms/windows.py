"""Maintenance windows: what is raised in one is kept, and told at its end if it is still there.

A window hides no alarm that was told before it began, and no clear.
"""

from gateway_mgmt.alarms import life
from gateway_mgmt.alarms.inputs import SetWindow
from gateway_mgmt.alarms.records import Window
from gateway_mgmt.alarms.turn import Turn

WINDOWS_MAX = 1_000
"""More are not set, and history says so."""


def set_window(t: Turn, event: SetWindow) -> None:
    """A new window, or another one in the place of the one with its id."""
    if event.id not in t.book.windows and len(t.book.windows) >= WINDOWS_MAX:
        t.write(
            "refused", event.prefix, by=event.by, note=f"{WINDOWS_MAX} maintenance windows are set"
        )
        return
    shift_ms = t.now_ms - t.tx.wall_ms
    window = Window(
        event.id,
        event.prefix,
        event.from_wall_ms + shift_ms,
        max(event.until_wall_ms + shift_ms, t.now_ms),
        event.by,
        event.note,
    )
    t.tx.put(f"window/{event.id}", window)
    t.book.windows[event.id] = window
    t.write("window", event.prefix, by=event.by, note=event.note)
    life.release(t, f"window:{event.id}")


def end_window(t: Turn, id: str, by: str) -> None:
    """It is over: what is still wrong is told."""
    window = t.book.windows.pop(id, None)
    if window is None:
        return
    t.tx.delete(f"window/{id}")
    t.write("window_over", window.prefix, by=by, note=window.note)
    life.release(t, f"window:{id}")
