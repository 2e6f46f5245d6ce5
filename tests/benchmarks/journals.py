"""What a commit costs in each journal, in one run, beside SQLite: python tests/benchmarks/journals.py"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # for `tests`

from tests.servers import Postgres, Redis

from gleitzeit.journal import open_journal
from gleitzeit.journal.base import Append, Summary

EVENTS = (b'{"type":"TaskStarted","at":1800000000000,"task":"a","attempt":1,"provider":"p","instance":"i"}',) * 2
ROUNDS = 2


async def appends_per_second(url: str, commits: int, streams: int) -> float:
    journal = open_journal(url)
    await journal.claim("benchmark")
    begin = time.perf_counter()
    for number in range(commits):
        rows = [Summary(f"wf-{s}", "workflow", "name", "running", True, 1, number) for s in range(streams)]
        await journal.append([Append(row.stream, 1 + len(EVENTS) * number, EVENTS, row) for row in rows])
    rate = commits * streams / (time.perf_counter() - begin)
    await journal.close()
    return rate


async def main() -> None:
    postgres, redis = Postgres(), Redis()
    places = {
        "sqlite": lambda: f"sqlite://{tempfile.mkdtemp()}/journal.db",
        "postgres": postgres.place,
        "redis": redis.place,
        "memory": lambda: "memory:",
    }
    for streams, commits in ((1, 300), (100, 40)):
        rates = {name: 0.0 for name in places}
        for _ in range(ROUNDS):
            for name, place in places.items():
                rates[name] = max(rates[name], await appends_per_second(place(), commits, streams))
        for name, rate in rates.items():
            print(
                f"{streams:4} streams a commit  {name:9} {rate:9.0f} appends/s  {rate / rates['sqlite']:7.2f} x sqlite"
            )
    postgres.stop()
    redis.stop()


if __name__ == "__main__":
    asyncio.run(main())
