"""Chapters of the life of a cluster: what is done at one coordinator and seen at the other, and schedules."""

import asyncio
import base64
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import support
from cluster import Cluster

from gleitzeit.client import Client
from gleitzeit.model.permits import stream_of
from gleitzeit.model.shards import SCHEDULES, SHARDS, shard_of
from gleitzeit.process.children import Child
from gleitzeit.transport import Connection, connect


def _echo(task: str, message: str, **more: Any) -> dict[str, Any]:
    return {"id": task, "method": "echo/echo", "params": {"message": message}, **more}


async def what_one_is_given_the_other_has(cluster: Cluster, folder: Path) -> None:
    one, other = [await cluster.connected(child) for child in cluster.living]
    for here, there, name in ((one, other, "a"), (other, one, "b")):
        await _templates(here, there, f"{folder.name}-{name}")
        await _approvals(here, there)
        await _blobs(here, there, os.urandom(300_000))
        listed = [await connection.call("schedule.list") for connection in (here, there)]
        assert listed[0] == listed[1]
    known = [await c.call("protocol.list") for c in (one, other)]
    assert known[0] == known[1]
    await _a_batch(cluster, folder)
    await _the_status_shows_who_has_what(cluster, one, other)


async def _templates(here: Connection, there: Connection, name: str) -> None:
    definition = {"name": name, "inputs": {"who": {"type": "string"}}, "tasks": [_echo("hi", "hello ${inputs.who}")]}
    stored = await here.call("template.put", {"name": name, "definition": definition})
    assert (await there.call("template.get", {"name": name}))["version"] == stored["version"]
    run = await there.call("template.run", {"name": name, "inputs": {"who": "you"}})
    view = await _ended(here, run["workflow_id"])
    assert view["tasks"][0]["result"]["response"] == "hello you"
    changed = {**definition, "tasks": [_echo("hi", "bye ${inputs.who}")]}
    await there.call("template.put", {"name": name, "definition": changed})
    run = await here.call("template.run", {"name": name, "inputs": {"who": "you"}})
    assert (await _ended(there, run["workflow_id"]))["tasks"][0]["result"]["response"] == "bye you"


async def _approvals(here: Connection, there: Connection) -> None:
    ask = {"id": "ask", "method": "approval/ask", "params": {"message": "go on?"}}
    for answering in (here, there):
        workflow_id = await support.submit(here, ask, _echo("after", "${ask.comment}"))
        await support.eventually(lambda w=workflow_id: _waits(there, w))
        answer = {"workflow_id": workflow_id, "task_id": "ask", "approved": True, "comment": "yes"}
        await answering.call("task.complete", answer)
        assert (await _ended(there, workflow_id))["tasks"][1]["result"]["response"] == "yes"


async def _waits(connection: Connection, workflow_id: str) -> bool:
    view = await connection.call("workflow.get", {"workflow_id": workflow_id})
    return any(task["status"] == "waiting" for task in view["tasks"])


async def _ended(connection: Connection, workflow_id: str) -> dict[str, Any]:
    view: dict[str, Any] = {}

    async def look() -> bool:
        view.update(await connection.call("workflow.get", {"workflow_id": workflow_id}))
        return view["status"] in ("completed", "failed", "cancelled")

    await support.eventually(look)
    assert view["status"] == "completed", view
    return view


async def _blobs(here: Connection, there: Connection, content: bytes) -> None:
    name = f"sha256:{hashlib.sha256(content).hexdigest()}"
    for offset in range(0, len(content), 262_144):
        data = base64.b64encode(content[offset : offset + 262_144]).decode()
        await here.call("blob.put", {"blob": name, "size_bytes": len(content), "data": data, "offset": offset})
    found = b""
    while len(found) < len(content):
        found += base64.b64decode((await there.call("blob.get", {"blob": name, "offset": len(found)}))["data"])
    assert found == content


async def _a_batch(cluster: Cluster, folder: Path) -> None:
    """Of files, put at one coordinator; what came of it is read at the other."""
    (folder / "texts").mkdir()
    for number in range(5):
        (folder / "texts" / f"{number}.txt").write_text(f"text {number}")
    here, there = [cluster.urls[child] for child in cluster.living]
    async with Client(here) as client:
        batch = await client.batch_process(folder / "texts", method="echo/echo", message="${item.content}")
    async with Client(there) as client:
        view = await client.get(await client.resolve_id(batch.batch_id))
    assert view.status == "completed"


async def _the_status_shows_who_has_what(cluster: Cluster, one: Connection, other: Connection) -> None:
    shards: list[int] = []
    for child, connection in zip(cluster.living, (one, other), strict=True):
        status = await connection.call("system.status")
        shards += status["shards"]
        listed = {row["url"]: row["shards"] for row in status["coordinators"]}
        assert listed[cluster.urls[child]] == len(status["shards"])
        assert sum(listed.values()) == 64
        words = await _gz("status", "--url", cluster.urls[child])
        assert all(row["instance"] in words for row in status["coordinators"]), words
    assert sorted(shards) == list(range(64))


