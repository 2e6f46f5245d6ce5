"""Journals that earlier versions have written. `fixtures/format-N.db` was made by the code that wrote format N."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from gleitzeit.engine.state.replay import replay
from gleitzeit.errors import ConfigurationError
from gleitzeit.journal.base import Append, Find
from gleitzeit.journal.sqlite import SqliteJournal
from gleitzeit.journal.sqlite_tables import FORMAT
from gleitzeit.model import events as ev
from gleitzeit.model.blobs import name_of

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("format-*.db"))
_decode = msgspec.json.Decoder(ev.AnyEvent).decode


def stored(file: Path, pragma: str) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def test_there_is_a_fixture_of_every_format() -> None:
    assert [stored(file, "user_version") for file in FIXTURES] == list(range(1, FORMAT))


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
async def test_an_older_journal_is_read_and_goes_on(fixture: Path, tmp_path: Path) -> None:
    file = tmp_path / "journal.db"
    shutil.copy(fixture, file)
    journal = SqliteJournal(file)
    await journal.claim("test")
    rows = await journal.find(Find("workflow"))
    assert {row.key: row.status for row in rows} == {
        "Diamond": "completed",
        "References": "completed",
        "waiting": "running",
    }
    for row in rows:
        workflow = replay(_decode(record.event) for record in await journal.read(row.stream))
        assert workflow.state == row.status
    [waiting] = [row for row in rows if row.active]
    # what the new format adds works on what is old
    name = name_of(b"large")
    assert await journal.put(name, 5, 0, b"large", 1) == 5
    seq = len(await journal.read(waiting.stream)) + 1
    signal = msgspec.json.encode(ev.SignalReceived(1, "go"))
    await journal.append([Append(waiting.stream, seq, (signal,), waiting, (name,))])
    assert await journal.sweep(unused_since=2) == 0
    await journal.close()
    assert stored(file, "user_version") == FORMAT


async def test_a_newer_journal_is_refused_untouched(tmp_path: Path) -> None:
    file = tmp_path / "journal.db"
    shutil.copy(FIXTURES[-1], file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    before = file.read_bytes()
    with pytest.raises(ConfigurationError, match=f"format {FORMAT + 1}.*upgrade"):
        await SqliteJournal(file).claim("test")
    assert file.read_bytes() == before
