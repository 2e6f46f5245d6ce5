"""`workflow.rerun` and `workflow.diff` over the wire, also over a crash in the middle."""

import asyncio
from typing import Any

import pytest
from tests.services.gz_coordinator.room import Room, room

from gleitzeit import errors
from gleitzeit.engine import effects as fx
from gleitzeit.engine import inputs as inp
from gleitzeit.journal.memory import MemoryStore
from gleitzeit.model.shards import SHARDS, shard_of

WORKFLOW: dict[str, Any] = {
    "name": "Chain",
    "inputs": {"who": {"type": "string", "default": "Ada"}, "end": {"type": "string", "default": "."}},
    "tasks": [
        {"id": "one", "method": "echo/echo", "params": {"message": "hi ${inputs.who}"}},
        {"id": "two", "method": "echo/echo", "params": {"message": "${one.response}${inputs.end}"}},
        {"id": "alone", "method": "echo/echo", "params": {"message": "alone"}},
    ],
}


async def first(there: Room) -> str:
    submitted = await there.call("workflow.submit", {"definition": WORKFLOW})
    await there.until(submitted["workflow_id"], "completed")
    return str(submitted["workflow_id"])


async def again(there: Room, workflow_id: str, **params: Any) -> dict[str, Any]:
    run = await there.call("workflow.rerun", {"workflow_id": workflow_id, **params})
    view = await there.until(run["workflow_id"], "completed")
    assert view["origin"]["rerun_of"] == workflow_id
    return view


def called(view: dict[str, Any]) -> list[str]:
    return [task["task_id"] for task in view["tasks"] if not task.get("cached")]


async def test_only_what_has_changed_is_called_again() -> None:
    async with room() as there:
        old = await first(there)
        assert called(await again(there, old)) == []
        assert called(await again(there, old, from_task="one")) == ["one"], "two got what it had got before"
        assert called(await again(there, old, set={"end": "!"})) == ["two"]
        view = await again(there, old, set={"who": "Bob"})
        assert called(view) == ["one", "two"]
        result = await there.result(view["workflow_id"])
        assert result["results"]["two"]["response"] == "hi Bob."
        assert called(await again(there, old, params={"alone": {"message": "${not.a.reference}"}})) == ["alone"]
        assert len(there.echo.calls) == 3 + 1 + 1 + 2 + 1


async def test_of_many_items_one_alone_is_called_again() -> None:
    many = {"id": "many", "for_each": [1, 2, 3], "method": "echo/echo", "params": {"message": "${item}"}}
    pause = {"id": "pause", "method": "timer/sleep", "params": {"seconds": 0}, "dependencies": ["many"]}
    async with room() as there:
        submitted = await there.call("workflow.submit", {"definition": {"name": "Many", "tasks": [many, pause]}})
        await there.until(submitted["workflow_id"], "completed")
        for from_task, calls, waits in ((None, 0, False), ("many[1]", 1, True), ("many", 3, True)):
            before = len(there.echo.calls)
            view = await again(there, submitted["workflow_id"], from_task=from_task)
            assert (len(there.echo.calls) - before, "pause" in called(view)) == (calls, waits)


async def test_what_goes_round_is_not_called_again_for_what_its_rounds_have_come_to() -> None:
    told = {"message": "${loop.round} ${loop.last.response}"}
    until = {"condition": "${loop.round} >= 2", "max": 3}
    many = {"id": "round", "method": "echo/echo", "params": told, "until": until}
    async with room() as there:
        submitted = await there.call("workflow.submit", {"definition": {"name": "Round", "tasks": [many]}})
        await there.until(submitted["workflow_id"], "completed")
        assert called(await again(there, submitted["workflow_id"])) == []


async def test_after_a_crash_in_the_middle_it_still_knows_what_it_had() -> None:
    store = MemoryStore()
    async with room(store) as there:
        old = await first(there)
        there.echo.busy = True
        run = await there.call("workflow.rerun", {"workflow_id": old, "from_task": "one"})
        await there.until(run["workflow_id"], "running")
    async with room(store) as there:
        view = await there.until(run["workflow_id"], "completed")
        assert called(view) == ["one"]


async def test_what_was_undone_is_done_again_and_undone_again() -> None:
    one = {**WORKFLOW["tasks"][2], "undo": {"method": "echo/echo", "params": {"message": "undo"}}}
    bad = {**WORKFLOW["tasks"][2], "id": "bad", "dependencies": ["alone"], "until": {"condition": "1 == 2", "max": 1}}
    async with room() as there:
        submitted = await there.call("workflow.submit", {"definition": {"name": "Undone", "tasks": [one, bad]}})
        old = submitted["workflow_id"]
        for number in (1, 2):
            await there.until(old, "failed")
            assert [call.task.id for call in there.echo.calls] == ["alone", "bad", "alone[undo]"] * number
            old = (await there.call("workflow.rerun", {"workflow_id": old}))["workflow_id"]


