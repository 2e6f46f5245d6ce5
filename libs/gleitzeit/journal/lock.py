"""A lock that lives as long as its process: the kernel drops it, also at kill -9."""

import contextlib
import fcntl
import os
from pathlib import Path

from gleitzeit.errors import JournalLocked


class FileLock:
    """An exclusive `flock` on a file that holds the owner's process id, for people and for the refusal's message.

    The file stays when the lock goes: to remove it would let two processes lock two files of one name.
    """

    def __init__(self, path: Path, what: str) -> None:
        """`what` is named in the refusal. Raises JournalLocked, or OSError if the file cannot be made."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 32).decode("ascii", "replace").strip()
            os.close(self._file)
            data = {"pid": int(holder)} if holder.isdecimal() else None
            raise JournalLocked(f"{what} is in use by process {holder or '(unknown)'}", data) from None
        self._write(f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Idempotent."""
        if self._file >= 0:
            self._write(b"")
            os.close(self._file)
            self._file = -1

    def _write(self, content: bytes) -> None:
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same, without a name
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, content, 0)
