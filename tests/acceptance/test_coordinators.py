"""Two real coordinators on one real PostgreSQL or Redis: killed, paused, asked for each other's workflows."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cluster_chapters as chapters
import msgspec
import pytest
import support
from cluster import LEASE_SECONDS, Cluster, submit_many
from foreign import CAPACITY, METHOD, Foreign, foreign

from gleitzeit.model.permits import stream_of
from gleitzeit.model.places import stream_of as places_at
from gleitzeit.model.shards import SHARDS, shard_of
from gleitzeit.process.supervised import TRY_AGAIN
from gleitzeit.transport import Connection, connect

KINDS = ["postgres", "redis"]


@pytest.fixture(params=KINDS)
async def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Two coordinators, balanced, with an echo and a python provider."""
    made = Cluster(tmp_path, request.getfixturevalue(request.param).place())
    try:
        await made.start_coordinator()
        await made.start_coordinator()
        await made.start_provider("echo")
        await made.start_provider("python")
        await made.balanced()
        yield made
    finally:
        await made.stop()


def marking(marks: Path, seconds: float) -> dict[str, Any]:
    code = f"import time, os\nopen({str(marks)!r}, 'a').write('x')\ntime.sleep({seconds})\nresult = 'done'"
    return {"id": "slow", "method": "python/execute", "params": {"code": code}}


def echo(task: str, message: str, **more: Any) -> dict[str, Any]:
    return {"id": task, "method": "echo/echo", "params": {"message": message}, **more}


