"""What must get a clear error, lose nothing, and leave the process alive."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import support
from redis import Redis as SyncRedis
from support import Stack
from tests.mcp_servers import free_port
from tests.servers import CrampedPostgres, Redis
from tests.small_disks import fill, small_disk, small_disk_for_others
from websockets.asyncio.client import connect as open_websocket
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from gleitzeit.errors import DocumentError, GleitzeitError, ProviderNotFound, ResourceExhausted
from gleitzeit.spec.check import LIMIT_TASKS
from gleitzeit.transport import Connection, connect


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One for all of these: none of them may do it any harm."""
    running = Stack(tmp_path_factory.mktemp("bad_input") / "state", "--provider", "echo,python")
    yield running
    assert running.stop() == 0


def echo(task: str, **more: Any) -> dict[str, Any]:
    return {"id": task, "method": "echo/echo", "params": {"message": "x"}, **more}


async def works(connection: Connection, stack: Stack) -> None:
    workflow_id = await support.submit(connection, echo("a"))
    assert (await support.finished(stack.url, workflow_id))["status"] == "completed"


@pytest.mark.parametrize(
    "frame",
    ["{nonsense", "", "[]", "42", "null", '"text"', '{"jsonrpc": "1.0", "method": 1}', "[1, 2, 3]", "\0" * 1000],
)
async def test_garbage_is_answered_and_the_connection_lives(stack: Stack, frame: str) -> None:
    async with open_websocket(stack.url) as socket:
        await socket.send(frame)
        answer = json.loads(await socket.recv())
        first = answer[0] if isinstance(answer, list) else answer
        assert first["error"]["code"] in (-32700, -32600)
        await socket.send('{"jsonrpc": "2.0", "method": "ping", "id": 1}')
        assert json.loads(await socket.recv()) == {"jsonrpc": "2.0", "result": {}, "id": 1}


async def test_a_frame_of_20_mb_closes_its_own_socket_only(stack: Stack, connection: Connection) -> None:
    socket = await open_websocket(stack.url, max_size=None)

    async def too_much() -> None:
        await socket.send("x" * 20_000_000)
        await socket.recv()

    with pytest.raises(ConnectionClosed) as closed:
        await too_much()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    await works(connection, stack)


async def test_deep_nesting(stack: Stack, connection: Connection) -> None:
    async with open_websocket(stack.url) as socket:
        deep = "[" * 50_000 + "]" * 50_000
        await socket.send(f'{{"jsonrpc": "2.0", "method": "workflow.submit", "params": {deep}, "id": 1}}')
        assert json.loads(await socket.recv())["error"]["code"] in (-32700, -32600, -32602)
    await works(connection, stack)


async def test_all_problems_of_a_document_at_once(connection: Connection) -> None:
    with pytest.raises(DocumentError) as refused:
        await support.submit(
            connection,
            echo("a", dependencies=["b"]),
            {"id": "b", "method": "echo/ecko", "params": {}},
            {"id": "c", "method": "echo/echo", "params": {"mesage": 1}},
            {"id": "d", "method": "echo/echo", "params": {"message": "${nobody.result}"}},
        )
    assert refused.value.data is not None
    problems = {tuple(problem["path"]): problem for problem in refused.value.data["problems"]}
    assert any("echo/echo" in problem.get("suggestion", "") for problem in problems.values())
    assert {path[1] for path in problems if len(path) > 1} >= {1, 2, 3}


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.long)])
async def test_many_tasks_are_run_and_too_many_are_refused(tmp_path: Path, count: int) -> None:
    stack = Stack(tmp_path / "state", "--provider", "echo")
    try:
        connection = await connect(stack.url)
        tasks = [{"id": f"t{n}", "method": "echo/echo"} for n in range(count)]
        workflow_id = await support.submit(connection, *tasks)
        view = await support.finished(stack.url, workflow_id, seconds=120)
        assert (view["status"], view["tasks_completed"]) == ("completed", count)
        if count == LIMIT_TASKS:
            with pytest.raises(DocumentError, match=r"100,?000"):
                await support.submit(connection, *tasks, echo("one-more"))
        await works(connection, stack)
        await connection.close()
    finally:
        assert stack.stop() == 0


