"""What only the SQLite adapter promises: files, other processes, space and damage."""
# ruff: noqa: ASYNC240 - the tests look at small local files, and nothing else waits for their loop

import asyncio
import itertools
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from tests.small_disks import fill, small_disk

from gleitzeit.errors import ConfigurationError, JournalCorrupt, JournalError, JournalFull, JournalLocked
from gleitzeit.journal.base import Append, Find, Record, Summary
from gleitzeit.journal.database import Database
from gleitzeit.journal.record_rows import GONE_ROWS
from gleitzeit.journal.records import Packed, pack
from gleitzeit.journal.sqlite import FEW_BYTES, FEW_STREAMS, SqliteJournal
from gleitzeit.journal.sqlite_file import CHECKPOINT_PAGES, WAL_BYTES, WAL_STEP_BYTES
from gleitzeit.journal.sqlite_tables import FORMAT

# Appends one event after the other and prints the number of each that is acknowledged, until it is killed.
WRITER = """
import asyncio, sys
from pathlib import Path
from gleitzeit.journal.base import Append, Summary
from gleitzeit.journal.sqlite import SqliteJournal

async def main():
    journal = SqliteJournal(Path(sys.argv[1]))
    await journal.claim("writer")
    for seq in range(1, 1_000_000):
        summary = Summary("a", "workflow", "", "running", True, 0, seq)
        await journal.append([Append("a", seq, (b"%d" % seq,), summary)])
        sys.stdout.write(f"{seq}\\n")
        sys.stdout.flush()

asyncio.run(main())
"""


def append(stream: str, seq: int, *events: bytes, active: bool = True) -> Append:
    return Append(stream, seq, events, Summary(stream, "workflow", "", "running", active, 0, 0))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


async def claimed(file: Path) -> SqliteJournal:
    journal = SqliteJournal(file)
    await journal.claim("test")
    return journal


# -- the file


async def test_files_and_new_folders_are_private(tmp_path: Path) -> None:
    journal = await claimed(tmp_path / "new" / "journal.db")
    await journal.append([append("a", 1, b"1")])
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "new").iterdir()}
    assert modes == dict.fromkeys(["journal.db", "journal.db-wal", "journal.db.lock"], 0o600)
    await journal.close()


async def test_a_file_that_others_may_read_is_closed_to_them(file: Path) -> None:
    await (await claimed(file)).close()
    file.chmod(0o644)
    await (await claimed(file)).close()
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_newer_format_is_refused_and_left_alone(file: Path) -> None:
    await (await claimed(file)).close()
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    before = file.read_bytes()
    with pytest.raises(ConfigurationError, match=rf"format {FORMAT + 1}, .* up to {FORMAT}: upgrade"):
        await claimed(file)
    assert file.read_bytes() == before


