"""The files of a journal in use are deleted, moved, replaced, cut short: nothing is acknowledged that would be lost."""
# ruff: noqa: ASYNC240 - the tests look at small local files, and nothing else waits for their loop

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.small_disks import fill, small_disk

from gleitzeit.errors import ConfigurationError, JournalFull, JournalReplaced
from gleitzeit.journal.base import Append, Summary
from gleitzeit.journal.database import Database
from gleitzeit.journal.records import pack
from gleitzeit.journal.sqlite import SqliteJournal


def append(seq: int, event: bytes = b"e") -> Append:
    return Append("s", seq, (event,), Summary("s", "workflow", "", "running", True, 0, 0))


def delete(file: Path) -> None:
    file.unlink()


def replace(file: Path) -> None:
    copy = file.with_name("copy")
    shutil.copyfile(file, copy)
    copy.rename(file)


def cut(file: Path) -> None:
    os.truncate(file, 0)


def move(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "j.db"


def written(path: Path) -> Database:
    database = Database(path)
    database.claim("me")
    for seq in (1, 2, 3):
        assert database.commit([[pack(append(seq))]]) == [None]
    return database


def events(path: Path) -> int:
    database = Database(path)
    found = database.read("s", 0, 100)
    database.close()
    return len(found)


@pytest.mark.parametrize("harm", [delete, replace, move, cut])
@pytest.mark.parametrize("which", ["", "-wal"])
def test_what_was_acknowledged_is_kept_and_nothing_more_is(
    path: Path, which: str, harm: Callable[[Path], None]
) -> None:
    database = written(path)
    harm(path.with_name(path.name + which))
    for _ in range(2):
        (problem,) = database.commit([[pack(append(4))]])
        assert isinstance(problem, JournalReplaced)
        assert str(path.with_name(path.name + which)) in problem.message
    with pytest.raises(JournalReplaced):
        database.delete(["s"])
    database.close()
    assert problem.data == {"whole": bool(which) and harm is not cut}
    if harm is cut and which:
        return
    if not which:
        rescued = path.with_name("j.db.rescued")
        assert rescued.stat().st_mode & 0o777 == 0o600
        with pytest.raises(ConfigurationError, match=r"taken away while it was in use, and .*j\.db\.rescued"):
            Database(path)
        for stale in (path, path.with_name("j.db-wal")):
            stale.unlink(missing_ok=True)
        rescued.rename(path)
    assert events(path) == 3
    again = Database(path)
    assert again.commit([[pack(append(4))]]) == [None]
    again.close()


@pytest.mark.parametrize("elsewhere", ["", "full", "no folder"])
def test_what_cannot_be_kept_on_a_full_disk_is_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, elsewhere: str
) -> None:
    others = tmp_path / "others"
    others.mkdir()
    with small_disk(tmp_path / "disk", "1m") as disk:
        places = {"": others, "full": disk, "no folder": others / "none"}
        monkeypatch.setattr("tempfile.tempdir", str(places[elsewhere]))
        path = disk / "j.db"
        database = written(path)
        fill(disk)
        path.unlink()
        assert isinstance(database.commit([[pack(append(4))]])[0], JournalReplaced)
        database.close()
        rescued = disk / "j.db.rescued"
        if elsewhere:
            assert "could not be kept" in caplog.text
            assert not rescued.exists()
            assert not list(disk.glob("gz-*"))
        else:
            assert f"kept in {rescued.resolve()}" in caplog.text
            assert rescued.resolve().is_relative_to(others)
            with pytest.raises(ConfigurationError, match="taken away while it was in use"):
                Database(path)
            assert events(rescued.resolve()) == 3


def test_a_replacement_is_left_alone(path: Path, tmp_path: Path) -> None:
    """Someone has put a backup back while the journal was in use."""
    database = written(path)
    backup = tmp_path / "backup.db"
    other = Database(backup)
    other.claim("other")
    other.close()
    before = backup.read_bytes()
    backup.rename(path)
    assert isinstance(database.commit([[pack(append(4))]])[0], JournalReplaced)
    database.close()
    assert path.read_bytes() == before


def test_a_replacement_during_the_commit_is_noticed_before_it_is_believed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = written(path)
    real = database._write

    def write(plan: object) -> None:
        real(plan)  # type: ignore[arg-type]  # whatever it is, it is passed on
        path.unlink()

    monkeypatch.setattr(database, "_write", write)
    assert isinstance(database.commit([[pack(append(4))]])[0], JournalReplaced)
    database.close()


def test_its_own_checkpoints_and_full_disks_are_no_harm(path: Path) -> None:
    database = Database(path, max_bytes=2 << 20)
    database.claim("me")
    seq, full = 1, 0
    for _ in range(300):
        (problem,) = database.commit([[pack(append(seq, os.urandom(10_000).hex().encode()))]])
        full += isinstance(problem, JournalFull)
        assert problem is None or isinstance(problem, JournalFull)
        seq += problem is None
        if problem is not None:
            database.delete(["s"])
            seq = 1
        database.file.check_presence()
    assert full
    while database.file.grow_wal():
        pass
    database.file.keep(True)
    database.file.check_presence()
    database.close()


async def test_it_is_noticed_while_nothing_is_written(path: Path) -> None:
    journal, told = SqliteJournal(path), asyncio.get_running_loop().create_future()
    journal.on_replaced = told.set_result
    await journal.claim("me")
    await journal.append([append(1)])
    path.unlink()
    assert isinstance(await asyncio.wait_for(told, 20), JournalReplaced)
    with pytest.raises(JournalReplaced):
        await journal.append([append(2)])
    await journal.close()
