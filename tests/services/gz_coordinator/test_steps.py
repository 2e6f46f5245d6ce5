import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from tests.libs.engine.builders import definition, raw, task

from gleitzeit.engine.state.workflow import STEP, Workflow
from gleitzeit.journal.base import Append, Summary
from gleitzeit.journal.memory import MemoryJournal
from gleitzeit.model import events as ev
from gz_coordinator import steps
from gz_coordinator.steps import LARGE_BYTES, built, decoded, last_of
from gz_coordinator.streams.workflows import load


@pytest.mark.parametrize("count", [1, 10_000])
async def test_a_large_event_is_read_in_steps_as_it_would_be_at_once(count: int) -> None:
    many = [task(f"t{n}", metadata={"n": n}) for n in range(count)]
    event = ev.WorkflowSubmitted(1, "w", definition(*many, config=raw({"tasks": []})), raw({"a": 1}))
    encoded = msgspec.json.encode(event)
    assert (len(encoded) > LARGE_BYTES) == (count > 1)
    found = list(decoded(encoded))
    assert len(found) == 1 or len(found) > count / 1_000
    assert msgspec.json.encode(found[-1]) == encoded
    read = await last_of(decoded(encoded))
    assert isinstance(read, ev.WorkflowSubmitted)
    workflow = await built(read)
    assert [t.id for t in workflow.released] == [f"t{n}" for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 3 * STEP + 1])
async def test_a_definition_is_encoded_in_steps_as_it_would_be_at_once(count: int) -> None:
    whole = definition(*(task(f"t{n}", metadata={"n": n}) for n in range(count)), config=raw({"tasks": []}))
    encoded = await steps.encoded_definition(whole)
    assert msgspec.json.decode(encoded) == msgspec.json.decode(msgspec.json.encode(whole))


def test_a_piece_never_ends_within_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "PIECE_BYTES", 20)
    odd = [{"a": "},{"}, {"b": [{"c": "]}"}, {}]}, {}]
    many = [task(f"t{n}", params={"list": odd * (n % 7), "text": '"},{"' * n}) for n in range(40)]
    encoded = Raw(msgspec.json.encode(definition(*many)))
    assert list(steps.decoded_definition(encoded))[-1].tasks == tuple(many)
    with pytest.raises(msgspec.DecodeError):
        list(steps.decoded_definition(Raw(bytes(encoded).replace(b'"t20"', b"20"))))


def test_only_what_is_very_large_is_not_looked_through_for_garbage() -> None:
    gc.collect()
    frozen = gc.get_freeze_count()
    try:
        with steps.lasting(steps.HUGE_BYTES - 1):
            assert gc.isenabled()
        assert gc.get_freeze_count() == frozen
        with steps.lasting(steps.HUGE_BYTES):
            assert not gc.isenabled()
            with steps.lasting(steps.HUGE_BYTES):  # another one at the same time
                pass
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()


async def test_what_others_still_hold_stays_when_a_workflow_goes() -> None:
    about = ev.WorkflowSubmitted(1, "w", definition(*(task(f"t{n}") for n in range(3 * STEP))), raw({}))
    workflow = await built(about)
    one = workflow.tasks["t7"]
    del about
    going = asyncio.create_task(steps.let_go(workflow))
    del workflow
    await going
    assert (one.id, one.definition.method) == ("t7", "echo/echo")


async def test_a_workflow_that_was_retried_is_loaded_in_steps() -> None:
    count = 20 * STEP
    about = ev.WorkflowSubmitted(1, "w", definition(*(task(f"t{n}") for n in range(count))), raw({}))
    names = tuple(t.id for t in about.definition.tasks)
    story = [about, *(ev.TaskCancelled(2, name, "why") for name in names), ev.WorkflowCancelled(2, "why")]
    story.append(ev.WorkflowRetried(3, names))
    journal = MemoryJournal()
    await journal.claim("me")
    summary = Summary("w", "workflow", "", "running", True, 1, 1)
    await journal.append([Append("w", 1, tuple(map(msgspec.json.encode, story)), summary)])
    turns = await _turns_beside(load(journal, "w"))
    story.pop()
    await journal.delete(["w"])
    await journal.append([Append("w", 1, tuple(map(msgspec.json.encode, story)), summary)])
    assert turns - await _turns_beside(load(journal, "w")) >= 3 * count / STEP


async def _turns_beside(loading: Coroutine[Any, Any, Workflow]) -> int:
    """How many others have while this goes on."""
    task_, turns = asyncio.create_task(loading), 0
    while not task_.done():
        await asyncio.sleep(0)
        turns += 1
    assert len((await task_).tasks) == 20 * STEP
    return turns


def test_what_a_long_look_for_garbage_has_seen_is_left_alone_by_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    before, threshold = len(gc.callbacks), gc.get_threshold()
    for _ in range(2):
        steps.look_once_only()
        assert len(gc.callbacks) == before + 1
    frozen = gc.get_freeze_count()
    try:
        for generation, seconds, is_left in ((2, 1_000.0, False), (0, 0.0, False), (1, 0.0, True)):
            monkeypatch.setattr(steps, "LONG_LOOK_SECONDS", seconds)
            gc.collect(generation)
            assert (gc.get_freeze_count() > frozen) == is_left
    finally:
        gc.callbacks.pop()
        gc.set_threshold(*threshold)
        gc.unfreeze()
