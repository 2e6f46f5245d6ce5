"""Forgetting workflows that have ended: one that somebody names, and those that nobody wants to keep any longer."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from msgspec.structs import replace

from gleitzeit import errors
from gleitzeit.journal.base import Find, Journal, Summary
from gleitzeit.jsonrpc.methods import Request
from gz_coordinator.keeping.retention import Retention
from gz_coordinator.parts import Parts
from gz_coordinator.streams.workflows import CHILD, CHILD_SEPARATOR

log = logging.getLogger("gz.coordinator")

PAGE = 100
FAMILY_PAGE = 1_000
LOOK_SECONDS = 60.0


class DeletionMethods:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def table(self) -> dict[str, Callable[..., Any]]:
        return {"workflow.delete": self.delete}

    async def delete(self, request: Request, /, workflow_id: str) -> dict[str, Any]:
        rows = [row async for row in family(self._parts.journal, workflow_id)]
        if not any(row.stream == workflow_id for row in rows):
            raise errors.WorkflowNotFound(f"no workflow {workflow_id}")
        parent, is_child, _ = workflow_id.partition(CHILD_SEPARATOR)
        if is_child and await _row(self._parts.journal, "workflow", parent) is not None:
            raise errors.InvalidState(f"workflow {workflow_id} is a task of {parent}: delete that one")
        await forget(self._parts, rows)
        return {"workflow_id": workflow_id, "deleted": len(rows)}


async def forget(parts: Parts, rows: list[Summary]) -> None:
    """The last of `rows` first: what the others are tasks of goes when they are gone, so that who begins again after a
    crash finds the rest of them. Raises InvalidState if one of them has not ended, and then nothing is forgotten."""
    known = parts.service.quarantined
    under_way = next((row for row in rows if row.active and row.stream not in known), None)
    if under_way is not None:
        raise errors.InvalidState(
            f"workflow {under_way.stream} is {under_way.status}: only what has ended can be deleted; cancel it first",
            {"status": under_way.status},
        )
    await parts.service.ended.delete([row.stream for row in rows])


async def family(journal: Journal, workflow_id: str) -> AsyncIterator[Summary]:
    """Its row, and those of the workflows that are or were its tasks, at any depth."""
    for kind in ("workflow", CHILD):
        if (row := await _row(journal, kind, workflow_id)) is not None:
            yield row
    after, prefix = "", workflow_id + CHILD_SEPARATOR
    while page := await journal.find(Find(CHILD, stream_prefix=prefix, after=after, limit=FAMILY_PAGE)):
        for row in page:
            yield row
        after = page[-1].stream


async def _row(journal: Journal, kind: str, stream: str) -> Summary | None:
    """The first of all that begin with its name is what has it."""
    found = await journal.find(Find(kind, stream_prefix=stream, after="", limit=1))
    return found[0] if found and found[0].stream == stream else None


async def _rows(journal: Journal, query: Find) -> AsyncIterator[Summary]:
    """All of them, newest first."""
    before = query.before
    while page := await journal.find(replace(query, before=before)):
        for row in page:
            yield row
        if len(page) < query.limit:
            return
        before = page[-1].created_at, page[-1].stream


async def keep_for_ever(parts: Parts, retention: Retention) -> None:
    """Now and every minute, forget what is beyond it: of the workflows that are ours, one after the other."""
    while True:
        try:
            count = await forget_beyond(parts, retention)
            if count:
                log.info("%d workflows that had ended are forgotten, as the retention says", count)
        except (errors.JournalError, errors.ResourceExhausted) as error:
            log.warning("what the retention says cannot be forgotten now: %s", error)
        await asyncio.sleep(LOOK_SECONDS)


async def forget_beyond(parts: Parts, retention: Retention) -> int:
    """Returns how many are gone, not counting those that were tasks."""
    since = parts.service.clock() - round(retention.seconds * 1000) if retention.seconds is not None else None
    before = None if retention.count is not None or since is None else (since, "")
    seen = gone = 0
    async for row in _rows(parts.journal, Find("workflow", active=False, before=before, limit=PAGE)):
        seen += 1
        old = since is not None and row.updated_at < since
        if (old or (retention.count is not None and seen > retention.count)) and parts.service.engine.owns(row.stream):
            gone += await _forget_one(parts, row)
    return gone


async def _forget_one(parts: Parts, row: Summary) -> bool:
    try:
        await forget(parts, [found async for found in family(parts.journal, row.stream)])
    except errors.InvalidState:  # it has begun again, or a workflow that is under way takes results of it
        return False
    return True
