"""`gz journal`: check, migrate, prune. Which of them need the journal alone, `journal_access` knows."""

import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path

import msgspec

from gleitzeit.engine.replay import replay
from gleitzeit.errors import GleitzeitError, JournalConflict, JournalCorrupt, JournalError, JournalLocked
from gleitzeit.journal.base import Find, JournalView, Record, Summary
from gleitzeit.journal.sqlite_tables import FORMAT, format_of
from gleitzeit.model import events as ev
from gleitzeit.process.reach import Target
from gleitzeit.spec.urls import shown
from gz_cli import exits, journal_prune
from gz_cli.durations import counted
from gz_cli.formats import Format
from gz_cli.journal_access import helper, looked_at, opened
from gz_cli.journal_prune import Prune, put_gone
from gz_cli.output import encode
from gz_cli.talk import put, say

KINDS = ("workflow", "child", "own-id", "template", "schedule", "provider", "drain", "cluster", "limit", "cache")
"""All that coordinators write, each as the kind of its streams."""
WORKFLOWS = ("workflow", "child")
SPARED_BLOB_SECONDS = 24 * 3600
"""A blob that nothing refers to may be on its way into a workflow: it is left alone for so long."""
PAGE = 500
_decode = msgspec.json.Decoder(ev.AnyEvent).decode


async def rows_of(journal: JournalView, query: Find) -> AsyncIterator[Summary]:
    before = query.before
    while page := await journal.find(msgspec.structs.replace(query, before=before, limit=PAGE)):
        for row in page:
            yield row
        before = page[-1].created_at, page[-1].stream


async def pages_of(journal: JournalView, stream: str) -> AsyncIterator[list[Record]]:
    after = 0
    while page := await journal.read(stream, after):
        yield page
        after = page[-1].seq


async def check(url: str, target: Target, output: Format) -> int:
    """Read everything: checksums, and whether every workflow can be rebuilt. What is wrong is listed."""
    counts, events, problems = Counter[str](), 0, list[tuple[str, str]]()
    async with looked_at(url, target) as journal:
        for kind in KINDS:
            async for row in rows_of(journal, Find(kind)):
                try:
                    events += await _checked(journal, row)
                    counts[kind] += 1
                except JournalConflict:  # deleted since we began
                    continue
                except (GleitzeitError, msgspec.MsgspecError) as error:
                    if isinstance(error, JournalError) and not isinstance(error, JournalCorrupt):
                        raise
                    counts[kind] += 1
                    problems.append((row.stream, str(error)))
    found = ", ".join(counted(number, kind) for kind, number in counts.items()) or "nothing"
    if output in (Format.JSON, Format.YAML):
        damaged = [{"stream": stream, "message": message} for stream, message in problems]
        put(encode({"journal": shown(url), "streams": counts, "events": events, "problems": damaged}, output))
    else:
        put("\n".join(stream if output is Format.ID else f"{stream}: {message}" for stream, message in problems))
    say(f"{shown(url)}: {found}; {counted(events, 'event')}; {counted(len(problems), 'stream')} cannot be read")
    if problems:
        say("A coordinator starts all the same: it lists what it cannot read and refuses changes to it.")
    return exits.FAILED if problems else exits.OK


async def _checked(journal: JournalView, row: Summary) -> int:
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


async def prune(url: str, target: Target, how: Prune) -> int:
    """Forget workflows that have ended: those that are older, and all but the newest; and what only they needed."""
    now = int(time.time() * 1000)
    since = now - how.older_than_seconds * 1000 if how.older_than_seconds is not None else None
    async with AsyncExitStack() as stack:
        try:
            journal = await stack.enter_async_context(opened(url))
        except JournalLocked as locked:
            client = await stack.enter_async_context(helper(target, locked))
            return await journal_prune.beside(client, url, since, how)
        ended = [(row.updated_at, row.stream) async for row in rows_of(journal, Find("workflow", active=False))]
        gone = journal_prune.beyond(ended, since, how.keep)
        if how.dry_run:
            return journal_prune.would_go(gone, len(ended), how)
        for stream in gone:
            children = [row.stream async for row in rows_of(journal, Find("child", stream_prefix=f"{stream}~"))]
            await journal.delete([stream, f"$id/{stream}", *children])
        expired = [row.stream async for row in rows_of(journal, Find("cache")) if (row.expires_at or 0) <= now]
        for at in range(0, len(expired), PAGE):
            await journal.delete(expired[at : at + PAGE])
        blobs = await journal.sweep(now - SPARED_BLOB_SECONDS * 1000)
    say(f"forgotten: {len(gone)} of {len(ended)} ended workflows, {len(expired)} cached results, {blobs} blobs")
    put_gone(gone, len(ended), how)
    return exits.OK
