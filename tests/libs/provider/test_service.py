"""A provider over real sockets, as a coordinator meets it."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from gleitzeit.errors import (
    CallGone,
    CallUnknown,
    ConfigurationError,
    ConnectionLost,
    Fenced,
    GleitzeitError,
    InvalidParams,
    MethodNotFound,
    PayloadTooLarge,
    ProviderBusy,
    ResultInvalid,
    TaskCancelled,
    TaskError,
    TaskTimeout,
    WrongInstance,
)
from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.model.blobs import reference
from gleitzeit.provider import Call, Provider
from gleitzeit.provider.service import SUPERSEDED, Service
from gleitzeit.transport import Connection, connect

FENCE = {"cluster": "c", "shard": 0, "epoch": 1, "owner": "a"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """One provider that is served, and what its methods were told and did."""

    def __init__(self) -> None:
        self.provider = Provider("lab", protocols=["lab/v1"], capacity=3)
        self.clock = Clock()
        self.gate = asyncio.Event()
        self.runs = 0
        self.ended: list[str] = []
        self.service: Service
        self.connections: list[Connection] = []
        self.heard: list[tuple[str, Any]] = []
        declare_methods(self)

    async def connect(self) -> Connection:
        connection = await connect(self.service.url, on_notification=self.hear)
        self.connections.append(connection)
        return connection

    def hear(self, connection: Connection, method: str, params: Any) -> None:
        self.heard.append((method, msgspec.json.decode(params)))

    def meta(self, task: str, **more: Any) -> dict[str, Any]:
        call_id = f"w/{task}/1"
        return {
            "workflow_id": "w",
            "task_id": task,
            "attempt": 1,
            "callId": call_id,
            "instance": self.service.instance,
            "fence": FENCE,
            "leaseSeconds": 20,
            "progressToken": call_id,
            **more,
        }


def declare_methods(world: World) -> None:
    method = world.provider.method

    @method("lab/count")
    def count() -> int:
        world.runs += 1
        return world.runs

    @method("lab/wait", params={"type": "object"})
    async def wait(call: Call) -> dict[str, Any]:
        world.runs += 1
        call.on_cancel(lambda: world.ended.append("told"))
        call.stream("a")
        await asyncio.sleep(0)
        call.stream("b")
        call.progress(1, 2, "half")
        call.log("waiting", "debug")
        try:
            await world.gate.wait()
        except asyncio.CancelledError:
            world.ended.append("cancelled")
            raise
        call.stream("c")
        return {"run": world.runs, "task": call.task_id, "attempt": call.attempt}

    @method("lab/typed", result={"type": "object", "required": ["x"]})
    def typed(x: int, y: str = "") -> dict[str, Any]:
        return {"x": x} if y != "lie" else {"z": x}

    @method("lab/odd")
    def odd() -> object:
        return object()

    @method("lab/large")
    def large(size: int) -> str:
        return "x" * size

    @method("lab/fail")
    def fail() -> None:
        raise TaskError("the author reads this", {"line": 7}, retryable=False)

    @method("lab/crash")
    async def crash(how: str) -> None:
        raise SystemExit(1) if how == "exit" else KeyError("secret")

    @method("lab/gives_up")
    async def gives_up() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    @method("lab/gives_up_at_once")
    def gives_up_at_once() -> None:
        raise asyncio.CancelledError

    @method("lab/spell")
    async def spell(call: Call, key: str) -> str:
        for letter in f"the key is {key}!":
            call.stream(letter)
            call.progress(1)  # each is a message of its own
        call.stream(key[:3])
        return "done"

    @method("lab/tell")
    async def tell(call: Call, key: str, how: str = "") -> dict[str, Any]:
        world.runs += 1
        call.stream(f"<{key}>")
        call.progress(1, 2, key)
        call.log({"key": key})
        await world.gate.wait()
        if how == "fail":
            raise TaskError(f"no {key}", {"key": key}, retryable=False)
        return {"key": key, "length": len(key)}

    @method("lab/know")
    def know(call: Call) -> dict[str, Any]:
        return {"dependencies": call.dependencies, "left": call.remaining_seconds, "token": call.token}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    async with made.provider.serve(clock=made.clock) as service:
        made.service = service
        yield made
        for connection in made.connections:
            await connection.close()


@pytest.mark.parametrize("method", ["lab/gives_up", "lab/gives_up_at_once"])
async def test_a_method_that_ends_as_if_it_had_been_cancelled_has_failed(world: World, method: str) -> None:
    connection = await world.connect()
    for meta in ({}, {"_meta": world.meta("a", fence=None)}):
        with pytest.raises(TaskError, match=f"{method} ended with CancelledError, though nobody") as caught:
            await connection.call(method, meta)
        assert type(caught.value) is TaskError
    assert await connection.call("lab/count", {}) == 1


async def test_which_calls_are_lost_to_a_connection(world: World) -> None:
    first, second = await world.connect(), await world.connect()
    running = ask(first, "lab/wait", {"_meta": world.meta("a", fence=None)})
    await until(lambda: world.runs == 1)
    await first.call("lab/count", {"_meta": world.meta("done", fence=None)})
    params = {"callIds": ["w/a/1", "w/done/1", "w/never/1"]}
    assert (await first.call("call.check", params))["lost"] == ["w/done/1", "w/never/1"]
    assert (await second.call("call.check", params))["lost"] == params["callIds"], "it would be answered elsewhere"
    joined = ask(second, "call.attach", {"callId": "w/a/1"})
    checked = ask(second, "call.check", params)
    assert (await checked)["lost"] == ["w/done/1", "w/never/1"]
    world.gate.set()
    assert await running == await joined


async def test_a_secret_that_is_said_letter_by_letter_is_not_told_either(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As models say what they were told."""
    monkeypatch.setenv("GLEITZEIT_SECRET_KEY", "swordfish")
    connection = await world.connect()
    secrets = [{"path": ["key"], "parts": [{"name": "KEY"}]}]
    assert await ask(connection, "lab/spell", {"key": "", "_meta": world.meta("a", secrets=secrets)}) == "done"
    said = [params["delta"] for name, params in world.heard if name == "notifications/stream"]
    assert "".join(said) == "the key is ***!swo"
    assert len(said) > 10