async def test_when_its_end_was_not_durable_it_still_knows_what_it_had() -> None:
    store = MemoryStore()
    async with room(store) as there:
        old = await first(there)
        there.echo.busy = True
        run = await there.call("workflow.rerun", {"workflow_id": old, "from_task": "one"})
        other = await there.call("workflow.submit", {"definition": WORKFLOW})
        await there.until(other["workflow_id"], "running")
        call = next(call for call in there.echo.calls if call.workflow.id == run["workflow_id"])
        store.capacity_bytes = store.size_bytes
        asks: asyncio.Future[fx.Answer] = asyncio.get_running_loop().create_future()
        there.service.post(inp.Cancel(asks, other["workflow_id"]))
        there.echo.answer(call)
        assert isinstance((await asks).error, errors.ResourceExhausted), "who asks does not wait for space"
        store.capacity_bytes = None
        there.echo.busy = False
        view = await there.until(run["workflow_id"], "completed")
        assert called(view) == ["one"]


async def test_what_is_retried_still_knows_what_it_had() -> None:
    async with room() as there:
        old = await first(there)
        there.echo.busy = True
        run = await there.call("workflow.rerun", {"workflow_id": old, "from_task": "one"})
        await there.call("workflow.cancel", {"workflow_id": run["workflow_id"]})
        await there.until(run["workflow_id"], "cancelled")
        there.echo.busy = False
        await there.call("workflow.retry", {"workflow_id": run["workflow_id"]})
        assert called(await there.until(run["workflow_id"], "completed")) == ["one"]


async def test_a_key_runs_it_again_only_once() -> None:
    store = MemoryStore()
    async with room(store) as there:
        workflow_id = await first(there)
        asked = {"workflow_id": workflow_id, "set": {"who": "Bob"}, "idempotency_key": "k"}
        made = await there.call("workflow.rerun", asked)
        await there.until(made["workflow_id"], "completed")
        assert shard_of(made["workflow_id"], SHARDS) == shard_of(workflow_id, SHARDS), "who has the old one has it"
    async with room(store) as there:
        once_more = await there.call("workflow.rerun", asked)
        assert (once_more["workflow_id"], once_more["created"]) == (made["workflow_id"], False)
        with pytest.raises(errors.InvalidState, match="was used before"):
            await there.call("workflow.rerun", {**asked, "set": {"who": "Eve"}})
        assert (await there.call("workflow.rerun", {**asked, "idempotency_key": "other"}))["created"]


async def test_what_cannot_be_run_again_says_why() -> None:
    async with room() as there:
        old = await first(there)
        there.echo.busy = True
        running = await there.call("workflow.submit", {"definition": WORKFLOW})
        for params, words in (
            ({"workflow_id": running["workflow_id"]}, "what is under way cannot be run again"),
            ({"workflow_id": old, "from_task": "alon"}, "has no task 'alon' (did you mean 'alone'?)"),
            ({"workflow_id": old, "set": {"woh": 1}}, "there is no input 'woh' (did you mean 'who'?)"),
            ({"workflow_id": old, "set": {"who": 1}}, "input 'who' must be text, not 1"),
            ({"workflow_id": old, "params": {"one": {"mesage": 1}}}, "unknown key 'mesage'"),
        ):
            with pytest.raises(errors.GleitzeitError) as caught:
                await there.call("workflow.rerun", params)
            assert words in caught.value.message


async def test_the_difference_of_two() -> None:
    async with room() as there:
        old = await first(there)
        same = await there.call("workflow.diff", {"a": old, "b": (await again(there, old))["workflow_id"]})
        assert (same["tasks"], same["inputs"], same["same"], same["outputs"]) == ([], {}, 3, False)
        anew = (await again(there, old, from_task="alone"))["workflow_id"]
        assert (await there.call("workflow.diff", {"a": old, "b": anew}))["tasks"] == [], "only its time is another"
        new = (await again(there, old, set={"who": "Bob"}))["workflow_id"]
        found = await there.call("workflow.diff", {"a": old, "b": new})
        assert found["inputs"] == {"who": ["Ada", "Bob"]}
        assert [(task["task_id"], task["differs"]) for task in found["tasks"]] == [
            ("one", ["params", "result"]), ("two", ["params", "result"])
        ]  # fmt: skip
        assert found["tasks"][1]["b"]["result"]["response"] == "hi Bob."
