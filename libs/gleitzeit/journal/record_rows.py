"""The events of streams in the SQLite file of a journal: those that one commit appended to one stream are one row, in
the order of their arrival, each with the id of the stream's row before it.

An index over records would double the cost of a commit of many streams, as each has its own page in it. Following the
chain from `tail` costs a reader a microsecond a record instead.

All functions run one at a time, in the transaction of the caller if they change anything.
"""

import sqlite3
from collections.abc import Iterator, Sequence

from gleitzeit.errors import JournalCorrupt
from gleitzeit.journal import statements
from gleitzeit.journal.base import Record
from gleitzeit.journal.finding import Row
from gleitzeit.journal.records import unpack

SCHEMA = """
CREATE TABLE record (
    id INTEGER PRIMARY KEY, previous INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL,
    crc INTEGER NOT NULL, body BLOB NOT NULL
);
"""
PAGE_BYTES = 1 << 20  # a page of `read` ends with the row that reaches this
GONE_ROWS = 500  # records of a stream that are deleted in one transaction, …
GONE_BYTES = 1 << 20  # … fewer if they are large

_INSERT = "INSERT INTO record VALUES ", ""
_SELECT = "SELECT last, count, crc, body FROM record WHERE id IN (", ") ORDER BY id"
# Newest first, down to the one that holds the event after `after`. Ids fall, or damage could make it a circle. All of
# it is one row: the interpreter's lock is given up for each.
_WALK = """
    WITH RECURSIVE chain (id, previous, first) AS (
        SELECT id, previous, last - count + 1 FROM record WHERE id = :id
        UNION ALL
        SELECT record.id, record.previous, record.last - record.count + 1
        FROM chain JOIN record ON record.id = chain.previous
        WHERE chain.first > :after + 1 AND chain.previous < chain.id
    )
    SELECT group_concat(id) FROM chain
"""
# Newest first, so many as are deleted at once; and where the others begin, 0 if there is none.
_WALK_GONE = """
    WITH RECURSIVE chain (id, previous, count, size) AS (
        SELECT id, previous, 1, length(body) FROM record WHERE id = :id
        UNION ALL
        SELECT record.id, record.previous, chain.count + 1, chain.size + length(record.body)
        FROM chain JOIN record ON record.id = chain.previous
        WHERE chain.count < :count AND chain.size < :size AND chain.previous < chain.id
    )
    SELECT group_concat(id), (SELECT previous FROM chain ORDER BY id LIMIT 1) FROM chain
"""


def insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """`(id, previous, last, count, crc, body)`"""
    statements.insert(connection, _INSERT, rows)


def read(connection: sqlite3.Connection, stream: str, end: tuple[int, int], after: int, limit: int) -> list[Record]:
    """The events after `after` of a stream whose `end` is the id of its last record and the number of its last event: a
    page of them. Raises JournalCorrupt."""
    records: list[Record] = []
    size_bytes = 0
    for row in _rows(connection, end[0], after):
        page = unpack(stream, *row)
        expected = records[-1].seq + 1 if records else after + 1
        if page[0].seq != expected and (records or page[0].seq > expected):
            raise JournalCorrupt(f"the stream {stream} lacks its events {expected} to {page[0].seq - 1}")
        records += page if records else page[expected - page[0].seq :]
        size_bytes += sum(len(record.event) for record in page)  # what is compressed may hold very much
        if len(records) >= limit or size_bytes >= PAGE_BYTES:
            return records[:limit]
    if not records or records[-1].seq != end[1]:
        raise JournalCorrupt(f"the stream {stream} lacks its last events: it should end at {end[1]}")
    return records


def _rows(connection: sqlite3.Connection, record: int, after: int) -> Iterator[Row]:
    """The records of a stream whose last is `record`, in order, from the one that holds the event after `after`."""
    found = connection.execute(_WALK, {"id": record, "after": after}).fetchone()[0]
    return statements.select(connection, _SELECT, sorted(map(int, found.split(","))) if found else [])


def forget(connection: sqlite3.Connection, newest: int) -> int:
    """The last records of a stream, so many as go at once. Returns where those begin that are left, 0 if none is."""
    bounds = {"id": newest, "count": GONE_ROWS, "size": GONE_BYTES}
    ids, left = connection.execute(_WALK_GONE, bounds).fetchone()
    if ids:
        connection.execute(f"DELETE FROM record WHERE id IN ({ids})")
    return left or 0
