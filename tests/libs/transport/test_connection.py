"""The shell around the peer, over memory: no network, no sleeps."""

import asyncio
import gc
import logging
from typing import Any

import pytest
from msgspec import Raw

from gleitzeit.errors import (
    ConnectionLost,
    InvalidParams,
    MethodNotFound,
    PayloadTooLarge,
    TaskCancelled,
    TaskError,
)
from gleitzeit.jsonrpc.messages import Lost, Reply, Result
from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.transport import Connection, connect_memory


class Work:
    """Methods whose progress a test can see and steer."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.release = asyncio.Event()
        self.kept: list[Request] = []
        self.methods = Methods()
        self.methods.add("add", lambda request, /, a, b: a + b)
        self.methods.add("wait", self.wait)
        self.methods.add("keep", self.keep)
        self.methods.add("whoami", lambda request, /: request.connection.peer_name)

    async def wait(self, request: Request, /) -> str:
        self.started.set()
        try:
            await self.release.wait()
        finally:
            self.ended.set()
        return "released"

    def keep(self, request: Request, /) -> None:
        request.defer()
        self.kept.append(request)
        self.started.set()


async def test_calls_with_results_and_errors():
    work = Work()
    client, _ = await connect_memory(server_methods=work.methods)
    assert await client.call("add", [1, 2]) == 3
    assert await client.call("add", {"a": 1, "b": 2}) == 3
    assert await client.call("add", b"[1, 2]") == 3
    assert bytes(await client.call_raw("add", Raw(b"[1, 2]"))) == b"3"
    with pytest.raises(InvalidParams, match="'b' is missing"):
        await client.call("add", {"a": 1})
    with pytest.raises(MethodNotFound, match=r"^there is no method 'nothing' at memory server$"):
        await client.call("nothing")
    with pytest.raises(MethodNotFound, match=r"'whoaim' at memory server \(did you mean 'whoami'\?\)") as caught:
        await client.call("whoaim")
    assert caught.value.data["method"] == "whoaim"
    assert await client.call("whoami") == "memory client"
    await client.close()


async def test_both_sides_ask_at_the_same_time():
    here, there = Work(), Work()
    client, server = await connect_memory(methods=here.methods, server_methods=there.methods)

    async def ask(side: Connection, offset: int) -> list[int]:
        return list(await asyncio.gather(*(side.call("add", [offset, n]) for n in range(50))))

    assert await asyncio.gather(ask(client, 0), ask(server, 100)) == [list(range(50)), list(range(100, 150))]
    await server.close()


async def test_who_has_no_methods_says_so_and_takes_notifications():
    got: list[tuple[str, bytes | None]] = []
    seen = asyncio.Event()

    def on_notification(connection: Connection, method: str, params: Raw | None) -> None:
        got.append((method, None if params is None else bytes(params)))
        if method == "last":
            seen.set()
        if method == "bad":
            raise RuntimeError("a callback that fails")

    client, server = await connect_memory(on_notification=on_notification)
    with pytest.raises(MethodNotFound):
        await server.call("add", [1, 2])
    for method in ("bad", "notifications/event", "last"):
        server.notify(method, {"a": 1} if method != "last" else None)
    await seen.wait()
    assert got == [("bad", b'{"a":1}'), ("notifications/event", b'{"a":1}'), ("last", None)]
    await client.close()


async def test_a_registered_notification_goes_to_its_method():
    got: list[Any] = []
    unknown: list[str] = []
    methods = Methods()
    methods.add("call.ack", lambda request, /, callIds: got.append(callIds))
    client, server = await connect_memory(
        server_methods=methods, server_on_notification=lambda _c, method, _p: unknown.append(method)
    )
    client.notify("call.ack", {"callIds": ["a"]})
    client.notify("other")
    assert await client.call("ping") == {}
    assert (got, unknown) == ([["a"]], ["other"])
    await server.close()


async def test_what_is_answered_needs_no_collection_to_leave_memory():
    """Its params may be large, and collections are rare."""
    work = Work()
    client, server = await connect_memory(server_methods=work.methods)
    work.release.set()
    gc.disable()
    try:
        before = sum(isinstance(each, Request) for each in gc.get_objects())
        for _ in range(3):
            await client.call("wait")
            client.notify("wait")
        await client.call("ping")
        await asyncio.sleep(0)  # for the tasks that have just ended
        assert sum(isinstance(each, Request) for each in gc.get_objects()) <= before + 1, "the last one may be at hand"
    finally:
        gc.enable()
    await server.close()


async def test_cancelling_stops_the_task_and_is_answered():
    work = Work()
    client, _ = await connect_memory(server_methods=work.methods)
    reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    request_id = client.send_request("wait", None, reply.set_result)
    await work.started.wait()
    client.cancel(request_id, "not needed")
    answer = await reply
    assert work.ended.is_set()
    assert (answer.code, answer.message) == (TaskCancelled.code, "not needed")
    await client.close()


async def test_what_is_cancelled_before_it_has_begun_is_answered():
    work = Work()
    client, _ = await connect_memory(server_methods=work.methods)
    reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    client.cancel(client.send_request("wait", None, reply.set_result), "not needed")
    assert (await reply).message == "not needed"
    assert not work.started.is_set()
    await client.close()


async def test_cancelling_what_is_deferred_reaches_its_owner():
    work = Work()
    client, _ = await connect_memory(server_methods=work.methods)
    call = asyncio.create_task(client.call("keep"))
    await work.started.wait()
    reasons: list[str] = []
    work.kept[0].on_cancel(reasons.append)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await client.call("ping")
    assert reasons == ["the caller was cancelled"]
    await client.close()


async def test_cancelling_what_an_async_method_deferred():
    methods = Methods()

    async def defer(request: Request, /) -> None:
        request.defer()

    methods.add("defer", defer)
    client, _ = await connect_memory(server_methods=methods)
    reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    request_id = client.send_request("defer", None, reply.set_result)
    await client.call("ping")
    client.cancel(request_id)
    assert (await reply).code == TaskCancelled.code
    await client.close()


async def test_a_call_that_takes_too_long_is_given_up_and_cancelled():
    work = Work()
    client, server = await connect_memory(server_methods=work.methods)
    with pytest.raises(TimeoutError, match=r"wait: no answer within 0\.01 s"):
        await client.call("wait", timeout_seconds=0.01)
    await work.ended.wait()
    assert await client.call("ping") == {}
    assert (client.unmatched, server.closed) == (0, False)
    await client.close()


async def test_deferred_answers():
    work = Work()
    client, _ = await connect_memory(server_methods=work.methods)
    calls = [asyncio.create_task(client.call("keep")) for _ in range(3)]
    while len(work.kept) < 3:
        await client.call("ping")
    work.kept[2].answer({"n": 2})
    work.kept[0].answer(Raw(b"[0]"))
    work.kept[1].fail(TaskError("no"))
    assert await calls[2] == {"n": 2}
    assert await calls[0] == [0]
    with pytest.raises(TaskError, match="no"):
        await calls[1]
    await client.close()


async def test_a_closed_connection_is_the_reply_to_everything_exactly_once():
    work = Work()
    client, server = await connect_memory(server_methods=work.methods)
    replies: list[Reply] = []
    closed: list[Connection] = []
    client.add_close_callback(closed.append)
    for _ in range(3):
        client.send_request("keep", None, replies.append)
    await work.started.wait()
    await server.close(1012, "restart")
    await client.close()
    assert replies == [Lost("the connection to memory server closed (1012: restart)")] * 3
    assert (client.closed, client.close_code, client.close_reason, closed) == (True, 1012, "restart", [client])

    client.send_request("keep", None, replies.append)
    client.add_close_callback(closed.append)
    assert (len(replies), len(closed)) == (3, 1)
    await asyncio.sleep(0)
    assert (len(replies), len(closed)) == (4, 2)
    with pytest.raises(ConnectionLost, match="1012: restart"):
        await client.call("add", [1, 2])
    client.notify("nobody hears this")
    work.kept[0].answer("too late")
    await client.close()


async def test_the_end_of_the_connection_stops_tasks():
    work = Work()
    client, server = await connect_memory(server_methods=work.methods)
    client.send_request("wait", None, lambda reply: None)
    await work.started.wait()
    await client.close()
    await server.close()
    await work.ended.wait()


async def test_what_was_queued_before_closing_arrives():
    got: list[Raw | None] = []
    client, server = await connect_memory(server_on_notification=lambda _c, _m, params: got.append(params))
    for number in range(100):
        client.notify("n", [number])
    await client.close()
    await server.close()
    assert len(got) == 100


async def test_a_callback_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture):
    client, _ = await connect_memory()

    def fail(reply: Reply) -> None:
        raise RuntimeError("a callback that fails")

    replies: list[Reply] = []
    with caplog.at_level(logging.CRITICAL):
        client.send_request("x", None, fail)
        client.send_request("x", None, replies.append)
        client.send_request("x", None, fail)
        with pytest.raises(MethodNotFound):
            await client.call("x")
    assert len(replies) == 1
    await client.close()


async def test_frames_of_one_turn_are_coalesced_in_order():
    order: list[int] = []
    methods = Methods()
    methods.add("note", lambda request, /, n: order.append(n) or n)
    client, server = await connect_memory(server_methods=methods)
    for side in (client, server):
        side.coalesce, side.split_batches = 64, True
    results: list[int] = []
    done = asyncio.Event()

    def on_reply(reply: Reply) -> None:
        assert isinstance(reply, Result)
        results.append(int(bytes(reply.raw)))
        if len(results) == 1000:
            done.set()

    for number in range(1000):
        client.send_request("note", b"[%d]" % number, on_reply)
    await done.wait()
    assert order == results == list(range(1000))
    await client.close()


async def test_a_frame_over_the_limit_closes_with_1009_and_a_reason():
    client, server = await connect_memory(max_frame_bytes=1000)
    closed = asyncio.Event()
    server.add_close_callback(lambda _connection: closed.set())
    client.coalesce = 64  # together they are longer than a frame may be
    for _ in range(10):
        client.notify("n", ["x" * 200])
    await closed.wait()
    assert server.close_code == 1009
    assert "1000" in server.close_reason
    await client.close()


async def test_what_can_never_travel_is_refused_at_once():
    client, _ = await connect_memory(max_frame_bytes=1000)
    with pytest.raises(PayloadTooLarge):
        await client.call("m", ["x" * 2000])
    with pytest.raises(TypeError):
        await client.call("m", [object()])
    await client.close()


async def test_drain_waits_for_the_other_side_and_a_full_buffer_closes(monkeypatch: pytest.MonkeyPatch):
    client, server = await connect_memory()
    client.notify("n", ["x" * 3_000_000])
    assert client.buffered_bytes > 3_000_000
    await client.drain()
    assert client.buffered_bytes == 0
    # Nobody reads while we do not let go of the loop.
    for _ in range(5):
        client.notify("n", ["x" * 15_000_000])
    closed = [asyncio.Event(), asyncio.Event()]
    for connection, event in zip((client, server), closed, strict=True):
        connection.add_close_callback(lambda _connection, event=event: event.set())
    for event in closed:
        await event.wait()
    assert (client.close_code, server.closed) == (1013, True)
