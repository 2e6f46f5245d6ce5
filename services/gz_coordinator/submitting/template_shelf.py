"""The templates in the journal: documents under a name, each change a new version.

The stream `$template/<name>` has every version; beside it stands, as the counts of its summary row, what a list shows.
"""

import asyncio
import re
import unicodedata
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from gleitzeit import errors
from gleitzeit.journal.base import Append, Find, Journal, Summary
from gleitzeit.model.definition import Definition
from gleitzeit.model.templates import TemplateDeleted, TemplateEvent, TemplateStored
from gleitzeit.schemas import near
from gleitzeit.spec.files.subworkflows import is_file, places_of, put
from gleitzeit.spec.findings import Findings
from gleitzeit.spec.legacy import with_templates
from gleitzeit.spec.problems import Path, document_error
from gleitzeit.spec.references.references import has_places

KIND = "template"
STORED = "stored"
DELETED = "deleted"
MOST_RESOLVED = 1_000
"""Templates that one document may take in, with those within them."""
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


class TemplateShelf:
    def __init__(self, journal: Journal, clock: Callable[[], int]) -> None:
        self._journal = journal
        self._clock = clock
        self._writing = asyncio.Lock()

    async def keep(self, name: str, definition: Any, checked: Definition) -> tuple[str, Row, bool]:
        """A version of the document, unless the newest says the same. Returns its name, and whether it is new."""
        name = name or _name_from(checked.name)
        if not name:
            raise errors.InvalidParams(f"no name can be made of the letters of {checked.name!r}: give one (name)")
        checked_name(name)
        async with self._writing:
            return name, *(await self._store(name, definition, checked))

    async def _store(self, name: str, definition: Any, checked: Definition) -> tuple[Row, bool]:
        summary = await self._summary(name)
        document = msgspec.Raw(_encode(definition))
        if summary is not None and summary.status == STORED:
            row = _row(summary)
            if _same((await self._version(name, row, row.version)).definition, document):
                return row, False
        before = _row(summary) if summary is not None else Row(0, 0, 0)
        event = TemplateStored(
            at=self._clock(),
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

    async def forget(self, name: str) -> int:
        """What its newest version was."""
        async with self._writing:
            row = await self.newest(name)
            deleted = TemplateDeleted(self._clock(), row.version)
            await self._append(name, Row(row.seq + 1, row.version, row.stored_at), deleted, DELETED)
        return row.version

    # Reading

    async def stored(self, text: str, version: int | None = None) -> tuple[str, TemplateStored]:
        """By `name` or `name@version`. Raises TemplateNotFound."""
        name, wanted = split_version(text, version)
        row = await self.newest(name)
        return name, await self._version(name, row, wanted or row.version)

    async def newest(self, name: str) -> Row:
        summary = await self._summary(name)
        if summary is None or summary.status != STORED:
            raise errors.TemplateNotFound(*_not_found(name, [known for known, _ in await self.all("")]))
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
        raise errors.TemplateNotFound(message, {"template": name, "versions": newest.version})

    async def _summary(self, name: str) -> Summary | None:
        rows = await self._journal.find(Find(kind=KIND, keys=(name,), limit=1))
        return rows[0] if rows else None

    async def all(self, prefix: str) -> list[tuple[str, Row]]:
        """By name."""
        found, before = list[Summary](), None
        query = Find(kind=KIND, stream_prefix=_stream(prefix), statuses=(STORED,), limit=500)
        while page := await self._journal.find(replace(query, before=before)):
            found += page
            before = (page[-1].created_at, page[-1].stream)
        return sorted((summary.key, _row(summary)) for summary in found)

    # Documents that name templates

    async def taken_in(self, document: Any) -> Any:
        """The document with the templates that its tasks run in the place of their names. Raises DocumentError for
        names that are not there."""
        findings = Findings()
        resolved = await _TakingIn(self, findings).run(document, (), ())
        if findings.has_errors:
            raise document_error(findings.listed())
        return resolved


class _TakingIn:
    def __init__(self, shelf: TemplateShelf, findings: Findings) -> None:
        self._shelf = shelf
        self._findings = findings
        self._left = MOST_RESOLVED

    async def run(self, document: Any, below: Path, chain: tuple[str, ...]) -> Any:
        """`below` is where it stands in the document that was submitted, `chain` the templates that it is within."""
        document = with_templates(document)
        for path, said in list(places_of(document)):
            place = (*below, *path)
            if isinstance(said, dict):
                document = put(document, path, await self.run(said, place, chain))
            elif isinstance(said, str) and not has_places(said):
                inner, name = await self._template(said, place, chain)
                if name:
                    document = put(document, path, await self.run(inner, place, (*chain, name)))
        return document

    async def _template(self, said: str, place: Path, chain: tuple[str, ...]) -> tuple[Any, str]:
        """The document and its name; "" if it cannot be had, which is reported."""
        if is_file(said):
            message = (
                f"'{said}' is a file, which is read where its author is: submit with gz, or write the workflow here"
            )
            self._findings.error(place, message)
            return None, ""
        self._left -= 1
        if self._left < 0:
            if self._left == -1:
                self._findings.error(place, f"more than {MOST_RESOLVED:,} templates within one workflow")
            return None, ""
        try:
            name, stored = await self._shelf.stored(said)
        except errors.GleitzeitError as error:
            self._findings.error(place, error.message)
            return None, ""
        if name in chain:
            self._findings.error(place, f"these templates run each other: {' → '.join((*chain, name))}")
            return None, ""
        return msgspec.json.decode(stored.definition), name


def _stream(name: str) -> str:
    return f"$template/{name}"


def _raw(row: Row) -> msgspec.Raw:
    return msgspec.Raw(_encode(row))


def _row(summary: Summary) -> Row:
    return msgspec.json.decode(summary.counts, type=Row)


def _same(one: msgspec.Raw, other: msgspec.Raw) -> bool:
    return bool(msgspec.json.decode(one) == msgspec.json.decode(other))


def checked_name(name: str, what: str = "template") -> str:
    if not _NAME.fullmatch(name):
        allowed = "letters and digits, and within them . _ - /, at most 100 characters"
        raise errors.InvalidParams(f"{name!r} cannot be the name of a {what}: {allowed}")
    return name


def _name_from(title: str) -> str:
    """`Nightly report!` -> `nightly-report`, `Größe` -> `grosse`; "" where nothing of it is left."""
    plain = unicodedata.normalize("NFKD", title.casefold()).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9._]+", "-", plain)
    return words.strip("-._")[:100].rstrip("-._")


def _not_found(name: str, known: list[str]) -> tuple[str, dict[str, Any]]:
    suggestion = near(name, known)
    meant = f" (did you mean '{suggestion}'?)" if suggestion else ""
    shown = ", ".join(sorted(known)[:10]) + (", …" if len(known) > 10 else "")
    there = f"; there {'is' if len(known) == 1 else 'are'} {shown}" if known and not suggestion else ""
    none = "; none is stored yet" if not known else ""
    return f"there is no template {name!r}{meant}{there}{none}", {"template": name, "suggestion": suggestion}
