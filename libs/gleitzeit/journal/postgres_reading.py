"""What is read of a journal in PostgreSQL: by who has claimed it, or by who only looks, at one moment of it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from gleitzeit.errors import ConfigurationError, JournalCorrupt, JournalError
from gleitzeit.journal import blobs
from gleitzeit.journal import postgres_tables as sql
from gleitzeit.journal.base import Find, Record, Summary, Unfinished
from gleitzeit.journal.finding import SUMMARY_COLUMNS, branches, first, order, summary_of, unfinished
from gleitzeit.journal.merging import all_events
from gleitzeit.journal.postgres_link import Link
from gleitzeit.journal.records import SHORT_BYTES, unpack_whole
from gleitzeit.spec.urls import shown

PAGE_BYTES = 1 << 20
BLOB_PIECES = 4
PIECES = """
SELECT start, crc, body FROM gz_blob_chunk WHERE name = $1 AND start >= coalesce(
    (SELECT max(start) FROM gz_blob_chunk WHERE name = $1 AND start <= $2), 0) ORDER BY start LIMIT $3
"""


class PostgresReading:
    """What `read`, `find` and `get` are on either kind of connection."""

    def __init__(self, url: str, reader: Link) -> None:
        self.url = url
        self._reader = reader
        self._owner = ""

    def _claimed(self) -> None:
        if not self._owner:
            raise JournalError(f"the journal {shown(self.url)} is not claimed")

    async def read(self, stream: str, after: int = 0, limit: int = 10_000) -> list[Record]:
        self._claimed()
        rows = await self._reader.run(lambda c, again: c.fetch(sql.READ, stream, after, limit, PAGE_BYTES))
        found = [tuple(row)[1:] for row in rows if row["last"] is not None]
        last = found[-1][0] if found else 0
        whole = sum(len(row["body"] or b"") for row in rows) < PAGE_BYTES
        end = rows[0]["end"] if rows else 0
        if whole and end > after and last < min(end, after + limit):
            raise JournalCorrupt(f"the stream {stream} lacks its last events: it should end at {end}")
        return await all_events(stream, found, after, limit)

    async def find(self, query: Find) -> list[Summary]:
        self._claimed()
        summaries: list[Summary] = []
        for where, values in branches(query):
            text = f"SELECT {SUMMARY_COLUMNS} FROM gz_stream WHERE {where} ORDER BY {order(query)} LIMIT ?"
            fetch = _fetch if query.after is None else _fetch_in_order
            rows = await self._reader.run(partial(fetch, _numbered(text), *values, query.limit))
            summaries += [summary_of(tuple(row)) for row in rows]
        return first(query, summaries)

    async def unfinished(
        self, kind: str, wanted: Callable[[str], bool], before: tuple[int, str] | None = None, limit: int = 256
    ) -> list[Unfinished]:
        found = await self.find(Find(kind, active=True, before=before, limit=limit))
        names = [row.stream for row in found if wanted(row.stream)]
        rows = await self._reader.run(lambda c, again: c.fetch(sql.SHORT, names, SHORT_BYTES))
        short = {row[0]: unpack_whole(*row) for row in rows}
        return [unfinished(row, short.get(row.stream, ())) for row in found]

    async def get(self, name: str, offset: int = 0, limit: int = blobs.MAX_CHUNK_BYTES) -> bytes:
        self._claimed()
        if await self.size(name) is None:
            raise blobs.not_found(name)
        return await self._reader.run(lambda c, again: _get(c, name, offset, min(limit, blobs.MAX_CHUNK_BYTES)))

    async def size(self, name: str) -> int | None:
        self._claimed()
        blobs.check_name(name)
        text = "SELECT size FROM gz_blob WHERE name = $1 AND whole"
        size: int | None = await self._reader.run(lambda c, again: c.fetchval(text, name))
        return size


class PostgresView(PostgresReading):
    """A JournalView: one transaction that only reads, beside whoever works on the journal."""

    def __init__(self, url: str) -> None:
        super().__init__(url, _Snapshot(url, "gleitzeit view"))

    async def open(self) -> None:
        """Raises ConfigurationError if there is no journal, or one of a newer format."""
        await self._reader.run(lambda c, again: check_format(c, self.url))
        self._owner = "a view"

    async def close(self) -> None:
        await self._reader.close()


class _Snapshot(Link):
    """A connection within one transaction: when it is lost, so is the moment."""

    _begun = False

    async def _connected(self) -> Any:
        if self._begun and (self._connection is None or self._connection.is_closed()):
            raise JournalError(f"the connection to the journal {shown(self._url)} was lost while it was read")
        connection = await super()._connected()
        if not self._begun:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self._begun = True
        return connection


async def check_format(connection: Any, url: str) -> None:
    """Raises ConfigurationError."""
    if await connection.fetchval("SELECT to_regclass('gz_meta') IS NULL"):
        raise ConfigurationError(f"there is no journal at {shown(url)}")
    found = await connection.fetchval("SELECT value FROM gz_meta WHERE name = 'format'")
    if found > sql.FORMAT:
        raise ConfigurationError(
            f"the journal {shown(url)} has format {found}, this version of Gleitzeit reads up to {sql.FORMAT}:"
            " upgrade Gleitzeit, or name another schema"
        )


async def _fetch(*arguments: Any) -> list[Any]:
    """For `Link.run`: the statement and its values, then what `run` brings."""
    *call, connection, _ = arguments
    rows: list[Any] = await connection.fetch(*call)
    return rows


async def _fetch_in_order(*arguments: Any) -> list[Any]:
    """As `_fetch`, by walking on an index: before a table's first ANALYZE, all that match would be collected and sorted
    for each page."""
    *_, connection, _ = arguments
    async with connection.transaction():
        await connection.execute("SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off")
        return await _fetch(*arguments)


def _numbered(text: str) -> str:
    """`?` is how SQLite writes `$1`, `$2`, …"""
    first, *rest = text.split("?")
    return first + "".join(f"${number}{piece}" for number, piece in enumerate(rest, 1))


async def _get(connection: Any, name: str, offset: int, limit: int) -> bytes:
    content = bytearray()
    while len(content) < limit:
        at = offset + len(content)
        pieces = await connection.fetch(PIECES, name, at, BLOB_PIECES)
        before = len(content)
        for start, crc, body in pieces:
            blobs.check_chunk(name, start, crc, body)
            content += body[max(0, offset + len(content) - start) :]
        if len(content) == before:
            break
    return bytes(content[:limit])
