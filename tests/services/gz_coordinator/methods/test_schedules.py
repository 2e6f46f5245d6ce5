"""`schedule.*` over the wire: made, shown, fired, kept over a restart, and filled in for the past."""

from typing import Any

import pytest
from tests.services.gz_coordinator.room import NOW, Room, room

from gleitzeit import errors
from gleitzeit.client.schedules import Schedules
from gleitzeit.client.templates import Templates
from gleitzeit.engine.decisions.schedules import scheduled_id
from gleitzeit.journal.memory import MemoryStore

HOUR = 3600
WORKFLOW: dict[str, Any] = {
    "name": "Report",
    "inputs": {"who": {"type": "string", "default": "me"}},
    "tasks": [{"id": "say", "method": "echo/echo", "params": {"message": "for ${inputs.who}"}}],
}


async def said(there: Room, workflow_id: str) -> str:
    result = await there.result(workflow_id)
    return str(result["results"]["say"]["response"])


async def test_it_fires_when_it_is_due_also_after_a_restart_and_no_time_twice() -> None:
    store = MemoryStore()
    async with room(store) as there:
        view = await Schedules(there.call, there.call_once, there.call).put(
            "hourly", definition=WORKFLOW, cron="0 * * * *", inputs={"who": "Ada"}, timezone="Europe/Berlin"
        )
        assert (view.status, view.created, view.next[0]) == ("active", True, "2027-01-15T09:00:00.000Z")
        await there.wait(HOUR)
        first = scheduled_id("hourly", NOW + HOUR * 1000)
        assert await said(there, first) == "for Ada"
    async with room(store, NOW + 2 * HOUR * 1000) as there:
        await there.wait(0)
        [one] = await Schedules(there.call, there.call_once, there.call).list()
        assert (one.fired, one.last_workflow_id) == (2, scheduled_id("hourly", NOW + 2 * HOUR * 1000))
        assert one.next[0] == "2027-01-15T11:00:00.000Z"
    async with room(store, NOW + 2 * HOUR * 1000) as there:
        await there.wait(1)
        assert [one.fired for one in await Schedules(there.call, there.call_once, there.call).list()] == [2]


async def test_a_schedule_follows_the_newest_version_of_its_template() -> None:
    async with room() as there:
        templates, schedules = Templates(there.call), Schedules(there.call, there.call_once, there.call)
        await templates.put(WORKFLOW, name="report")
        assert (await schedules.put("s", template="report", every="1h")).template == "report@1"
        await schedules.put("fixed", template="report@1", every="1h")
        changed = {**WORKFLOW, "tasks": [{"id": "say", "method": "echo/echo", "params": {"message": "new"}}]}
        await templates.put(changed, name="report")
        assert (await schedules.get("s")).template == "report@2"
        assert (await schedules.get("fixed")).template == "report@1"
        state = await schedules.trigger("s")
        assert await said(there, state.workflow_id) == "new"


async def test_a_trigger_that_is_asked_again_with_its_key_starts_nothing_more_also_after_a_restart() -> None:
    store = MemoryStore()
    trigger = ("schedule.trigger", {"name": "s", "idempotency_key": "k"})
    async with room(store) as there:
        await Schedules(there.call, there.call_once, there.call).put("s", definition=WORKFLOW, every="1h")
        first = await there.call(*trigger)
        await there.result(first["workflow_id"])
        again = await there.call(*trigger)
        assert (again["workflow_id"], first["created"], again["created"]) == (first["workflow_id"], True, False)
        other = await there.call("schedule.trigger", {"name": "s", "idempotency_key": "l"})
        assert other["workflow_id"] != first["workflow_id"]
    async with room(store) as there:
        again = await there.call(*trigger)
        assert (again["workflow_id"], again["created"], again["status"]) == (first["workflow_id"], False, "completed")
        assert (await Schedules(there.call, there.call_once, there.call).get("s")).fired == 2


async def test_the_past_is_filled_in_once() -> None:
    async with room() as there:
        schedules = Schedules(there.call, there.call_once, there.call)
        await schedules.put("s", definition=WORKFLOW, cron="0 * * * *", overlap="allow")
        await there.wait(HOUR)
        view = await schedules.backfill("s", since="2027-01-15T05:00", until="2027-01-15T09:00")
        assert view.times == tuple(f"2027-01-15T0{hour}:00:00.000Z" for hour in (5, 6, 7, 8))
        assert view.known == 1, "that of 09:00 was started by the clock"
        again = await schedules.backfill("s", since="2027-01-15T05:00")
        assert (again.times, again.known, again.fired) == ((), 5, 5)
        for backwards in ({"since": "2027-01-15T06:00", "until": "2027-01-15T05:00"}, {"since": "2027-01-15T12:00"}):
            with pytest.raises(errors.InvalidParams, match="is after 'until', or now"):
                await schedules.backfill("s", **backwards)


async def test_deleted_and_made_again_it_goes_on_with_its_number() -> None:
    store = MemoryStore()
    async with room(store) as there:
        schedules = Schedules(there.call, there.call_once, there.call)
        await schedules.put("s", definition=WORKFLOW, every="1h")
        await there.wait(HOUR)
        assert (await schedules.delete("s")).status == "deleted"
        assert await schedules.list() == ()
    async with room(store, NOW + HOUR * 1000) as there:
        schedules = Schedules(there.call, there.call_once, there.call)
        view = await schedules.put("s", definition=WORKFLOW, every="1h", paused=True)
        assert (view.created, view.fired, view.status, view.next) == (True, 1, "paused", ())
        assert (await schedules.resume("s")).next[0] == "2027-01-15T10:00:00.000Z"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"cron": "61 * * * *"}, "'cron': the minute '61' of '61 * * * *' is wrong"),
        ({"cron": "* * * * *", "timezone": "Europe/Berln"}, "did you mean 'Europe/Berlin'?"),
        ({"every": "1h", "cron": "* * * * *"}, "either a 'cron' or an 'every'"),
        ({}, "either a 'cron' or an 'every'"),
        ({"every": "100ms"}, "'every' is at least 1 s"),
        ({"every": "soon"}, "'every': 'soon' is not a duration"),
        ({"every": "1h", "end": "2020-01-01"}, "it would never be due"),
        ({"every": "1h", "template": "x"}, "either a 'definition' or a 'template'"),
        ({"every": "1h", "overlap": "alow"}, "overlap: must be"),
        ({"every": "1h", "inputs": {"who": 3}}, "input 'who' must be text, not 3"),
    ],
)
async def test_what_is_wrong_is_said(params: dict[str, Any], words: str) -> None:
    async with room() as there:
        with pytest.raises(errors.GleitzeitError) as caught:
            await there.call("schedule.put", {"name": "s", "definition": WORKFLOW, **params})
        assert words in str(caught.value) or words in str(caught.value.data)
        assert await Schedules(there.call, there.call_once, there.call).list() == ()
