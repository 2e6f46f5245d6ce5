"""A journal in PostgreSQL, for several coordinators."""

import asyncio
import hashlib
import logging
from collections.abc import Collection, Sequence
from typing import Any

from gleitzeit.errors import ConfigurationError, JournalConflict, JournalError, JournalFenced, JournalLocked
from gleitzeit.journal import blobs
from gleitzeit.journal import postgres_tables as sql
from gleitzeit.journal.base import LEASE_SECONDS, Append, Lease
from gleitzeit.journal.merging import Entry, all_merged, fences
from gleitzeit.journal.postgres_link import Link
from gleitzeit.journal.postgres_reading import BLOB_PIECES, PIECES, PostgresReading, check_format
from gleitzeit.model.shards import SHARDS
from gleitzeit.spec.urls import shown

log = logging.getLogger("gz.journal")

_MAKING = 0x477A4A31
"""The advisory lock of who makes the tables, or claims."""


class PostgresJournal(PostgresReading):
    """All ports. `url` is what libpq takes, `?search_path=NAME` for a schema of its own; the tables are made at the
    first claim. Writes and reads have a connection each, so that a long read delays no commit."""

    def __init__(self, url: str) -> None:
        super().__init__(url, Link(url, "gleitzeit reader"))
        self.warnings: Sequence[str] = ()
        self._held: dict[int, int] = {}
        self._writer = Link(url, "gleitzeit writer")

    # Shards

    @property
    def shards(self) -> int:
        return SHARDS

    async def claim(
        self, owner: str, shards: Collection[int] | None = None, *, url: str = "", lease_seconds: float = LEASE_SECONDS
    ) -> dict[int, int]:
        wanted = sorted(range(SHARDS) if shards is None else shards)

        async def work(connection: Any, again: bool) -> dict[int, int]:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _MAKING)
                await _make_tables(connection, self.url)
                if self._owner and not again and not await connection.fetchval(_IS_MEMBER, owner):
                    raise JournalFenced(f"another coordinator has taken over from {owner}")
                await connection.execute(sql.LATE, owner)
                await connection.execute(sql.JOIN, owner, url, float(lease_seconds))
                await connection.execute(sql.DEPOSE)
                await connection.execute(sql.TAKE, owner, wanted)
                taken = {row["number"]: row["epoch"] for row in await connection.fetch(sql.HELD, owner, wanted)}
                if shards is None and len(taken) < SHARDS:
                    others = await connection.fetch("SELECT owner FROM gz_member WHERE owner <> $1", owner)
                    raise JournalLocked(f"the journal is in use by {', '.join(row[0] for row in others)}")
                return taken

        try:
            taken = await self._writer.run(work)
            if not self._owner:
                await self._look_at_the_server()
        except BaseException:
            if not self._owner:
                await self._disconnect()
            raise
        self._owner = owner
        self._held |= taken
        self._writer.patience_seconds = self._reader.patience_seconds = lease_seconds
        return taken

    async def _look_at_the_server(self) -> None:
        async def work(connection: Any, again: bool) -> dict[str, str]:
            return {name: await connection.fetchval(f"SHOW {name}") for name in ("fsync", "full_page_writes")}

        values = await self._writer.run(work)
        self.warnings = [
            f"PostgreSQL runs with {name} = {value}: a power cut may lose everything"
            for name, value in values.items()
            if value != "on"
        ]

    async def renew(self, lease_seconds: float = LEASE_SECONDS) -> None:
        self._claimed()
        done = await self._writer.run(lambda c, again: c.execute(sql.RENEW, self._owner, float(lease_seconds)))
        if done == "UPDATE 0":
            raise self._fenced()

    async def release(self, shards: Collection[int] | None = None) -> None:
        if not self._owner:
            return
        gone = sorted(self._held if shards is None else shards)

        async def work(connection: Any, again: bool) -> None:
            async with connection.transaction():
                if shards is not None:
                    await connection.execute(sql.LET_GO, self._owner, gone)
                else:  # also what a claim got whose answer never came
                    await connection.execute(sql.LEAVE, self._owner)
                    await connection.execute("DELETE FROM gz_member WHERE owner = $1", self._owner)

        await self._writer.run(work)
        for shard in gone:
            self._held.pop(shard, None)
        if shards is None:
            self._owner = ""
            await self._disconnect()

    async def close(self) -> None:
        try:
            self._writer.patience_seconds = 0.0
            await self.release()
        except JournalError as error:
            log.warning("the shards were not released, others take them when the lease has run out: %s", error)
            self._owner = ""
        await self._disconnect()

    async def _disconnect(self) -> None:
        await asyncio.gather(self._writer.close(), self._reader.close())

    async def owners(self) -> list[Lease]:
        self._claimed()
        rows = await self._reader.run(lambda c, again: c.fetch(sql.OWNERS))
        return [Lease(r["owner"], r["url"], dict(zip(r["numbers"] or (), r["epochs"], strict=False))) for r in rows]

    def _fenced(self) -> JournalFenced:
        return JournalFenced(f"another coordinator has taken over from {self._owner}")

    def _fence(self, streams: Sequence[str]) -> tuple[str, list[int], list[int], bool]:
        """The first four arguments of what writes."""
        self._claimed()
        needed, anybodys = fences(streams, SHARDS, self._held)
        return self._owner, list(needed), list(needed.values()), anybodys

    # Journal

    async def append(self, commit: Sequence[Append]) -> None:
        fence = self._fence([append.stream for append in commit])
        entries: list[Entry] = []

        async def work(connection: Any, again: bool) -> None:
            if not entries:  # within its turn, so that a release waits for it
                entries.extend(await all_merged(commit, SHARDS))
            row = await connection.fetchrow(sql.APPEND, *fence, *_columns(entries))
            if not row["ok"]:
                raise self._fenced()
            if row["conflict"] is not None and not (again and await _landed(connection, entries)):
                raise JournalConflict(row["conflict"])

        if commit:
            await self._writer.run(work)

    async def delete(self, streams: Sequence[str]) -> None:
        fence = self._fence(streams)
        if streams and not await self._writer.run(lambda c, again: c.fetchval(sql.DELETE, *fence, list(streams))):
            raise self._fenced()

    # Blobs

    async def put(self, name: str, size_bytes: int, offset: int, chunk: bytes, now: int) -> int:
        self._claimed()
        blobs.check_put(name, size_bytes, offset, chunk)

        async def work(connection: Any, again: bool) -> tuple[int, str]:
            async with connection.transaction():
                return await _put(connection, name, size_bytes, offset, chunk, now)

        present, digest = await self._writer.run(work)
        if digest:
            blobs.check_content(name, digest)
        return present

    async def sweep(self, unused_since: int) -> int:
        self._claimed()

        async def work(connection: Any, again: bool) -> int:
            async with connection.transaction():
                rows = await connection.fetch(_SWEEP, unused_since)
                await connection.execute("DELETE FROM gz_blob_chunk WHERE name = ANY ($1)", [row[0] for row in rows])
                return len(rows)

        return await self._writer.run(work)


