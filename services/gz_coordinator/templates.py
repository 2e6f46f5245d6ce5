"""Templates: documents that the coordinator keeps under a name, each change a new version.

The stream `$template/<name>` has every version; beside it stands, as the counts of its summary row, what a list shows.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from gleitzeit import errors
from gleitzeit.engine.view import iso
from gleitzeit.journal.base import Append, Find, Summary
from gleitzeit.jsonrpc.methods import Request
from gleitzeit.model.definition import Definition
from gleitzeit.model.events import Origin
from gleitzeit.model.templates import TemplateDeleted, TemplateEvent, TemplateStored
from gleitzeit.schemas import near
from gz_coordinator.documents import in_order
from gz_coordinator.parts import Parts
from gz_coordinator.submission import Submission, submit

KIND = "template"
STORED = "stored"
DELETED = "deleted"
PAGE = 1_000
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,98}[A-Za-z0-9])?")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(TemplateEvent).decode


class Row(Struct, frozen=True):
    """What stands in the summary of a template. `seq` is where its newest version is in the stream."""

    seq: int
    version: int
    stored_at: int
    title: str = ""
    description: str = ""
    inputs: msgspec.Raw = msgspec.Raw(b"{}")
    tasks_total: int = 0


def split_version(text: str, version: int | None = None) -> tuple[str, int | None]:
    """`name@3` -> ("name", 3). Raises InvalidParams."""
    name, at, number = text.partition("@")
    if not at:
        return name, version
    if number == "latest":
        return name, version
    if not number.isdecimal() or not int(number) or version not in (None, int(number)):
        raise errors.InvalidParams(f"{text!r} is no template: NAME, or NAME@VERSION with a version from 1")
    return name, int(number)


class TemplateMethods:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._journal = parts.journal
        self._writing = asyncio.Lock()

    def table(self) -> dict[str, Callable[..., Any]]:
        return {
            "template.put": self.put,
            "template.get": self.get,
            "template.list": self.find,
            "template.delete": self.delete,
            "template.run": self.run,
        }

    async def put(self, request: Request, /, definition: Any, name: str = "") -> dict[str, Any]:
        self._parts.service.refuse_if_stalled()
        size_bytes = len(request.raw_params or b"")
        catalogue = self._parts.service.engine.catalogue
        verdict = await self._parts.documents.check(definition, None, size_bytes, catalogue)
        checked = in_order(verdict)
        name = _checked_name(name or _name_from(checked.name))
        async with self._writing:
            row, created = await self._store(name, definition, checked)
        return {"name": name, **_view(row), "created": created, "warnings": verdict.warnings}

    async def _store(self, name: str, definition: Any, checked: Definition) -> tuple[Row, bool]:
        summary = await self._summary(name)
        document = msgspec.Raw(_encode(definition))
        if summary is not None and summary.status == STORED:
            row = _row(summary)
            if _same((await self._version(name, row, row.version)).definition, document):
                return row, False
        before = _row(summary) if summary is not None else Row(0, 0, 0)
        event = TemplateStored(
            at=self._parts.service.clock(),
            version=before.version + 1,
            definition=document,
            title=checked.name,
            description=checked.description,
            inputs=checked.inputs,
            tasks_total=len(checked.tasks),
        )
        kept = {field: value for field, value in asdict(event).items() if field not in ("at", "definition")}
        row = Row(seq=before.seq + 1, stored_at=event.at, **kept)
        await self._append(name, row, event, STORED)
        return row, True

    async def _append(self, name: str, row: Row, event: TemplateEvent, status: str) -> None:
        stream = _stream(name)
        summary = Summary(
            stream, KIND, name, status, active=False, created_at=row.stored_at, updated_at=event.at, counts=_raw(row)
        )
        await self._journal.append([Append(stream, row.seq, (_encode(event),), summary)])

    async def get(self, request: Request, /, name: str, version: int | None = None) -> dict[str, Any]:
        name, stored, row = await self._stored(name, version)
        row = Row(row.seq, stored.version, stored.at, stored.title, stored.description, stored.inputs,
                  stored.tasks_total)  # fmt: skip
        newest = await self._newest(name)
        return {"name": name, **_view(row), "definition": stored.definition, "versions": newest.version}

    async def find(self, request: Request, /, prefix: str = "", limit: int = PAGE, after: str = "") -> dict[str, Any]:
        rows = sorted((s.key, s) for s in await self._all(prefix) if s.status == STORED and s.key > after)
        answer: dict[str, Any] = {"templates": [{"name": name, **_view(_row(s))} for name, s in rows[:limit]]}
        if len(rows) > limit:
            answer["next"] = rows[limit - 1][0]
        return answer

    async def delete(self, request: Request, /, name: str) -> dict[str, Any]:
        self._parts.service.refuse_if_stalled()
        async with self._writing:
            row = await self._newest(name)
            deleted = TemplateDeleted(self._parts.service.clock(), row.version)
            kept = Row(row.seq + 1, row.version, row.stored_at)
            await self._append(name, kept, deleted, DELETED)
        return {"name": name, "version": row.version}

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
        name, stored, _ = await self._stored(name, version)
        label = f"{name}@{stored.version}"
        what = Submission(
            definition=msgspec.json.decode(stored.definition),
            body=["template", *wanted],
            size_bytes=len(bytes(stored.definition)) + len(request.raw_params or b""),
            inputs=inputs or {},
            idempotency_key=idempotency_key,
            hold=hold,
            origin=Origin(template=label),
        )
        return {**await submit(self._parts, what), "template": label}

    async def definition(self, text: str) -> tuple[str, Any]:
        """The document of `name` or `name@version`, and which one that is, as `name@version`. Raises
        TemplateNotFound."""
        name, stored, _ = await self._stored(text, None)
        return f"{name}@{stored.version}", msgspec.json.decode(stored.definition)

    # Reading

    async def _stored(self, text: str, version: int | None) -> tuple[str, TemplateStored, Row]:
        name, wanted = split_version(text, version)
        row = await self._newest(name)
        return name, await self._version(name, row, wanted or row.version), row

    async def _newest(self, name: str) -> Row:
        summary = await self._summary(name)
        if summary is None or summary.status != STORED:
            known = [one.key for one in await self._all("") if one.status == STORED]
            raise errors.TemplateNotFound(*_not_found(name, known))
        return _row(summary)

    async def _version(self, name: str, newest: Row, version: int) -> TemplateStored:
        after = newest.seq - 1 if version == newest.version else 0
        while records := await self._journal.read(_stream(name), after=after, limit=100):
            for record in records:
                event = _decode(record.event)
                if isinstance(event, TemplateStored) and event.version == version:
                    return event
            after = records[-1].seq
        message = f"template {name!r} has no version {version}; the newest is {newest.version}"
        raise errors.TemplateNotFound(message, {"name": name, "versions": newest.version})

    async def _summary(self, name: str) -> Summary | None:
        rows = await self._journal.find(Find(kind=KIND, keys=(name,), limit=1))
        return rows[0] if rows else None

    async def _all(self, prefix: str) -> list[Summary]:
        found, before = list[Summary](), None
        while page := await self._journal.find(
            Find(kind=KIND, stream_prefix=_stream(prefix), before=before, limit=500)
        ):
            found += page
            before = (page[-1].created_at, page[-1].stream)
        return found


def _stream(name: str) -> str:
    return f"$template/{name}"


def _raw(row: Row) -> msgspec.Raw:
    return msgspec.Raw(_encode(row))


def _row(summary: Summary) -> Row:
    return msgspec.json.decode(summary.counts, type=Row)


def _same(one: msgspec.Raw, other: msgspec.Raw) -> bool:
    return bool(msgspec.json.decode(one) == msgspec.json.decode(other))


def _view(row: Row) -> dict[str, Any]:
    return {
        "version": row.version,
        "title": row.title,
        "description": row.description,
        "inputs": row.inputs,
        "tasks_total": row.tasks_total,
        "stored_at": iso(row.stored_at),
    }


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        allowed = "letters and digits, and within them . _ - /, at most 100 characters"
        raise errors.InvalidParams(f"{name!r} cannot be the name of a template: {allowed}")
    return name


def _name_from(title: str) -> str:
    """`Nightly report!` -> `nightly-report`"""
    words = re.sub(r"[^a-z0-9._]+", "-", title.lower())
    return words.strip("-._")[:100].rstrip("-._")


def _not_found(name: str, known: list[str]) -> tuple[str, dict[str, Any]]:
    suggestion = near(name, known)
    meant = f" (did you mean '{suggestion}'?)" if suggestion else ""
    shown = ", ".join(sorted(known)[:10]) + (", …" if len(known) > 10 else "")
    there = f"; there {'is' if len(known) == 1 else 'are'} {shown}" if known and not suggestion else ""
    none = "; none is stored yet" if not known else ""
    return f"there is no template {name!r}{meant}{there}{none}", {"name": name, "suggestion": suggestion}
