"""A journal in one SQLite file: what its calls do there. Knows no threads and no asyncio."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from gleitzeit.errors import GleitzeitError, JournalCorrupt, JournalError
from gleitzeit.journal import blob_rows, record_rows, statements
from gleitzeit.journal.base import Find, Record, Summary, Unfinished
from gleitzeit.journal.blobs import Piece
from gleitzeit.journal.finding import SUMMARY_COLUMNS, Row, branches, first, order, summary_of, unfinished
from gleitzeit.journal.plan import End, Plan
from gleitzeit.journal.records import SHORT_BYTES, Packed, unpack_whole
from gleitzeit.journal.sqlite_file import SqliteFile, damaged, opening

CACHED_STREAMS = 20_000  # whose end is known without asking SQLite; about 400 bytes each

# Above what is known by name, too: the number of a record that damage has taken must not be another stream's, else to
# delete the one would take the other along.
_NEXT = "SELECT max(coalesce((SELECT max(id) FROM {0}), 0), coalesce((SELECT max({1}) FROM tail), 0), {2}) + 1"
_MOST_GONE = "coalesce((SELECT max(value) FROM meta WHERE name LIKE 'gone %'), 0)"
_REPLACE_TAIL = "REPLACE INTO tail VALUES ", ""
# By id only: a name that is there under another id must fail, not replace. What is not set leaves its indexes alone,
# each of which is a page to write.
_SET_STATUS = (
    "INSERT INTO stream VALUES ",
    " ON CONFLICT (id) DO UPDATE SET status = excluded.status, active = excluded.active",
)
_SET_ALL = (
    _SET_STATUS[0],
    f"{_SET_STATUS[1]}, kind = excluded.kind, key = excluded.key, created_at = excluded.created_at",
)
_SELECT_ENDS = (
    "SELECT name, id, last, record, kind, key, status, active, created_at"
    " FROM stream JOIN tail ON stream = id WHERE name IN (",
    ")",
)
# Out of an index and small rows: what `stream` holds besides is not looked at.
_SELECT_ACTIVE = (
    "SELECT name, created_at, updated_at, record.last, count, crc, body"
    " FROM stream JOIN tail ON tail.stream = stream.id LEFT JOIN record"
    " ON record.id = tail.record AND record.last = tail.last AND previous = 0"
    f" AND length(body) <= {SHORT_BYTES}"
)


class Database:
    """An open journal file. One call at a time, by whatever thread; one object at a time for a file."""

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        """Creates the file if there is none. Raises ConfigurationError, JournalLocked, JournalFull or JournalError."""
        self._path = path
        self.file = SqliteFile(path, max_bytes)
        self._connection = self.file.connection
        self._ends: dict[str, End] = {}
        try:
            with opening(path):
                self._next_stream = self._one(_NEXT.format("stream", "stream", 0))
                self._next_record = self._one(_NEXT.format("record", "record", _MOST_GONE))
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        self.file.close()

    def claim(self, owner: str) -> int:
        """Raise the epoch, durably, and return it."""
        with self.file.transaction("claim"):
            self._connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch'")
            self._connection.execute("UPDATE meta SET value = ? WHERE name = 'owner'", (owner,))
        return self._one("SELECT value FROM meta WHERE name = 'epoch'")

    def commit(self, group: Sequence[Sequence[Packed]]) -> list[JournalError | None]:
        """Write the commits of the group in one transaction. For each: None, or why nothing of it is written."""
        outcomes: list[JournalError | None] = []
        try:
            with self.file.transaction("append"):
                self._look_up({packed.stream for commit in group for packed in commit})
                plan = Plan(self._ends, self._next_stream, self._next_record)
                outcomes = [plan.add(commit) for commit in group]
                self._write(plan)
        except JournalError as error:
            # A conflict found before the failure stays what it is.
            return [outcome or error for outcome in outcomes or [None] * len(group)]
        self._remember(plan)
        return outcomes

    def _look_up(self, names: set[str]) -> None:
        missing = [name for name in names if name not in self._ends]
        for name, id_, last, record, *row in statements.select(self._connection, _SELECT_ENDS, missing):
            self._ends[name] = End(id_, last, record, tuple(row))

    def _write(self, plan: Plan) -> None:
        streams: list[Row] = []
        renamed: list[Row] = []
        tails: list[Row] = []
        for name, end in plan.ends.items():
            summary, known = plan.summaries[name], self._ends.get(name)
            if known is None or known.row != end.row:
                same = known is None or (known.row[:2], known.row[4]) == (end.row[:2], end.row[4])
                (streams if same else renamed).append((end.id, name, *end.row))
            counts = bytes(summary.counts)
            tails.append((end.id, end.last, end.record, summary.updated_at, summary.due_at, summary.expires_at, counts))
        statements.insert(self._connection, _SET_STATUS, streams)
        statements.insert(self._connection, _SET_ALL, renamed)
        record_rows.insert(self._connection, plan.records)
        statements.insert(self._connection, _REPLACE_TAIL, tails)
        if plan.blobs:
            blob_rows.refer(self._connection, [(plan.ends[stream].id, name) for stream, name in plan.blobs])

    def _remember(self, plan: Plan) -> None:
        self._next_stream, self._next_record = plan.next_stream, plan.next_record
        self._ends.update(plan.ends)
        for name in [name for name in plan.ends if not plan.summaries[name].active]:
            del self._ends[name]
        if len(self._ends) > CACHED_STREAMS:
            for name in list(islice(self._ends, len(self._ends) - CACHED_STREAMS * 3 // 4)):
                del self._ends[name]

    def read(self, stream: str, after: int, limit: int) -> list[Record]:
        """As Journal.read."""
        with self.file.reading(f"the stream {stream}"):
            end = self._connection.execute(
                "SELECT record, last FROM stream JOIN tail ON stream = id WHERE name = ?", (stream,)
            ).fetchone()
            if end is None or after >= end[1]:
                return []
            return record_rows.read(self._connection, stream, end, after, limit)

    def unfinished(self, kind: str, before: tuple[int, str] | None, limit: int) -> list[Unfinished]:
        """As Journal.unfinished. Where a page of the file is damaged it may be that of one record: all are without
        events then."""
        query = Find(kind, active=True, before=before, limit=limit)
        [(where, values)] = branches(query)
        text = f"{_SELECT_ACTIVE} WHERE {where} ORDER BY created_at DESC, name DESC LIMIT ?"
        try:
            with self.file.reading("the list of streams"):
                rows = self._connection.execute(text, (*values, limit)).fetchall()
        except JournalCorrupt:
            return [unfinished(summary, ()) for summary in self.find(query)]
        return [
            Unfinished(name, created_at, updated_at, unpack_whole(name, *record))
            for name, created_at, updated_at, *record in rows
        ]

    def find(self, query: Find) -> list[Summary]:
        """As Journal.find."""
        summaries: list[Summary] = []
        with self.file.reading("the list of streams"):
            for where, values in branches(query):
                text = (
                    f"SELECT {SUMMARY_COLUMNS} FROM stream JOIN tail ON tail.stream = id WHERE {where}"
                    f" ORDER BY {order(query)} LIMIT ?"
                )
                rows = self._connection.execute(text, (*values, query.limit))
                summaries.extend(summary_of(row) for row in rows)
        return first(query, summaries)

    def delete(self, streams: Sequence[str]) -> None:
        """As Journal.delete. The records of a long stream go with `forget_some`; nobody finds them any more."""
        with self.file.transaction("delete"):
            for name in streams:
                self._look_up({name})
                end = self._ends.pop(name, None)
                if end is not None:
                    left = record_rows.forget(self._connection, end.record)
                    if left:
                        self._connection.execute("INSERT INTO meta VALUES (?, ?)", (f"gone {end.record}", left))
                    self._connection.execute("DELETE FROM tail WHERE stream = ?", (end.id,))
                    self._connection.execute("DELETE FROM stream WHERE id = ?", (end.id,))
                    blob_rows.drop(self._connection, end.id)

    def forget_some(self) -> bool:
        """Delete so much as one transaction has room for of what long streams have left behind that were deleted, now
        or before a start. Returns whether there may be more. Raises as `commit` does."""
        with self.file.transaction("delete"):
            row = self._connection.execute("SELECT name, value FROM meta WHERE name LIKE 'gone %' LIMIT 1").fetchone()
            if row is None:
                return False
            left = record_rows.forget(self._connection, row[1])
            if left:
                self._connection.execute("UPDATE meta SET value = ? WHERE name = ?", (left, row[0]))
            else:
                self._connection.execute("DELETE FROM meta WHERE name = ?", (row[0],))
        return True

    def put_all(self, pieces: Sequence[Piece]) -> list[int | GleitzeitError]:
        """As Blobs.put, many in one transaction, each for itself: its outcome, or why it changed nothing. Raises
        JournalFull and JournalError for all of them."""
        with self.file.transaction("put of blobs"):
            return [blob_rows.put_or_leave(self._connection, piece) for piece in pieces]

    def get(self, name: str, offset: int, limit: int) -> bytes:
        """As Blobs.get."""
        with self.file.reading(f"the blob {name}"):
            return blob_rows.get(self._connection, name, offset, limit)

    def size(self, name: str) -> int | None:
        """As Blobs.size."""
        with self.file.reading(f"the blob {name}"):
            return blob_rows.size(self._connection, name)

    def sweep(self, unused_since: int) -> int:
        """As Blobs.sweep."""
        with self.file.transaction("sweep of blobs"):
            return blob_rows.sweep(self._connection, unused_since)

    def _one(self, text: str) -> int:
        found = self._connection.execute(text).fetchone()
        if found is None or not isinstance(found[0], int):
            raise damaged(self._path, "a number that every journal has is not there")
        return found[0]
