"""What a python/v1 call costs: milliseconds a job in a process of its own, one after the other and side by side.

    python tests/benchmarks/python_calls.py

Beside it the limit of the machine in the same minute: what a bare `os.fork` of a Python process of the same size costs
until its child has ended, and what starting an interpreter for each call would cost.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

from gz_provider_python.processes import ProcessIsolation
from gz_provider_python.wire import Job, Limits

JOB = Job(
    kind="execute", limits=Limits(), working_dir="/", code="result = context['n'] + 1", variables={"context": {"n": 1}}
)
COUNT = 200

_FORKS = """
import gc, os, time
import gz_provider_python.zygote
gc.freeze()
started = time.perf_counter()
for _ in range({count}):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
print((time.perf_counter() - started) / {count} * 1000)
"""


async def milliseconds_a_job(at_once: int) -> float:
    """Of a trivial script, `at_once` of them at any time."""
    isolation = ProcessIsolation()
    await isolation.start()

    async def some(count: int) -> None:
        for _ in range(count):
            ended = await isolation.run(JOB, timeout_seconds=30, on_output=lambda stream, text: None)
            assert ended.report is not None

    await some(10)
    try:
        return await _timed(lambda: asyncio.gather(*(some(COUNT // at_once) for _ in range(at_once))))
    finally:
        await isolation.close()


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return (time.perf_counter() - started) / COUNT * 1000


def milliseconds_a_fork() -> float:
    script = _FORKS.format(count=COUNT)
    return float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)


def milliseconds_an_interpreter() -> float:
    count = 10
    started = time.perf_counter()
    for _ in range(count):
        subprocess.run([sys.executable, "-c", "import json; result = 1 + 1"], check=True)
    return (time.perf_counter() - started) / count * 1000


def main() -> None:
    fork = milliseconds_a_fork()
    print(f"{'python/v1, ms a call':32}{'ms':>8}{'forks':>8}")
    for name, milliseconds in (
        ("bare fork of the zygote", fork),
        ("a job, one after the other", asyncio.run(milliseconds_a_job(1))),
        (
            f"a job, {2 * (os.cpu_count() or 1)} side by side",
            asyncio.run(milliseconds_a_job(2 * (os.cpu_count() or 1))),
        ),
        ("an interpreter for each", milliseconds_an_interpreter()),
    ):
        print(f"{name:32}{milliseconds:8.2f}{milliseconds / fork:8.1f}")


if __name__ == "__main__":
    main()
