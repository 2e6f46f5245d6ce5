"""A large workflow is made ready for a retry in steps: nobody sees it half done, and nobody forgets it."""

import asyncio

import pytest
from tests.services.gz_coordinator.room import Room, room

from gleitzeit import errors
from gz_coordinator.methods.retries import retry

MANY = [{"id": f"t{n}", "method": "later/do"} for n in range(1_500)]


async def test_what_is_seen_of_a_workflow_that_is_about_to_run_again_is_what_it_was() -> None:
    async with room() as there:
        view = await there.call("workflow.submit", {"definition": {"name": "many", "tasks": MANY}})
        about = {"workflow_id": view["workflow_id"]}
        assert (await there.call("workflow.cancel", about))["status"] == "cancelled"
        retrying = asyncio.create_task(there.call("workflow.retry", about))
        await _begun(there)
        asked = [there.call(f"workflow.{name}", about) for name in ("get", "retry", "delete")]
        view, again, gone = await asyncio.gather(*asked, return_exceptions=True)
        assert (view["status"], view["counts"]) == ("cancelled", {"cancelled": len(MANY)})
        for refused in (again, gone):
            assert isinstance(refused, errors.InvalidState)
            assert "about to run again" in refused.message
        assert len((await retrying)["tasks"]) == len(MANY)
        assert not there.service.ended.aside
        view = await there.call("workflow.get", {**about, "limit": 1})
        assert (view["status"], view["counts"]) == ("running", {"ready": len(MANY)})


async def test_a_retry_that_is_not_recorded_leaves_the_workflow_as_it_was() -> None:
    async with room() as there:
        view = await there.call("workflow.submit", {"definition": {"name": "many", "tasks": MANY}})
        about = {"workflow_id": view["workflow_id"]}
        await there.call("workflow.cancel", about)
        retrying = asyncio.create_task(retry(there.service, view["workflow_id"], ()))
        await _begun(there)
        for _ in range(15):  # it has begun to reset tasks
            await asyncio.sleep(0)
        there.service.space.stalled = "the journal is full"
        with pytest.raises(errors.ResourceExhausted):
            await retrying
        there.service.space.stalled = ""
        view = await there.call("workflow.get", {**about, "limit": 1})
        assert (view["status"], view["counts"]) == ("cancelled", {"cancelled": len(MANY)})
        assert (await there.call("workflow.retry", about))["status"] == "running"


async def _begun(there: Room) -> None:
    for _ in range(10_000):
        if there.service.ended.aside:
            return
        await asyncio.sleep(0)
    raise AssertionError("nothing is set aside")