async def test_what_is_no_journal_is_refused_and_left_alone(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE workflows (id TEXT)")
    before = file.read_bytes()
    with pytest.raises(ConfigurationError, match="no journal of Gleitzeit"):
        await claimed(file)
    assert file.read_bytes() == before
    file.write_bytes(b"a letter to my aunt, not a database\n" * 100)
    with pytest.raises(ConfigurationError, match="cannot be used as a journal"):
        await claimed(file)


async def test_a_place_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be made"):
        await claimed(tmp_path / "file" / "journal.db")
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        await claimed(tmp_path / "folder.db")


async def test_a_refused_claim_holds_no_lock(file: Path) -> None:
    file.write_bytes(b"not a database at all\n" * 100)
    with pytest.raises(ConfigurationError):
        await claimed(file)
    file.unlink()
    await (await claimed(file)).close()


async def test_no_other_program_gets_in_between(file: Path) -> None:
    journal = await claimed(file)
    with (
        closing(sqlite3.connect(file, timeout=0)) as connection,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        connection.execute("SELECT count(*) FROM record")
    await journal.close()


async def test_a_program_that_is_in_already_keeps_the_journal_out(file: Path) -> None:
    await (await claimed(file)).close()
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM record").fetchall()
    with pytest.raises(JournalLocked, match="open in another program"):
        await claimed(file)
    other.close()
    await (await claimed(file)).close()


# -- other processes


def test_what_was_acknowledged_survives_kill_9_and_so_does_nobodys_lock(file: Path) -> None:
    acknowledged = 0
    for _ in range(3):
        file.unlink(missing_ok=True)
        file.with_name("journal.db-wal").unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", WRITER, file], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(200):
                writer.stdout.readline()
            with pytest.raises(JournalLocked, match=f"in use by process {writer.pid}"):
                asyncio.run(SqliteJournal(file).claim("second"))
            writer.send_signal(signal.SIGKILL)
            acknowledged = 200 + sum(line.endswith(b"\n") for line in writer.stdout)
        asyncio.run(check_survivors(file, acknowledged))


async def check_survivors(file: Path, acknowledged: int) -> None:
    journal = SqliteJournal(file)
    assert await journal.claim("heir") == {0: 2}
    survived = await journal.read("a", limit=1_000_000)
    assert len(survived) in (acknowledged, acknowledged + 1)  # the one under way may be there
    assert [record.event for record in survived] == [b"%d" % number for number in range(1, len(survived) + 1)]
    [summary] = await journal.find(Find("workflow"))
    assert summary.updated_at == len(survived)
    await journal.close()


# -- the thread


async def test_a_cancelled_append_disturbs_nobody(file: Path) -> None:
    journal = await claimed(file)
    impatient = asyncio.ensure_future(journal.append([append("a", 1, b"1")]))
    patient = asyncio.ensure_future(journal.append([append("b", 1, b"1")]))
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    assert impatient.cancelled()
    await journal.append([append("c", 1, b"1")])
    await journal.close()


@pytest.fixture
def committers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which threads have made the commits, in their order."""
    found: list[int] = []
    commit = Database.commit

    def noted(database: Database, group: Sequence[Sequence[Packed]]) -> list[JournalError | None]:
        found.append(threading.get_ident())
        return commit(database, group)

    monkeypatch.setattr(Database, "commit", noted)
    return found


async def until_the_loop_commits(journal: SqliteJournal, committers: list[int], first: int = 1) -> int:
    """Appends to stream `a`. Returns the number of its last event."""
    async with asyncio.timeout(60):
        for seq in itertools.count(first):
            await asyncio.sleep(0.005)
            await journal.append([append("a", seq, b"%d" % seq)])
            if committers[-1] == threading.get_ident():
                return seq
    raise AssertionError


async def test_while_the_disk_is_quick_and_the_thread_is_idle_the_loop_commits(
    file: Path, committers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gleitzeit.journal.sqlite.QUICK_SECONDS", 1.0)  # the machine may be a busy one
    journal = await claimed(file)
    last = await until_the_loop_commits(journal, committers)
    reading = asyncio.ensure_future(journal.read("a"))
    await asyncio.sleep(0)  # handed over, …
    time.sleep(0.05)  # noqa: ASYNC251 - … not heard of yet, and long enough after the last commit
    await journal.append([append("a", last + 1, b"more")])
    assert committers[-1] != threading.get_ident()
    await reading
    last = await until_the_loop_commits(journal, committers, last + 2)
    assert len(await journal.read("a")) == last
    many = [append(f"b{number}", 1, b"1") for number in range(FEW_STREAMS + 1)]
    for large in (many, [append("a", last + 1, b"x" * (FEW_BYTES + 1))]):
        await asyncio.sleep(0.05)
        await journal.append(large)
        assert committers[-1] != threading.get_ident()
    await journal.close()


async def test_a_slow_disk_holds_nobody_up(file: Path, committers: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gleitzeit.journal.sqlite.QUICK_SECONDS", 0.0)  # slower than that is any
    journal = await claimed(file)
    for seq in range(1, 20):
        await asyncio.sleep(0.005)
        await journal.append([append("a", seq, b"1")])
    assert len(committers) == 19
    assert threading.get_ident() not in committers
    await journal.close()


LARGE = b'{"id": "t", "method": "echo/echo", "params": {}}' * 8_000


async def test_what_is_large_is_small_in_the_file_and_read_as_it_was(file: Path) -> None:
    journal = await claimed(file)
    await journal.append([append("a", 1, LARGE, b"{}"), append("b", 1, b"{}")])
    assert await journal.read("a") == [Record(1, LARGE), Record(2, b"{}")]
    assert await journal.read("a", after=1) == [Record(2, b"{}")]
    await journal.close()
    with closing(sqlite3.connect(file)) as connection:
        sizes = [size for (size,) in connection.execute("SELECT length(body) FROM record ORDER BY id")]
    assert sum(sizes) < len(LARGE) / 20


async def test_an_end_waits_for_a_large_commit_that_is_being_made_ready(file: Path) -> None:
    journal = await claimed(file)
    appending = asyncio.create_task(journal.append([append("a", 1, LARGE)]))
    await asyncio.sleep(0)
    await journal.close()
    await appending
    journal = await claimed(file)
    assert await journal.read("a") == [Record(1, LARGE)]
    await journal.close()


async def test_reads_are_served_while_appends_keep_coming(file: Path) -> None:
    journal = await claimed(file)
    await journal.append([append("a", 1, b"1")])
    ended = False

    async def write(stream: str) -> int:
        seq = 0
        while not ended:
            seq += 1
            await journal.append([append(stream, seq, b"x")])
        return seq

    writers = [asyncio.ensure_future(write(f"w{number}")) for number in range(4)]
    for _ in range(50):
        assert len(await journal.read("a")) == 1
    ended = True
    written = await asyncio.gather(*writers)
    for number, count in enumerate(written):
        assert len(await journal.read(f"w{number}")) == count
    await journal.close()


async def test_arguments_that_sqlite_cannot_hold_are_the_callers_problem_only(file: Path) -> None:
    journal = await claimed(file)
    await journal.append([append("a", 1, b"1")])
    with pytest.raises(OverflowError):
        await journal.read("a", after=-(2**70))
    with pytest.raises(ValueError, match="surrogates"):
        await journal.read("\ud800")
    with pytest.raises(ValueError, match="surrogates"):
        await journal.delete(["a", "\ud800"])
    with pytest.raises(TypeError):
        await journal.find(Find("workflow", limit=2.0))  # type: ignore[arg-type]
    assert len(await journal.read("a")) == 1
    await journal.append([append("a", 2, b"2")])
    await journal.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_nobody_waits_for_a_thread_that_has_died(file: Path) -> None:
    journal = await claimed(file)
    wrong = Summary("a", "workflow", "", "running", True, 0, 0, counts=None)  # type: ignore[arg-type]  # stands for a bug
    outcomes = await asyncio.gather(
        journal.append([Append("a", 1, (b"1",), wrong)]), journal.read("a"), return_exceptions=True
    )
    assert [str(outcome) for outcome in outcomes] == ["the journal's thread has died"] * 2
    journal._owned()._thread.join()  # its last words belong to this test
    with pytest.raises(JournalError, match="thread has died"):
        await journal.append([append("b", 1, b"1")])
    await journal.close()
    heir = await claimed(file)
    assert await heir.find(Find("workflow")) == []
    await heir.close()


# -- damage


async def test_a_damaged_byte_spoils_its_own_stream_only(file: Path) -> None:
    journal = await claimed(file)
    for stream in ("a", "b", "c"):
        await journal.append([append(stream, 1, b'"the text of %s"' % stream.encode() * 3)])
        await journal.append([append(stream, 2, b"more")])
    await journal.close()
    content = file.read_bytes()
    assert content.count(b"the text of b") == 3
    file.write_bytes(content.replace(b"the text of b", b"the text of B", 1))
    journal = await claimed(file)
    with pytest.raises(JournalCorrupt, match="stream b is damaged in its events 1 to 1"):
        await journal.read("b")
    assert len(await journal.read("b", after=1)) == 1
    assert len(await journal.read("a")) == len(await journal.read("c")) == 2
    assert len(await journal.find(Find("workflow"))) == 3
    await journal.append([append("b", 3, b"goes on")])
    await journal.delete(["b"])
    await journal.append([append("b", 1, b"anew")])
    assert len(await journal.read("b")) == 1
    await journal.close()


async def test_of_what_is_unfinished_the_damaged_come_without_events(file: Path) -> None:
    journal = await claimed(file)
    await journal.append([append(stream, 1, b'"the text of %s"' % stream.encode()) for stream in ("a", "b")])
    await journal.close()
    file.write_bytes(file.read_bytes().replace(b"the text of b", b"the text of B", 1))
    journal = await claimed(file)
    found = {one.stream: one.events for one in await journal.unfinished("workflow", lambda stream: True)}
    assert found == {"a": [b'"the text of a"'], "b": []}
    await journal.close()


async def test_a_damaged_page_of_the_file_spoils_the_streams_that_are_in_it_only(file: Path) -> None:
    journal = await claimed(file)
    await journal.append([append("a", 1, b"1"), append("b", 1, b"y" * 12_000), append("c", 1, b"3")])
    await journal.close()
    content = bytearray(file.read_bytes())
    page = next(at for at in range(0, len(content), 4096) if set(content[at + 4 : at + 4096]) == {ord("y")})
    content[page : page + 4] = b"\xff" * 4  # the number of the page that goes on with it
    file.write_bytes(content)
    journal = await claimed(file)
    found = await journal.unfinished("workflow", lambda stream: True)
    assert [(one.stream, one.events) for one in found] == [("c", []), ("b", []), ("a", [])]
    with pytest.raises(JournalCorrupt):
        await journal.read("b")
    assert len(await journal.read("a")) == len(await journal.read("c")) == 1
    await journal.close()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("DELETE FROM record WHERE last = 2", "lacks"),
        ("DELETE FROM record WHERE last = 3", "lacks its last events"),
        ("UPDATE record SET previous = id + 1", "lacks"),
        ("UPDATE record SET previous = 1 WHERE last = 3", "lacks"),
    ],
)
async def test_a_lost_record_is_noticed(file: Path, damage: str, message: str) -> None:
    journal = await claimed(file)
    for seq in (1, 2, 3):
        await journal.append([append("a", seq, b"x")])
    await journal.close()
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(damage)
    journal = await claimed(file)
    with pytest.raises(JournalCorrupt, match=message):
        await journal.read("a")
    await journal.close()


async def test_after_a_failure_of_unknown_outcome_nothing_more_is_taken(file: Path) -> None:
    journal = await claimed(file)
    await journal.append([append("a", 1, b"1")])
    await journal.close()
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        # stands for any failure that is not a lack of space
        connection.execute("CREATE TRIGGER t BEFORE INSERT ON record BEGIN SELECT RAISE(ABORT, 'it fails'); END")
    connection.close()
    journal = await claimed(file)
    with pytest.raises(JournalError, match="failed: append: it fails"):
        await journal.append([append("a", 2, b"2")])
    for attempt in (journal.append([append("b", 1, b"1")]), journal.delete(["a"])):
        with pytest.raises(JournalError, match="takes no more since this failure"):
            await attempt
    await journal.close()


async def test_the_number_of_a_lost_record_is_nobody_elses(file: Path) -> None:
    """Else to delete what was damaged would delete what was written since."""
    journal = await claimed(file)
    await journal.append([append("a", 1, b"1")])
    await journal.append([append("b", 1, b"1")])
    await journal.close()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DELETE FROM record WHERE id = (SELECT max(id) FROM record)")
    journal = await claimed(file)
    await journal.append([append("c", 1, b"1")])
    with pytest.raises(JournalCorrupt):
        await journal.read("b")
    await journal.delete(["b"])
    assert [record.event for record in await journal.read("c")] == [b"1"]
    await journal.close()


async def test_a_file_that_was_cut_off_is_damaged_as_a_whole(file: Path) -> None:
    journal = await claimed(file)
    await journal.append([append("a", seq, b"x" * 1000) for seq in range(1, 100)])
    await journal.close()
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(JournalCorrupt, match="damaged as a whole"):
        await claimed(file)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE stream SET key = CAST(x'ff41' AS TEXT)",
        "UPDATE stream SET status = CAST(x'ff41' AS TEXT)",
        "UPDATE stream SET name = CAST(x'ff41' AS TEXT)",
        "UPDATE stream SET created_at = 'abc'",
        "UPDATE stream SET created_at = x'ff'",
        "UPDATE tail SET counts = 7",
        "UPDATE tail SET due_at = 'x', expires_at = 'y', updated_at = 'z'",
    ],
)
async def test_a_row_that_is_damaged_hides_no_others(file: Path, damage: str) -> None:
    journal = await claimed(file)
    for stream in ("a", "b", "c"):
        await journal.append([append(stream, 1, b"1")])
    await journal.close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"{damage} WHERE {'stream' if 'tail' in damage else 'id'} = 2")
        connection.commit()
    journal = await claimed(file)
    found = {summary.stream: summary for summary in await journal.find(Find("workflow"))}
    assert len(found) == 3
    assert {"a", "c"} < set(found)
    for summary in found.values():
        assert [type(at) for at in (summary.created_at, summary.updated_at)] == [int, int]
        assert summary.due_at is summary.expires_at is None
    assert [record.event for record in await journal.read("c")] == [b"1"]
    await journal.close()


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM meta",
        "PRAGMA writable_schema = 1; UPDATE sqlite_master SET sql = replace(sql, 'meta', 'mexa') WHERE name = 'meta'",
        "PRAGMA writable_schema = 1; UPDATE sqlite_master SET sql = CAST(x'ff41b7' AS TEXT) WHERE name = 'tail'",
        "PRAGMA writable_schema = 1; UPDATE sqlite_master SET name = 'x', tbl_name = 'x', sql = replace(sql, 'TABLE"
        " record', 'TABLE x') WHERE name = 'record'",
    ],
)
async def test_a_file_without_what_every_journal_has_is_damaged_as_a_whole(file: Path, damage: str) -> None:
    journal = await claimed(file)
    await journal.append([append("a", 1, b"1")])
    await journal.close()
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(damage)
        connection.commit()
    with pytest.raises(JournalCorrupt, match="damaged as a whole"):
        await claimed(file)


# -- what is left of deleted streams


def rows(database: Database) -> int:
    return int(database._connection.execute("SELECT count(*) FROM record").fetchone()[0])


def with_long_streams(file: Path, *streams: str) -> Database:
    database = Database(file)
    database.claim("test")
    for stream in streams:
        long = [pack(append(stream, seq, b"%d" % seq)) for seq in range(1, 2 * GONE_ROWS + 101)]
        assert database.commit([long]) == [None]
    return database


def test_a_long_stream_is_gone_at_once_and_its_records_go_bit_by_bit(file: Path) -> None:
    database = with_long_streams(file, "a", "b", "c")
    before = rows(database)
    database.delete(["a"])
    assert database.read("a", 0, 10) == []
    assert [row.stream for row in database.find(Find("workflow"))] == ["c", "b"]
    assert rows(database) == before - GONE_ROWS
    assert database.commit([[pack(append("a", 1, b"anew"))]]) == [None]
    database.delete(["b"])
    steps = 0
    while database.forget_some():
        steps += 1
    assert steps == 4
    assert rows(database) == before // 3 + 1
    assert [record.event for record in database.read("a", 0, 10)] == [b"anew"]
    assert len(database.read("c", 0, 10_000)) == before // 3
    database.close()


def test_a_stream_of_which_a_part_is_deleted_is_not_there_after_a_start_and_the_rest_goes(file: Path) -> None:
    database = with_long_streams(file, "a", "b")
    left = rows(database) // 2
    database.delete(["b"])
    database.close()  # what is not done by now has to be found again
    database = Database(file)
    database.claim("heir")
    assert database.read("b", 0, 10) == []
    assert rows(database) > left
    assert database.commit([[pack(append("b", 1, b"anew"))]]) == [None]
    while database.forget_some():
        pass
    assert rows(database) == left + 1
    assert len(database.read("a", 0, 10_000)) == left
    assert [record.event for record in database.read("b", 0, 10)] == [b"anew"]
    database.close()


async def test_a_journal_that_has_been_claimed_forgets_by_itself(file: Path) -> None:
    database = with_long_streams(file, "a", "b")
    database.delete(["a"])
    database.close()
    journal = await claimed(file)
    await journal.delete(["b"])
    async with asyncio.timeout(30):
        while await journal._owned().call(lambda: rows(journal._owned().database)):
            await journal.append([])
    await journal.close()


# -- copies


async def test_a_kept_file_and_its_log_are_copied_while_all_goes_on(file: Path, tmp_path: Path) -> None:
    journal = await claimed(file)
    large = b"x" * 100_000
    await journal.append([append("a", seq, large) for seq in range(1, 60)])
    await journal.keep(lambda: True)
    before, writing, log = file.read_bytes(), True, file.with_name(f"{file.name}-wal")

    async def appends() -> int:
        seq = 60
        while writing:
            await journal.append([append("a", seq, large), append(f"b-{seq}", 1, b"1")])
            seq += 1
        return seq

    appending = asyncio.ensure_future(appends())
    copies = []
    for number in range(3):
        copies.append(tmp_path / f"copy-{number}.db")
        await asyncio.to_thread(shutil.copyfile, file, copies[-1])
        await asyncio.to_thread(shutil.copyfile, log, f"{copies[-1]}-wal")
        while log.stat().st_size < 4096 * CHECKPOINT_PAGES * (number + 2):  # noqa: ASYNC110 - others make it grow
            await asyncio.sleep(0.01)
    writing = False
    last = await appending
    assert file.read_bytes() == before
    await journal.keep(lambda: False)
    await journal.append([append("a", last, large)])
    assert file.read_bytes() != before
    await journal.close()
    ends = []
    for copy in copies:
        found = await claimed(copy)
        ends.append(len(await read_all(found, "a")))
        beside = {row.stream for row in await found.find(Find("workflow", limit=100_000))} - {"a"}
        assert beside == {f"b-{seq}" for seq in range(60, ends[-1] + 1)}, "whole commits"
        await found.close()
    assert 59 <= ends[0] <= ends[1] <= ends[2] <= last
    assert ends[2] > ends[0]


async def read_all(journal: SqliteJournal, stream: str) -> list[Record]:
    found: list[Record] = []
    while page := await journal.read(stream, len(found)):
        found += page
    return found


# -- space


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "1m") as folder:
        yield folder


async def append_until_full(journal: SqliteJournal) -> int:
    """The number of the first event that found no space."""
    for seq in range(2, 1000):
        try:
            await journal.append([append("a", seq, b"x" * 1000)])
        except JournalFull:
            return seq
    raise AssertionError("a disk of 1 MB took more")


async def test_a_full_disk_loses_nothing_and_is_got_over(disk: Path) -> None:
    journal = await claimed(disk / "journal.db")
    await journal.append([append("a", 1, b"1")])
    filler = fill(disk)
    seq = await append_until_full(journal)
    for _ in range(3):
        with pytest.raises(JournalFull):
            await journal.append([append("a", seq, b"x" * 1000), append("b", 1, b"x")])
    assert len(await journal.read("a")) == seq - 1
    assert await journal.read("b") == []
    filler.unlink()
    await journal.append([append("a", seq, b"x" * 1000), append("b", 1, b"x")])
    await journal.close()
    journal = await claimed(disk / "journal.db")
    assert len(await journal.read("a")) == seq
    await journal.close()


# -- room for what is to come


def wal(file: Path) -> int:
    return file.with_name("journal.db-wal").stat().st_size


def test_the_log_grows_ahead_up_to_what_sqlite_fills_before_it_begins_anew(file: Path) -> None:
    database = Database(file)
    database.claim("test")
    sizes = [wal(file)]
    while database.file.grow_wal():
        sizes.append(wal(file))
    assert all(after - before == WAL_STEP_BYTES for before, after in itertools.pairwise(sizes))
    assert WAL_BYTES <= wal(file) < WAL_BYTES + WAL_STEP_BYTES
    grown = wal(file)
    for number in range(150):
        assert database.commit([[pack(append("a", number + 1, b"x" * 30_000))]]) == [None]
    assert not database.file.grow_wal()
    assert wal(file) == grown, "it was filled, checkpointed and begun anew, and never too small"
    assert len(database.read("a", 0, 10)) == 10
    database.close()
    assert not file.with_name("journal.db-wal").exists()


def test_a_log_with_room_is_read_after_a_kill(file: Path) -> None:
    """What it holds counts, and the zeros behind it do not; also where nothing is in front of them."""
    database = Database(file)
    database.claim("test")
    left: dict[str, bytes] = {}
    for events in range(3):
        if events:
            assert database.commit([[pack(append("a", events, b"%d" % events))]]) == [None]
        database.file.grow_wal()
        for name in ("journal.db", "journal.db-wal"):
            left[f"{events}{name}"] = file.with_name(name).read_bytes()
    database.close()
    for events in range(3):
        for name in ("journal.db", "journal.db-wal"):
            file.with_name(name).write_bytes(left[f"{events}{name}"])
        heir = Database(file)
        assert [record.event for record in heir.read("a", 0, 10)] == [b"1", b"2"][:events]
        heir.close()


async def test_the_log_grows_while_nothing_else_is_to_be_done(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gleitzeit.journal.sqlite.IDLE_SECONDS", 0.0)
    journal = await claimed(file)
    async with asyncio.timeout(30):
        while wal(file) < WAL_BYTES:  # noqa: ASYNC110 - a thread does it
            await asyncio.sleep(0)
    await journal.append([append("a", 1, b"1")])
    await journal.close()


def test_nothing_is_taken_from_a_disk_that_is_nearly_full(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(file)
    database.claim("test")
    before = wal(file)
    monkeypatch.setattr("gleitzeit.journal.sqlite_file.ROOM_BYTES", 1 << 62)
    assert not database.file.grow_wal()
    assert wal(file) == before
    database.close()
