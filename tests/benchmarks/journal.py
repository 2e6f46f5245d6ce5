"""How fast the journal commits, next to what SQLite itself can do on the same disk.

    python tests/benchmarks/journal.py [FOLDER]

The folder decides the disk. `bare` is a loop of one-row transactions in one thread with the journal's own settings;
everything else is seen from asyncio, through `append`. Commits are awaited one by one, except for `overlapping`.
"""

import asyncio
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec import Raw

from gleitzeit.journal import SqliteJournal
from gleitzeit.journal.base import Append, Find, Summary

EVENT = b'{"type":"TaskCompleted","at":1700000000000,"task":"summarise","attempt":1,"result":"' + b"x" * 200 + b'"}'
COUNTS = Raw(b'{"pending":3,"running":1,"completed":12}')


class Streams:
    """Makes appends that fit to those made before."""

    def __init__(self) -> None:
        self._ends: dict[str, int] = {}

    def append(self, number: int, events: int) -> Append:
        stream = f"0199{number:028x}"
        seq = self._ends.get(stream, 0) + 1
        self._ends[stream] = seq + events - 1
        created_at = 1_700_000_000_000 + number
        summary = Summary(
            stream, "workflow", f"name {number % 7}", "running", True, created_at, created_at, counts=COUNTS
        )
        return Append(stream, seq, (EVENT,) * events, summary)


def main(folder: Path) -> None:
    print(f"{'':34} {'commits/s':>10} {'events/s':>10} {'p50 µs':>8} {'p99 µs':>8}")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        bare(Path(place) / "bare.db", 3000)
        asyncio.run(ours(Path(place) / "journal.db"))


def bare(path: Path, commits: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for setting in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute("CREATE TABLE record (stream INTEGER, last INTEGER, body BLOB)")
    spent = []
    for number in range(commits):
        begin = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO record VALUES (?, ?, ?)", (number % 50, number, EVENT))
        connection.execute("COMMIT")
        spent.append(time.perf_counter() - begin)
    connection.close()
    show("bare sqlite3, 1 row", spent, 1)


async def ours(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.claim("benchmark")
    streams = Streams()
    await journal.append([streams.append(number, 2) for number in range(5000)])
    chance = random.Random(1)

    async def measure(name: str, commits: int, events: int, commit: Callable[[int], Awaitable[object]]) -> None:
        spent = []
        for turn in range(commits):
            begin = time.perf_counter()
            await commit(turn)
            spent.append(time.perf_counter() - begin)
        show(name, spent, events)

    def some(count: int, of: int) -> list[Append]:
        return [streams.append(number, 2) for number in chance.sample(range(of), count)]

    await measure("append 1 stream × 1 event", 3000, 1, lambda _: journal.append([streams.append(1, 1)]))
    await measure("append 64 of 64 streams × 2", 500, 128, lambda _: journal.append(some(64, 64)))
    await measure("append 64 of 5,000 streams × 2", 500, 128, lambda _: journal.append(some(64, 5000)))
    new = iter(range(10_000, 1_000_000))
    await measure("append 1 new stream × 1", 1000, 1, lambda _: journal.append([streams.append(next(new), 1)]))
    await measure("append 1 stream × 10,000", 20, 10_000, lambda _: journal.append([streams.append(2, 10_000)]))
    overlapping = 64
    await measure(
        "64 overlapping appends of 1 × 1",
        300,
        64,
        lambda _: asyncio.gather(*(journal.append([streams.append(n, 1)]) for n in range(overlapping))),
    )
    await measure(
        "read 10,000 events", 20, 10_000, lambda turn: journal.read(streams.append(2, 0).stream, turn * 10_000)
    )
    await measure("find the newest 100", 200, 0, lambda _: journal.find(Find("workflow")))
    await journal.close()


def show(name: str, spent: list[float], events: int) -> None:
    ordered = sorted(spent)
    rate = len(spent) / sum(spent)
    p50, p99 = (ordered[int(len(ordered) * part)] * 1e6 for part in (0.5, 0.99))
    print(f"{name:34} {rate:10,.0f} {rate * events:10,.0f} {p50:8,.0f} {p99:8,.0f}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
