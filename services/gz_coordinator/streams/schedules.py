"""Schedules in the journal: a stream each, and beside it, as the counts of its summary row, where it stands."""

import logging
from collections.abc import AsyncIterator, Collection

import msgspec
from msgspec import Raw

from gleitzeit import errors
from gleitzeit.engine.decisions.core import ScheduleAppend
from gleitzeit.engine.state.schedule import Schedule
from gleitzeit.journal.base import Append, Find, Journal, Summary
from gleitzeit.model.schedules import AnyScheduleFact, Checkpoint, ScheduleSet

log = logging.getLogger("gz.coordinator")

KIND = "schedule"
STREAM = "$schedule/"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnyScheduleFact).decode


def stream_of(name: str) -> str:
    return f"{STREAM}{name}"


def schedule_append(append: ScheduleAppend) -> Append:
    schedule = append.schedule
    stream = stream_of(schedule.name)
    summary = Summary(
        stream=stream,
        kind=KIND,
        key=schedule.name,
        status=schedule.status,
        active=not schedule.deleted,
        created_at=schedule.created_at,
        updated_at=append.facts[-1].at,
        due_at=schedule.next_due(),
        counts=Raw(_encode(schedule.checkpoint())),
    )
    return Append(stream, append.seq, tuple(_encode(fact) for fact in append.facts), summary)


async def load_schedules(
    journal: Journal, warnings: list[str], quarantined: dict[str, str]
) -> AsyncIterator[tuple[Schedule, int]]:
    """All that are not deleted, each with the time of its last fact. One that cannot be read is a warning, and its
    stream is quarantined."""
    async for found in _loaded(journal, (), warnings, quarantined):
        yield found


async def _loaded(
    journal: Journal, names: tuple[str, ...], warnings: list[str], quarantined: dict[str, str]
) -> AsyncIterator[tuple[Schedule, int]]:
    """Without names all."""
    before = None
    while page := await journal.find(Find(kind=KIND, keys=names, active=True, before=before, limit=500)):
        for row in page:
            try:
                yield await _load(journal, row), row.updated_at
            except (errors.GleitzeitError, msgspec.MsgspecError, ValueError) as error:
                quarantined[row.stream] = str(error)
                warnings.append(f"schedule {row.key} is quarantined, it cannot be read: {error}")
                log.error(warnings[-1])
        before = (page[-1].created_at, page[-1].stream)


async def load_some(
    journal: Journal, names: Collection[str], warnings: list[str], quarantined: dict[str, str]
) -> list[Schedule]:
    """Those of these names that are not deleted."""
    return [schedule async for schedule, _ in _loaded(journal, tuple(names), warnings, quarantined)] if names else []


async def _load(journal: Journal, row: Summary) -> Schedule:
    at = msgspec.json.decode(row.counts, type=Checkpoint)
    records = await journal.read(row.stream, after=at.set_seq - 1, limit=1)
    fact = _decode(records[0].event) if records else None
    if not isinstance(fact, ScheduleSet):
        raise errors.JournalCorrupt(f"event {at.set_seq} of {row.stream} is no ScheduleSet")
    return Schedule(fact.definition, at)


async def deleted_before(journal: Journal, name: str) -> tuple[Checkpoint | None, int]:
    """Where a schedule of this name stood when it was deleted, and when that was."""
    rows = await journal.find(Find(kind=KIND, keys=(name,), limit=1))
    if not rows or rows[0].active:
        return None, 0
    return msgspec.json.decode(rows[0].counts, type=Checkpoint), rows[0].updated_at
