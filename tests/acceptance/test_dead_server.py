"""The server of the journal dies of a full disk, and comes back: at once, or long after the coordinator gave it up."""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest
import support
from support import Stack
from tests.servers import CrampedPostgres
from tests.small_disks import fill, small_disk

from gleitzeit.errors import GleitzeitError
from gleitzeit.transport import connect


@pytest.mark.long
@pytest.mark.parametrize("given_up", [False, True], ids=["back at once", "given up"])
async def test_nothing_acknowledged_is_lost_when_postgres_dies_of_a_full_disk(tmp_path: Path, given_up: bool) -> None:
    with small_disk(tmp_path / "disk", "12m") as disk, contextlib.ExitStack() as afterwards:
        server = CrampedPostgres(disk, "log")
        afterwards.callback(server.stop)
        stack = Stack(tmp_path / "state", "--provider", "echo", "--journal", server.uri)
        afterwards.callback(stack.stop)
        acknowledged: list[str] = []
        filling = asyncio.create_task(_submit_on(stack.url, acknowledged))
        await support.eventually(lambda: len(acknowledged) > 10)
        ballast, coordinator = fill(disk), stack.pid("gz_coordinator")
        await support.eventually(lambda: not server.running)
        assert "PANIC" in server.said()
        if given_up:
            await support.eventually(lambda: not support.is_alive(coordinator), 60)
        before = len(acknowledged)
        ballast.unlink()
        await asyncio.to_thread(server.start_again)
        await support.eventually(lambda: len(acknowledged) > before + 10, 60)
        assert (coordinator == stack.pid("gz_coordinator")) != given_up
        filling.cancel()
        for workflow_id in acknowledged:
            assert (await support.finished(stack.url, workflow_id))["status"] == "completed"


async def _submit_on(url: str, acknowledged: list[str]) -> None:
    """One after the other; who gets no answer asks again."""
    while True:
        with contextlib.suppress(GleitzeitError, OSError):
            connection = await connect(url)
            try:
                while True:
                    echo = {"id": "a", "method": "echo/echo", "params": {"message": os.urandom(25_000).hex()}}
                    acknowledged.append(await support.submit(connection, echo))
            finally:
                await connection.close()
        await asyncio.sleep(0.1)