class Watch:
    """A connection that watches one workflow, and all that it was told."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.ended = asyncio.Event()
        self.connection: Connection

    @classmethod
    async def of(cls, url: str, workflow_id: str | None) -> "Watch":
        watch = cls()
        watch.connection = await connect(url, on_notification=watch._told)
        params = {} if workflow_id is None else {"workflow_id": workflow_id}
        await watch.connection.call("workflow.watch", params)
        return watch

    def _told(self, connection: Connection, method: str, params: Any) -> None:
        if method == "notifications/event":
            said = msgspec.json.decode(params)
            self.events.append(said)
            if said["event"]["type"] in ("WorkflowCompleted", "WorkflowFailed", "WorkflowCancelled"):
                self.ended.set()


async def any_coordinator_answers_for_all(cluster: Cluster, folder: Path) -> None:
    first, second = [await cluster.connected(child) for child in cluster.living]
    tasks = [echo("a", "one"), echo("b", "${a.response} two")]
    ids = await submit_many(first, 4, tasks) + await submit_many(second, 4, tasks)
    for connection, child in ((first, cluster.coordinators[0]), (second, cluster.coordinators[1])):
        for workflow_id in ids:
            view = await support.finished(cluster.urls[child], workflow_id)
            assert (view["status"], view["tasks"][1]["result"]["response"]) == ("completed", "one two")
        listed = await connection.call("workflow.list")
        assert {row["workflow_id"] for row in listed["workflows"]} == set(ids)
    key = {"definition": {"name": "k", "tasks": tasks}, "idempotency_key": "k"}
    made = [await connection.call("workflow.submit", key) for connection in (first, second, first)]
    assert len({answer["workflow_id"] for answer in made}) == 1
    assert [answer["created"] for answer in made] == [True, False, False]
    # changes reach the owner, whoever is asked, by name or by position
    wait = {"id": "w", "method": "signal/wait", "params": {"signal_name": "go"}}
    for submitting, asking in ((first, second), (second, first)):
        workflow_id = await support.submit(submitting, wait)
        await asking.call("workflow.signal", {"workflow_id": workflow_id, "name": "go", "payload": 1})
        await support.eventually(lambda a=asking, w=workflow_id: _is(a, w, "completed"))
        workflow_id = await support.submit(submitting, wait)
        assert (await asking.call("workflow.cancel", [workflow_id]))["status"] == "cancelled"


async def _is(connection: Connection, workflow_id: str, status: str) -> bool:
    view = await connection.call("workflow.get", {"workflow_id": workflow_id})
    return bool(view["status"] == status)


async def events_are_seen_everywhere(cluster: Cluster, folder: Path) -> None:
    urls = [cluster.urls[child] for child in cluster.living]
    first = await cluster.connected(cluster.living[0])
    everything = [await Watch.of(url, None) for url in urls]
    workflow_id = await support.submit(
        first, echo("a", "hi"), {"id": "p", "method": "timer/sleep", "params": {"seconds": 0.5}}
    )
    watches = [await Watch.of(url, workflow_id) for url in urls]
    for watch in watches:
        await asyncio.wait_for(watch.ended.wait(), support.PATIENCE_SECONDS)
        assert [said["seq"] for said in watch.events] == list(range(1, len(watch.events) + 1))
    assert watches[0].events == watches[1].events
    for watch in everything:
        await asyncio.wait_for(watch.ended.wait(), support.PATIENCE_SECONDS)
        assert [s["seq"] for s in watch.events if s["workflow_id"] == workflow_id] == [
            s["seq"] for s in watches[0].events
        ]
    for watch in (*watches, *everything):
        await watch.connection.close()


async def a_killed_coordinators_workflows_go_on_elsewhere(cluster: Cluster, folder: Path) -> None:
    victim, heir = cluster.living
    connection = await cluster.connected(victim)
    ids = await submit_many(connection, 6, [marking(folder / "marks", 1), echo("after", "${slow.result}")])
    marks = folder / "slow"
    slow = await support.submit(connection, marking(marks, LEASE_SECONDS + 2), echo("after", "${slow.result} at last"))
    await support.eventually(marks.exists)
    watch = await Watch.of(cluster.urls[heir], slow)
    killed = time.monotonic()
    cluster.kill(victim)
    heirs = await cluster.connected(heir)
    taken = await support.eventually(lambda: _has_all(heirs))
    seconds = time.monotonic() - killed
    assert taken
    assert seconds < 10 * LEASE_SECONDS, "the lease was not what it waited for"
    for workflow_id in (*ids, slow):
        view = await support.finished(cluster.urls[heir], workflow_id)
        assert view["status"] == "completed", view
    assert marks.read_text() == "x", "the call that ran on was attached to, not repeated"
    assert (folder / "marks").read_text() == "x" * 6
    await asyncio.wait_for(watch.ended.wait(), support.PATIENCE_SECONDS)
    assert [said["seq"] for said in watch.events] == list(range(1, len(watch.events) + 1)), "the watch went on"
    await watch.connection.close()


async def _has_all(connection: Connection) -> bool:
    return len((await connection.call("system.status"))["shards"]) == 64


async def a_paused_coordinator_finds_itself_deposed_and_exits(cluster: Cluster, folder: Path) -> None:
    paused, heir = cluster.living
    connection = await cluster.connected(paused)
    marks = folder / "marks"
    ids = await submit_many(connection, 5, [marking(marks, 1), echo("after", "${slow.result}")])
    cluster.kill(paused, signal.SIGSTOP)
    heirs = await cluster.connected(heir)
    await support.eventually(lambda: _has_all(heirs))
    for workflow_id in ids:
        assert (await support.finished(cluster.urls[heir], workflow_id))["status"] == "completed"
    histories = await _histories(cluster, heir, ids)
    cluster.kill(paused, signal.SIGCONT)
    assert await asyncio.wait_for(paused.wait(), support.PATIENCE_SECONDS) == TRY_AGAIN
    assert "another coordinator" in cluster.log(paused)
    assert await _histories(cluster, heir, ids) == histories
    assert marks.read_text() == "x" * 5


async def _histories(cluster: Cluster, child: Any, ids: list[str]) -> list[Any]:
    connection = await cluster.connected(child)
    return [await connection.call("workflow.history", {"workflow_id": workflow_id}) for workflow_id in ids]


async def who_stops_in_order_hands_over_at_once(cluster: Cluster, folder: Path) -> None:
    leaving, staying = cluster.living
    connection = await cluster.connected(leaving)
    marks = folder / "marks"
    workflow_id = await support.submit(connection, marking(marks, 2), echo("after", "${slow.result}"))
    await support.eventually(marks.exists)
    os.kill(leaving.pid, signal.SIGTERM)
    assert await asyncio.wait_for(leaving.wait(), support.PATIENCE_SECONDS) == 0
    assert (await support.finished(cluster.urls[staying], workflow_id))["status"] == "completed"
    assert marks.read_text() == "x"


async def a_coordinator_that_comes_gets_its_part(cluster: Cluster, folder: Path) -> None:
    first = await cluster.connected(cluster.living[0])
    wait = {"id": "w", "method": "signal/wait", "params": {"signal_name": "go"}}
    ids = await submit_many(first, 8, [wait, echo("after", "${w.payload}")])
    watches = [await Watch.of(cluster.urls[cluster.living[0]], workflow_id) for workflow_id in ids]
    third = await cluster.start_coordinator()
    await cluster.balanced()
    connection = await cluster.connected(third)
    for workflow_id in ids:
        await connection.call("workflow.signal", {"workflow_id": workflow_id, "name": "go", "payload": 7})
    for watch in watches:
        await asyncio.wait_for(watch.ended.wait(), support.PATIENCE_SECONDS)
        assert [said["seq"] for said in watch.events] == list(range(1, len(watch.events) + 1))
        await watch.connection.close()


async def limits_hold_for_all_together(cluster: Cluster, folder: Path) -> None:
    """Of a key, and of a provider that does not keep its capacity itself."""
    async with foreign() as provider:
        await _limits_hold(cluster, folder, provider)


async def _limits_hold(cluster: Cluster, folder: Path, provider: Foreign) -> None:
    first, second = cluster.living
    connections = [await cluster.connected(child) for child in (first, second)]
    status = await connections[0].call("system.status")
    here = shard_of(stream_of("task/two at once"), SHARDS) in status["shards"]
    keeper, other = (first, second) if here else (second, first)
    marks = folder / "marks"
    code = (
        f"import os, time\nfile = os.open({str(marks)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
        "os.write(file, b'+')\ntime.sleep(0.3)\nos.write(file, b'-')\nresult = 1"
    )
    limit = {"key": "two at once", "limit": 2}
    tasks = [{"id": "a", "method": "python/execute", "params": {"code": code}, "concurrency": limit}]
    keepers = set((await (await cluster.connected(keeper)).call("system.status"))["shards"])
    places = (f"ws://127.0.0.1:{provider.port}/{number}" for number in itertools.count())
    url = next(url for url in places if shard_of(places_at(url), SHARDS) in keepers)
    for connection in connections:
        await connection.call("provider.register", {"url": url})
    marked = [{"id": "m", "method": METHOD, "params": {}, "on_lost": "retry"}]
    foreigns = [name for connection in connections for name in await submit_many(connection, 15, marked)]
    provider.allow(10)
    await support.eventually(lambda: provider.done >= 10 and provider.running == CAPACITY)
    assert {"places"} in [await _reasons(connections[0], name) for name in foreigns]
    for connection in connections:
        await support.eventually(lambda c=connection: _gives_places(c, url, cluster.urls[keeper]))
    ids = [name for connection in connections for name in await submit_many(connection, 10, tasks)]
    await support.eventually(lambda: marks.exists() and marks.read_text().count("-") >= 4)
    assert {"concurrency"} in [await _reasons(connections[0], name) for name in ids]
    victim, heir = (keeper, other) if cluster.journal.startswith("postgres") else (other, keeper)
    cluster.kill(victim)
    provider.allow(1_000)
    for name in ids:
        assert (await support.finished(cluster.urls[heir], name))["status"] == "completed"
    running = most = 0
    for mark in marks.read_text():
        running += 1 if mark == "+" else -1
        most = max(most, running)
    assert (most, running) == (2, 0), marks.read_text()
    assert marks.read_text().count("+") == len(ids)
    for name in foreigns:
        assert (await support.finished(cluster.urls[heir], name))["status"] == "completed"
    assert provider.most == CAPACITY
    await cluster.start_coordinator()
    await cluster.balanced()


async def _gives_places(connection: Connection, url: str, keeper_url: str) -> bool:
    listed = (await connection.call("provider.list"))["providers"]
    places = [provider["places"] for provider in listed if provider["url"] == url]
    return any(known is not None and known["given_by"] == keeper_url for known in places)


async def _reasons(connection: Connection, workflow_id: str) -> set[str]:
    told = await connection.call("workflow.explain", {"workflow_id": workflow_id})
    return {task["reason"] for task in told["tasks"]}


async def one_takes_the_place_of_anothers(cluster: Cluster, folder: Path) -> None:
    """Whichever coordinators have the two workflows, and the key."""
    first, second = [await cluster.connected(child) for child in cluster.living]
    wait = {"id": "w", "method": "signal/wait", "params": {"signal_name": "go"}}
    key = f"only one {folder.name}"
    for number in range(4):
        limit = {"key": f"{key}{number}", "on_conflict": "cancel_running"}
        before = await support.submit(first, wait, concurrency=limit)
        await support.eventually(lambda w=before: _is(second, w, "running"))
        after = await support.submit(second, wait, concurrency=limit)
        await support.eventually(lambda w=before: _is(second, w, "cancelled"))
        await support.eventually(lambda w=after: _is(first, w, "running"))
        failing = {"key": f"{key}{number}", "on_conflict": "fail"}
        for connection in (first, second):
            workflow_id = await support.submit(connection, wait, concurrency=failing)
            await support.eventually(lambda w=workflow_id: _is(first, w, "failed"))
        await second.call("workflow.cancel", {"workflow_id": after})


STORY = (
    any_coordinator_answers_for_all,
    events_are_seen_everywhere,
    chapters.what_one_is_given_the_other_has,
    chapters.what_a_task_sends_reaches_every_workflow,
    chapters.a_schedule_never_fires_twice,
    chapters.what_a_watcher_has_of_a_text_it_is_not_sent_again,
    chapters.a_watch_at_the_other_goes_on_when_the_owner_dies,
    a_coordinator_that_comes_gets_its_part,
    one_takes_the_place_of_anothers,
    chapters.who_waits_for_a_key_is_told_who_has_it,
    limits_hold_for_all_together,
    a_killed_coordinators_workflows_go_on_elsewhere,
    a_coordinator_that_comes_gets_its_part,
    a_paused_coordinator_finds_itself_deposed_and_exits,
    a_coordinator_that_comes_gets_its_part,
    who_stops_in_order_hands_over_at_once,
)


async def test_the_life_of_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    """One story, as its cast takes seconds to come on stage."""
    for number, chapter in enumerate(STORY):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            await chapter(cluster, folder)
        except BaseException as error:
            error.add_note(f"in the chapter: {chapter.__name__}")
            for child in cluster.coordinators:
                error.add_note(await _fate(cluster, child))
            raise


async def _fate(cluster: Cluster, child: Any) -> str:
    """Of a coordinator, for who reads of the failure: on a machine that is busy one may have lost its lease, and gone,
    before its part in the story."""
    state = "runs" if child.running else f"has ended with {await child.wait()}"
    return f"{child.name} {state}: {cluster.log(child)[-500:].strip() or 'its log is empty'}"
