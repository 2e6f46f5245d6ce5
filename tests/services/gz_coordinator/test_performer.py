"""What a provider's answers become, and how much is sent to one that is slow. Over memory, no network."""

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from tests.libs.engine.builders import NOW, definition, task

from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.failures import DATA_BYTES
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.engine.underway import Call
from gleitzeit.errors import PayloadTooLarge, ResultInvalid
from gleitzeit.jsonrpc.messages import Failure, Reply, Result
from gleitzeit.jsonrpc.methods import Methods, Request
from gleitzeit.model import events as ev
from gleitzeit.transport import Connection, connect_memory
from gz_coordinator import performer as performer_module
from gz_coordinator.performer import MAX_RESULT_NESTING, CallPerformer
from gz_coordinator.watching.notices import MAX_EVENT_BYTES


def calls_of(*names: str) -> list[Call]:
    """Calls that run, each at the provider p."""
    workflow = Workflow(ev.WorkflowSubmitted(NOW, "w", definition(*(task(name) for name in names))))
    for name in names:
        workflow.apply(ev.TaskStarted(NOW, name, 1, "p", "p#1", "", 20.0))
    calls = [Call(workflow, workflow.tasks[name], 1, f"w/{name}/1") for name in names]
    for call in calls:
        call.params = b"{}"
    return calls


class Desk:
    """A performer with one provider, and what it told the engine."""

    def __init__(self, ours: Connection, params: bytes) -> None:
        self.ours = ours
        self.posted: list[inp.Input] = []
        self.told = asyncio.Event()
        self.performer = CallPerformer(self.connection, self.post, lambda workflow_id: {}, print, lambda call: params)

    @classmethod
    async def made(cls, methods: Methods, params: bytes = b"{}") -> "Desk":
        ours, _ = await connect_memory(server_methods=methods)
        return cls(ours, params)

    def connection(self, instance: str) -> Connection:
        return self.ours

    def post(self, item: inp.Input) -> None:
        self.posted.append(item)
        self.told.set()

    async def close(self) -> None:
        await self.ours.close()


async def what_becomes_of(reply: Reply) -> inp.Input:
    def answer(request: Request, /, **params: Any) -> None:
        request.defer()
        if isinstance(reply, Result):
            request.answer(bytes(reply.raw))
        elif isinstance(reply, Failure):
            request.fail(reply)

    methods = Methods()
    methods.add("echo/echo", answer, bind=False)
    desk = await Desk.made(methods)
    desk.performer.perform([fx.CallProvider(call) for call in calls_of("a")])
    await desk.told.wait()
    await desk.close()
    (posted,) = desk.posted
    return posted


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize("result", [b"1", b'"x"', b"null", b"9" * 400, nested(MAX_RESULT_NESTING)])
async def test_a_result_is_handed_on_as_it_came(result: bytes) -> None:
    posted = await what_becomes_of(Result(Raw(result)))
    assert isinstance(posted, inp.CallCompleted)
    assert bytes(posted.result) == result


@pytest.mark.parametrize("result", [b"1e400", b"[-1e999]", b"9" * 5000, nested(MAX_RESULT_NESTING + 1)])
async def test_a_result_that_nobody_could_read_fails_the_call(result: bytes) -> None:
    posted = await what_becomes_of(Result(Raw(result)))
    assert isinstance(posted, inp.CallFailed)
    assert posted.code == ResultInvalid.code
    assert "result" in posted.message


async def test_error_data_that_nobody_could_read_is_left_out() -> None:
    posted = await what_becomes_of(Failure(-1, "no", Raw(b"1e400")))
    assert isinstance(posted, inp.CallFailed)
    assert (posted.code, posted.message, posted.data) == (-1, "no", None)


async def test_an_error_is_kept_as_large_as_people_read() -> None:
    said = {"name": "ODD", "retryAfterSeconds": 7, "traceback": "t" * 500_000 + "the end", "rows": [1] * 100_000}
    posted = await what_becomes_of(Failure(-1, "m" * 1_000_000, Raw(msgspec.json.encode(said))))
    assert isinstance(posted, inp.CallFailed)
    assert posted.data is not None
    assert len(msgspec.json.encode(posted.message)) + len(bytes(posted.data)) < MAX_EVENT_BYTES
    assert posted.message.startswith("mmmm")
    assert posted.message.endswith("characters more)")
    kept = msgspec.json.decode(posted.data)
    assert (kept["name"], kept["retryAfterSeconds"]) == ("ODD", 7)
    assert kept["traceback"].startswith("…ttt")
    assert kept["traceback"].endswith("ttthe end")
    assert kept["rows"] == {"$omitted_bytes": 200_001}


@pytest.mark.parametrize("data", [["x" * 100] * 5_000, "x" * 500_000, {f"k{n}": "x" * 100 for n in range(5_000)}])
async def test_error_data_of_any_shape_is_bounded(data: object) -> None:
    posted = await what_becomes_of(Failure(-1, "no", Raw(msgspec.json.encode(data))))
    assert isinstance(posted, inp.CallFailed)
    assert posted.data is not None
    assert len(bytes(posted.data)) <= DATA_BYTES


async def test_params_that_no_frame_can_hold_fail_the_call_and_not_the_coordinator() -> None:
    desk = await Desk.made(Methods())
    (call,) = calls_of("a")
    call.params = b'"' + b"x" * (17 << 20) + b'"'
    desk.performer.perform([fx.CallProvider(call)])
    (posted,) = desk.posted
    assert isinstance(posted, inp.CallFailed)
    assert posted.code == PayloadTooLarge.code
    await desk.close()


async def test_a_provider_that_is_slow_to_read_is_sent_no_more_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(performer_module, "MAX_BUFFERED_BYTES", 2 << 20)
    params = b'{"message":"%b"}' % (b"x" * 300_000)
    most = 0
    desk: Desk

    def answer(request: Request, /) -> int:
        nonlocal most
        most = max(most, desk.ours.buffered_bytes)
        return 1

    methods = Methods()
    methods.add("echo/echo", answer, bind=False)
    desk = await Desk.made(methods, params)
    calls = calls_of(*(f"t{i}" for i in range(40)))
    for call in calls:
        call.params = params
    desk.performer.perform([fx.CallProvider(call) for call in calls])
    assert desk.ours.buffered_bytes < 4 << 20
    assert not any(call.params for call in calls), "they would fill the memory"
    async with asyncio.timeout(30):
        while len(desk.posted) < 40:
            desk.told.clear()
            await desk.told.wait()
    assert most < 4 << 20
    assert {item.call.id for item in desk.posted if isinstance(item, inp.CallCompleted)} == {call.id for call in calls}
    await desk.close()
