"""What a journal in SQLite consists of, and how a file becomes one: its format, and the way from an older one.

stream   what `find` looks for, indexed; written when a stream is made and when its status changes
meta     the epoch and its owner; and of each long stream that was deleted, which of its records is next to go
tail     what changes with every commit: small rows without an index, so that a commit touches few pages
record   see record_rows.py
blob…    see blob_rows.py
"""

import sqlite3
from pathlib import Path

from gleitzeit.errors import ConfigurationError
from gleitzeit.journal import blob_rows, record_rows

FORMAT = 3
"""2 is 1 with blobs, 3 is 2 with records that may be compressed."""
APPLICATION_ID = 0x477A4A31  # "GzJ1": what tells a journal from other SQLite files

_SCHEMA = f"""
{blob_rows.SCHEMA}
{record_rows.SCHEMA}
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
INSERT INTO meta VALUES ('epoch', 0), ('owner', '');
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
"""
_MIGRATIONS = {1: blob_rows.SCHEMA, 2: ""}
"""From a format to the next one. Each is one transaction with the new number."""


def format_of(path: Path) -> int | None:
    """The format of a journal file, without opening it; None if it is none."""
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError:
        return None
    is_journal = len(head) == 100 and int.from_bytes(head[68:72], "big") == APPLICATION_ID
    return int.from_bytes(head[60:64], "big") if is_journal else None


def prepare(connection: sqlite3.Connection, path: Path, max_bytes: int | None) -> None:
    """Make the connection the only one to a journal of today's format: of a new file, or an older one. Raises
    ConfigurationError for what is no journal, or a newer one, and what SQLite raises."""
    execute = connection.execute
    # No other process gets in between, be it for a look: two connections that checkpoint can corrupt the file.
    execute("PRAGMA locking_mode = EXCLUSIVE")
    found = _number(connection, "application_id"), _number(connection, "user_version")
    if found[0] == APPLICATION_ID and found[1] > FORMAT:
        raise ConfigurationError(
            f"the journal {path} has format {found[1]}, this version of Gleitzeit reads up to {FORMAT}:"
            " upgrade Gleitzeit, or name another file"
        )
    if found[0] != APPLICATION_ID and (any(found) or execute("SELECT 1 FROM sqlite_master").fetchone()):
        raise ConfigurationError(f"{path} is an SQLite file but no journal of Gleitzeit: name another file")
    execute("PRAGMA journal_mode = WAL")
    execute("PRAGMA synchronous = FULL")
    execute("PRAGMA cache_size = -8192")
    execute("PRAGMA temp_store = MEMORY")
    # Some builds write zeros over all that is deleted, and sync them.
    execute("PRAGMA secure_delete = FAST")
    execute("PRAGMA journal_size_limit = 67108864")
    if found[0] != APPLICATION_ID:
        connection.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
    else:
        _migrate(connection, found[1])
    if max_bytes is not None:
        execute(f"PRAGMA max_page_count = {max_bytes // _number(connection, 'page_size')}")


def _migrate(connection: sqlite3.Connection, found: int) -> None:
    """What a newer format adds is added at once, to all of it or nothing: an upgrade needs no step by hand."""
    for format_ in range(found, FORMAT):
        number = f"PRAGMA user_version = {format_ + 1};"
        connection.executescript(f"BEGIN;{_MIGRATIONS[format_]}{number}COMMIT;")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
