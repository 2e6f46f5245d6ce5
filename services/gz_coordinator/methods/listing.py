"""Which workflows there are, and which of them somebody means."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from gleitzeit.engine import view
from gleitzeit.journal.base import Find, Summary
from gleitzeit.jsonrpc.methods import Request
from gleitzeit.model import earlier
from gz_coordinator.parts import Parts
from gz_coordinator.streams.own_ids import OWN_ID, workflow_of
from gz_coordinator.streams.workflows import CHILD

PAGE_WORKFLOWS = 50
LATEST = "@latest"


class ListMethods:
    def __init__(self, parts: Parts) -> None:
        self._journal = parts.journal
        self._service = parts.service
        self._engine = parts.service.engine

    def table(self) -> dict[str, Callable[..., Any]]:
        return {"workflow.list": self.find}

    async def find(
        self,
        request: Request,
        /,
        status: str | list[str] | None = None,
        name: str | None = None,
        id: str | None = None,
        limit: int = PAGE_WORKFLOWS,
        before: list[Any] | None = None,
        parent: str | None = None,
    ) -> dict[str, Any]:
        statuses = [status] if isinstance(status, str) else status or []
        find = Find(
            kind=CHILD if parent is not None or "~" in (id or "") else "workflow",
            stream_prefix=f"{parent}~" if parent is not None else "",
            keys=(name,) if name is not None else (),
            statuses=tuple(earlier.STATUSES.get(status, status) for status in statuses),
            before=(int(before[0]), str(before[1])) if before else None,
            limit=limit,
        )
        rows = await self._rows(find, id)
        answer: dict[str, Any] = {"workflows": [self._row(row) for row in rows]}
        if len(rows) == limit and id is None:
            answer["next"] = [rows[-1].created_at, rows[-1].stream]
        return answer

    async def _rows(self, find: Find, wanted: str | None) -> list[Summary]:
        """`wanted` is a workflow id, the beginning of one, a name, a document's own `id`, or the newest: @latest or
        NAME@latest."""
        journal = self._journal
        if wanted is None:
            return await journal.find(find)
        if wanted == LATEST:
            return await journal.find(replace(find, limit=1))
        rows = await journal.find(replace(find, stream_prefix=wanted))
        exact = [row for row in rows if row.stream == wanted]
        found = exact or rows or await self._named(find, wanted)
        if not found and wanted.endswith(LATEST):
            return (await self._named(find, wanted.removesuffix(LATEST)))[:1]
        return found

    async def _named(self, find: Find, wanted: str) -> list[Summary]:
        """By name, or by the `id` that the document gave itself."""
        journal = self._journal
        rows = {row.stream: row for row in await journal.find(replace(find, keys=(wanted,)))}
        for own in await journal.find(Find(kind=OWN_ID, keys=(wanted,), limit=find.limit)):
            for row in await journal.find(replace(find, stream_prefix=workflow_of(own), limit=1)):
                rows[row.stream] = row
        return sorted(rows.values(), key=lambda row: (row.created_at, row.stream), reverse=True)[: find.limit]

    def _row(self, row: Summary) -> dict[str, Any]:
        why = self._service.quarantined.get(row.stream)
        try:
            counts = msgspec.json.decode(row.counts, type=dict[str, int])
        except msgspec.MsgspecError as error:
            counts, why = {}, why or f"its row is damaged: {error}"
        return {
            **({"quarantined": why} if why is not None else {}),
            "workflow_id": row.stream,
            "name": row.key,
            "status": row.status,
            "held": row.stream in self._engine.scheduler.held,
            "created_at": view.iso(row.created_at),
            "updated_at": view.iso(row.updated_at),
            "counts": counts,
            "tasks_total": sum(counts.values()),
        }
