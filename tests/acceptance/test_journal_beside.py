"""`gz journal` beside a coordinator that goes on working."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import support
from support import Stack, gz_here

from gleitzeit.journal.sqlite import SqliteJournal
from gleitzeit.transport import connect

ECHO = {"id": "a", "method": "echo/echo", "params": {"message": "hi"}}
WAIT = {"id": "w", "method": "signal/wait", "params": {"signal_name": "go"}}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.long), "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Stack, str]]:
    """A stack, and the URL of its journal."""
    url = (
        f"sqlite://{tmp_path / 'j.db'}" if request.param == "sqlite" else request.getfixturevalue(request.param).place()
    )
    stack = Stack(tmp_path / "state", "--provider", "echo", "--journal", url)
    yield stack, url
    assert stack.stop() == 0


async def gz(stack: Stack, *arguments: str) -> support.Ran:
    return await asyncio.to_thread(lambda: gz_here("journal", *arguments, state=stack.state))


async def test_a_journal_in_use_is_checked_exported_and_pruned(place: tuple[Stack, str], tmp_path: Path) -> None:
    stack, url = place
    connection = await connect(stack.url)
    ended = [await support.submit(connection, ECHO) for _ in range(5)]
    waits = await support.submit(connection, WAIT)
    for workflow_id in ended:
        assert (await support.finished(stack.url, workflow_id))["status"] == "completed"
    going_on = True

    async def submit_on() -> list[str]:
        made = []
        while going_on:
            made.append(await support.submit(connection, ECHO))
            await asyncio.sleep(0.02)
        return made

    submitting = asyncio.create_task(submit_on())
    checked = await gz(stack, "check", "--journal", url)
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stderr
    assert "0 streams cannot be read" in checked.stderr
    export = tmp_path / "export"
    exported = await gz(stack, "export", str(export), "--journal", url)
    assert exported.returncode == 0, exported.stderr
    going_on = False
    made = await submitting
    assert made
    streams = {line["stream"] for line in map(json.loads, export.read_text().splitlines()) if "stream" in line}
    assert {*ended, waits} <= streams
    for command, more in (("import", [str(export)]), ("migrate", [])):
        refused = await gz(stack, command, *more, "--journal", url)
        assert refused.returncode != 0
        assert "needs it alone; stop the coordinator first" in refused.stderr
    for workflow_id in made:
        await support.finished(stack.url, workflow_id)
    listed = await gz(stack, "prune", "--keep", "2", "--dry-run", "--journal", url)
    assert len(listed.stdout.split()) == len(ended) + len(made) - 2
    pruned = await gz(stack, "prune", "--keep", "2", "--journal", url)
    assert pruned.returncode == 0, pruned.stderr
    left = (await connection.call("workflow.list", {"limit": 1000}))["workflows"]
    assert len(left) == 3
    assert waits in {row["workflow_id"] for row in left}
    await _the_export_is_a_whole_journal(stack, export, tmp_path)
    await connection.close()
    if url.startswith("sqlite"):
        await _another_file_is_not_guessed_at(stack, tmp_path / "third.db")


async def _the_export_is_a_whole_journal(stack: Stack, export: Path, tmp_path: Path) -> None:
    other = f"sqlite://{tmp_path / 'other.db'}"
    imported = await gz(stack, "import", str(export), "--journal", other)
    assert imported.returncode == 0, imported.stderr
    checked = await gz(stack, "check", "--journal", other)
    assert checked.returncode == 0, checked.stdout + checked.stderr


async def _another_file_is_not_guessed_at(stack: Stack, file: Path) -> None:
    """Somebody has it who is not the coordinator of this stack."""
    other = SqliteJournal(file)
    await other.claim("somebody")
    for command in (["check"], ["export"], ["prune", "--keep", "1"]):
        refused = await gz(stack, *command, "--journal", f"sqlite://{file}")
        assert refused.returncode != 0
        assert "is in use" in refused.stderr
        assert "the coordinator at" in refused.stderr or "the one at" in refused.stderr
    await other.close()


def test_a_journal_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for command in (["check"], ["export"], ["migrate"], ["prune", "--keep", "1"]):
        refused = gz_here("journal", *command, "--journal", f"sqlite://{tmp_path / 'j.db'}", state=tmp_path / "state")
        assert refused.returncode == 2
        assert "there is no journal at" in refused.stderr
    assert not (tmp_path / "j.db").exists()
    memory = gz_here("journal", "check", "--journal", "memory:", state=tmp_path / "state")
    assert memory.returncode == 2
    assert "in memory" in memory.stderr
