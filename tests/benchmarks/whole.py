"""What the whole path costs: real coordinator, real echo provider, durable journal, in ratios to the raw limits.

    python tests/benchmarks/whole.py            the table
    python tests/benchmarks/whole.py --quick    fewer and smaller rounds

The raw limits are measured in the same minutes, before and after: pipelined JSON round trips of bare `websockets`
between two processes, one round trip at a time, and SQLite commits with synchronous=FULL. Compare ratios, not rates:
machines differ, and many are shared.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import wire  # beside this file

from gleitzeit.stack import Stack, StackConfig
from gleitzeit.transport import Connection, connect

ROOT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.002


def fan_out(tasks: int) -> dict[str, Any]:
    return {"name": f"fan-out {tasks}", "tasks": [_echo(f"t{i}") for i in range(tasks)]}


def for_each(items: int) -> dict[str, Any]:
    task = {
        "id": "t",
        "for_each": list(range(items)),
        "method": "echo/echo",
        "params": {"message": "the quick brown fox ${item}"},
    }
    return {"name": f"for_each {items}", "tasks": [task]}


def chain(steps: int) -> dict[str, Any]:
    return {"name": "chain", "tasks": [_echo(f"t{i}", *([f"t{i - 1}"] if i else [])) for i in range(steps)]}


def diamond() -> dict[str, Any]:
    return {"name": "diamond", "tasks": [_echo("a"), _echo("b", "a"), _echo("c", "a"), _echo("d", "b", "c")]}


def _echo(task: str, *dependencies: str) -> dict[str, Any]:
    params = {"message": "the quick brown fox"}
    return {"id": task, "method": "echo/echo", "params": params, "dependencies": list(dependencies)}


@contextlib.asynccontextmanager
async def stack(folder: Path) -> AsyncIterator[tuple[Stack, Connection]]:
    running = Stack(StackConfig(state=folder, providers=("echo",), log_files=True, log_level="warning"))
    try:
        address = await running.start()
        connection = await connect(address.url)
        while not (await connection.call("provider.list"))["providers"]:
            await asyncio.sleep(0.01)
        yield running, connection
        await connection.close()
    finally:
        await running.stop()


async def finish(connection: Connection, workflow_id: str) -> None:
    while True:
        view = await connection.call("workflow.get", {"workflow_id": workflow_id, "limit": 1})
        if view["status"] in ("completed", "failed", "cancelled"):
            assert view["status"] == "completed", view
            return
        await asyncio.sleep(POLL_SECONDS)


async def run(connection: Connection, *documents: dict[str, Any]) -> float:
    """Seconds from the first submit until all are completed."""
    started = time.perf_counter()
    answers = await asyncio.gather(*(connection.call("workflow.submit", {"definition": d}) for d in documents))
    for answer in answers:
        await finish(connection, answer["workflow_id"])
    return time.perf_counter() - started


async def best(rounds: int, measure: Callable[[], Any]) -> float:
    """The median: one neighbour's burst of work must not decide."""
    return statistics.median([await measure() for _ in range(rounds)])


def commits_a_second(folder: Path, seconds: float = 0.5) -> float:
    connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS record (body BLOB)")
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        connection.execute("INSERT INTO record VALUES (?)", (b"x" * 200,))
        done += 1
    rate = done / (time.perf_counter() - started)
    connection.close()
    return rate


def cold_start(folder: Path) -> tuple[float, float]:
    """Seconds from `gz run` to the first task's completion and to its exit, with nothing running before."""
    example = folder / "hello.yaml"
    example.write_text("name: hello\ntasks:\n  - {id: hello, method: echo/echo, params: {message: hello}}\n")
    environ = {**os.environ, "GLEITZEIT_STATE": str(folder / "state"), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "gz_cli", "run", str(example)]
    started = time.perf_counter()
    first = 0.0
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if not first and "hello" in line and ("completed" in line or "✓" in line):
            first = time.perf_counter() - started
    code = process.wait()
    assert code == 0, f"gz run exited with {code}"
    return first or time.perf_counter() - started, time.perf_counter() - started


def memory_mib(session: int) -> float:
    """Proportional set size of this process's descendants, which are the stack."""
    return sum(_pss_kib(pid) for pid in _descendants(session)) / 1024


def _descendants(root: int) -> Iterator[int]:
    for child in Path(f"/proc/{root}/task/{root}/children").read_text().split():
        yield int(child)
        yield from _descendants(int(child))


def _pss_kib(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def row(name: str, value: str, ratio: str = "", wanted: str = "") -> None:
    print(f"{name:<52} {value:>16} {ratio:>12}  {wanted}", flush=True)


async def main(quick: bool) -> None:
    rounds = 2 if quick else 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        row("", "measured", "ratio", "wanted")
        raw, trip = await wire.raw_rate(seconds=0.5), await wire.round_trip_seconds()
        async with stack(folder / "state") as (_, connection):
            await run(connection, fan_out(200))
            idle = memory_mib(os.getpid())
            thousand = await best(rounds, lambda: run(connection, fan_out(1_000)))
            step = await best(rounds, lambda: run(connection, chain(200))) / 200
            diamonds = await best(rounds, lambda: run(connection, *(diamond() for _ in range(500))))
            ten = await best(max(1, rounds // 2), lambda: run(connection, fan_out(10_000)))
            items = await best(max(1, rounds // 2), lambda: run(connection, for_each(10_000)))
        raw = (raw + await wire.raw_rate(seconds=0.5)) / 2
        trip = (trip + await wire.round_trip_seconds()) / 2
        row("raw: round trips a second, 64 in flight", f"{raw:,.0f}/s", "1")
        row("raw: one round trip at a time", f"{trip * 1e3:.3f} ms", "1")
        row("raw: SQLite FULL commits a second", f"{commits_a_second(folder):,.0f}/s")
        row("fan-out of 1,000", f"{1000 / thousand:,.0f} tasks/s", f"{1000 / thousand / raw:.2f}", ">= 0.2 of raw")
        row("fan-out of 10,000", f"{10_000 / ten:,.0f} tasks/s", f"{10_000 / ten / raw:.2f}")
        row("cost a task, 10,000 against 1,000", "", f"{ten / thousand / 10:.2f}", "<= 1.15")
        row("for_each of 10,000 items", f"{10_000 / items:,.0f} tasks/s", f"{10_000 / items / raw:.2f}")
        row("cost of an item against one of 10,000 tasks", "", f"{items / ten:.2f}", "<= 1.15")
        row("chain of 200, a step", f"{step * 1e3:.3f} ms", f"{step / trip:.1f}", "<= 6 round trips")
        row("500 diamonds of 4 tasks", f"{2000 / diamonds:,.0f} tasks/s", f"{2000 / diamonds / raw:.2f}")
        row("the idle stack (nats, coordinator, echo)", f"{idle:.0f} MiB")
        starts = [cold_start(Path(tempfile.mkdtemp(dir=folder))) for _ in range(rounds)]
        first = statistics.median(start for start, _ in starts)
        whole = statistics.median(end for _, end in starts)
        row("cold `gz run`: to the first result", f"{first:.2f} s", "", "< 1.5 s, aim 0.7 s")
        row("cold `gz run`: to its exit", f"{whole:.2f} s")


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    asyncio.run(main(parser.parse_args().quick))
