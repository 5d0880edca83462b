"""A running simulation of people (`loadtest`), commanded as `loadtest.io.control` says."""

from collections.abc import Sequence
from pathlib import Path

from node.commanded import Commanded

LOST = 1
"""Exit status: calls were lost, which its facts tell better."""


class Phones(Commanded):
    """One simulation. Its facts are in `log`, which is whole once `ended` has returned."""

    def __init__(self, folder: Path, name: str, words: Sequence[str]) -> None:
        self.log = folder / f"{name}.facts"
        title = f"the simulated phones of {name}"
        super().__init__(folder, name, "loadtest.io", [*words, "--log", str(self.log)], title=title)

    async def ended(self, timeout_ms: int, statuses: Sequence[int] = (0, LOST)) -> None:
        await super().ended(timeout_ms, statuses)
