"""A stream that cannot be read costs its own workflow, and everybody who looks is told so."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import support
from support import gz_here as gz

from gleitzeit.errors import JournalCorrupt

DOCUMENT = "name: damaged\ntasks: [{id: a, method: signal/wait, params: {signal_name: go}}]\n"


def damage(journal: Path, workflow_id: str) -> None:
    """A bit of the last record of a stream."""
    with sqlite3.connect(journal) as database:
        query = "SELECT record FROM tail JOIN stream ON stream.id = tail.stream WHERE name = ?"
        (record,) = database.execute(query, (workflow_id,)).fetchone()
        (body,) = database.execute("SELECT body FROM record WHERE id = ?", (record,)).fetchone()
        changed = bytes([body[0] ^ 1]) + body[1:]
        database.execute("UPDATE record SET body = ? WHERE id = ?", (changed, record))
    database.close()


def test_a_quarantined_workflow_is_shown_as_such(tmp_path: Path) -> None:
    state, file = tmp_path / "state", tmp_path / "damaged.yaml"
    file.write_text(DOCUMENT)
    stack = support.Stack(state, "--provider", "echo")
    assert stack.url
    bad, good = (gz("submit", str(file), "-o", "id", state=state).stdout.strip() for _ in range(2))
    assert gz("down", state=state).returncode == 0
    assert stack.process.wait(30) == 0
    damage(state / "journal.db", bad)
    stack = support.Stack(state, "--provider", "echo")
    assert stack.url

    rows = {row["workflow_id"]: row for row in json.loads(gz("list", "-o", "json", state=state).stdout)}
    assert "is damaged" in rows[bad]["quarantined"]
    assert "quarantined" not in rows[good]
    listed = gz("list", state=state)
    assert [line.split()[0] for line in listed.stdout.splitlines() if "(quarantined)" in line] == [bad]
    assert "gz journal check" in listed.stderr
    for command in ("get", "status"):
        shown = gz(command, bad, state=state)
        assert shown.returncode == 1
        assert "running (quarantined)" in shown.stdout
        assert "gz journal check" in shown.stderr
        assert json.loads(gz(command, bad, "-o", "json", state=state).stdout)["quarantined"]
        assert gz(command, good, state=state).returncode == 0
    assert f"workflow {bad} is quarantined" in gz("status", state=state).stdout
    refused = gz("cancel", bad, state=state)
    assert refused.returncode == 1
    assert "gz journal check" in refused.stderr
    assert gz("signal", good, "go", state=state).returncode == 0
    assert gz("watch", good, state=state).returncode == 0
    assert stack.stop() == 0


async def test_a_row_that_is_damaged_is_told_and_hides_no_others(tmp_path: Path) -> None:
    state = tmp_path / "state"
    stack = support.Stack(state, "--provider", "echo")
    connection = await support.connected(stack)
    ids = []
    for name in ("key", "counts", "name", "good"):
        task = {"id": "a", "method": "echo/echo", "params": {"message": "hi"}}
        ids.append(await support.submit(connection, task, name=name))
        await support.finished(stack.url, ids[-1])
    await connection.close()
    assert stack.stop() == 0
    with closing(sqlite3.connect(state / "journal.db")) as database:
        bad = "CAST(x'ff41' AS TEXT)"
        database.execute(f"UPDATE stream SET key = {bad} WHERE name = ?", (ids[0],))
        database.execute(
            "UPDATE tail SET counts = x'ff' WHERE stream = (SELECT id FROM stream WHERE name = ?)", (ids[1],)
        )
        database.execute(f"UPDATE stream SET name = {bad} WHERE name = ?", (ids[2],))
        database.commit()
    checked = await asyncio.to_thread(gz, "journal", "check", state=state)
    assert checked.returncode == 1
    assert {line.partition(": ")[0] for line in checked.stdout.splitlines()} == {ids[0], ids[1], "\ufffdA"}
    exported = await asyncio.to_thread(gz, "journal", "export", str(tmp_path / "out"), state=state)
    assert exported.returncode == 1
    assert "left out: \ufffdA: it has no events" in exported.stderr
    stack = support.Stack(state, "--provider", "echo")
    assert stack.url
    rows = {
        row["workflow_id"]: row
        for row in json.loads((await asyncio.to_thread(gz, "list", "-o", "json", state=state)).stdout)
    }
    assert set(rows) == {ids[0], ids[1], "\ufffdA", ids[3]}
    assert [id_ for id_, row in rows.items() if "quarantined" in row] == [ids[1]]
    assert (await asyncio.to_thread(gz, "result", ids[3], state=state)).returncode == 0
    assert stack.stop() == 0


async def test_whatever_is_damaged_a_coordinator_starts_and_only_that_is_lost(tmp_path: Path) -> None:
    state = tmp_path / "state"
    stack = support.Stack(state, "--provider", "echo")
    connection = await support.connected(stack)
    echo = {"id": "a", "method": "echo/echo", "params": {"message": "hi"}}
    document = {"name": "small", "tasks": [echo]}
    for name in ("bad", "good"):
        await connection.call("template.put", {"name": name, "definition": document})
        await connection.call("schedule.put", {"name": name, "definition": document, "every": 3600})
    url = (await connection.call("provider.list"))["providers"][0]["url"]
    await connection.call("provider.register", {"url": url, "name": "registered"})
    await connection.call("provider.drain", {"name": "echo"})
    await connection.close()
    assert stack.stop() == 0
    damaged = [f"$provider/{url}", "$drain/echo", "$template/bad", "$schedule/bad"]
    for stream in damaged:
        damage(state / "journal.db", stream)
    checked = await asyncio.to_thread(gz, "journal", "check", state=state)
    assert checked.returncode == 1
    assert sorted(line.partition(": ")[0] for line in checked.stdout.splitlines()) == sorted(damaged)

    stack = support.Stack(state, "--provider", "echo")
    connection = await support.connected(stack)
    warned = (await connection.call("system.status"))["warnings"]
    assert sum("is damaged" in warning for warning in warned) == 3, "the template is read when it is wanted"
    for name in ("good", "bad"):
        template, schedule = {"name": name, "definition": document}, {"name": name, "definition": document, "every": 60}
        for method, params in (
            ("template.put", template),
            ("schedule.put", schedule),
            ("schedule.get", {"name": name}),
        ):
            if name == "good":
                await connection.call(method, params)
            else:
                with pytest.raises(JournalCorrupt):
                    await connection.call(method, params)
    listed = {row["name"]: row["status"] for row in (await connection.call("schedule.list"))["schedules"]}
    assert listed == {"good": "active", "bad": "quarantined"}
    for kind in ("template", "schedule"):  # deleted, it makes room
        await connection.call(f"{kind}.delete", {"name": "bad"})
    await connection.call("template.put", template)
    assert (await connection.call("template.get", {"name": "bad"}))["version"] == 2
    assert (await connection.call("schedule.put", schedule))["status"] == "active"
    await connection.call("provider.drain", {"name": "echo"})
    await connection.close()
    assert stack.stop() == 0
    checked = await asyncio.to_thread(gz, "journal", "check", state=state)
    left = {line.partition(": ")[0] for line in checked.stdout.splitlines()}
    assert left == {damaged[0], "$template/bad"}, "its versions go on behind the damage"
