"""`template.*`: documents that the coordinator keeps under a name."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from gleitzeit.engine.view import iso
from gleitzeit.jsonrpc.methods import Request
from gleitzeit.model.events import Origin
from gz_coordinator.parts import Parts
from gz_coordinator.submitting.documents import in_order, trace_in
from gz_coordinator.submitting.submission import Submission, submit
from gz_coordinator.submitting.template_shelf import Row, split_version

PAGE = 1_000


class TemplateMethods:
    def __init__(self, parts: Parts, changed: Callable[[str], Awaitable[None]]) -> None:
        """`changed` hears of each template that has a new version."""
        self._parts = parts
        self._changed = changed
        self._shelf = parts.templates

    def table(self) -> dict[str, Callable[..., Any]]:
        return {
            "template.put": self.put,
            "template.get": self.get,
            "template.list": self.find,
            "template.delete": self.delete,
            "template.run": self.run,
        }

    async def put(self, request: Request, /, definition: Any, name: str = "") -> dict[str, Any]:
        self._parts.service.space.refuse_new()
        whole = await self._shelf.taken_in(definition)
        size_bytes = await self._parts.documents.size_of(request)
        catalogue = self._parts.service.engine.catalogue
        verdict = await self._parts.documents.check(whole, None, size_bytes, catalogue)
        name, row, created = await self._shelf.keep(name, definition, in_order(verdict))
        if created:
            await self._changed(name)
        return {"name": name, **_view(row), "created": created, "warnings": verdict.warnings}

    async def get(self, request: Request, /, name: str, version: int | None = None) -> dict[str, Any]:
        name, stored = await self._shelf.stored(name, version)
        newest = await self._shelf.newest(name)
        row = Row(0, stored.version, stored.at, stored.title, stored.description, stored.inputs, stored.tasks_total)
        return {"name": name, **_view(row), "definition": stored.definition, "versions": newest.version}

    async def find(self, request: Request, /, prefix: str = "", limit: int = PAGE, after: str = "") -> dict[str, Any]:
        rows = [(name, row) for name, row in await self._shelf.all(prefix) if name > after]
        answer: dict[str, Any] = {"templates": [{"name": name, **_view(row)} for name, row in rows[:limit]]}
        if len(rows) > limit:
            answer["next"] = rows[limit - 1][0]
        return answer

    async def delete(self, request: Request, /, name: str) -> dict[str, Any]:
        self._parts.service.space.refuse_new()
        return {"name": name, "version": await self._shelf.forget(name)}

    async def run(
        self,
        request: Request,
        /,
        name: str,
        version: int | None = None,
        inputs: dict[str, Any] | None = None,
        idempotency_key: str = "",
        hold: bool = False,
    ) -> dict[str, Any]:
        wanted = list(split_version(name, version))
        name, stored = await self._shelf.stored(name, version)
        label = f"{name}@{stored.version}"
        what = Submission(
            definition=msgspec.json.decode(stored.definition),
            body=["template", *wanted],
            size_bytes=len(bytes(stored.definition)) + len(request.raw_params or b""),
            inputs=inputs or {},
            idempotency_key=idempotency_key,
            hold=hold,
            origin=Origin(template=label),
            traceparent=trace_in(request.params),
        )
        return {**await submit(self._parts, what), "template": label}


def _view(row: Row) -> dict[str, Any]:
    return {
        "version": row.version,
        "title": row.title,
        "description": row.description,
        "inputs": row.inputs,
        "tasks_total": row.tasks_total,
        "stored_at": iso(row.stored_at),
    }
