"""`gz journal prune`: what is forgotten, and how that is done beside coordinators: by their own means."""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime

from msgspec import Struct

from gleitzeit.client.coordinator import Coordinator
from gleitzeit.errors import InvalidState, JournalLocked, WorkflowNotFound
from gleitzeit.journal import open_journal
from gleitzeit.journal.base import Find
from gleitzeit.model.events import WORKFLOW_FINAL
from gleitzeit.process.reach import Target
from gleitzeit.spec.urls import shown
from gz_cli import exits
from gz_cli.formats import Format
from gz_cli.journal.access import helper, opened, rows_of
from gz_cli.terminal.output import encode
from gz_cli.terminal.talk import put, say

PAGE = 1_000
TOGETHER = 500
"""Of the streams that one commit deletes."""
SPARED_BLOB_SECONDS = 24 * 3600
"""A blob that nothing refers to may be on its way into a workflow: it is left alone for so long."""


class Prune(Struct, frozen=True):
    """What is to go: of the workflows that have ended, those that are older, and all but the newest `keep`."""

    older_than_seconds: float | None
    keep: int | None
    dry_run: bool
    output: Format


async def prune(url: str, target: Target, how: Prune) -> int:
    """Forget workflows that have ended: those that are older, and all but the newest; and what only they needed."""
    now = int(time.time() * 1000)
    since = now - how.older_than_seconds * 1000 if how.older_than_seconds is not None else None
    async with AsyncExitStack() as stack:
        try:
            journal = await stack.enter_async_context(opened(url))
        except JournalLocked as locked:
            client = await stack.enter_async_context(helper(target, locked))
            return await _beside(client, url, since, how)
        ended = [(row.updated_at, row.stream) async for row in rows_of(journal, Find("workflow", active=False))]
        gone = _beyond(ended, since, how.keep)
        if how.dry_run:
            return _would_go(gone, len(ended), how)
        for stream in gone:
            children = [
                row.stream async for row in rows_of(journal, Find("child", stream_prefix=f"{stream}~", after=""))
            ]
            await journal.delete([stream, f"$id/{stream}", *children])
        expired = [row.stream async for row in rows_of(journal, Find("cache")) if (row.expires_at or 0) <= now]
        for at in range(0, len(expired), TOGETHER):
            await journal.delete(expired[at : at + TOGETHER])
        blobs = await journal.sweep(now - SPARED_BLOB_SECONDS * 1000)
    say(f"forgotten: {len(gone)} of {len(ended)} ended workflows, {len(expired)} cached results, {blobs} blobs")
    _put_gone(gone, len(ended), how)
    return exits.OK


async def _beside(client: Coordinator, url: str, since: float | None, how: Prune) -> int:
    """Blobs and cached results that nobody needs any more, coordinators forget by themselves."""
    here, there = shown(open_journal(url).url), (await client.status()).journal
    if here != there:
        raise JournalLocked(f"the journal {here} is in use, and the coordinator at {shown(client.url)} has {there}")
    ended, before = list[tuple[int, str]](), None
    while True:
        page = await client.list(status=sorted(WORKFLOW_FINAL), limit=PAGE, before=before)
        ended += [(_milliseconds(row.updated_at), row.workflow_id) for row in page.workflows]
        before = page.next
        if before is None:
            break
    gone = _beyond(ended, since, how.keep)
    if how.dry_run:
        return _would_go(gone, len(ended), how)
    forgotten = []
    for workflow_id in gone:
        try:
            await client.delete(workflow_id)
            forgotten.append(workflow_id)
        except WorkflowNotFound:  # somebody else did
            forgotten.append(workflow_id)
        except InvalidState as error:
            say(f"kept: {error}")
    say(f"forgotten: {len(forgotten)} of {len(ended)} ended workflows, through the coordinator that has the journal")
    _put_gone(forgotten, len(ended), how)
    return exits.OK


def _beyond(ended: Sequence[tuple[int, str]], since: float | None, keep: int | None) -> list[str]:
    """Of (when, id) those that are older than `since` (UTC milliseconds), and all but the newest `keep`."""
    newest_first = sorted(ended, reverse=True)
    gone = newest_first[keep:] if keep is not None else []
    gone += [row for row in newest_first if since is not None and row[0] < since]
    return list(dict.fromkeys(name for _, name in gone))


def _put_gone(gone: Sequence[str], of: int, how: Prune) -> None:
    """On stdout, if it is asked for as data, or nothing was to happen but to list them."""
    if how.output in (Format.JSON, Format.YAML):
        put(encode({"workflows": gone, "ended": of, "forgotten": not how.dry_run}, how.output))
    elif how.output is Format.ID or how.dry_run:
        put("\n".join(gone))


def _would_go(gone: Sequence[str], of: int, how: Prune) -> int:
    _put_gone(gone, of, how)
    say(f"{len(gone)} of {of} ended workflows would be forgotten")
    return exits.OK


def _milliseconds(at: str | None) -> int:
    return round(datetime.fromisoformat(at).timestamp() * 1000) if at is not None else 0