async def _gz(*arguments: str) -> str:
    command = [sys.executable, "-m", "gz_cli", *arguments]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def a_watch_at_the_other_goes_on_when_the_owner_dies(cluster: Cluster, folder: Path) -> None:
    victim, heir = cluster.living
    connection = await cluster.connected(victim)
    wait = {"id": "w", "method": "signal/wait", "params": {"signal_name": "go"}}
    mine = await _of_its_own(cluster, victim, [wait, _echo("after", "${w.payload}")])
    watching = asyncio.create_task(_gz("watch", mine, "-o", "json", "--url", cluster.urls[heir]))
    await support.eventually(lambda: _waits(connection, mine))
    await cluster.killed(victim)
    heirs = await cluster.connected(heir)
    await heirs.call("workflow.signal", {"workflow_id": mine, "name": "go", "payload": "gone on"})
    said = [json.loads(line) for line in (await asyncio.wait_for(watching, 60)).splitlines()]
    assert [event["seq"] for event in said] == list(range(1, len(said) + 1))
    assert said[-1]["event"]["type"] == "WorkflowCompleted"


WRITER = """
import asyncio, pathlib
from gleitzeit.provider import Call, Provider

provider = Provider("writer", protocols=["test/v1"])

@provider.method("test/write")
async def write(call: Call, gate: str) -> str:
    call.stream("one ")
    while not pathlib.Path(gate).exists():
        await asyncio.sleep(0.01)
    call.stream("two")
    return "one two"

provider.main()
"""


async def what_a_watcher_has_of_a_text_it_is_not_sent_again(cluster: Cluster, folder: Path) -> None:
    """Also where the coordinator that it watches at has to ask the owner for it."""
    script, gate = folder / "writer.py", folder / "gate"
    script.write_text(WRITER)
    await cluster.start_provider("writer", script=script)
    await cluster.balanced()
    owner, other = cluster.living
    task = {"id": "t", "method": "test/write", "params": {"gate": str(gate)}}
    mine = await _of_its_own(cluster, owner, [task])
    for child in (other, owner):
        assert await _first_piece(cluster.urls[child], mine, {}) == (0, "one ")
    rest = [
        asyncio.create_task(_first_piece(cluster.urls[child], mine, {"t": known}))
        for child, known in ((other, 4), (owner, {"attempt": 1, "offset": 4}), (other, {"attempt": 1, "offset": 4}))
    ]
    await asyncio.sleep(0.3)  # so that what should not come could have
    gate.touch()
    assert await asyncio.gather(*rest) == [(4, "two")] * 3


async def _first_piece(url: str, workflow_id: str, has: dict[str, Any]) -> tuple[int, str]:
    """Offset and text of what a watcher that has so much is sent first."""
    piece: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    def told(connection: Connection, method: str, params: Any) -> None:
        if method == "notifications/stream" and not piece.done():
            said = json.loads(bytes(params))
            piece.set_result((said["offset"], said["delta"]))

    connection = await connect(url, on_notification=told)
    try:
        await connection.call("workflow.watch", {"workflow_id": workflow_id, "after": 1, "streams": has})
        return await asyncio.wait_for(piece, support.PATIENCE_SECONDS)
    finally:
        await connection.close()


async def what_a_task_sends_reaches_every_workflow(cluster: Cluster, folder: Path) -> None:
    sender, holder = cluster.living
    here, there = await cluster.connected(sender), await cluster.connected(holder)
    wait = {"id": "w", "method": "signal/wait", "params": {"signal_name": f"go-{folder.name}"}}
    named = {"name": f"named-{folder.name}", "tasks": [wait]}
    ids = [await _of_its_own(cluster, child, [wait]) for child in (holder, sender, holder)]
    ids.append((await there.call("workflow.submit", {"definition": named}))["workflow_id"])
    for workflow_id in ids:
        await support.eventually(lambda w=workflow_id: _waits(here, w))
    send = {"signal_name": wait["params"]["signal_name"], "payload": "hello"}  # type: ignore[index]  # it has params
    for targets in ([ids[0]], [named["name"]]):
        task = {"id": "s", "method": "signal/send", "params": {**send, "target_workflows": targets}}
        sent = await _ended(here, await _of_its_own(cluster, sender, [task]))
        assert sent["tasks"][0]["result"]["sent"] == 1, sent
    broadcast = await _of_its_own(cluster, sender, [{"id": "s", "method": "signal/broadcast", "params": send}])
    told = (await _ended(there, broadcast))["tasks"][0]["result"]["workflows"]
    assert set(told) == {ids[1], ids[2]}
    for workflow_id in ids:
        view = await _ended(here, workflow_id)
        assert view["tasks"][0]["result"]["payload"] == "hello"
    for target, why in ((ids[0], "takes no signals any more"), ("nobody", "no workflow 'nobody' is under way")):
        task = {"id": "s", "method": "signal/send", "params": {**send, "target_workflows": [target]}}
        assert why in await _failed(there, await _of_its_own(cluster, sender, [task]))


