"""The events of a workflow, as the journal has them."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from gleitzeit import errors
from gleitzeit.journal.base import Journal
from gleitzeit.jsonrpc.methods import Request
from gleitzeit.model import earlier
from gz_coordinator.watching.notices import shortened

PAGE_EVENTS = 1_000
PAGE_EVENTS_BYTES = 4 << 20


class HistoryMethods:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def table(self) -> dict[str, Callable[..., Any]]:
        return {"workflow.history": self.history}

    async def history(
        self,
        request: Request,
        /,
        workflow_id: str,
        after: int = 0,
        limit: int = PAGE_EVENTS,
        events: list[str] | None = None,
    ) -> dict[str, Any]:
        wanted, limit = _wanted(events), min(limit, PAGE_EVENTS)
        records = await self._journal.read(workflow_id, after=after, limit=limit)
        if not records and after == 0:
            raise errors.WorkflowNotFound(f"no workflow {workflow_id}")
        page: list[dict[str, Any]] = []
        size_bytes, last = 0, after
        for record in records:
            if wanted is None or msgspec.json.decode(record.event, type=_Kind).type in wanted:
                event = shortened(record.event)
                size_bytes += len(event)
                if page and size_bytes > PAGE_EVENTS_BYTES:
                    break
                page.append({"seq": record.seq, "event": Raw(event)})
            last = record.seq
        answer: dict[str, Any] = {"workflow_id": workflow_id, "events": page}
        # The journal, too, ends a page early that has become large.
        if records and await self._journal.read(workflow_id, after=last, limit=1):
            answer["next"] = last
        return answer


class _Kind(Struct):
    """Of an event in the journal."""

    type: str


def _wanted(names: list[str] | None) -> frozenset[str] | None:
    """The types of events that are asked for; None: all. Raises InvalidParams."""
    try:
        return earlier.event_types(names) if names else None
    except ValueError as error:
        raise errors.InvalidParams(str(error)) from None
