import asyncio
import contextlib
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from gleitzeit.client import AmbiguousId, Client, ConnectionItem, LogItem, StreamItem, WatchEvent, WatchItem
from gleitzeit.errors import (
    ConnectionLost,
    DocumentError,
    InvalidState,
    MethodNotFound,
    ProtocolError,
    WorkflowNotFound,
)
from gleitzeit.jsonrpc.methods import Methods
from gleitzeit.model import events as ev
from gleitzeit.transport.server import Server

STARTED = ev.TaskStarted(at=1, task="t", attempt=1, provider="p", instance="i")
COMPLETED = ev.TaskCompleted(at=2, task="t", attempt=1)
DONE = ev.WorkflowCompleted(at=3)
FAILED = ev.WorkflowFailed(at=3, error=ev.Failure(code=-29002, message="no"))


def row(workflow_id: str) -> dict[str, Any]:
    return {"workflow_id": workflow_id, "name": "n", "status": "completed", "tasks_total": 1, "counts": {}}


async def collected(client: Client, workflow_id: str, **options: Any) -> list[WatchItem]:
    return [item async for item in client.watch(workflow_id, **options)]


def numbers(items: list[WatchItem]) -> list[int]:
    return [item.seq for item in items if isinstance(item, WatchEvent)]


# Calls


async def test_submit_sends_only_what_was_given(client: Client, coordinator: Any) -> None:
    submitted = await client.submit_definition({"name": "Hello"}, inputs={"n": 1}, idempotency_key="k")
    assert (submitted.workflow_id, submitted.created) == ("wf-1", True)
    assert coordinator.asked == [
        ("workflow.submit", {"definition": {"name": "Hello"}, "inputs": {"n": 1}, "idempotency_key": "k"})
    ]


async def test_errors_arrive_as_the_exceptions_they_were(client: Client, coordinator: Any) -> None:
    coordinator.problems = [{"path": ["tasks", 0], "message": "bad"}]
    with pytest.raises(DocumentError) as caught:
        await client.submit_definition({})
    assert caught.value.data is not None
    assert caught.value.data["problems"] == coordinator.problems
    with pytest.raises(WorkflowNotFound, match="wf-9"):
        await client.get("wf-9")


async def test_a_method_of_tasks_is_none_of_the_coordinator(client: Client) -> None:
    with pytest.raises(MethodNotFound, match=r"no method 'echo/echo' at .*: methods with a '/' are for tasks"):
        await client.call("echo/echo", {"message": "x"})


@pytest.mark.parametrize("answer", [{}, None, "x", [], {"workflows": 3}])
async def test_who_answers_otherwise_is_of_another_version(answer: object) -> None:
    methods = Methods()
    methods.add("workflow.list", lambda request, /, **params: answer)
    methods.add("workflow.submit", lambda request, /, **params: answer)
    server = Server(methods)
    await server.start()
    async with Client(server.url) as client:
        with pytest.raises(ProtocolError, match=r"is not understood \(.*\): it is of another version"):
            await client.list()
        with pytest.raises(ProtocolError, match="is not understood"):
            await client.submit_definition({"name": "x"})
    await server.close()


async def test_who_waits_for_an_answer_is_told_for_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gleitzeit.client.session.PATIENT_SECONDS", 0.01)
    methods = Methods()
    methods.add("workflow.list", lambda request, /, **params: request.defer())
    server = Server(methods)
    await server.start()
    told: asyncio.Queue[str] = asyncio.Queue()
    async with Client(server.url) as client:
        client.on_waiting = told.put_nowait
        asking = asyncio.create_task(client.list())
        async with asyncio.timeout(20):
            assert await told.get() == f"the coordinator at {server.url} has not answered workflow.list yet"
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await server.close()


async def test_pages_of_tasks(client: Client, coordinator: Any) -> None:
    coordinator.streams["wf-1"] = []
    first = await client.get("wf-1", limit=2)
    assert [task.task_id for task in first.tasks] == ["t0", "t1"]
    assert first.next == 2
    last = await client.get("wf-1", after=2, limit=2)
    assert ([task.task_id for task in last.tasks], last.next) == (["t2"], None)


