"""Workflows that the clock starts, as a Python program sees them: `client.schedules`."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec import Struct

from gleitzeit.client.templates import Call
from gleitzeit.client.views import Json, State, understood

CallAgain = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
CallOnce = Callable[[str, Mapping[str, Any], str | None], Awaitable[Any]]


class ScheduleView(Struct, frozen=True, omit_defaults=True):
    """`next` are the times that come next, ISO 8601 in UTC."""

    name: str
    status: str
    cron: str = ""
    every_seconds: float = 0.0
    timezone: str = ""
    overlap: str = "skip"
    catch_up: str = "one"
    catch_up_limit: int = 0
    workflow: str = ""
    template: str = ""
    next: tuple[str, ...] = ()
    fired: int = 0
    last_workflow_id: str = ""
    last_fired_at: str | None = None
    running: tuple[str, ...] = ()
    queued: int = 0
    description: str = ""
    inputs: Json = None
    created: bool = False
    warnings: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    """Of a backfill: those for which a workflow is started or waits."""
    known: int = 0
    """Of a backfill: times for which one had been started before."""


class _List(Struct, frozen=True):
    schedules: tuple[ScheduleView, ...]


class Schedules:
    """Raises ScheduleNotFound."""

    def __init__(self, call: Call, call_once: CallOnce, call_again: CallAgain) -> None:
        self._call = call
        self._call_once = call_once
        self._call_again = call_again

    async def put(
        self,
        name: str,
        *,
        definition: object = None,
        template: str | None = None,
        inputs: Mapping[str, object] | None = None,
        cron: str | None = None,
        every: str | float | None = None,
        **settings: object,
    ) -> ScheduleView:
        """Either `definition` or `template`, either `cron` or `every`. `settings` are as of `schedule.put`: timezone,
        start, end, overlap, catch_up, catch_up_limit, description, paused. Raises DocumentError, InvalidParams."""
        params = {"name": name, "definition": definition, "template": template, "inputs": inputs, "cron": cron,
                  "every": every, **settings}  # fmt: skip
        given = {key: value for key, value in params.items() if value is not None}
        return await self._view("schedule.put", given)

    async def list(self) -> tuple[ScheduleView, ...]:
        """All of them, without the workflows that they start."""
        return understood(await self._call("schedule.list", {}), _List).schedules

    async def get(self, name: str) -> ScheduleView:
        """With the workflow that it starts. Raises ScheduleNotFound, as all below."""
        return await self._view("schedule.get", {"name": name})

    async def delete(self, name: str) -> ScheduleView:
        """Forget it. The workflows that it has started go on."""
        return await self._view("schedule.delete", {"name": name})

    async def pause(self, name: str) -> ScheduleView:
        """Times that pass meanwhile are left out."""
        return await self._view("schedule.pause", {"name": name})

    async def resume(self, name: str) -> ScheduleView:
        """With the times from now on."""
        return await self._view("schedule.resume", {"name": name})

    async def trigger(self, name: str, *, idempotency_key: str | None = None) -> State:
        """The same key starts no second workflow."""
        return understood(await self._call_once("schedule.trigger", {"name": name}, idempotency_key), State)

    async def backfill(self, name: str, since: str | float, until: str | float | None = None) -> ScheduleView:
        """For the times of the past for which no workflow was ever started; so it may be asked for again. If an answer
        was lost on the way, what it had started counts as `known`."""
        asked = {"name": name, "since": since, "until": until}
        return understood(await self._call_again("schedule.backfill", asked), ScheduleView)

    async def _view(self, method: str, params: Mapping[str, Any]) -> ScheduleView:
        return understood(await self._call(method, params), ScheduleView)
