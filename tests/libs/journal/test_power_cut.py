"""The power fails at any moment: what was acknowledged is there, and of the rest nothing but a beginning.

A process writes a journal while every write, truncation and sync of its files is recorded. From the record come the
states in which a disk could be found at a moment in between: of each file what was synced, and of what was written
since then any part: some writes, some not, some torn at a sector.
"""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct
from tests.shim.build import Op, environ, recorded

from gleitzeit.errors import GleitzeitError
from gleitzeit.journal.database import Database

SECTOR = 512
STATES = 150
STATES_LONG = 5_000

WRITER = r"""
import asyncio, os, random, sys
from pathlib import Path
from gleitzeit.journal.base import Append, Summary
from gleitzeit.journal.sqlite import SqliteJournal
from gleitzeit.journal import sqlite, sqlite_file

sqlite.IDLE_SECONDS = 0.0  # the log is made larger in between
sqlite_file.WAL_STEP_BYTES = 40_000

if sys.argv[2] == "careless":
    prepare = sqlite_file.prepare
    def careless(connection, path, max_bytes):
        prepare(connection, path, max_bytes)
        connection.execute("PRAGMA synchronous = OFF")
    sqlite_file.prepare = careless

async def main():
    folder = Path(sys.argv[1])
    journal = SqliteJournal(folder / "journal.db")
    await journal.claim("writer")
    acknowledged = os.open(folder / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    chance, ends = random.Random(7), {}

    async def write(number):
        for _ in range(60):
            commit, names = [], chance.sample(range(40), chance.randint(1, 3))
            for name in names:
                stream = f"w{number}.{name}"
                first = ends.get(stream, 0) + 1
                events = tuple(
                    b'{"n":%d,"of":"%s","pad":"%s"}' % (n, stream.encode(), b"x" * chance.choice([0, 300, 5000]))
                    for n in range(first, first + chance.randint(1, 4))
                )
                ends[stream] = first + len(events) - 1
                summary = Summary(stream, "workflow", "k", "running", True, 1, ends[stream])
                commit.append(Append(stream, first, events, summary))
            await journal.append(commit)
            line = " ".join(f"{a.stream}:{a.seq + len(a.events) - 1}" for a in commit)
            os.write(acknowledged, line.encode() + b"\n")

    await asyncio.gather(*(write(number) for number in range(4)))
    os._exit(0)  # as a killed one: nothing is tidied up

asyncio.run(main())
"""


class File:
    """What is certain of a file, and what was done to it since its last sync."""

    def __init__(self) -> None:
        self.durable = bytearray()
        self.pending: list[Op] = []
        self.removed = False
        """Its folder has not been synced since: it may be there again."""

    def do(self, op: Op) -> None:
        if op.kind == "s":
            for pending in self.pending:
                apply(self.durable, pending)
            self.pending.clear()
        else:
            self.pending.append(op)

    def after_a_crash(self, chance: random.Random) -> bytearray:
        """Each of the pending operations may have reached the disk, or not, or in part; in any order."""
        content = bytearray(self.durable)
        kept = chance.choice([0.0, 0.2, 0.5, 0.8, 1.0])
        for op in self.pending:
            if chance.random() < kept:
                apply(content, torn(op, chance) if chance.random() < 0.2 else op)
        return content


def apply(content: bytearray, op: Op) -> None:
    end = op.offset + len(op.data)
    if op.kind == "t":
        del content[op.offset :]
        content.extend(bytes(op.offset - len(content)))
        return
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[op.offset : end] = op.data


def torn(op: Op, chance: random.Random) -> Op:
    if op.kind != "w" or len(op.data) <= SECTOR:
        return op
    cut = chance.randrange(0, len(op.data), SECTOR)
    if chance.random() < 0.5:
        return Op("w", op.path, op.offset, op.data[:cut])
    return Op("w", op.path, op.offset + cut, op.data[cut:])


def happens(files: dict[str, File], name: str, op: Op) -> None:
    if op.kind == "u":
        files[name].removed = True
        return
    if name in files and files[name].removed:
        del files[name]
    files.setdefault(name, File()).do(op)


