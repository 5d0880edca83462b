"""One running server of each driver a test, since a test may kill it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.media_servers.drivers import DRIVERS, Media


@pytest.fixture(params=sorted(DRIVERS))
async def media(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Media]:
    async with DRIVERS[request.param](tmp_path) as running:
        yield running