async def test_the_other_calls(client: Client, coordinator: Any) -> None:
    assert (await client.cancel("wf-1")).status == "cancelled"
    assert [provider.name for provider in await client.providers()] == ["echo"]
    signalled = await client.signal("wf-1", "go", {"by": "Ada"}, idempotency_key="k")
    assert (signalled.kept, signalled.awaited) == (True, ("gone",))
    assert coordinator.asked[-1] == (
        "workflow.signal",
        {"workflow_id": "wf-1", "name": "go", "payload": {"by": "Ada"}, "idempotency_key": "k"},
    )
    assert await client.call("ping") == {}


async def test_what_submit_returned_stands_for_the_workflow(client: Client, coordinator: Any) -> None:
    coordinator.streams["wf-1"] = [STARTED, COMPLETED, DONE]
    submitted = await client.submit_definition({"name": "Hello"})
    assert numbers([item async for item in client.watch(submitted)]) == [1, 2, 3]
    assert (await client.get(submitted)).workflow_id == "wf-1"
    state = await client.cancel(submitted)
    await client.signal(state, "go")
    assert coordinator.asked[-1][1]["workflow_id"] == "wf-1"
    wrong: Any = {"workflow_id": "wf-1"}
    with pytest.raises(TypeError, match="what submit"):
        await client.get(wrong)


# The end


async def test_a_closed_client_does_not_connect_again(coordinator: Any) -> None:
    async with await Client.connect(coordinator.server.url) as client:
        coordinator.streams["wf-1"] = [STARTED]
        watching = client.watch("wf-1")
        await anext(watching)
    with pytest.raises(ConnectionLost):
        await anext(watching)
    for ask in (client.status, client.blobs.connection, client.templates.list, client.schedules.list):
        with pytest.raises(RuntimeError, match="the client is closed"):
            await ask()
    with pytest.raises(RuntimeError, match="the client is closed"):
        await client.signal("wf-1", "go")
    with pytest.raises(RuntimeError, match="the client is closed"):
        await client.__aenter__()
    await client.close()
    assert coordinator.asked == [("workflow.watch", 0)]


async def test_a_client_that_is_closed_while_it_connects_leaves_no_connection(coordinator: Any) -> None:
    client = Client(coordinator.server.url)
    asked = asyncio.create_task(client.status())
    await asyncio.sleep(0)  # so that it has begun
    await client.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        await asked
    for connection in list(coordinator.server.connections):
        ended = asyncio.Event()
        connection.add_close_callback(lambda _, ended=ended: ended.set())
        await asyncio.wait_for(ended.wait(), 5)


# Names


async def test_an_id_is_found_by_what_people_write(client: Client, coordinator: Any) -> None:
    coordinator.rows = [row("wf-12")]
    assert await client.resolve_id("wf-1") == "wf-12"
    assert coordinator.asked == [("workflow.list", {"id": "wf-1", "limit": 11})]


async def test_a_whole_id_wins_over_those_that_begin_with_it(client: Client, coordinator: Any) -> None:
    coordinator.rows = [row("wf-12"), row("wf-1")]
    assert await client.resolve_id("wf-1") == "wf-1"


async def test_an_id_that_nobody_or_several_answer_to(client: Client, coordinator: Any) -> None:
    with pytest.raises(WorkflowNotFound, match="'x'"):
        await client.resolve_id("x")
    coordinator.rows = [row("wf-12"), row("wf-13")]
    with pytest.raises(AmbiguousId) as caught:
        await client.resolve_id("wf-1")
    assert caught.value.data == {"candidates": ["wf-12  n  completed", "wf-13  n  completed"]}


