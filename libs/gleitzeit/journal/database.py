"""The SQLite file of a journal: its tables, and what one transaction does. Knows no threads and no asyncio.

    stream   what `find` looks for, indexed; written when a stream is made and when its status changes
    meta     the epoch and its owner; and of each long stream that was deleted, which of its records is next to go
    tail     what changes with every commit: small rows without an index, so that a commit touches few pages
    record   the events that one commit appended to one stream are one row, in the order of their arrival, each with the
             id of the stream's row before it
    blob…    see blob_rows.py

An index over records would double the cost of a commit of many streams, as each has its own page in it. Following the
chain from `tail` costs a reader a microsecond a record instead.

A commit costs a handful of statements however many streams it names: rows go in by up to 64 a statement. That is less a
matter of SQLite than of the interpreter's lock, which sqlite3 gives up in each statement and must win back from a busy
event loop.
"""

import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import Struct

from gleitzeit.errors import (
    ConfigurationError,
    GleitzeitError,
    JournalConflict,
    JournalCorrupt,
    JournalError,
    JournalFull,
    JournalLocked,
    JournalReplaced,
)
from gleitzeit.journal import blob_rows
from gleitzeit.journal.base import Find, Record, Summary, Unfinished
from gleitzeit.journal.blobs import Piece, wrong_content
from gleitzeit.journal.finding import SUMMARY_COLUMNS, Row, branches, summary_of, unfinished
from gleitzeit.journal.presence import RESCUED, Presence, rescue
from gleitzeit.journal.records import SHORT_BYTES, Packed, unpack, unpack_whole

log = logging.getLogger("gz.journal")

FORMAT = 2
APPLICATION_ID = 0x477A4A31  # "GzJ1": what tells a journal from other SQLite files
PAGE_BYTES = 1 << 20  # a page of `read` ends with the row that reaches this
WAL_BYTES = 4_600_000  # a little more than the 1,000 pages after which SQLite begins the log anew
WAL_STEP_BYTES = 512 << 10
CHECKPOINT_PAGES = 1_000  # SQLite's own default
ROOM_BYTES = 256 << 20  # what must be free on the disk before any is taken that is not needed yet
GONE_ROWS = 500  # records of a stream that are deleted in one transaction, …
GONE_BYTES = 1 << 20  # … fewer if they are large
CACHED_STREAMS = 20_000  # whose end is known without asking SQLite; about 400 bytes each
_ROWS = 64  # in one statement

