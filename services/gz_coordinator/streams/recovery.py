"""What has not ended comes from the journal into the engine: at a start, and when shards come from another coordinator.

Giving shards away is the way back.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

from gleitzeit import errors
from gleitzeit.engine import inputs as inp
from gleitzeit.engine.state.workflow import Workflow
from gleitzeit.journal.base import Unfinished
from gleitzeit.model.permits import Held
from gleitzeit.model.shards import SCHEDULES
from gz_coordinator.service import Service
from gz_coordinator.steps import HUGE_BYTES, lasting
from gz_coordinator.streams.limits import load_limits
from gz_coordinator.streams.schedules import STREAM as SCHEDULE
from gz_coordinator.streams.schedules import load_schedules
from gz_coordinator.streams.workflows import CHILD, CHILD_SEPARATOR, load, load_source, replayed

log = logging.getLogger("gz.coordinator")

T = TypeVar("T")

PAGE = 256
"""Workflows that are one question to the journal when all are read, and replayed in one go."""
TAKEN = 500
"""So many are taken over in one turn, …"""
GIVEN = 1_000
"""… so many given away, …"""
LOOKED_AT = 2_000
"""… and so many only looked at."""


async def recover(service: Service, *, held: bool) -> tuple[int, list[str]]:
    """Adopt every workflow that has not ended, before the loop runs. Returns how many, and a warning for each that
    cannot be read."""
    count, warnings = 0, list[str]()
    async for workflows in _unfinished(service, lambda workflow_id: True, warnings):
        now = service.clock()
        for workflow in workflows:
            service.engine.adopt(now, workflow, held=held)
        count += len(workflows)
    await _adopt_schedules(service, warnings)
    return count, warnings


async def take_over(service: Service, wanted: Callable[[str], bool]) -> tuple[int, list[str]]:
    """While the loop runs, what another coordinator had, some of it in each turn. Returns as `recover` does. It may be
    called again if it was refused halfway."""
    warnings: list[str] = []
    service.space.refuse()  # else all would be read in vain
    with lasting(HUGE_BYTES):
        workflows = [one async for some in _unfinished(service, wanted, warnings) for one in some]
        limits = tuple(await load_limits(service.journal, wanted, warnings))
        families: dict[str, list[Workflow]] = {}
        workflows.reverse()  # they came newest first: there is little left to be sorted
        workflows.sort(key=lambda one: (one.created_at, one.id))  # first come, first served
        for number, workflow in enumerate(workflows, 1):
            families.setdefault(_family(workflow.id), []).append(workflow)
            if number % LOOKED_AT == 0:
                await asyncio.sleep(0)
        for some in _slices(families, TAKEN) if families else [[]]:
            new = tuple(one for one in some if one.id not in service.engine.workflows)
            await service.ask(partial(_adoption, new, limits))
            limits = ()
    if wanted(SCHEDULES):
        await _adopt_schedules(service, warnings)
        service.wake()
    return len(workflows), warnings


def _family(workflow_id: str) -> str:
    return workflow_id.partition(CHILD_SEPARATOR)[0]


def _slices(families: Mapping[str, list[T]], size: int) -> Iterator[list[T]]:
    """A family goes as a whole: what a task waits for has to be there."""
    some: list[T] = []
    for family in families.values():
        some += family
        if len(some) >= size:
            yield some
            some = []
    if some:
        yield some


def _disowning(names: frozenset[str], token: Any) -> inp.Disown:
    return inp.Disown(token, names.__contains__, names)


def _adoption(workflows: tuple[Workflow, ...], limits: tuple[Held, ...], token: Any) -> inp.Adopt:
    return inp.Adopt(token, workflows, limits)


async def give_away(service: Service, wanted: Callable[[str], bool], gone: list[str]) -> None:
    """Forget workflows that another coordinator will have, some of them in each turn. When it returns nothing of them
    is under way; `gone` are those that are forgotten."""
    families: dict[str, list[str]] = {}
    known: set[str] = set()
    for number, name in enumerate(list(service.engine.workflows), 1):
        known.add(name)
        if wanted(name):
            families.setdefault(_family(name), []).append(name)
        if number % LOOKED_AT == 0:
            await asyncio.sleep(0)
    # Schedules go before their workflows, or with them: one that were due in between would look for what has gone.
    schedules = [SCHEDULES] if wanted(SCHEDULES) else []
    for some in _slices(families, GIVEN):
        await service.ask(partial(_disowning, frozenset(some + schedules)))
        gone += some
    # What has begun meanwhile, and what is no workflow.
    await service.ask(lambda token: inp.Disown(token, wanted, known=known))
    service.ended.drop_disowned()


async def _unfinished(
    service: Service, wanted: Callable[[str], bool], warnings: list[str]
) -> AsyncIterator[list[Workflow]]:
    """Page by page: there may be 100,000 of them. The clock has gone past what was read."""
    for kind in ("workflow", CHILD):
        before = None
        while page := await service.journal.unfinished(kind, wanted, before, PAGE):
            service.clock.not_before(max(one.updated_at for one in page))
            yield await _replayed(service, [one for one in page if wanted(one.stream)], warnings)
            before = page[-1].created_at, page[-1].stream


async def _replayed(service: Service, page: Iterable[Unfinished], warnings: list[str]) -> list[Workflow]:
    workflows: list[Workflow] = []
    for stream, events in [(one.stream, one.events) for one in page]:
        try:
            workflow = replayed(stream, events) if events else await load(service.journal, stream)
            workflow.source = await load_source(service.journal, workflow)
            workflows.append(workflow)
        except errors.GleitzeitError as error:
            service.quarantined[stream] = error.message
            warnings.append(f"workflow {stream} is quarantined, its stream cannot be read: {error}")
            log.error(warnings[-1], extra={"workflow_id": stream})
    return workflows


async def _adopt_schedules(service: Service, warnings: list[str]) -> None:
    for stream in [stream for stream in service.quarantined if stream.startswith(SCHEDULE)]:
        del service.quarantined[stream]  # another coordinator may have had them meanwhile
    async for schedule, updated_at in load_schedules(service.journal, warnings, service.quarantined):
        service.clock.not_before(max(schedule.decided, updated_at))
        service.engine.adopt_schedule(service.clock(), schedule)
