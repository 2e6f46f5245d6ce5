"""Disks that are soon full: small file systems in memory, where the tests may mount one."""

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_READ_ONLY, _REMOUNT = 1, 32
_DETACH = 2
"""Whatever is still open there."""


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """`size` as mount takes it: `3m`. Skips the test where that is not permitted."""
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={size}".encode()) != 0:
        pytest.skip(f"cannot mount a small disk: {os.strerror(ctypes.get_errno())}")
    try:
        yield folder
    finally:
        libc.umount2(os.fsencode(folder), _DETACH)


@contextlib.contextmanager
def small_disk_for_others(size: str) -> Iterator[Path]:
    """One that a server which is not root can reach. Not in pytest's own folder: whenever a session of pytest begins,
    it closes that to everybody else, also under the servers of other sessions."""
    place = Path(tempfile.mkdtemp(prefix="gz-disk-"))
    try:
        place.chmod(0o755)
        with small_disk(place / "disk", size) as disk:
            yield disk
    finally:
        shutil.rmtree(place, ignore_errors=True)


def fill(disk: Path) -> Path:
    """Until nothing more goes in. Returns the file that did it."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


def make_read_only(disk: Path) -> None:
    """As a snapshot is, or a disk with errors. Whoever writes there must be done."""
    assert ctypes.CDLL(None).mount(None, os.fsencode(disk), None, _READ_ONLY | _REMOUNT, None) == 0