_IS_MEMBER = "SELECT EXISTS (SELECT FROM gz_member WHERE owner = $1)"
_SWEEP = """
DELETE FROM gz_blob b WHERE used_at < $1 AND NOT EXISTS (SELECT FROM gz_blob_ref r WHERE r.name = b.name) RETURNING name
"""


async def _make_tables(connection: Any, url: str) -> None:
    if await connection.fetchval("SELECT current_schema()") is None:
        name = await connection.fetchval("SHOW search_path")
        what_helps = f"make its schema first, `CREATE SCHEMA {name}`"
        raise ConfigurationError(f"the journal {shown(url)} cannot be used: {what_helps}")
    if await connection.fetchval("SELECT to_regclass('gz_meta') IS NULL"):
        await connection.execute(sql.TABLES)
        await connection.execute("INSERT INTO gz_meta VALUES ('format', $1)", sql.FORMAT)
        await connection.execute(
            "INSERT INTO gz_shard SELECT n, 0, '' FROM generate_series(0, $1::int) AS n", SHARDS - 1
        )
    await check_format(connection, url)
    await connection.execute("UPDATE gz_meta SET value = $1 WHERE name = 'format' AND value < $1", sql.FORMAT)


def _columns(entries: list[Entry]) -> list[list[Any]]:
    """Arguments 5 to 24 of APPEND."""
    rows = [e.summary for e in entries]
    records = [
        (e.stream, first, last, count, crc, body) for e in entries for first, last, count, crc, body in e.records
    ]
    refs = [(e.stream, name) for e in entries for name in e.blobs]
    return [
        [e.stream for e in entries],
        [e.seq for e in entries],
        [s.kind for s in rows],
        [s.key for s in rows],
        [s.status for s in rows],
        [int(s.active) for s in rows],
        [s.created_at for s in rows],
        [s.updated_at for s in rows],
        [s.due_at for s in rows],
        [s.expires_at for s in rows],
        [bytes(s.counts) for s in rows],
        [e.last for e in entries],
        *(list(column) for column in (zip(*records, strict=True) if records else [()] * 6)),
        *(list(column) for column in (zip(*refs, strict=True) if refs else [()] * 2)),
    ]


async def _landed(connection: Any, entries: list[Entry]) -> bool:
    """Whether this very commit is what the streams end with: its answer was lost with the connection."""
    lasts = [(entry.stream, entry.records[-1]) for entry in entries if entry.records]
    for stream, (first, _, _, crc, _) in lasts:
        text = "SELECT crc FROM gz_record WHERE stream = $1 AND first = $2"
        if await connection.fetchval(text, stream, first) != crc:
            return False
    return bool(lasts)


async def _put(connection: Any, name: str, size: int, offset: int, chunk: bytes, now: int) -> tuple[int, str]:
    """How much is there, and if this piece was the last one the digest of all."""
    await connection.execute(
        "INSERT INTO gz_blob VALUES ($1, $2, 0, false, $3) ON CONFLICT DO NOTHING", name, size, now
    )
    row = await connection.fetchrow("SELECT size, present, whole FROM gz_blob WHERE name = $1 FOR UPDATE", name)
    blobs.check_size(name, row["size"], size)
    present, whole, digest = row["present"], row["whole"], ""
    if offset == present and not whole:
        if chunk:
            crc = blobs.checksum(name, offset, chunk)
            await connection.execute("INSERT INTO gz_blob_chunk VALUES ($1, $2, $3, $4)", name, offset, crc, chunk)
        present += len(chunk)
        if present == size:
            digest = await _digest(connection, name)
            whole = name == f"sha256:{digest}"
            if not whole:
                await connection.execute("DELETE FROM gz_blob_chunk WHERE name = $1", name)
                await connection.execute("DELETE FROM gz_blob WHERE name = $1", name)
                return present, digest
    text = "UPDATE gz_blob SET present = $2, whole = $3, used_at = greatest(used_at, $4) WHERE name = $1"
    await connection.execute(text, name, present, whole, now)
    return present, digest


async def _digest(connection: Any, name: str) -> str:
    digest, offset = hashlib.sha256(), 0
    while pieces := await connection.fetch(PIECES, name, offset, BLOB_PIECES):
        pieces = [piece for piece in pieces if piece["start"] >= offset]
        if not pieces:
            break
        for start, crc, body in pieces:
            blobs.check_chunk(name, start, crc, body)
            digest.update(body)
            offset = start + len(body)
    return digest.hexdigest()
