"""The files of a journal are taken away while a coordinator works with them: it stops, loudly, and nothing is lost."""

import asyncio
import contextlib
from pathlib import Path

import support
from support import Stack

from gleitzeit.errors import ConnectionLost
from gleitzeit.journal.base import Find
from gleitzeit.journal.sqlite import SqliteJournal
from gleitzeit.transport import Connection, connect

WAIT = {"id": "w", "method": "signal/wait", "params": {"signal_name": "go"}}


async def _connected(stack: Stack) -> Connection | None:
    with contextlib.suppress(ConnectionLost):
        return await connect(stack.url)
    return None


async def test_the_log_is_deleted_and_then_the_file(tmp_path: Path) -> None:
    state = tmp_path / "state"
    journal, log = state / "journal.db", state / "journal.db-wal"
    stack = Stack(state, "--provider", "echo")
    connection = await support.connected(stack)
    first = await support.submit(connection, WAIT)
    log.unlink()  # nothing happens meanwhile: it is noticed all the same, and the stack starts the coordinator again
    await support.eventually(lambda: connection.closed)
    connection = await support.eventually(lambda: _connected(stack))
    assert (await connection.call("workflow.get", {"workflow_id": first}))["status"] == "running"
    second = await support.submit(connection, WAIT)
    journal.unlink()
    code = await asyncio.to_thread(stack.process.wait, 60)
    assert code != 0, "the stack does not go on with an empty journal"
    said = stack.log.read_text()
    assert f"{journal} was deleted or moved while it was in use" in said
    assert "journal.db.rescued" in said
    log.unlink(missing_ok=True)
    (state / "journal.db.rescued").rename(journal)
    kept = SqliteJournal(journal)
    await kept.claim("test")
    assert {summary.stream for summary in await kept.find(Find("workflow", limit=10))} == {first, second}
    await kept.close()
