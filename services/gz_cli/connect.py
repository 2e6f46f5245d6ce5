"""From a coordinator that was found or is coming up to a client that is connected."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gleitzeit.client import Client
from gleitzeit.client.session import SILENCE_SECONDS, gone
from gleitzeit.process.reach import Reach
from gz_cli.talk import say


@asynccontextmanager
async def connected(reach: Reach) -> AsyncIterator[Client]:
    """Raises ConnectionLost, Unauthorized, DetachedFailed. It is said when a stack that runs has to be waited for."""
    url = reach.address.url if reach.address is not None else ""
    telling = asyncio.get_running_loop().call_later(SILENCE_SECONDS, say, gone(url)) if url else None
    try:
        client = await Client.at(reach)
    finally:
        if telling is not None:
            telling.cancel()
    client.on_waiting = say
    async with client:
        yield client