_SCHEMA = f"""
{blob_rows.SCHEMA}
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE stream (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, key TEXT NOT NULL, status TEXT NOT NULL,
    active INTEGER NOT NULL, created_at INTEGER NOT NULL
);
CREATE INDEX stream_by_age ON stream (kind, created_at, name);
CREATE INDEX stream_by_key ON stream (kind, key, created_at, name);
CREATE INDEX stream_by_status ON stream (kind, status, created_at, name);
CREATE INDEX stream_active ON stream (kind, created_at, name) WHERE active = 1;
CREATE TABLE tail (
    stream INTEGER PRIMARY KEY, last INTEGER NOT NULL, record INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    due_at INTEGER, expires_at INTEGER, counts BLOB NOT NULL
);
CREATE TABLE record (
    id INTEGER PRIMARY KEY, previous INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL,
    crc INTEGER NOT NULL, body BLOB NOT NULL
);
INSERT INTO meta VALUES ('epoch', 0), ('owner', '');
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""
_MIGRATIONS = {1: blob_rows.SCHEMA}
"""From a format to the next one. Each is one transaction with the new number."""
# Above what is known by name, too: the number of a record that damage has taken must not be another stream's, else to
# delete the one would take the other along.
_NEXT = "SELECT max(coalesce((SELECT max(id) FROM {0}), 0), coalesce((SELECT max({1}) FROM tail), 0), {2}) + 1"
_MOST_GONE = "coalesce((SELECT max(value) FROM meta WHERE name LIKE 'gone %'), 0)"
_INSERT_RECORD = "INSERT INTO record VALUES ", ""
_REPLACE_TAIL = "REPLACE INTO tail VALUES ", ""
# By id only: a name that is there under another id must fail, not replace.
_UPSERT_STREAM = (
    "INSERT INTO stream VALUES ",
    " ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, key = excluded.key, status = excluded.status,"
    " active = excluded.active, created_at = excluded.created_at",
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
_SELECT_RECORDS = "SELECT last, count, crc, body FROM record WHERE id IN (", ") ORDER BY id"
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


class _End(Struct):
    """Where a stream ends, and what its row in `stream` says: `(kind, key, status, active, created_at)`."""

    id: int
    last: int
    record: int
    """The id of its last record, 0 if it has none."""
    row: Row


def format_of(path: Path) -> int | None:
    """The format of a journal file, without opening it; None if it is none."""
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError:
        return None
    is_journal = len(head) == 100 and int.from_bytes(head[68:72], "big") == APPLICATION_ID
    return int.from_bytes(head[60:64], "big") if is_journal else None


class Database:
    """An open journal file. All methods belong to the one thread that made it; one object at a time for a file."""

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        """Creates the file if there is none. Raises ConfigurationError, JournalLocked, JournalFull or JournalError."""
        self._path = path
        self._ends: dict[str, _End] = {}
        self._broken = ""
        self._presence = Presence(path)
        self._replaced: JournalReplaced | None = None
        self.migrated_from: int | None = None
        """The format that the file had, if it was an older one."""
        _refuse_rescued(path)
        with _opening(path):
            _make_private(path)
            self._connection = sqlite3.connect(path, timeout=1.0, isolation_level=None, cached_statements=256)
            try:
                self._prepare(max_bytes)
                self._next_stream = self._one(_NEXT.format("stream", "stream", 0))
                self._next_record = self._one(_NEXT.format("record", "record", _MOST_GONE))
                self._presence.problem(written=True)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, max_bytes: int | None) -> None:
        execute = self._connection.execute
        # No other process gets in between, be it for a look: two connections that checkpoint can corrupt the file.
        execute("PRAGMA locking_mode = EXCLUSIVE")
        known = self._one("PRAGMA application_id"), self._one("PRAGMA user_version")
        if known[0] == APPLICATION_ID and known[1] > FORMAT:
            raise ConfigurationError(
                f"the journal {self._path} has format {known[1]}, this version of Gleitzeit reads up to {FORMAT}:"
                " upgrade Gleitzeit, or name another file"
            )
        if known[0] != APPLICATION_ID and (any(known) or self._one("SELECT count(*) FROM sqlite_master")):
            raise ConfigurationError(f"{self._path} is an SQLite file but no journal of Gleitzeit: name another file")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        execute("PRAGMA cache_size = -8192")
        execute("PRAGMA temp_store = MEMORY")
        # Some builds write zeros over all that is deleted, and sync them.
        execute("PRAGMA secure_delete = FAST")
        execute("PRAGMA journal_size_limit = 67108864")
        if known[0] != APPLICATION_ID:
            self._connection.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
        else:
            self._migrate(known[1])
        if max_bytes is not None:
            execute(f"PRAGMA max_page_count = {max_bytes // self._one('PRAGMA page_size')}")

    def _migrate(self, found: int) -> None:
        """What a newer format adds is added at once, to all of it or nothing: an upgrade needs no step by hand."""
        self.migrated_from = found if found < FORMAT else None
        for format_ in range(found, FORMAT):
            number = f"PRAGMA user_version = {format_ + 1};"
            self._connection.executescript(f"BEGIN;{_MIGRATIONS[format_]}{number}COMMIT;")

    def grow_wal(self) -> bool:
        """Make the write-ahead log a step larger, by zeros behind its end, so that commits find their place allocated:
        to sync a file that grows costs twice what it costs otherwise, and many times that on a busy disk. SQLite takes
        zeros for no frame of the log, as it takes what it has left there itself. Returns whether there is more to do.
        """
        self.check_presence()
        beside = f"{self._path}-wal"
        try:
            if shutil.disk_usage(self._path.parent).free < ROOM_BYTES:
                return False
            file = os.open(beside, os.O_WRONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
            try:
                size_bytes = os.lseek(file, 0, os.SEEK_END)
                if size_bytes < WAL_BYTES:
                    os.write(file, bytes(WAL_STEP_BYTES))
                    os.fsync(file)
            finally:
                os.close(file)
            self._presence.problem(written=True)
        except OSError:
            return False  # a favour, no more; what is really wrong with the disk, a commit will say
        return size_bytes + WAL_STEP_BYTES < WAL_BYTES

    def keep(self, kept: bool) -> None:
        """While it is kept the file stays as it is, and all that is committed stands in the log beside it: who copies
        the file and then the log has a journal, up to some commit between the beginning of the second copy and its end.
        Who copies must not open the file in this process: to close it would take SQLite's locks away.
        """
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {0 if kept else CHECKPOINT_PAGES}")

    def claim(self, owner: str) -> int:
        """Raise the epoch, durably, and return it."""
        with self._transaction("claim"):
            self._connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch'")
            self._connection.execute("UPDATE meta SET value = ? WHERE name = 'owner'", (owner,))
        epoch: int = self._one("SELECT value FROM meta WHERE name = 'epoch'")
        return epoch

    def commit(self, group: Sequence[Sequence[Packed]]) -> list[JournalError | None]:
        """Write the commits of the group in one transaction. For each: None, or why nothing of it is written."""
        outcomes: list[JournalError | None] = []
        try:
            with self._transaction("append"):
                self._look_up({packed.stream for commit in group for packed in commit})
                plan = _Plan(self._ends, self._next_stream, self._next_record)
                outcomes = [plan.add(commit) for commit in group]
                self._write(plan)
        except JournalError as error:
            # A conflict found before the failure stays what it is.
            return [outcome or error for outcome in outcomes or [None] * len(group)]
        self._remember(plan)
        return outcomes

    def _look_up(self, names: set[str]) -> None:
        missing = [(name,) for name in names if name not in self._ends]
        for chunk in _chunks(missing):
            select = _with_list(_SELECT_ENDS, len(chunk))
            for name, id_, last, record, *row in self._connection.execute(select, [name for (name,) in chunk]):
                self._ends[name] = _End(id_, last, record, tuple(row))

    def _write(self, plan: "_Plan") -> None:
        streams, tails = [], []
        for name, end in plan.ends.items():
            summary, known = plan.summaries[name], self._ends.get(name)
            if known is None or known.row != end.row:
                streams.append((end.id, name, *end.row))
            counts = bytes(summary.counts)
            tails.append((end.id, end.last, end.record, summary.updated_at, summary.due_at, summary.expires_at, counts))
        self._insert(_UPSERT_STREAM, streams)
        self._insert(_INSERT_RECORD, plan.records)
        self._insert(_REPLACE_TAIL, tails)
        if plan.blobs:
            blob_rows.refer(self._connection, [(plan.ends[stream].id, name) for stream, name in plan.blobs])

    def _insert(self, statement: tuple[str, str], rows: list[Row]) -> None:
        for chunk in _chunks(rows):
            values = [value for row in chunk for value in row]
            self._connection.execute(_with_values(statement, len(chunk[0]), len(chunk)), values)

    def _remember(self, plan: "_Plan") -> None:
        self._next_stream, self._next_record = plan.next_stream, plan.next_record
        self._ends.update(plan.ends)
        for name in [name for name in plan.ends if not plan.summaries[name].active]:
            del self._ends[name]
        if len(self._ends) > CACHED_STREAMS:
            for name in list(islice(self._ends, len(self._ends) - CACHED_STREAMS * 3 // 4)):
                del self._ends[name]

    def read(self, stream: str, after: int, limit: int) -> list[Record]:
        """As Journal.read."""
        records: list[Record] = []
        with self._reading(f"the stream {stream}"):
            tail = self._connection.execute(
                "SELECT record, last FROM stream JOIN tail ON stream = id WHERE name = ?", (stream,)
            ).fetchone()
            if tail is None or after >= tail[1]:
                return records
            size_bytes = 0
            for row in self._rows(tail[0], after):
                page = unpack(stream, *row)
                expected = records[-1].seq + 1 if records else after + 1
                if page[0].seq != expected and (records or page[0].seq > expected):
                    raise JournalCorrupt(f"the stream {stream} lacks its events {expected} to {page[0].seq - 1}")
                records += page if records else page[expected - page[0].seq :]
                size_bytes += len(row[3])
                if len(records) >= limit or size_bytes >= PAGE_BYTES:
                    return records[:limit]
        if not records or records[-1].seq != tail[1]:
            raise JournalCorrupt(f"the stream {stream} lacks its last events: it should end at {tail[1]}")
        return records

    def _rows(self, record: int, after: int) -> Iterator[Row]:
        """The records of a stream whose last is `record`, in order, from the one that holds the event after `after`."""
        found = self._connection.execute(_WALK, {"id": record, "after": after}).fetchone()[0]
        ids = sorted(map(int, found.split(","))) if found else []
        for chunk in _chunks([(id_,) for id_ in ids]):
            with closing(
                self._connection.execute(_with_list(_SELECT_RECORDS, len(chunk)), [id_ for (id_,) in chunk])
            ) as rows:
                yield from rows

    def unfinished(self, kind: str, before: tuple[int, str] | None, limit: int) -> list[Unfinished]:
        """As Journal.unfinished. Where a page of the file is damaged it may be that of one record: all are without
        events then."""
        query = Find(kind, active=True, before=before, limit=limit)
        [(where, values)] = branches(query)
        text = f"{_SELECT_ACTIVE} WHERE {where} ORDER BY created_at DESC, name DESC LIMIT ?"
        try:
            with self._reading("the list of streams"):
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
        with self._reading("the list of streams"):
            for where, values in branches(query):
                text = (
                    f"SELECT {SUMMARY_COLUMNS} FROM stream JOIN tail ON tail.stream = id WHERE {where}"
                    " ORDER BY created_at DESC, name DESC LIMIT ?"
                )
                rows = self._connection.execute(text, (*values, query.limit))
                summaries.extend(summary_of(row) for row in rows)
        summaries.sort(key=lambda summary: (summary.created_at, summary.stream), reverse=True)
        return summaries[: query.limit]

    def delete(self, streams: Sequence[str]) -> None:
        """As Journal.delete. The records of a long stream go with `forget_some`; nobody finds them any more."""
        with self._transaction("delete"):
            for name in streams:
                self._look_up({name})
                end = self._ends.pop(name, None)
                if end is not None:
                    left = self._delete_records(end.record)
                    if left:
                        self._connection.execute("INSERT INTO meta VALUES (?, ?)", (f"gone {end.record}", left))
                    self._connection.execute("DELETE FROM tail WHERE stream = ?", (end.id,))
                    self._connection.execute("DELETE FROM stream WHERE id = ?", (end.id,))
                    blob_rows.drop(self._connection, end.id)

    def forget_some(self) -> bool:
        """Delete so much as one transaction has room for of what long streams have left behind that were deleted, now
        or before a start. Returns whether there may be more. Raises as `commit` does."""
        with self._transaction("delete"):
            row = self._connection.execute("SELECT name, value FROM meta WHERE name LIKE 'gone %' LIMIT 1").fetchone()
            if row is None:
                return False
            left = self._delete_records(row[1])
            if left:
                self._connection.execute("UPDATE meta SET value = ? WHERE name = ?", (left, row[0]))
            else:
                self._connection.execute("DELETE FROM meta WHERE name = ?", (row[0],))
        return True

    def _delete_records(self, newest: int) -> int:
        """The last ones of a stream. Returns where those begin that are left, 0 if none is."""
        bounds = {"id": newest, "count": GONE_ROWS, "size": GONE_BYTES}
        ids, left = self._connection.execute(_WALK_GONE, bounds).fetchone()
        if ids:
            self._connection.execute(f"DELETE FROM record WHERE id IN ({ids})")
        return left or 0

    def put_all(self, pieces: Sequence[Piece]) -> list[int | GleitzeitError]:
        """As Blobs.put, many in one transaction, each for itself: its outcome, or why it changed nothing. Raises
        JournalFull and JournalError for all of them."""
        with self._transaction("put of blobs"):
            return [self._put_in_transaction(piece) for piece in pieces]

    def _put_in_transaction(self, piece: Piece) -> int | GleitzeitError:
        name, size_bytes, offset, chunk, now = piece
        execute = self._connection.execute
        execute("SAVEPOINT piece")
        try:
            outcome: int | GleitzeitError = blob_rows.put(self._connection, name, size_bytes, offset, chunk, now)
            whole = outcome == size_bytes and blob_rows.size(self._connection, name) is None
            if whole and not blob_rows.complete(self._connection, name):
                outcome = wrong_content(name, "of something else")  # that it is forgotten stays
        except GleitzeitError as error:
            execute("ROLLBACK TO piece")
            outcome = error
        execute("RELEASE piece")  # not after an error of SQLite, which ends all of them
        return outcome

    def get(self, name: str, offset: int, limit: int) -> bytes:
        """As Blobs.get."""
        with self._reading(f"the blob {name}"):
            return blob_rows.get(self._connection, name, offset, limit)

    def size(self, name: str) -> int | None:
        """As Blobs.size."""
        with self._reading(f"the blob {name}"):
            return blob_rows.size(self._connection, name)

    def sweep(self, unused_since: int) -> int:
        """As Blobs.sweep."""
        with self._transaction("sweep of blobs"):
            return blob_rows.sweep(self._connection, unused_since)

    def check_presence(self, *, written: bool = False) -> None:
        """Raises JournalReplaced if the files are not those that were opened: what is written to them is lost."""
        if self._replaced is None:
            problem = self._presence.problem(written=written)
            if not problem:
                return
            whole = self._presence.lost != self._presence.main and not self._presence.cut
            end = "is put into the file beside it" if whole else "would not be found at the next start"
            self._replaced = JournalReplaced(f"{problem}: what was written {end}", {"whole": whole})
        raise self._replaced

    def close(self) -> None:
        if self._replaced is not None and self._presence.lost == self._presence.main:
            log.critical("%s; %s", self._replaced, rescue(self._connection, self._path))
        # What was acknowledged is in the log, and the next start takes it from there. If the log is lost, this puts it
        # into the file; if that is, SQLite sees so and leaves alone what has come in its place.
        with suppress(sqlite3.Error):
            self._connection.close()

    def _one(self, text: str) -> Any:
        return self._connection.execute(text).fetchone()[0]

    @contextmanager
    def _transaction(self, what: str) -> Iterator[None]:
        """All or nothing. Raises JournalFull, after which all goes on, or JournalError, after which nothing does."""
        if self._broken:
            raise JournalError(f"the journal {self._path} takes no more since this failure: {self._broken}")
        self.check_presence()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failure(what, error) from error
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self.check_presence(written=True)  # once more, before anybody believes that it is durable

    def _failure(self, what: str, error: sqlite3.Error) -> JournalError:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as worse:
            self._broken = f"{what}: {error}; then: {worse}"
            return JournalError(f"the journal {self._path} failed: {self._broken}")
        if _primary_code(error) == sqlite3.SQLITE_FULL:
            return JournalFull(f"no space left for the journal {self._path}")
        self._broken = f"{what}: {error}"
        return JournalError(f"the journal {self._path} failed: {self._broken}")

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if _primary_code(error) == sqlite3.SQLITE_CORRUPT:
                raise JournalCorrupt(f"{what} cannot be read from {self._path}: {error}") from error
            raise JournalError(f"{what} cannot be read from {self._path}: {error}") from error


class _Plan:
    """What one transaction will write. Checks each commit against the ends known before it and those it makes."""

    def __init__(self, known: dict[str, _End], next_stream: int, next_record: int) -> None:
        self._known = known
        self.next_stream = next_stream
        self.next_record = next_record
        self.ends: dict[str, _End] = {}
        self.summaries: dict[str, Summary] = {}
        self.records: list[Row] = []
        self.blobs: list[tuple[str, str]] = []

    def add(self, commit: Sequence[Packed]) -> JournalConflict | None:
        """Take the commit in as a whole, or leave it out as a whole."""
        ends: dict[str, _End] = {}
        records: list[Row] = []
        next_stream, next_record = self.next_stream, self.next_record
        for packed in commit:
            stream = packed.stream
            end = ends.get(stream) or self.ends.get(stream) or self._known.get(stream)
            if end is None:
                end = _End(next_stream, 0, 0, ())
                next_stream += 1
            if packed.seq != end.last + 1:
                return JournalConflict(f"{stream} ends at {end.last}: cannot append {packed.seq}")
            previous = end.record
            for record in packed.records:
                records.append((next_record, previous, *record))
                previous, next_record = next_record, next_record + 1
            ends[stream] = _End(end.id, packed.last, previous, _row(packed.summary))
        self.next_stream, self.next_record = next_stream, next_record
        self.ends.update(ends)
        self.records += records
        self.summaries.update((packed.stream, packed.summary) for packed in commit)
        self.blobs += [(packed.stream, name) for packed in commit for name in packed.blobs]
        return None


def _row(summary: Summary) -> Row:
    return summary.kind, summary.key, summary.status, int(summary.active), summary.created_at


def _chunks(rows: list[Row]) -> Iterator[list[Row]]:
    """Pieces of 64, then of smaller powers of two: few different statements, so that all stay prepared."""
    start = 0
    while start < len(rows):
        size = min(_ROWS, 1 << (len(rows) - start).bit_length() - 1)
        yield rows[start : start + size]
        start += size


@lru_cache
def _with_values(statement: tuple[str, str], width: int, rows: int) -> str:
    return statement[0] + ",".join([f"({','.join('?' * width)})"] * rows) + statement[1]


@lru_cache
def _with_list(statement: tuple[str, str], length: int) -> str:
    return statement[0] + ",".join("?" * length) + statement[1]


def _primary_code(error: sqlite3.Error) -> int:
    """sqlite3 raises some errors itself, without a code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"the journal {path} cannot be opened: {error.strerror}") from error
    except sqlite3.Error as error:
        code = _primary_code(error)
        if code == sqlite3.SQLITE_BUSY:
            raise JournalLocked(f"the journal {path} is open in another program") from error
        if code == sqlite3.SQLITE_FULL:
            raise JournalFull(f"no space left for the journal {path}") from error
        if code == sqlite3.SQLITE_CORRUPT:
            raise JournalCorrupt(
                f"the journal {path} is damaged as a whole ({error}): take a copy or an export of it, or another file"
            ) from error
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise ConfigurationError(f"{path} cannot be used as a journal: {error}") from error
        raise JournalError(f"the journal {path} cannot be opened: {error}") from error


def _refuse_rescued(path: Path) -> None:
    rescued = path.with_name(path.name + RESCUED)
    if rescued.exists():
        raise ConfigurationError(
            f"the journal {path} was taken away while it was in use, and {rescued} is what it held: to go on with that,"
            f" remove {path} and {path}-wal if they are there and give it that name; else remove it"
        )


def _make_private(path: Path) -> None:
    """SQLite gives the files beside it the same mode. The folder is synced too: a new file's name must survive."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(file).st_mode & 0o077:
            os.fchmod(file, 0o600)
    finally:
        os.close(file)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
