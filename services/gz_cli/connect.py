"""From a coordinator that was found or is coming up to a client that is connected."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gleitzeit.client import Client
from gleitzeit.process.reach import Reach


@asynccontextmanager
async def connected(reach: Reach) -> AsyncIterator[Client]:
    """Raises ConnectionLost, Unauthorized, DetachedFailed."""
    async with await Client.at(reach) as client:
        yield client
