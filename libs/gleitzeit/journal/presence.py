"""Whether an open SQLite file is still what its name leads to.

Who deletes, moves or replaces the files of a running journal, or cuts them short, does not stop it: it goes on writing
into a file without a name, and the next start finds nothing of it.
"""

import os
import shutil
import sqlite3
import tempfile
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

RESCUED = ".rescued"
"""Behind the name of a journal: what it held when its file was taken away."""
CUT = "was cut short"


class _Seen(Struct, frozen=True):
    file: tuple[int, int]
    size_bytes: int


class Presence:
    """Of the files that a connection has open. Each look costs two system calls of a microsecond."""

    def __init__(self, path: Path) -> None:
        self.main = str(path)
        self._log = f"{path}-wal"
        self._seen: dict[str, _Seen] = {}
        self.lost = ""
        """The file that is not there any more, or not all of it."""
        self.cut = False

    def problem(self, *, written: bool = False) -> str:
        """What happened to them since the last look; empty if nothing has. `written`: we have just changed their
        sizes."""
        for path in (self.main, self._log):
            found, seen = _look(path), self._seen.get(path)
            if seen is not None and (problem := _difference(found, seen, written)):
                self.lost, self.cut = path, problem == CUT
                return f"{path} {problem} while it was in use"
            if found is not None and (written or seen is None):
                self._seen[path] = found
        return ""


def _look(path: str) -> _Seen | None:
    """None if there is no such file."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _Seen((found.st_dev, found.st_ino), found.st_size)


def _difference(found: _Seen | None, seen: _Seen, written: bool) -> str:
    if found is None:
        return "was deleted or moved"
    if found.file != seen.file:
        return "was replaced"
    return CUT if found.size_bytes < seen.size_bytes and not written else ""


def rescue(connection: sqlite3.Connection, path: Path) -> str:
    """Write all that the connection still sees to a file beside the place of the lost one, or where that has no space
    to the folder for temporary files, with a link to it; what came of it, in words for people."""
    rescued = path.with_name(path.name + RESCUED)
    try:
        _keep(connection, rescued)
    except (OSError, sqlite3.Error) as error:
        return _rescue_elsewhere(connection, rescued, error)
    return f"all that it held is kept in {rescued}"


def _rescue_elsewhere(connection: sqlite3.Connection, rescued: Path, why: Exception) -> str:
    folder = ""
    try:
        folder = tempfile.mkdtemp(prefix="gz-rescued-")
        elsewhere = Path(folder) / rescued.name
        _keep(connection, elsewhere)
    except (OSError, sqlite3.Error) as error:
        shutil.rmtree(folder, ignore_errors=True)
        return f"what it held could not be kept, neither beside it ({why}) nor in {tempfile.gettempdir()} ({error})"
    with suppress(OSError):  # there is one from before
        rescued.symlink_to(elsewhere)
    return f"all that it held is kept in {elsewhere}: take it from there soon, as beside it there was no place ({why})"


def _keep(connection: sqlite3.Connection, place: Path) -> None:
    os.close(os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        connection.execute("VACUUM INTO ?", (str(place),))
        for path, kind in ((place, os.O_RDWR), (place.parent, os.O_RDONLY | os.O_DIRECTORY)):
            file = os.open(path, kind | os.O_CLOEXEC)
            os.fsync(file)
            os.close(file)
    except (OSError, sqlite3.Error):
        place.unlink(missing_ok=True)  # a part of it would be taken for all
        raise
