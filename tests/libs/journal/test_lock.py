import os
from pathlib import Path

import pytest

from gleitzeit.errors import JournalLocked
from gleitzeit.journal.lock import FileLock


def test_the_refusal_names_who_holds_it(tmp_path: Path) -> None:
    held = FileLock(tmp_path / "x.lock", "the journal x")
    with pytest.raises(JournalLocked, match=f"the journal x is in use by process {os.getpid()}") as refusal:
        FileLock(tmp_path / "x.lock", "the journal x")
    assert refusal.value.data == {"pid": os.getpid()}
    held.release()
    held.release()
    FileLock(tmp_path / "x.lock", "the journal x").release()


def test_a_file_left_behind_does_not_lock(tmp_path: Path) -> None:
    (tmp_path / "x.lock").write_text("1\n")
    lock = FileLock(tmp_path / "x.lock", "x")
    assert (tmp_path / "x.lock").read_text() == f"{os.getpid()}\n"
    lock.release()
    assert (tmp_path / "x.lock").read_text() == ""


def test_the_file_is_private(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "x.lock", "x")
    assert (tmp_path / "x.lock").stat().st_mode & 0o777 == 0o600
    lock.release()