async def test_of_many_with_one_name_the_newest_are_told_and_what_means_the_first(
    client: Client, coordinator: Any
) -> None:
    coordinator.rows = [row(f"wf-{number}") for number in range(11)]
    with pytest.raises(AmbiguousId, match="'n' is not one workflow: more than 10 answer to it") as caught:
        await client.resolve_id("n")
    assert caught.value.data is not None
    assert len(caught.value.data["candidates"]) == 10
    assert caught.value.data["newest"] == "n@latest"


# Watching


async def test_a_workflow_that_has_ended_is_told_from_the_beginning(client: Client, coordinator: Any) -> None:
    coordinator.streams["wf-1"] = [STARTED, COMPLETED, DONE]
    items = await collected(client, "wf-1")
    assert [item.event for item in items if isinstance(item, WatchEvent)] == [STARTED, COMPLETED, DONE]
    assert await collected(client, "wf-1", after=3) == []
    assert numbers(await collected(client, "wf-1", after=1)) == [2, 3]


async def test_an_end_that_a_retry_has_undone_is_no_end(client: Client, coordinator: Any) -> None:
    coordinator.streams["wf-1"] = [STARTED, FAILED, ev.WorkflowRetried(at=4, tasks=("t",)), STARTED, DONE]
    assert numbers(await collected(client, "wf-1")) == [1, 2, 3, 4, 5]


async def test_events_streams_and_logs_as_they_come(client: Client, coordinator: Any) -> None:
    coordinator.streams["wf-1"] = [STARTED]
    items: list[WatchItem] = []
    async with contextlib.aclosing(client.watch("wf-1")) as watching:
        items.append(await anext(watching))
        about = {"workflow_id": "wf-1", "task_id": "t", "attempt": 1}
        coordinator.say("wf-1", "notifications/stream", {**about, "seq": 0, "delta": "Hel"})
        coordinator.say("wf-1", "notifications/message", {**about, "level": "info", "data": "reading"})
        coordinator.say("wf-1", "notifications/something", {**about})
        coordinator.happens("wf-1", COMPLETED, DONE)
        items += [item async for item in watching]
    assert items == [
        WatchEvent("wf-1", 1, STARTED),
        StreamItem("wf-1", "t", 1, "Hel"),
        LogItem("wf-1", "t", 1, "info", "reading"),
        WatchEvent("wf-1", 2, COMPLETED),
        WatchEvent("wf-1", 3, DONE),
    ]


async def test_an_event_that_only_a_newer_coordinator_knows_is_passed_over(client: Client, coordinator: Any) -> None:
    coordinator.streams["wf-1"] = [STARTED]
    async with contextlib.aclosing(client.watch("wf-1")) as watching:
        await anext(watching)
        coordinator.streams["wf-1"].append(STARTED)
        unknown = {"workflow_id": "wf-1", "seq": 2, "event": {"type": "TaskDreamt", "at": 1}}
        coordinator.say("wf-1", "notifications/event", unknown)
        coordinator.happens("wf-1", DONE)
        assert numbers([item async for item in watching]) == [3]


async def test_after_a_crash_of_the_coordinator_nothing_is_missing_or_twice(client: Client, coordinator: Any) -> None:
    coordinator.streams["wf-1"] = [STARTED]
    items: list[WatchItem] = []
    async with contextlib.aclosing(client.watch("wf-1")) as watching:
        items.append(await anext(watching))
        await coordinator.restart()
        coordinator.streams["wf-1"] += [COMPLETED, DONE]
        items += [item async for item in watching]
    assert numbers(items) == [1, 2, 3]
    assert [item.connected for item in items if isinstance(item, ConnectionItem)] == [False, True]
    assert [params for method, params in coordinator.asked if method == "workflow.watch"] == [0, 1]


async def test_a_coordinator_that_does_not_come_back_is_given_up(client: Client, coordinator: Any) -> None:
    coordinator.streams["wf-1"] = [STARTED]
    async with contextlib.aclosing(client.watch("wf-1", patience_seconds=0.0)) as watching:
        await anext(watching)
        await coordinator.server.close()
        assert isinstance(await anext(watching), ConnectionItem)
        with pytest.raises(ConnectionLost):
            await anext(watching)