@contextlib.asynccontextmanager
async def provider_that(answers: str | None) -> AsyncIterator[str]:
    """A WebSocket server that answers every frame with the same words, or with silence."""

    async def serving(socket: ServerConnection) -> None:
        async for _ in socket:
            if answers is not None:
                await socket.send(answers)

    async with serve(serving, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.parametrize("answers", ["nonsense", "{}", '{"jsonrpc": "2.0", "result": 42, "id": 1}', None])
async def test_a_provider_that_answers_nonsense_or_nothing(
    stack: Stack, connection: Connection, answers: str | None
) -> None:
    async with provider_that(answers) as url:
        with pytest.raises(ProviderNotFound):
            await connection.call("provider.register", {"url": url, "name": "strange"}, timeout_seconds=20)
        await works(connection, stack)


async def test_a_registered_provider_that_never_answers_its_call(stack: Stack, connection: Connection) -> None:
    async with provider_that(None) as url:
        register = {"url": url, "name": "mute", "methods": ["mute/say"], "capacity": 2}
        answer = await connection.call("provider.register", register, timeout_seconds=20)
        assert answer["methods"] == ["mute/say"]
        workflow_id = await support.submit(connection, {"id": "a", "method": "mute/say", "timeout": 1}, echo("b"))
        view = await support.finished(stack.url, workflow_id)
        mute, other = view["tasks"]
        assert (mute["status"], mute["error"]["name"]) == ("failed", "TASK_TIMEOUT")
        assert other["status"] == "completed"


def test_a_second_coordinator_on_the_same_journal(stack: Stack) -> None:
    journal = f"sqlite://{stack.state.resolve() / 'journal.db'}"
    assert stack.url
    command = [sys.executable, "-m", "gz_coordinator", "--listen", "127.0.0.1:0", "--journal", journal]
    second = subprocess.run(command, capture_output=True, text=True, timeout=20, env={**os.environ, "HOME": "/tmp"})
    assert second.returncode == 75
    assert str(stack.pid("gz_coordinator")) in second.stderr


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_full_disk_and_then_space_again(tmp_path: Path, kind: str) -> None:
    with small_disk_for_others("4m") as disk, contextlib.ExitStack() as afterwards:
        journal = f"sqlite://{disk / 'journal.db'}"
        if kind == "postgres":
            server = CrampedPostgres(disk, "tables")
            afterwards.callback(server.stop)
            journal = server.uri
        stack = Stack(tmp_path / "state", "--provider", "echo", "--journal", journal)
        try:
            await _fill_and_free(stack, disk)
        finally:
            assert stack.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount a small file system")
async def test_who_asks_on_a_full_disk_is_told_at_once_and_what_runs_is_kept(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        stack = Stack(tmp_path / "state", "--provider", "echo", "--journal", f"sqlite://{disk / 'journal.db'}")
        try:
            connection = await support.connected(stack)
            delay = {"id": "a", "method": "echo/delay", "params": {"seconds": 0.3}}
            running = [await support.submit(connection, delay) for _ in range(3)]
            ballast = fill(disk)
            for _ in range(3):
                with pytest.raises(GleitzeitError) as refused:
                    await support.submit(connection, echo("late"))
                assert refused.value.code == -31004
            await asyncio.sleep(0.5)  # what runs ends, and cannot be written
            ballast.unlink()
            for workflow_id in running:
                assert (await support.finished(stack.url, workflow_id))["status"] == "completed"
            await works(connection, stack)
            await connection.close()
        finally:
            assert stack.stop() == 0


async def test_who_waits_as_nobody_can_be_heard_of_is_told_why(tmp_path: Path) -> None:
    """A NATS that is configured, and dead: the provider beside it is ready, and not found."""
    dead = f"nats://127.0.0.1:{free_port()}"
    stack = Stack(tmp_path / "state", "--provider", "echo", environ={"GLEITZEIT_NATS_URL": dead})
    try:
        connection = await support.connected(stack, 0)
        workflow_id = await support.submit(connection, echo("late"))
        (told,) = (await connection.call("workflow.explain", {"workflow_id": workflow_id}))["tasks"]
        assert told["reason"] == "no_provider"
        assert f"NATS at {dead} cannot be reached" in told["message"]
        await connection.close()
    finally:
        assert stack.stop() == 0


def test_who_starts_on_a_full_disk_is_told_so_at_once(tmp_path: Path) -> None:
    """The server that finds providers said nothing, and was waited for."""
    document = tmp_path / "hello.yaml"
    document.write_text("name: hello\ntasks: [{id: a, method: echo/echo, params: {message: hi}}]\n")
    with small_disk(tmp_path / "disk", "4m") as disk:
        up = ["up", "--provider", "echo", "--listen", "127.0.0.1:0"]
        assert support.gz(*up, "--background", state=disk / "old").returncode == 0
        assert support.gz("down", state=disk / "old").returncode == 0
        fill(disk)
        for folder in ("old", "new"):
            for command in (["run", str(document)], [*up, "--background"], up):
                refused = support.gz(*command, state=disk / folder)
                assert refused.returncode != 0
                words = refused.stderr.lower()
                assert "no space left" in words or "room on that disk" in words, (folder, command, refused.stderr)
                assert "traceback" not in words


@pytest.mark.parametrize("kind", ["postgres", "redis"])
async def test_whatever_is_asked_of_a_journal_that_turns_out_to_be_full_is_refused_and_nothing_comes_of_it(
    tmp_path: Path, kind: str
) -> None:
    """All in one turn, which is decided before anybody knows that there is no space."""
    with contextlib.ExitStack() as afterwards:
        place, fill_it, free_it = _cramped(kind, afterwards)
        stack = Stack(tmp_path / "state", "--provider", "echo", "--journal", place)
        try:
            await _ask_what_is_full(stack, fill_it, free_it)
        finally:
            assert stack.stop() == 0


def _cramped(kind: str, afterwards: contextlib.ExitStack) -> tuple[str, Callable[[], Any], Callable[[], Any]]:
    """A place for a journal, what makes it full, and what makes space again."""
    if kind == "redis":
        redis = Redis()
        afterwards.callback(redis.stop)
        client = afterwards.enter_context(SyncRedis(port=redis.port))
        return (
            redis.place(), lambda: client.config_set("maxmemory", 1), lambda: client.config_set("maxmemory", 0)
        )  # fmt: skip
    disk = afterwards.enter_context(small_disk_for_others("4m"))
    server = CrampedPostgres(disk, "tables")
    afterwards.callback(server.stop)
    return server.uri, lambda: fill(disk), lambda: (disk / "ballast").unlink()


async def _ask_what_is_full(stack: Stack, fill_it: Callable[[], Any], free_it: Callable[[], Any]) -> None:
    connection = await support.connected(stack)
    wait = {"id": "w", "method": "signal/wait", "params": {"signal_name": "go"}}
    once = {"concurrency": {"key": "k", "limit": 1}}
    waiting = [await support.submit(connection, wait | once, echo("a")) for _ in range(3)]
    runs = await support.submit(connection, {"id": "d", "method": "echo/delay", "params": {"seconds": 1}})
    hourly = {"every": "1h", "definition": {"name": "s", "tasks": [echo("a") | {"params": {"message": "s"}}]}}
    await connection.call("schedule.put", {"name": "kept", **hourly})
    fill_it()
    long = os.urandom(100_000).hex()  # more than there is room for in what the journal has already
    about = [{"workflow_id": name} for name in waiting]
    definition = {"name": "late", "tasks": [echo("a") | once | {"params": {"message": long}}]}
    asked = [
        connection.call("workflow.signal", {**about[0], "name": "other", "payload": long}),
        connection.call("workflow.cancel", about[1]),
        connection.call("workflow.pause", about[2]),
        connection.call("workflow.submit", {"definition": definition}),
        connection.call("schedule.pause", {"name": "kept"}),
        connection.call("schedule.trigger", {"name": "kept"}),
        connection.call("schedule.put", {"name": "late", **hourly}),
    ]
    outcomes = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 10)
    assert [type(outcome) for outcome in outcomes] == [ResourceExhausted] * 7, outcomes
    await asyncio.sleep(1)  # meanwhile the call ends, which cannot be written
    free_it()

    async def well_again() -> bool:
        return not any("full" in warning for warning in (await connection.call("system.status"))["warnings"])

    await support.eventually(well_again)
    assert (await support.finished(stack.url, runs))["status"] == "completed"
    schedules = (await connection.call("schedule.list"))["schedules"]
    assert [(one["name"], one["status"], one["fired"]) for one in schedules] == [("kept", "active", 0)]
    for one in about:
        view = await connection.call("workflow.get", one)
        assert (view["status"], view["tasks"][1]["status"]) == ("running", "completed")
    for one in about:
        await connection.call("workflow.signal", {**one, "name": "go", "payload": 1})
    for one in about:
        assert (await support.finished(stack.url, one["workflow_id"]))["status"] == "completed"
        events = (await connection.call("workflow.history", one))["events"]
        assert sum(event["event"]["type"] == "SignalReceived" for event in events) == 1
    listed = (await connection.call("workflow.list"))["workflows"]
    assert "late" not in {row["name"] for row in listed}
    await works(connection, stack)
    await connection.close()


async def _fill_and_free(stack: Stack, disk: Path) -> None:
    connection = await connect(stack.url)
    ballast = fill(disk)
    os.truncate(ballast, ballast.stat().st_size - 1_500_000)
    acknowledged: list[str] = []

    async def submit_on() -> None:
        while True:
            big = {"id": "a", "method": "echo/echo", "params": {"message": os.urandom(25_000).hex()}}
            acknowledged.append(await support.submit(connection, big))

    filling = asyncio.create_task(submit_on())

    async def stalled() -> bool:
        return any("full" in warning for warning in (await connection.call("system.status"))["warnings"])

    for asking in (filling, asyncio.create_task(submit_on())):
        with pytest.raises(ResourceExhausted) as refused:
            await asyncio.wait_for(asking, 20)
        assert refused.value.retryable
    assert (await connection.call("workflow.get", {"workflow_id": acknowledged[0]}))["workflow_id"] == acknowledged[0]
    ballast.unlink()

    async def well_again() -> bool:
        return not await stalled()

    await support.eventually(well_again)
    for workflow_id in acknowledged:
        assert (await support.finished(stack.url, workflow_id))["status"] == "completed"
    listed = (await connection.call("workflow.list", {"limit": 1000}))["workflows"]
    assert {row["workflow_id"] for row in listed} == set(acknowledged), "what was refused has not begun"
    await works(connection, stack)
    await connection.close()