@pytest.mark.parametrize("how", ["", "fail", "attach"])
async def test_a_secret_is_for_the_method_alone(world: World, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv("GLEITZEIT_SECRET_KEY", "swordfish")
    connection = await world.connect()
    secrets = [{"path": ["key"], "parts": ["my ", {"name": "KEY"}]}]
    params = {"key": "my ${secrets.KEY}", "how": how, "_meta": world.meta("a", secrets=secrets)}
    running = ask(connection, "lab/tell", params)
    await until(lambda: len(world.heard) == 3)
    if how == "attach":
        second = await world.connect()
        joined = ask(second, "call.attach", {"callId": "w/a/1", "fence": FENCE, "progressToken": "t", "seq": 0})
        await until(lambda: len(world.heard) == 5)
        running, lost = joined, running
        with pytest.raises(GleitzeitError):
            await lost
    world.gate.set()
    if how == "fail":
        with pytest.raises(TaskError, match=r"no my \*\*\*") as caught:
            await running
        assert caught.value.data == {"key": "my ***", "name": "TASK_EXECUTION_FAILED", "retryable": False}
    else:
        assert await running == {"key": "my ***", "length": len("my swordfish")}
    assert "***" in str(world.heard)
    assert "swordfish" not in str(world.heard)


async def test_params_with_a_secret_are_checked_and_not_quoted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = await world.connect()
    secrets = [{"path": ["x"], "parts": [{"name": "KEY"}]}]
    params = {"x": "${secrets.KEY}", "_meta": world.meta("a", secrets=secrets)}
    with pytest.raises(ConfigurationError, match="there is no secret 'KEY'"):
        await connection.call("lab/typed", params)
    monkeypatch.setenv("GLEITZEIT_SECRET_KEY", "swordfish")
    with pytest.raises(InvalidParams, match="the params of lab/typed are wrong") as caught:
        await connection.call("lab/typed", params)
    assert "swordfish" not in f"{caught.value} {caught.value.data}"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the condition is at the other end of a socket
            await asyncio.sleep(0)


def ask(connection: Connection, method: str, params: dict[str, Any]) -> "asyncio.Task[Any]":
    return asyncio.create_task(connection.call(method, params, timeout_seconds=5))


async def refused(
    connection: Connection, kind: type[GleitzeitError], method: str, params: dict[str, Any]
) -> GleitzeitError:
    with pytest.raises(kind) as caught:
        await connection.call(method, params, timeout_seconds=5)
    return caught.value


async def test_a_plain_request_is_answered_and_nothing_is_kept(world: World) -> None:
    connection = await world.connect()
    assert await connection.call("lab/typed", {"x": 5}) == {"x": 5}
    assert await connection.call("lab/count") == 1
    assert await connection.call("ping") == {}
    assert (world.service.table.running, world.service.table.kept) == (0, 0)


async def test_the_same_call_id_runs_once_however_often_it_is_sent(world: World) -> None:
    connection = await world.connect()
    params = {"_meta": world.meta("t")}
    assert [await connection.call("lab/count", params) for _ in range(3)] == [1, 1, 1]
    connection.notify("call.ack", {"callIds": ["w/t/1"]})
    await refused(connection, CallGone, "lab/count", params)
    await refused(connection, CallGone, "call.attach", {"callId": "w/t/1", "fence": FENCE})
    assert world.runs == 1


async def test_two_requests_join_one_running_call(world: World) -> None:
    connection = await world.connect()
    answers = [ask(connection, "lab/wait", {"_meta": world.meta("t")}) for _ in range(2)]
    await until(lambda: world.runs == 1)
    await connection.call("ping")
    world.gate.set()
    assert [await answer for answer in answers] == [{"run": 1, "task": "t", "attempt": 1}] * 2


async def test_an_attach_after_a_reconnect_hears_how_far_it_is_and_gets_the_result(world: World) -> None:
    first = await world.connect()
    lost = ask(first, "lab/wait", {"_meta": world.meta("t")})
    await until(lambda: len(world.heard) == 4)
    assert world.heard == [
        ("notifications/stream", {"progressToken": "w/t/1", "seq": 1, "delta": "a"}),
        ("notifications/stream", {"progressToken": "w/t/1", "seq": 2, "delta": "b"}),
        ("notifications/progress", {"progressToken": "w/t/1", "progress": 1, "total": 2, "message": "half"}),
        (
            "notifications/message",
            {"level": "debug", "logger": "lab/wait", "data": "waiting", "progressToken": "w/t/1"},
        ),
    ]
    await first.close()
    with pytest.raises(ConnectionLost):
        await lost
    world.heard.clear()
    second = await world.connect()
    answer = ask(second, "call.attach", {"callId": "w/t/1", "fence": FENCE, "progressToken": "new", "seq": 1})
    await until(lambda: len(world.heard) == 2)
    assert world.heard == [
        ("notifications/progress", {"progressToken": "new", "progress": 1, "total": 2, "message": "half"}),
        ("notifications/stream", {"progressToken": "new", "seq": 2, "delta": "b", "offset": 1}),
    ]
    world.gate.set()
    assert await answer == {"run": 1, "task": "t", "attempt": 1}
    assert world.heard[-1] == ("notifications/stream", {"progressToken": "new", "seq": 3, "delta": "c"})


async def test_a_result_that_was_not_fetched_is_delivered_by_attach(world: World) -> None:
    first = await world.connect()
    lost = ask(first, "lab/wait", {"_meta": world.meta("t")})
    await until(lambda: world.runs == 1)
    await first.close()
    world.gate.set()
    await until(lambda: world.service.table.kept == 1)
    second = await world.connect()
    assert (await second.call("call.attach", {"callId": "w/t/1", "fence": FENCE}))["run"] == 1
    with pytest.raises(ConnectionLost):
        await lost


async def test_what_was_streamed_while_nobody_listened_comes_before_the_result(world: World) -> None:
    first = await world.connect()
    lost = ask(first, "lab/wait", {"_meta": world.meta("t")})
    await until(lambda: len(world.heard) == 4)
    await first.close()
    world.gate.set()
    await until(lambda: world.service.table.kept == 1)
    with pytest.raises(ConnectionLost):
        await lost
    world.heard.clear()
    second = await world.connect()
    await second.call("call.attach", {"callId": "w/t/1", "fence": FENCE, "progressToken": "new", "seq": 2})
    rest = [("notifications/stream", {"progressToken": "new", "seq": 3, "delta": "c", "offset": 2})]
    assert world.heard == rest
    second.notify("call.ack", {"callIds": ["w/t/1"]})
    await until(lambda: world.service.table.kept == 0)
    assert world.service.table.kept_bytes == 0


async def test_a_failure_is_kept_and_delivered_like_a_result(world: World) -> None:
    connection = await world.connect()
    for _ in range(2):
        error = await refused(connection, TaskError, "lab/fail", {"_meta": world.meta("t")})
        assert error.message == "the author reads this"
        assert error.data == {"name": "TASK_EXECUTION_FAILED", "retryable": False, "line": 7}
    await refused(connection, TaskError, "call.attach", {"callId": "w/t/1"})


async def test_attach_refuses_what_is_larger_than_asked_for_and_keeps_it(world: World) -> None:
    connection = await world.connect()
    await connection.call("lab/large", {"size": 100, "_meta": world.meta("t")})
    await refused(connection, PayloadTooLarge, "call.attach", {"callId": "w/t/1", "maxResultBytes": 100})
    assert len(await connection.call("call.attach", {"callId": "w/t/1", "maxResultBytes": 102})) == 100


async def test_unknown_calls_wrong_instances_and_fences_are_told_apart(world: World) -> None:
    connection, other = await world.connect(), await world.connect()
    error = await refused(connection, CallUnknown, "call.attach", {"callId": "w/t/1", "fence": FENCE})
    assert error.data is not None
    assert error.data["instance"] == world.service.instance
    await refused(connection, WrongInstance, "lab/count", {"_meta": world.meta("t", instance="earlier")})
    await refused(other, Fenced, "lab/count", {"_meta": world.meta("t", fence={**FENCE, "owner": "b"})})
    newer = {**FENCE, "owner": "b", "epoch": 2}
    assert await other.call("lab/count", {"_meta": world.meta("t", fence=newer)}) == 1
    await refused(connection, Fenced, "call.attach", {"callId": "w/t/1", "fence": FENCE})
    await refused(connection, Fenced, "rpc.discover", {"_meta": {"fence": FENCE}})
    assert world.runs == 1


@pytest.mark.parametrize("order", ["blobs first", "attached first"])
async def test_large_params_come_from_who_took_the_call_over(world: World, order: str) -> None:
    """The coordinator dies while a call waits for them; the one that is started next has another name."""
    first, content = await world.connect(), b'"large"'
    await first.call("rpc.discover", {"_meta": {"fence": FENCE, "blobs": "v1"}})
    call = ask(first, "lab/typed", {"x": 3, "y": reference(content), "_meta": world.meta("t")})
    await until(lambda: world.service.table.running == 1)
    await first.close()
    with pytest.raises(ConnectionLost):
        await call

    newer = FENCE | {"epoch": 2, "owner": "b"}
    methods = Methods()
    methods.add("blob.get", partial(piece_of, content))
    second, beside = await world.connect(), await connect(world.service.url, methods=methods)
    world.connections.append(beside)
    await second.call("rpc.discover", {"_meta": {"fence": newer, "blobs": "v1"}})
    attach = {"callId": "w/t/1", "fence": newer}
    async with asyncio.timeout(5):
        if order == "blobs first":
            await beside.call("blob.serve", {"_meta": {"fence": newer}})
            result = ask(second, "call.attach", attach)
        else:
            result = ask(second, "call.attach", attach)
            await second.call("call.check", {"callIds": []})
            await beside.call("blob.serve", {"_meta": {"fence": newer}})
        assert await result == {"x": 3}


def piece_of(content: bytes, request: Request, /, blob: str, offset: int, limit: int) -> dict[str, Any]:
    return {"size_bytes": len(content), "data": base64.b64encode(content[offset : offset + limit]).decode()}


async def test_a_newer_connection_of_the_owner_closes_the_older_one(world: World) -> None:
    older = await world.connect()
    await older.call("rpc.discover", {"_meta": {"fence": FENCE}})
    newer = await world.connect()
    await newer.call("rpc.discover", {"_meta": {"fence": FENCE}})
    await until(lambda: older.closed)
    assert older.close_code == SUPERSEDED
    assert await newer.call("lab/count", {"_meta": world.meta("t")}) == 1


async def test_a_full_provider_is_busy(world: World) -> None:
    connection = await world.connect()
    running = [ask(connection, "lab/wait", {"_meta": world.meta(f"t{n}")}) for n in range(3)]
    await until(lambda: world.service.table.running == 3)
    error = await refused(connection, ProviderBusy, "lab/count", {"_meta": world.meta("t9")})
    assert error.data is not None
    assert error.data["retryAfterSeconds"] > 0
    world.gate.set()
    await asyncio.gather(*running)
    # There is a place now, but not for what is known as refused: that may be a message that came a second time.
    await refused(connection, ProviderBusy, "lab/count", {"_meta": world.meta("t9")})
    assert await connection.call("lab/count", {"_meta": world.meta("t10")}) == 4


async def test_cancelling_the_request_stops_the_work(world: World) -> None:
    connection = await world.connect()
    replies: list[Any] = []
    params = msgspec.json.encode({"_meta": world.meta("t")})
    request_id = connection.send_request("lab/wait", params, replies.append)
    await until(lambda: world.runs == 1)
    connection.cancel(request_id, "enough")
    await until(lambda: bool(replies))
    assert (replies[0].code, replies[0].message) == (TaskCancelled.code, "enough")
    assert world.ended == ["told", "cancelled"]
    await refused(connection, TaskCancelled, "call.attach", {"callId": "w/t/1"})


async def test_cancelling_by_call_id_stops_the_work(world: World) -> None:
    connection = await world.connect()
    answer = ask(connection, "lab/wait", {"_meta": world.meta("t")})
    await until(lambda: world.runs == 1)
    connection.notify("notifications/cancelled", {"callId": "w/t/1", "reason": "enough"})
    with pytest.raises(TaskCancelled, match="enough") as caught:
        await answer
    assert caught.value.data is not None
    assert caught.value.data["retryable"] is False


async def test_a_call_that_is_cancelled_before_its_first_step_is_answered(world: World) -> None:
    connection = await world.connect()
    connection.coalesce = 64
    params = msgspec.json.encode({"_meta": world.meta("t")})
    replies: list[Any] = []
    connection.cancel(connection.send_request("lab/wait", params, replies.append))
    await until(lambda: bool(replies))
    assert replies[0].code == TaskCancelled.code
    assert (world.runs, world.service.table.running) == (0, 0)


async def test_one_who_only_waits_cannot_cancel_the_call_of_the_owner(world: World) -> None:
    bystander, owner = await world.connect(), await world.connect()
    replies: list[Any] = []
    params = msgspec.json.encode({"_meta": world.meta("t", fence=None)})
    request_id = bystander.send_request("lab/wait", params, replies.append)
    await until(lambda: world.runs == 1)
    answer = ask(owner, "lab/wait", {"_meta": world.meta("t")})
    await owner.call("ping")
    bystander.cancel(request_id)
    await until(lambda: bool(replies))
    assert replies[0].code == TaskCancelled.code
    world.gate.set()
    assert (await answer)["run"] == 1


async def test_a_call_that_nobody_asks_for_is_stopped_after_its_lease(world: World) -> None:
    first = await world.connect()
    lost = ask(first, "lab/wait", {"_meta": world.meta("t")})
    await until(lambda: world.runs == 1)
    await first.close()
    await until(lambda: world.service.table.next_expiry() is not None)
    world.clock.now += 19
    world.service.expire()
    assert world.service.table.running == 1
    world.clock.now += 1
    world.service.expire()
    await until(lambda: world.service.table.running == 0)
    second = await world.connect()
    error = await refused(second, TaskCancelled, "call.attach", {"callId": "w/t/1", "fence": FENCE})
    assert "lease" in error.message
    assert error.data is not None
    assert error.data["retryable"] is True, "nobody wanted it to end: another attempt may be made"
    with pytest.raises(ConnectionLost):
        await lost


async def test_a_lease_runs_out_by_itself(world: World) -> None:
    first = await world.connect()
    lost = ask(first, "lab/wait", {"_meta": world.meta("t", leaseSeconds=0.01)})
    await until(lambda: world.runs == 1)
    await first.close()
    await until(lambda: world.service.table.next_expiry() is not None)
    world.clock.now += 1
    await until(lambda: world.ended == ["told", "cancelled"])
    with pytest.raises(ConnectionLost):
        await lost


async def test_a_plain_call_is_stopped_when_its_connection_closes(world: World) -> None:
    connection = await world.connect()
    lost = ask(connection, "lab/wait", {})
    await until(lambda: world.runs == 1)
    await connection.close()
    await until(lambda: world.ended == ["told", "cancelled"])
    await until(lambda: world.service.table.running == 0)
    with pytest.raises(ConnectionLost):
        await lost


async def test_a_call_that_takes_too_long_is_stopped_by_the_provider_itself(world: World) -> None:
    connection = await world.connect()
    await refused(connection, TaskTimeout, "lab/wait", {"_meta": world.meta("t", deadlineSeconds=0.01)})
    assert world.ended == ["told", "cancelled"]


async def test_params_are_checked_and_all_problems_told(world: World) -> None:
    connection = await world.connect()
    error = await refused(connection, InvalidParams, "lab/typed", {"x": "one", "z": 1, "_meta": world.meta("t")})
    assert "lab/typed" in error.message
    assert error.data is not None
    assert {tuple(problem["path"]) for problem in error.data["problems"]} == {("x",), ("z",)}
    await refused(connection, InvalidParams, "lab/typed", {"x": 1, "_meta": {"attempt": "first"}})
    await refused(connection, CallUnknown, "call.attach", {"callId": "w/t/1"})
    with pytest.raises(InvalidParams):
        await connection.call("lab/typed", [1])


async def test_results_are_checked_too(world: World) -> None:
    connection = await world.connect()
    error = await refused(connection, ResultInvalid, "lab/typed", {"x": 1, "y": "lie"})
    assert "'x' is missing" in error.message
    await refused(connection, ResultInvalid, "lab/odd", {})
    await refused(connection, PayloadTooLarge, "lab/large", {"size": 16 * 1024 * 1024, "_meta": world.meta("t")})


@pytest.mark.parametrize("how", ["raise", "exit"])
async def test_a_crash_tells_nothing_but_where_to_look(
    world: World, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    connection = await world.connect()
    error = await refused(connection, GleitzeitError, "lab/crash", {"how": how, "_meta": world.meta("t")})
    assert (error.code, error.message) == (-32603, "internal error")
    assert error.data is not None
    assert error.data["retryable"] is True
    assert "secret" not in str(error.data)
    logged = [record for record in caplog.records if error.data["error_id"] in record.getMessage()]
    assert any(getattr(record, "task_id", "") == "t" for record in logged)
    assert await connection.call("ping") == {}


async def test_a_call_knows_what_it_is_for(world: World) -> None:
    connection = await world.connect()
    meta = world.meta("t", dependencies={"a": 1}, deadlineSeconds=60)
    known = await connection.call("lab/know", {"_meta": meta})
    assert known["dependencies"] == {"a": 1}
    assert 50 < known["left"] <= 60
    assert known["token"] == "w/t/1"
    assert await connection.call("lab/know") == {"dependencies": {}, "left": None, "token": None}


async def test_discover_describes_the_provider_and_agrees_on_split_batches(world: World) -> None:
    connection = await world.connect()
    document = await connection.call("rpc.discover", {"_meta": {"fence": FENCE, "batch": "split"}})
    assert document["openrpc"] == "1.4.1"
    assert document["x-gleitzeit"] == {
        "name": "lab",
        "instance": world.service.instance,
        "version": "1.0.0",
        "capacity": 3,
        "protocols": ["lab/v1"],
        "calls": "v1",
        "batch": "split",
        "blobs": "v1",
    }
    typed = next(method for method in document["methods"] if method["name"] == "lab/typed")
    assert typed["x-params-schema"]["required"] == ["x"]
    connection.coalesce = 64
    slow = ask(connection, "lab/wait", {"_meta": world.meta("slow")})
    quick = ask(connection, "lab/count", {"_meta": world.meta("quick")})
    assert await quick == 1, "in the same array as a call that is still running"
    assert not slow.done()
    world.gate.set()
    await slow


async def test_a_method_declared_later_is_announced_and_served(world: World) -> None:
    connection = await world.connect()
    await refused(connection, MethodNotFound, "lab/late", {})

    @world.provider.method("lab/late")
    def late() -> str:
        return "here"

    assert await connection.call("lab/late") == "here"
    assert world.heard == [("notifications/methods/list_changed", {})]


async def test_another_capacity_counts_at_once_and_is_announced(world: World) -> None:
    connection = await world.connect()
    world.provider.capacity = 1
    answer = ask(connection, "lab/wait", {"_meta": world.meta("t")})
    await until(lambda: world.runs == 1)
    await refused(connection, ProviderBusy, "lab/count", {"_meta": world.meta("t2")})
    world.gate.set()
    await answer
    assert ("notifications/methods/list_changed", {}) in world.heard


async def test_drain_finishes_what_runs_and_waits_for_the_acknowledgement(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gleitzeit.provider.running.ACK_SECONDS", 60.0)
    connection = await world.connect()
    answer = ask(connection, "lab/wait", {"_meta": world.meta("t")})
    await until(lambda: world.runs == 1)
    draining = asyncio.create_task(world.service.running.drain(60))
    await until(lambda: world.service.table.draining)
    await refused(connection, ProviderBusy, "lab/count", {"_meta": world.meta("t2")})
    world.gate.set()
    assert (await answer)["run"] == 1
    assert not draining.done()
    connection.notify("call.ack", {"callId": "w/t/1"})
    async with asyncio.timeout(30):  # less than it would wait for an acknowledgement that never comes
        await draining


async def test_drain_stops_what_does_not_finish(world: World) -> None:
    connection = await world.connect()
    answer = ask(connection, "lab/wait", {})
    await until(lambda: world.runs == 1)
    await world.service.running.drain(0.01)
    with pytest.raises(TaskCancelled, match="stops"):
        await answer
