"""A file of SQLite in use: transactions that are all or nothing, and only while it is what its name leads to."""

import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from gleitzeit.errors import (
    ConfigurationError,
    JournalCorrupt,
    JournalError,
    JournalFull,
    JournalLocked,
    JournalReplaced,
)
from gleitzeit.journal.presence import RESCUED, Presence, rescue
from gleitzeit.journal.sqlite_tables import prepare

log = logging.getLogger("gz.journal")

WAL_BYTES = 4_600_000  # a little more than the 1,000 pages after which SQLite begins the log anew
WAL_STEP_BYTES = 512 << 10
CHECKPOINT_PAGES = 1_000  # SQLite's own default
ROOM_BYTES = 256 << 20  # what must be free on the disk before any is taken that is not needed yet


class SqliteFile:
    """An open journal file. One call at a time, by whatever thread; one object at a time for a file."""

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        """Creates the file if there is none. Raises ConfigurationError, JournalLocked, JournalFull or JournalError."""
        self._path = path
        self._broken = ""
        self._presence = Presence(path)
        self._replaced: JournalReplaced | None = None
        _refuse_rescued(path)
        with opening(path):
            _make_private(path)
            self.connection = sqlite3.connect(
                path, timeout=1.0, isolation_level=None, cached_statements=256, check_same_thread=False
            )
            # One damaged letter in a list is no reason to show nothing of it.
            self.connection.text_factory = partial(str, encoding="utf-8", errors="replace")
            try:
                prepare(self.connection, path, max_bytes)
                self._presence.problem(written=True)
            except BaseException:
                self.connection.close()
                raise

    @contextmanager
    def transaction(self, what: str) -> Iterator[None]:
        """All or nothing. Raises JournalFull, after which all goes on, or JournalError, after which nothing does."""
        if self._broken:
            raise JournalError(f"the journal {self._path} takes no more since this failure: {self._broken}")
        self.check_presence()
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failure(what, error) from error
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.check_presence(written=True)  # once more, before anybody believes that it is durable

    def _failure(self, what: str, error: sqlite3.Error) -> JournalError:
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except sqlite3.Error as worse:
            self._broken = f"{what}: {error}; then: {worse}"
            return JournalError(f"the journal {self._path} failed: {self._broken}")
        if _primary_code(error) == sqlite3.SQLITE_FULL:
            return JournalFull(f"no space left for the journal {self._path}")
        self._broken = f"{what}: {error}"
        return JournalError(f"the journal {self._path} failed: {self._broken}")

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if _primary_code(error) == sqlite3.SQLITE_CORRUPT:
                raise JournalCorrupt(f"{what} cannot be read from {self._path}: {error}") from error
            raise JournalError(f"{what} cannot be read from {self._path}: {error}") from error

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
        self.connection.execute(f"PRAGMA wal_autocheckpoint = {0 if kept else CHECKPOINT_PAGES}")

    def close(self) -> None:
        if self._replaced is not None and self._presence.lost == self._presence.main:
            log.critical("%s; %s", self._replaced, rescue(self.connection, self._path))
        # What was acknowledged is in the log, and the next start takes it from there. If the log is lost, this puts it
        # into the file; if that is, SQLite sees so and leaves alone what has come in its place.
        with suppress(sqlite3.Error):
            self.connection.close()


def _primary_code(error: sqlite3.Error) -> int:
    """sqlite3 raises some errors itself, without a code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """What goes wrong meanwhile, as the error that says so."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"the journal {path} cannot be opened: {error.strerror}") from error
    except UnicodeDecodeError as error:  # what SQLite says of its tables quotes what it found there
        raise damaged(path, "the descriptions of its tables cannot be read") from error
    except sqlite3.Error as error:
        code = _primary_code(error)
        if code == sqlite3.SQLITE_BUSY:
            raise JournalLocked(f"the journal {path} is open in another program") from error
        if code == sqlite3.SQLITE_FULL:
            raise JournalFull(f"no space left for the journal {path}") from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):  # a table that every journal has is not there
            raise damaged(path, str(error)) from error
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise ConfigurationError(f"{path} cannot be used as a journal: {error}") from error
        raise JournalError(f"the journal {path} cannot be opened: {error}") from error


def damaged(path: Path, why: str) -> JournalCorrupt:
    return JournalCorrupt(
        f"the journal {path} is damaged as a whole ({why}): take a copy or an export of it, or another file"
    )


def _refuse_rescued(path: Path) -> None:
    rescued = path.with_name(path.name + RESCUED)
    if rescued.exists() or rescued.is_symlink():  # it may lead to a folder that others clean up
        where = f"{rescued.resolve()}, to which {rescued} leads," if rescued.is_symlink() else str(rescued)
        raise ConfigurationError(
            f"the journal {path} was taken away while it was in use, and {where} is what it held: to go on with that,"
            f" remove {path} and {path}-wal if they are there and give it that name; then remove {rescued}"
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
