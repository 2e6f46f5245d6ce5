"""How `gz journal` comes by a journal, for itself alone or to look at it beside whoever works on it; and reads it."""

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from gleitzeit.client.coordinator import Coordinator
from gleitzeit.errors import ConfigurationError, GleitzeitError, JournalLocked
from gleitzeit.journal import MemoryJournal, SqliteJournal, open_journal, open_view
from gleitzeit.journal.base import Find, JournalView, OwnedJournal, Record, Summary
from gleitzeit.process.absent import NotRunning
from gleitzeit.process.reach import Target, running
from gleitzeit.spec.urls import shown
from gz_cli.connect import connected

KINDS = ("workflow", "child", "own-id", "template", "schedule", "provider", "drain", "cluster", "limit", "cache")
"""All that coordinators write, each as the kind of its streams."""
WORKFLOWS = ("workflow", "child")
PAGE = 500


@asynccontextmanager
async def opened(url: str, *, new: bool = False) -> AsyncIterator[OwnedJournal]:
    """The journal, for us alone; `new`: there may be none yet. Raises JournalLocked while a coordinator has it."""
    journal = open_journal(url)
    if isinstance(journal, MemoryJournal):
        raise ConfigurationError("a journal in memory is in its coordinator alone: there is nothing else to open")
    if isinstance(journal, SqliteJournal) and not new and not journal.path.exists():
        raise ConfigurationError(f"there is no journal at {shown(url)}")
    try:
        try:
            await journal.claim(f"gz-journal-{secrets.token_hex(4)}")
        except JournalLocked as error:
            alone = f"{error.message}, and this needs it alone; stop the coordinator first (`gz down`)"
            raise JournalLocked(alone, error.data) from error
        yield journal
    finally:
        await journal.close()


@asynccontextmanager
async def looked_at(url: str, target: Target) -> AsyncIterator[JournalView]:
    """All of it as it is at one moment. A server lets others read; the file of a coordinator is copied with its help.

    Raises JournalLocked if it is in use by somebody who does not help.
    """
    async with AsyncExitStack() as stack:
        view = await open_view(url)
        if view is not None:
            stack.push_async_callback(view.close)
        elif (file := _file(url)) is not None and _is_read_only(file):
            copy = await stack.enter_async_context(_copied_as_it_is(file))
            view = await stack.enter_async_context(opened(f"sqlite://{copy}"))
        else:
            try:
                view = await stack.enter_async_context(opened(url))
            except JournalLocked as locked:
                copy = await stack.enter_async_context(_copied(url, target, locked))
                view = await stack.enter_async_context(opened(f"sqlite://{copy}"))
        yield view


@asynccontextmanager
async def _copied(url: str, target: Target, locked: JournalLocked) -> AsyncIterator[Path]:
    """A copy of the file and of the log beside it, which goes again. Nothing but SQLite in the coordinator ever opens
    the file itself as a database."""
    file = _file(url)
    assert file is not None, "what else could be locked?"
    with tempfile.TemporaryDirectory(prefix="gz-journal-") as folder:
        copy = Path(folder) / file.name
        async with helper(target, locked) as client:
            kept = await client.call("journal.keep")
            if not _same(file, kept["file"]):
                raise _no_help(locked, f"the one at {shown(client.url)} has {kept['file']}")
            await _copy([(file, copy), (Path(kept["log"]), Path(f"{copy}-wal"))], "is in use")
            if not (await client.call("journal.release"))["kept"]:
                raise JournalLocked(f"{shown(url)} could not be kept as it was for long enough to copy it")
        yield copy


@asynccontextmanager
async def _copied_as_it_is(file: Path) -> AsyncIterator[Path]:
    """Of one that nobody works on, as nobody can write there: a snapshot, or a disk that was mounted read-only."""
    with tempfile.TemporaryDirectory(prefix="gz-journal-") as folder:
        copy, log = Path(folder) / file.name, file.with_name(f"{file.name}-wal")
        pairs = [(file, copy), *([(log, Path(f"{copy}-wal"))] if log.exists() else [])]
        await _copy(pairs, "is on a disk that can only be read")
        yield copy


async def _copy(pairs: Sequence[tuple[Path, Path]], why: str) -> None:
    try:
        for file, copy in pairs:
            await asyncio.to_thread(shutil.copyfile, file, copy)
    except OSError as error:
        folder = pairs[0][1].parent
        raise ConfigurationError(
            f"the journal {why}, and cannot be copied to {folder}: {error.strerror} (TMPDIR names a place)"
        ) from error


def _file(url: str) -> Path | None:
    """Of a journal in SQLite."""
    journal = open_journal(url)
    return journal.path if isinstance(journal, SqliteJournal) else None


def _is_read_only(file: Path) -> bool:
    return file.exists() and bool(os.statvfs(file).f_flag & os.ST_RDONLY)


def _same(file: Path, other: str) -> bool:
    return file.exists() and Path(other).exists() and file.samefile(other)


@asynccontextmanager
async def helper(target: Target, locked: JournalLocked) -> AsyncIterator[Coordinator]:
    """The coordinator that has the journal, as far as we know. Raises JournalLocked, which says what is missing."""
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(connected(running(target)))
        except (NotRunning, GleitzeitError) as error:
            raise _no_help(locked, str(error)) from error
        yield client


def _no_help(locked: JournalLocked, why: str) -> JournalLocked:
    known = locked.message.partition(", and this needs")[0]
    return JournalLocked(
        f"{known}, and that coordinator is not the one we could ask: {why}. Name its folder by --state, or stop it"
        " (`gz down`)",
        locked.data,
    )


async def rows_of(journal: JournalView, query: Find) -> AsyncIterator[Summary]:
    before, after = query.before, query.after
    while page := await journal.find(msgspec.structs.replace(query, before=before, after=after, limit=PAGE)):
        for row in page:
            yield row
        if after is None:
            before = page[-1].created_at, page[-1].stream
        else:
            after = page[-1].stream


async def pages_of(journal: JournalView, stream: str) -> AsyncIterator[list[Record]]:
    after = 0
    while page := await journal.read(stream, after):
        yield page
        after = page[-1].seq
