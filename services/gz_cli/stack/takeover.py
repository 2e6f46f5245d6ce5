"""`gz up` where an embedded stack lives: what that one has goes on in the new one, and nothing that runs is lost.

Its workflows are held, so that nothing more starts; when the tasks that run have ended it is asked to end. Who watches
one of them there loses sight of it.
"""

import asyncio
import contextlib
import os
from signal import SIGTERM

from gleitzeit.client.connecting import Place
from gleitzeit.client.coordinator import Coordinator
from gleitzeit.errors import ConnectionLost, GleitzeitError
from gleitzeit.process.lifetime import Lifetime
from gleitzeit.process.state import Address, StackRunning
from gz_cli.terminal.talk import say

LOOK_SECONDS = 0.1
PATIENCE_SECONDS = 20.0
"""With a stack that is starting or ending: longer than one drains."""
UNFINISHED = ("pending", "running")


class Takeover:
    """`wait` is called each time that the folder is found in use. Ctrl-C (`lifetime`) ends the waiting."""

    def __init__(self, lifetime: Lifetime) -> None:
        self._lifetime = lifetime
        self._give_up: float | None = None
        self._said = ""

    async def wait(self, running: StackRunning) -> bool:
        """True: try again. False: somebody wants no more. Raises StackRunning for a stack that stays."""
        if running.address is not None and running.address.embedded:
            self._give_up = None
            with contextlib.suppress(ConnectionLost):  # it has ended by itself
                return await self._from(running.address)
        elif running.address is not None or self._waits_too_long():
            raise running
        else:
            self._say(f"waiting for the stack (process {running.pid}), which is starting or ending")
        return not await self._interrupted()

    async def _from(self, address: Address) -> bool:
        async with Coordinator(Place(address.url, address.token)) as client:
            held: list[str] = []
            while True:
                held += await _hold_all(client)
                running = (await client.status()).running
                if not running:
                    self._say(f"taking over from the embedded stack (process {address.pid})")
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(address.pid, SIGTERM)
                    return not await self._interrupted()
                self._say(_waiting(address.pid, running))
                if await self._interrupted():
                    await _resume(client, held)
                    return False

    async def _interrupted(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._lifetime.drain.wait()
        return self._lifetime.drain.is_set()

    def _waits_too_long(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._give_up = self._give_up or now + PATIENCE_SECONDS
        return now > self._give_up

    def _say(self, text: str) -> None:
        if text != self._said:
            self._said = text
            say(text)


def _waiting(pid: int, running: int) -> str:
    tasks = "1 task still runs" if running == 1 else f"{running:,} tasks still run"
    return f"waiting for the embedded stack (process {pid}), where {tasks}; Ctrl-C leaves everything there"


async def _hold_all(client: Coordinator) -> list[str]:
    """The ids of those that were not held yet."""
    ids: list[str] = []
    page = await client.list(status=UNFINISHED, limit=1000)
    ids += [row.workflow_id for row in page.workflows if not row.held]
    while page.next is not None:
        page = await client.list(status=UNFINISHED, limit=1000, before=page.next)
        ids += [row.workflow_id for row in page.workflows if not row.held]
    for workflow_id in ids:
        with contextlib.suppress(GleitzeitError):  # it has just ended
            await client.hold(workflow_id)
    return ids


async def _resume(client: Coordinator, ids: list[str]) -> None:
    for workflow_id in ids:
        with contextlib.suppress(GleitzeitError):
            await client.resume(workflow_id)
