"""`schedule.*`: workflows that the clock starts."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw

from gleitzeit import errors
from gleitzeit.engine import inputs as inp
from gleitzeit.engine import view
from gleitzeit.engine.decisions.schedules import schedule_not_found, scheduled_id
from gleitzeit.engine.state.schedule import Schedule
from gleitzeit.engine.view import iso
from gleitzeit.jsonrpc.methods import Request
from gleitzeit.model.schedules import ScheduleDefinition
from gleitzeit.spec.durations import parse_duration
from gleitzeit.spec.moments import Cron, parse_moment, time_zone
from gz_coordinator.ids import new_workflow_id
from gz_coordinator.parts import Parts
from gz_coordinator.streams.schedules import STREAM, deleted_before, stream_of
from gz_coordinator.submitting.template_shelf import checked_name

SHOWN_TIMES = 5
MOST_BACKFILLED = 1_000
SHORTEST_SECONDS = 1.0


class ScheduleMethods:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._backfilling = asyncio.Lock()

    def table(self) -> dict[str, Callable[..., Any]]:
        return {
            "schedule.put": self.put,
            "schedule.get": self.get,
            "schedule.list": self.find,
            "schedule.delete": self.delete,
            "schedule.pause": self.pause,
            "schedule.resume": self.resume,
            "schedule.trigger": self.trigger,
            "schedule.backfill": self.backfill,
        }

    async def put(
        self,
        request: Request,
        /,
        name: str,
        definition: Any = None,
        template: str | None = None,
        inputs: dict[str, Any] | None = None,
        cron: str | None = None,
        every: Any = None,
        timezone: str = "UTC",
        start: Any = None,
        end: Any = None,
        overlap: Any = "skip",
        catch_up: Any = "one",
        catch_up_limit: int = 100,
        description: str = "",
        paused: bool | None = None,
    ) -> dict[str, Any]:
        service = self._parts.service
        service.space.refuse_new()
        checked_name(name, "schedule")
        now = service.clock.wall()
        seconds = _interval(cron, every)
        _check_cron(cron, timezone)
        zone = _in_words("timezone", lambda: time_zone(timezone))
        begins = now if start is None else _in_words("start", lambda: parse_moment(start, zone))
        ends = None if end is None else _in_words("end", lambda: parse_moment(end, zone))
        if ends is not None and ends <= max(begins, now):
            raise errors.InvalidParams("'end' is not after 'start', or is over: it would never be due")
        label, document = await self._document(definition, template)
        checked, warnings = await self._checked(document, inputs or {}, await self._parts.documents.size_of(request))
        what = ScheduleDefinition(
            name=name,
            definition=checked,
            inputs=Raw(msgspec.json.encode(inputs or {})),
            cron=cron or "",
            every_seconds=seconds,
            timezone=timezone,
            start=begins,
            end=ends,
            overlap=overlap,
            catch_up=catch_up,
            catch_up_limit=catch_up_limit,
            description=description,
            template=label,
            follows=template if template is not None and "@" not in template else "",
        )
        known = name in service.engine.schedules
        if not known:
            self._refuse_damaged(name)
        before, deleted_at = (None, 0) if known else await deleted_before(self._parts.journal, name)
        service.clock.not_before(deleted_at)
        answer = await service.ask(lambda token: inp.PutSchedule(token, what, before, paused))
        return {**self._view(answer.schedule), "created": not known, "warnings": warnings}

    async def _document(self, definition: Any, template: str | None) -> tuple[str, Any]:
        if (definition is None) == (template is None):
            raise errors.InvalidParams("a schedule starts either a 'definition' or a 'template'")
        if template is None:
            return "", definition
        name, stored = await self._parts.templates.stored(template)
        return f"{name}@{stored.version}", msgspec.json.decode(stored.definition)

    async def _checked(self, document: Any, inputs: dict[str, Any], size_bytes: int) -> tuple[Any, list[str]]:
        whole = await self._parts.templates.taken_in(document)
        catalogue = self._parts.service.engine.catalogue
        verdict = await self._parts.documents.definition(whole, inputs, size_bytes, catalogue)
        return verdict.definition, verdict.warnings

    async def follow(self, template: str) -> None:
        """A template has a new version: the schedules that follow it start that one from now on."""
        service = self._parts.service
        for schedule in list(service.engine.schedules.values()):
            what = schedule.definition
            if what.follows == template:
                label, document = await self._document(None, template)
                inputs = msgspec.json.decode(what.inputs, type=dict[str, Any])
                checked, _ = await self._checked(document, inputs, len(bytes(what.inputs)))
                changed = msgspec.structs.replace(what, definition=checked, template=label)
                await service.ask(partial(_put, changed))

    async def get(self, request: Request, /, name: str) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            schedule = self._parts.service.engine.schedules.get(name)
            if schedule is None:
                self._refuse_damaged(name)
                raise schedule_not_found(name, list(self._parts.service.engine.schedules))
            more = {"inputs": schedule.definition.inputs, "catch_up_limit": schedule.definition.catch_up_limit}
            return {**self._view(schedule), **more}

        return await self._parts.service.between_turns(look)

    async def find(self, request: Request, /) -> dict[str, Any]:
        schedules = self._parts.service.engine.schedules

        def look() -> list[dict[str, Any]]:
            shown = [self._view(schedules[name]) for name in sorted(schedules)]
            return shown + [{"name": name, "status": "quarantined"} for name in self._damaged()]

        return {"schedules": await self._parts.service.between_turns(look)}

    async def delete(self, request: Request, /, name: str) -> dict[str, Any]:
        stream = stream_of(name)
        if stream in self._parts.service.quarantined and name not in self._parts.service.engine.schedules:
            await self._parts.service.ended.delete([stream])
            return {"name": name, "status": "deleted"}
        answer = await self._parts.service.ask(lambda token: inp.ChangeSchedule(token, name, "delete"))
        return self._view(answer.schedule)

    async def pause(self, request: Request, /, name: str) -> dict[str, Any]:
        answer = await self._parts.service.ask(lambda token: inp.ChangeSchedule(token, name, "pause"))
        return self._view(answer.schedule)

    async def resume(self, request: Request, /, name: str) -> dict[str, Any]:
        answer = await self._parts.service.ask(lambda token: inp.ChangeSchedule(token, name, "resume"))
        return self._view(answer.schedule)

    async def trigger(self, request: Request, /, name: str, idempotency_key: str = "") -> dict[str, Any]:
        service = self._parts.service
        now = service.clock()
        if idempotency_key:
            workflow_id = scheduled_id(f"{name}\0\0{idempotency_key}", 0)
            with contextlib.suppress(errors.WorkflowNotFound):  # it may have ended and left memory
                await service.ended.bring_back(workflow_id)
        else:
            workflow_id = scheduled_id(f"{name}\0{new_workflow_id(now)}", now)  # new, and in the shard of schedules
        answer = await service.ask(lambda token: inp.Trigger(token, name, workflow_id, bool(idempotency_key)))
        assert answer.workflow is not None
        status = view.status_view(answer.workflow, service.engine.scheduler.held)
        return {**status, "created": answer.created}

    async def backfill(self, request: Request, /, name: str, since: Any, until: Any = None) -> dict[str, Any]:
        service = self._parts.service
        now = service.clock.wall()
        async with self._backfilling:
            zone = await service.between_turns(lambda: time_zone(self._known(name).definition.timezone))
            first = _in_words("since", lambda: parse_moment(since, zone))
            last = now if until is None else min(now, _in_words("until", lambda: parse_moment(until, zone)))
            if last < first:
                raise errors.InvalidParams(f"'since', {iso(first)}, is after 'until', or now, {iso(last)}")
            dues = await service.between_turns(lambda: self._past_times(name, first, last))
            unknown = [due for due in dues if not await self._parts.journal.read(scheduled_id(name, due), limit=1)]
            answer = await service.ask(lambda token: inp.Backfill(token, name, tuple(unknown)))
        known = len(dues) - len(unknown)
        return {**self._view(answer.schedule), "times": [iso(due) for due in unknown], "known": known}

    def _past_times(self, name: str, first: int, until: int) -> list[int]:
        schedule = self._known(name)
        begin = first - 1
        times = itertools.takewhile(lambda due: due <= min(until, schedule.decided), _unbounded(schedule, begin))
        dues = list(itertools.islice(times, MOST_BACKFILLED + 1))
        if len(dues) > MOST_BACKFILLED:
            message = f"from {iso(first)} to {iso(until)} it was due more than {MOST_BACKFILLED:,} times: take less"
            raise errors.InvalidParams(message)
        return dues

    def _damaged(self) -> list[str]:
        found = self._parts.service.quarantined
        names = (stream.removeprefix(STREAM) for stream in found if stream.startswith(STREAM))
        return sorted(name for name in names if name not in self._parts.service.engine.schedules)

    def _refuse_damaged(self, name: str) -> None:
        why = self._parts.service.quarantined.get(stream_of(name))
        if why is not None:
            raise errors.JournalCorrupt(f"schedule {name} is quarantined: {why}; delete it, then it can be put anew")

    def _known(self, name: str) -> Schedule:
        schedules = self._parts.service.engine.schedules
        if name not in schedules:
            raise schedule_not_found(name, list(schedules))
        return schedules[name]

    def _view(self, schedule: Schedule | None) -> dict[str, Any]:
        assert schedule is not None
        what = schedule.definition
        coming = schedule.due_after(schedule.decided) if schedule.status == "active" else iter(())
        return {
            "name": what.name,
            "status": schedule.status,
            **({"cron": what.cron, "timezone": what.timezone} if what.cron else {"every_seconds": what.every_seconds}),
            "overlap": what.overlap,
            "catch_up": what.catch_up,
            "workflow": what.definition.name,
            **({"template": what.template} if what.template else {}),
            "next": [iso(due) for due in itertools.islice(coming, SHOWN_TIMES)],
            "fired": schedule.fired,
            "last_workflow_id": schedule.last_workflow,
            "last_fired_at": iso(schedule.last_fired_at),
            "running": self._parts.service.engine.under_way(schedule),
            "queued": len(schedule.queued),
            "description": what.description,
        }


def _put(what: ScheduleDefinition, token: Any) -> inp.PutSchedule:
    return inp.PutSchedule(token, what)


def _unbounded(schedule: Schedule, after: int) -> Any:
    """Its times, also from before it was made."""
    what = schedule.definition
    if what.cron:
        return Cron(what.cron, what.timezone).after(after)
    step = max(1, round(what.every_seconds * 1000))
    return itertools.count(what.start - (what.start - after - 1) // step * step, step)


def _interval(cron: str | None, every: Any) -> float:
    if (cron is None) == (every is None):
        raise errors.InvalidParams("a schedule has either a 'cron' or an 'every'")
    if every is None:
        return 0.0
    seconds: float = _in_words("every", lambda: parse_duration(every))
    if seconds < SHORTEST_SECONDS:
        raise errors.InvalidParams(f"'every' is at least {SHORTEST_SECONDS:g} s, not {seconds:g} s")
    return seconds


def _check_cron(cron: str | None, timezone: str) -> None:
    _in_words("timezone", lambda: time_zone(timezone))
    if cron is not None:
        _in_words("cron", lambda: Cron(cron, timezone))


def _in_words(name: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ValueError as error:
        raise errors.InvalidParams(f"'{name}': {error}") from None
