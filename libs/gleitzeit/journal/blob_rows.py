"""Blobs in the SQLite file of a journal: pieces are rows, so that one file, one lock and one commit hold everything.

    blob         one row a blob; `present` is how many bytes of it are there
    blob_chunk   its pieces, in order
    blob_ref     which streams refer to it

All functions run one at a time, in the transaction of the caller.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator

from gleitzeit.errors import GleitzeitError
from gleitzeit.journal import blobs

SCHEMA = """
CREATE TABLE blob (
    name TEXT PRIMARY KEY, size INTEGER NOT NULL, present INTEGER NOT NULL, whole INTEGER NOT NULL,
    used_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE blob_chunk (id INTEGER PRIMARY KEY, name TEXT NOT NULL, start INTEGER NOT NULL, crc INTEGER NOT NULL,
    body BLOB NOT NULL);
CREATE UNIQUE INDEX blob_chunk_in_order ON blob_chunk (name, start);
CREATE TABLE blob_ref (stream INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (stream, name)) WITHOUT ROWID;
CREATE INDEX blob_ref_by_name ON blob_ref (name);
"""


def put_or_leave(connection: sqlite3.Connection, piece: blobs.Piece) -> int | GleitzeitError:
    """As Blobs.put, beside others in one transaction: the outcome, or why it changed nothing."""
    name, size_bytes, offset, chunk, now = piece
    connection.execute("SAVEPOINT piece")
    try:
        outcome: int | GleitzeitError = _put(connection, name, size_bytes, offset, chunk, now)
        whole = outcome == size_bytes and size(connection, name) is None
        if whole and not _complete(connection, name):
            outcome = blobs.wrong_content(name, "of something else")  # that it is forgotten stays
    except GleitzeitError as error:
        connection.execute("ROLLBACK TO piece")
        outcome = error
    connection.execute("RELEASE piece")  # not after an error of SQLite, which ends all of them
    return outcome


def _put(connection: sqlite3.Connection, name: str, size_bytes: int, offset: int, chunk: bytes, now: int) -> int:
    """As Blobs.put, for arguments that `check_put` has let pass; the content is compared by `_complete`."""
    row = connection.execute("SELECT size, present, whole FROM blob WHERE name = ?", (name,)).fetchone()
    size, present, whole = row or (size_bytes, 0, 0)
    blobs.check_size(name, size, size_bytes)
    if offset == present and not whole and chunk:
        crc = blobs.checksum(name, offset, chunk)
        connection.execute(
            "INSERT INTO blob_chunk (name, start, crc, body) VALUES (?, ?, ?, ?)", (name, offset, crc, chunk)
        )
        present += len(chunk)
    connection.execute(
        "INSERT INTO blob VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET present = excluded.present,"
        " used_at = max(used_at, excluded.used_at)",
        (name, size_bytes, present, whole, now),
    )
    return int(present)


def _complete(connection: sqlite3.Connection, name: str) -> bool:
    """All bytes are there: is it what its name says? If so it is whole from now on, if not it is forgotten."""
    digest = hashlib.sha256()
    for start, crc, body in _chunks(connection, name, 0):
        blobs.check_chunk(name, start, crc, body)
        digest.update(body)
    good = name == f"sha256:{digest.hexdigest()}"
    if good:
        connection.execute("UPDATE blob SET whole = 1 WHERE name = ?", (name,))
    else:
        _forget(connection, [name])
    return good


def size(connection: sqlite3.Connection, name: str) -> int | None:
    row = connection.execute("SELECT size FROM blob WHERE name = ? AND whole = 1", (name,)).fetchone()
    return int(row[0]) if row else None


def get(connection: sqlite3.Connection, name: str, offset: int, limit: int) -> bytes:
    """Raises BlobNotFound or JournalCorrupt."""
    if size(connection, name) is None:
        raise blobs.not_found(name)
    content = bytearray()
    for start, crc, body in _chunks(connection, name, offset):
        blobs.check_chunk(name, start, crc, body)
        content += body[max(0, offset - start) :]
        if len(content) >= limit:
            break
    return bytes(content[:limit])


def _chunks(connection: sqlite3.Connection, name: str, offset: int) -> Iterator[tuple[int, int, bytes]]:
    """From the piece that holds the byte `offset` on."""
    yield from connection.execute(
        "SELECT start, crc, body FROM blob_chunk WHERE name = :name AND start >= coalesce("
        "(SELECT max(start) FROM blob_chunk WHERE name = :name AND start <= :offset), 0) ORDER BY start",
        {"name": name, "offset": offset},
    )


def refer(connection: sqlite3.Connection, references: Iterable[tuple[int, str]]) -> None:
    """(id of the stream, blob)"""
    connection.executemany("INSERT OR IGNORE INTO blob_ref VALUES (?, ?)", references)


def drop(connection: sqlite3.Connection, stream: int) -> None:
    """The stream is gone, and with it what it referred to."""
    connection.execute("DELETE FROM blob_ref WHERE stream = ?", (stream,))


def sweep(connection: sqlite3.Connection, unused_since: int) -> int:
    rows = connection.execute(
        "SELECT name FROM blob WHERE used_at < ? AND name NOT IN (SELECT name FROM blob_ref)", (unused_since,)
    ).fetchall()
    _forget(connection, [name for (name,) in rows])
    return len(rows)


def _forget(connection: sqlite3.Connection, names: list[str]) -> None:
    connection.executemany("DELETE FROM blob_chunk WHERE name = ?", [(name,) for name in names])
    connection.executemany("DELETE FROM blob WHERE name = ?", [(name,) for name in names])
