"""`gz journal`: what is done to a journal while nobody works on it: check, migrate, prune."""

import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import msgspec

from gleitzeit.engine.workflow import replay
from gleitzeit.errors import GleitzeitError, JournalLocked
from gleitzeit.journal import open_journal
from gleitzeit.journal.base import Find, OwnedJournal, Record, Summary
from gleitzeit.journal.database import FORMAT, format_of
from gleitzeit.journal.places import shown
from gleitzeit.model import events as ev
from gz_cli import exits
from gz_cli.talk import put, say

KINDS = ("workflow", "child", "own-id", "template", "schedule", "provider", "cluster", "limit", "cache")
"""All that coordinators write, each as the kind of its streams."""
WORKFLOWS = ("workflow", "child")
SPARED_BLOB_SECONDS = 24 * 3600
"""A blob that nothing refers to may be on its way into a workflow: it is left alone for so long."""
PAGE = 500
_decode = msgspec.json.Decoder(ev.AnyEvent).decode


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[OwnedJournal]:
    """The journal, for us alone. Raises JournalLocked while a coordinator has it."""
    journal = open_journal(url)
    try:
        try:
            await journal.claim(f"gz-journal-{secrets.token_hex(4)}")
        except JournalLocked as error:
            raise JournalLocked(f"{error.message}; stop the coordinator first (`gz down`)", error.data) from error
        yield journal
    finally:
        await journal.close()


async def rows_of(journal: OwnedJournal, query: Find) -> AsyncIterator[Summary]:
    before = query.before
    while page := await journal.find(msgspec.structs.replace(query, before=before, limit=PAGE)):
        for row in page:
            yield row
        before = page[-1].created_at, page[-1].stream


async def pages_of(journal: OwnedJournal, stream: str) -> AsyncIterator[list[Record]]:
    after = 0
    while page := await journal.read(stream, after):
        yield page
        after = page[-1].seq


async def check(url: str) -> int:
    """Read everything: checksums, and whether every workflow can be rebuilt. What is wrong is listed."""
    counts, events, problems = Counter[str](), 0, list[str]()
    async with opened(url) as journal:
        for kind in KINDS:
            async for row in rows_of(journal, Find(kind)):
                counts[kind] += 1
                try:
                    events += await _checked(journal, row)
                except (GleitzeitError, msgspec.MsgspecError) as error:
                    problems.append(f"{row.stream}: {error}")
    found = ", ".join(f"{number} {kind}" for kind, number in counts.items()) or "nothing"
    put("\n".join(problems))
    say(f"{shown(url)}: {found}; {events} events; {len(problems)} streams cannot be read")
    if problems:
        say("A coordinator starts all the same: it lists what it cannot read and refuses changes to it.")
    return exits.FAILED if problems else exits.OK


async def _checked(journal: OwnedJournal, row: Summary) -> int:
    """How many events the stream has. Raises for whatever is wrong with it."""
    records = [record async for page in pages_of(journal, row.stream) for record in page]
    if row.kind in WORKFLOWS:
        workflow = replay(_decode(record.event) for record in records)
        if workflow.state != row.status:
            raise GleitzeitError(f"its row says {row.status}, its events {workflow.state}")
    return len(records)


async def migrate(url: str) -> int:
    """Bring an older journal to the present format; of a file a copy is kept."""
    path = Path(url.removeprefix("sqlite://")) if url.startswith("sqlite://") else None
    found = format_of(path) if path is not None else None
    if path is not None and found is not None and found < FORMAT:
        kept = path.with_name(f"{path.name}.format-{found}")
        with _copied(path, kept):
            async with opened(url):
                pass
        say(f"{shown(url)}: from format {found} to {FORMAT}; the file as it was is {kept}")
        return exits.OK
    async with opened(url):
        say(f"{shown(url)}: it has the present format")
    return exits.OK


@contextmanager
def _copied(path: Path, copy: Path) -> Iterator[None]:
    """A copy that goes again if what follows fails. SQLite makes it: it has what stands in the log beside the file."""
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.chmod(0o600)
    try:
        yield
    except BaseException:
        copy.unlink(missing_ok=True)
        raise


async def prune(url: str, older_than_seconds: float | None, keep: int | None, *, dry_run: bool) -> int:
    """Forget workflows that have ended: those that are older, and all but the newest; and what only they needed."""
    now = int(time.time() * 1000)
    async with opened(url) as journal:
        ended = [row async for row in rows_of(journal, Find("workflow", active=False))]
        ended.sort(key=lambda row: row.updated_at, reverse=True)
        beyond = ended[keep:] if keep is not None else []
        since = now - older_than_seconds * 1000 if older_than_seconds is not None else 0
        old = [row for row in ended if row.updated_at < since]
        gone = list(dict.fromkeys(row.stream for row in (*beyond, *old)))
        if dry_run:
            put("\n".join(gone))
            say(f"{len(gone)} of {len(ended)} ended workflows would be forgotten")
            return exits.OK
        for stream in gone:
            children = [row.stream async for row in rows_of(journal, Find("child", stream_prefix=f"{stream}~"))]
            await journal.delete([stream, f"$id/{stream}", *children])
        expired = [row.stream async for row in rows_of(journal, Find("cache")) if (row.expires_at or 0) <= now]
        for at in range(0, len(expired), PAGE):
            await journal.delete(expired[at : at + PAGE])
        blobs = await journal.sweep(now - SPARED_BLOB_SECONDS * 1000)
    say(f"forgotten: {len(gone)} of {len(ended)} ended workflows, {len(expired)} cached results, {blobs} blobs")
    return exits.OK
