"""From a coordinator that was found or is coming up to a client that is connected."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gleitzeit.client.coordinator import Coordinator, coordinator_at
from gleitzeit.process.reach import Reach
from gz_cli.terminal.talk import say


@asynccontextmanager
async def connected(reach: Reach) -> AsyncIterator[Coordinator]:
    """Raises ConnectionLost, Unauthorized, DetachedFailed. It is said when a coordinator that died is waited for."""
    async with await coordinator_at(reach, say) as client:
        yield client
