"""Forgetting what has ended: by name, by age and by number; and nothing else."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from tests.services.gz_coordinator.room import Room, room

from gleitzeit.errors import GleitzeitError, InvalidState, JournalFull, WorkflowNotFound
from gleitzeit.journal.memory import MemoryJournal, MemoryStore
from gz_coordinator.keeping import ended as ended_module
from gz_coordinator.keeping.deletion import forget_beyond
from gz_coordinator.keeping.retention import Retention

ECHO = {"id": "a", "method": "echo/echo", "params": {"message": "hi"}}
CHILD = {"id": "c", "workflow": {"name": "inner", "tasks": [ECHO]}}
ASLEEP = {"id": "s", "method": "timer/sleep", "params": {"seconds": 3600}}


async def submitted(there: Room, *tasks: dict[str, Any], at: int = 0, **more: Any) -> str:
    there.now = max(there.now, at)
    definition = {"name": "test", "tasks": list(tasks), "metadata": {"id": "own"}}
    return str((await there.call("workflow.submit", {"definition": definition, **more}))["workflow_id"])


async def ended(there: Room, *tasks: dict[str, Any], **more: Any) -> str:
    workflow_id = await submitted(there, *tasks, **more)
    await there.result(workflow_id)
    return workflow_id


async def listed(there: Room) -> list[str]:
    return [row["workflow_id"] for row in (await there.call("workflow.list", {"limit": 500}))["workflows"]]


async def test_what_has_ended_is_gone_with_its_children_and_names() -> None:
    store = MemoryStore()
    async with room(store) as there:
        workflow_id, other = await ended(there, ECHO, CHILD), await ended(there, ECHO)
        assert any("~" in stream for stream in store.streams)
        answer = await there.call("workflow.delete", {"workflow_id": workflow_id})
        assert answer == {"workflow_id": workflow_id, "deleted": 2}
        assert not [stream for stream in store.streams if workflow_id in stream]
        for method in ("get", "result", "history", "retry", "delete", "explain"):
            with pytest.raises(WorkflowNotFound):
                await there.call(f"workflow.{method}", {"workflow_id": workflow_id})
        assert await listed(there) == [other]
    async with room(store) as there:
        assert await listed(there) == [other]


async def test_a_large_family_goes_bit_by_bit_and_its_head_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended_module, "DELETED", 2)
    async with room() as there:
        workflow_id = await ended(there, *(CHILD | {"id": f"c{n}"} for n in range(5)))
        gone: list[list[str]] = []

        async def delete(streams: Sequence[str]) -> None:
            if len(gone) == 2:
                gone.append([])
                raise JournalFull("no space")
            gone.append([stream for stream in streams if not stream.startswith("$")])
            for method in ("retry", "rerun", "signal"):  # nobody makes anything of what is half gone
                with pytest.raises(InvalidState, match="is being deleted"):
                    await there.call(f"workflow.{method}", about if method != "signal" else {**about, "name": "go"})
            await MemoryJournal.delete(there.journal, streams)

        monkeypatch.setattr(there.journal, "delete", delete)
        about = {"workflow_id": workflow_id}
        with pytest.raises(JournalFull):
            await there.call("workflow.delete", about)
        assert await listed(there) == [workflow_id]
        assert (await there.call("workflow.delete", about))["deleted"] == 2
        assert [len(some) for some in gone] == [2, 2, 0, 2]
        assert gone[-1][0] == workflow_id
        assert await listed(there) == []


async def test_what_is_under_way_cannot_be_deleted_nor_a_task_alone() -> None:
    async with room() as there:
        asleep, whole = await submitted(there, ASLEEP), await ended(there, CHILD)
        with pytest.raises(InvalidState, match="only what has ended can be deleted; cancel it first"):
            await there.call("workflow.delete", {"workflow_id": asleep})
        with pytest.raises(InvalidState, match=f"is a task of {whole}: delete that one"):
            await there.call("workflow.delete", {"workflow_id": f"{whole}~c~1"})
        await there.call("workflow.cancel", {"workflow_id": asleep})
        assert (await there.call("workflow.delete", {"workflow_id": asleep}))["deleted"] == 1


async def test_an_idempotency_key_can_be_used_again() -> None:
    async with room() as there:
        first = await ended(there, ECHO, idempotency_key="k")
        await there.call("workflow.delete", {"workflow_id": first})
        assert await ended(there, ASLEEP | {"params": {"seconds": 0}}, idempotency_key="k") == first


async def test_deleting_and_beginning_again_at_once_harm_nobody() -> None:
    for _ in range(20):
        async with room() as there:
            workflow_id = await submitted(there, ASLEEP)
            await there.call("workflow.cancel", {"workflow_id": workflow_id})
            there.service.engine.forget(workflow_id)
            there.service.ended._kept.clear()
            calls = [
                there.call(f"workflow.{name}", {"workflow_id": workflow_id}) for name in ("retry", "delete", "get")
            ]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(answer, dict | GleitzeitError) for answer in answers)
            assert await ended(there, ECHO)  # the loop goes on


@pytest.mark.parametrize(
    ("retention", "left"),
    [(Retention(seconds=150), 1), (Retention(count=2), 2), (Retention(count=300), 250), (Retention(150, 100), 1)],
)
async def test_retention_by_age_and_number(retention: Retention, left: int) -> None:
    async with room() as there:
        asleep = await submitted(there, ASLEEP)
        ids = [await ended(there, ECHO, at=there.now + 1) for _ in range(249)]
        await there.wait(200)
        ids.append(await ended(there, ECHO))
        assert await forget_beyond(there.parts, retention) == 250 - left
        assert set(await listed(there)) == {asleep, *ids[250 - left :]}
        assert await forget_beyond(there.parts, retention) == 0