class Crash(Struct, frozen=True):
    files: dict[str, bytearray]
    acknowledged: dict[str, int]
    """The last number of each stream that was acknowledged by then."""
    begun: bool
    """Whether there was a journal that could be acknowledged."""


def record(folder: Path, how: str = "careful") -> list[Op]:
    folder.mkdir()
    log = folder / "operations"
    writing = environ(str(folder / "j"), log=log)
    (folder / "j").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(folder / "j"), how], env=writing, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return list(recorded(log))


def crashes(ops: list[Op], count: int, seed: int) -> Iterator[Crash]:
    """States of the disk after a crash, at moments drawn from the whole record."""
    chance = random.Random(seed)
    moments = sorted(chance.randrange(len(ops)) for _ in range(count))
    files: dict[str, File] = {}
    acknowledged: dict[str, int] = {}
    at = 0
    for moment in moments:
        for op in ops[at:moment]:
            name = Path(op.path).name
            if name == "acknowledged":
                for word in op.data.decode().split():
                    stream, _, last = word.rpartition(":")
                    acknowledged[stream] = int(last)
            elif name.startswith("journal.db") and not name.endswith(".lock"):
                happens(files, name, op)
            elif op.kind == "s" and Path(op.path).name == "j":
                for gone in [name for name, file in files.items() if file.removed]:
                    del files[gone]
        at = max(at, moment)
        there = {name: file for name, file in files.items() if not file.removed or chance.random() < 0.5}
        found = {name: file.after_a_crash(chance) for name, file in there.items()}
        yield Crash(found, dict(acknowledged), bool(acknowledged))


def complaint(crash: Crash, folder: Path) -> str:
    """What is wrong with the journal that is found after a crash; empty if nothing is."""
    for stale in folder.iterdir():
        stale.unlink()
    for name, content in crash.files.items():
        (folder / name).write_bytes(content)
    path = folder / "journal.db"
    try:
        database = Database(path, None)
    except GleitzeitError as error:
        return f"it cannot be opened: {error}" if crash.begun else ""
    try:
        database.claim("reader")
        return next(filter(None, (_of_stream(database, crash, stream) for stream in _streams(database, crash))), "")
    except GleitzeitError as error:
        return f"it cannot be read: {error}"
    finally:
        database.close()


def _streams(database: Database, crash: Crash) -> set[str]:
    rows = database._connection.execute("SELECT name FROM stream").fetchall()
    return {name for (name,) in rows} | set(crash.acknowledged)


def _of_stream(database: Database, crash: Crash, stream: str) -> str:
    records = database.read(stream, 0, 1_000_000)
    wanted = crash.acknowledged.get(stream, 0)
    if len(records) < wanted:
        return f"{stream} was acknowledged up to {wanted}, and ends at {len(records)}"
    for number, found in enumerate(records, 1):
        if found.seq != number or not found.event.startswith(b'{"n":%d,"of":"%b"' % (number, stream.encode())):
            return f"{stream} has something else as its event {number}"
    return ""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory, where there is such a place: only what is found on it counts, not how long a sync takes."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path_factory.mktemp("disk")
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def survive(ops: list[Op], count: int, disk: Path, seed: int) -> None:
    for number, crash in enumerate(crashes(ops, count, seed)):
        wrong = complaint(crash, disk)
        assert not wrong, f"state {number} of seed {seed}: {wrong}"


def test_what_was_acknowledged_survives_a_power_cut(tmp_path: Path, disk: Path) -> None:
    ops = record(tmp_path / "recorded")
    assert sum(op.kind == "s" and op.path.endswith("journal.db") for op in ops) >= 2, "it has checkpointed"
    survive(ops, STATES, disk, seed=1)


def test_a_journal_that_does_not_sync_is_found_out(tmp_path: Path, disk: Path) -> None:
    ops = record(tmp_path / "recorded", "careless")
    assert any(complaint(crash, disk) for crash in crashes(ops, STATES, seed=1))


@pytest.mark.long
def test_thousands_of_power_cuts(tmp_path: Path, disk: Path) -> None:
    ops = record(tmp_path / "recorded")
    for seed in range(2):
        survive(ops, STATES_LONG // 2, disk, seed=seed)
