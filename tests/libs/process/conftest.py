import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest


@pytest.fixture
def until_gone() -> Callable[[int], Awaitable[None]]:
    """Wait for the end of a process that is not our child: its process descriptor becomes readable."""

    async def until_gone(pid: int) -> None:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, gone.set)
        try:
            async with asyncio.timeout(30):
                await gone.wait()
        finally:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    return until_gone