async def _failed(connection: Connection, workflow_id: str) -> str:
    """The message with which its only task has failed."""
    view: dict[str, Any] = {}

    async def look() -> bool:
        view.update(await connection.call("workflow.get", {"workflow_id": workflow_id}))
        return view["status"] == "failed"

    await support.eventually(look)
    return str(view["tasks"][0]["error"]["message"])


async def _of_its_own(cluster: Cluster, owner: Child, tasks: list[dict[str, Any]]) -> str:
    """A workflow that this coordinator has: who makes one without a key has it."""
    return await support.submit(await cluster.connected(owner), *tasks)


async def a_schedule_never_fires_twice(cluster: Cluster, folder: Path) -> None:
    """Its owner is killed around a tick; another one comes."""
    name, marks, chance = f"tick-{folder.name}", folder / "ticks", random.Random(folder.name)
    code = f"open({str(marks)!r}, 'a').write('${{workflow.id}} ')\nresult = 1"
    task = {"id": "tick", "method": "python/execute", "params": {"code": code}}
    connection = await cluster.connected(cluster.living[0])
    definition = {"name": name, "tasks": [task]}
    await connection.call("schedule.put", {"name": name, "definition": definition, "every": 1, "overlap": "allow"})
    await _fires_once_more(cluster, name)
    owner = await _owner(cluster)
    await asyncio.sleep(chance.random())  # the moment, within the second from tick to tick
    await cluster.killed(owner)
    await cluster.start_coordinator()
    await _fires_once_more(cluster, name)
    last = await cluster.connected(cluster.living[0])
    deleted = await last.call("schedule.delete", {"name": name})

    async def all_ended() -> bool:
        rows = (await last.call("workflow.list", {"name": name, "limit": 1000}))["workflows"]
        return len(rows) == deleted["fired"] and all(row["status"] == "completed" for row in rows)

    await support.eventually(all_ended)
    ticks = marks.read_text().split()
    assert len(ticks) == len(set(ticks)) == deleted["fired"]
    await cluster.balanced()


async def _fires_once_more(cluster: Cluster, name: str) -> None:
    connection = await cluster.connected(cluster.living[0])
    fired = (await connection.call("schedule.get", {"name": name}))["fired"]

    async def more() -> bool:
        return bool((await connection.call("schedule.get", {"name": name}))["fired"] > fired)

    await support.eventually(more)


async def _owner(cluster: Cluster) -> Child:
    """The coordinator that has the schedules."""
    shard = shard_of(SCHEDULES, SHARDS)
    for child in cluster.living:
        if shard in (await (await cluster.connected(child)).call("system.status"))["shards"]:
            return child
    raise AssertionError(f"nobody has shard {shard}")


async def who_waits_for_a_key_is_told_who_has_it(cluster: Cluster, folder: Path) -> None:
    """Whichever coordinators have the two workflows, and the key."""
    first, second = [await cluster.connected(child) for child in cluster.living]
    wait = {"id": "w", "method": "signal/wait", "params": {"signal_name": "go"}}
    for number in range(4):
        limit = {"key": f"told {folder.name}{number}"}
        holder = await support.submit(first, wait, concurrency=limit)
        await support.eventually(lambda w=holder: _is_running(second, w))
        waiting = await support.submit(second, wait, concurrency=limit)
        await support.eventually(lambda h=holder, w=waiting: _tells(first, w, f"(concurrency); now: {h}"))
        await second.call("workflow.pause", {"workflow_id": holder})
        resume = f"now: {holder} (paused: `gz resume {holder}` lets it go on)"
        assert resume in await _told(first, waiting) or not await _same_place(first, holder, waiting, limit["key"])
        for workflow_id in (waiting, holder):
            await first.call("workflow.cancel", {"workflow_id": workflow_id})


async def _is_running(connection: Connection, workflow_id: str) -> bool:
    found: bool = (await connection.call("workflow.get", {"workflow_id": workflow_id}))["status"] == "running"
    return found


async def _tells(connection: Connection, workflow_id: str, what: str) -> bool:
    return what in await _told(connection, workflow_id)


async def _told(connection: Connection, workflow_id: str) -> str:
    told = await connection.call("workflow.explain", {"workflow_id": workflow_id})
    assert not any("limit" in task for task in told["tasks"])
    return " ".join(task["message"] for task in told["tasks"])


async def _same_place(connection: Connection, holder: str, waiting: str, key: str) -> bool:
    """Whether one of the two coordinators that tell of a holder has its workflow, and so knows how it is."""
    mine = set((await connection.call("system.status"))["shards"])
    has_it = shard_of(holder, SHARDS) in mine
    return has_it in (shard_of(name, SHARDS) in mine for name in (waiting, stream_of(f"workflow/{key}")))