async def test_a_watcher_that_lagged_asks_again(client: Client, coordinator: Any) -> None:
    coordinator.streams["wf-1"] = [STARTED]
    async with contextlib.aclosing(client.watch("wf-1")) as watching:
        await anext(watching)
        coordinator.streams["wf-1"] += [COMPLETED, DONE]  # which we are never told
        coordinator.say("wf-1", "notifications/resync", {"workflow_id": "wf-1", "seq": 3})
        assert numbers([item async for item in watching]) == [2, 3]


async def test_what_was_on_its_way_when_the_watcher_asked_again_leaves_no_gap(client: Client, coordinator: Any) -> None:
    coordinator.streams["wf-1"] = [STARTED]
    async with contextlib.aclosing(client.watch("wf-1")) as watching:
        await anext(watching)
        coordinator.say("wf-1", "notifications/resync", {"workflow_id": "wf-1", "seq": 2})
        coordinator.streams["wf-1"] += [COMPLETED]
        coordinator.happens("wf-1", STARTED)  # number 3, while number 2 has not been told
        coordinator.streams["wf-1"] += [COMPLETED, DONE]
        assert numbers([item async for item in watching]) == [2, 3, 4, 5]


async def test_who_stops_watching_says_so(client: Client, coordinator: Any) -> None:
    coordinator.streams["wf-1"] = [STARTED]
    async with contextlib.aclosing(client.watch("wf-1")) as watching:
        await anext(watching)
        with pytest.raises(InvalidState, match="already"):
            await anext(client.watch("wf-1"))
    await client.call("ping")  # what was sent before it has arrived
    assert coordinator.asked[-1] == ("workflow.unwatch", "wf-1")


async def test_watching_what_does_not_exist(client: Client) -> None:
    with pytest.raises(WorkflowNotFound):
        await anext(client.watch("wf-9"))


# The socket


async def test_a_call_after_a_lost_connection_connects_again(client: Client, coordinator: Any) -> None:
    await client.call("ping")
    await coordinator.restart()
    async with asyncio.timeout(30):
        while True:  # the close may still be on its way to us
            with contextlib.suppress(ConnectionLost):
                assert await client.call("ping") == {}
                break


async def test_a_signal_whose_answer_is_lost_is_sent_again_as_the_same(client: Client, coordinator: Any) -> None:
    coordinator.streams["wf-1"] = [STARTED]
    coordinator.answers_lost = 2
    assert (await client.signal("wf-1", "go")).workflow_id == "wf-1"
    keys = [params["idempotency_key"] for method, params in coordinator.asked if method == "workflow.signal"]
    assert len(keys) == 3
    assert len(set(keys)) == 1


async def test_a_submit_with_a_key_whose_answer_is_lost_is_sent_again(client: Client, coordinator: Any) -> None:
    coordinator.answers_lost = 1
    document = {"name": "Hello", "tasks": []}
    assert (await client.submit_definition(document, idempotency_key="once")).workflow_id == "wf-1"
    keys = [params["idempotency_key"] for method, params in coordinator.asked if method == "workflow.submit"]
    assert keys == ["once", "once"]
    coordinator.answers_lost = 1
    with pytest.raises(ConnectionLost):
        await client.submit_definition(document)


async def test_one_that_lets_everybody_in_and_hangs_up_is_given_up_and_not_stormed() -> None:
    """As a proxy does whose coordinator is away."""
    dialled = 0

    async def hanging_up(socket: ServerConnection) -> None:
        nonlocal dialled
        dialled += 1
        await socket.recv()

    async with serve(hanging_up, "127.0.0.1", 0) as server:
        client = Client(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        with pytest.raises(ConnectionLost, match="hangs up"):
            async for _ in client.watch("wf-1", patience_seconds=1.0):
                pass
        await client.close()
    assert 3 <= dialled <= 8


async def test_nobody_there() -> None:
    with pytest.raises(ConnectionLost):
        await Client.connect("ws://127.0.0.1:1/")
