"""Over real processes: signals and pipes are what this is about."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_SERVICE = """
import asyncio, os, sys
from gleitzeit.process.lifetime import Lifetime
from gleitzeit.process.ready import announce_ready

async def main():
    with Lifetime(on_kill=lambda: print("killed", flush=True)) as lifetime:
        announce_ready("ws://127.0.0.1:1/")
        print("ready", "GLEITZEIT_READY_FD" in os.environ, "GLEITZEIT_PARENT_FD" in os.environ, flush=True)
        await lifetime.drain.wait()
        print("drain:", lifetime.reason, flush=True)
        if sys.argv[1:] == ["leaves"]:
            lifetime.leave_within(0.1, 75)
        if sys.argv[1:]:
            await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def _service(*arguments: str, **fds: int) -> Iterator[subprocess.Popen[str]]:
    environ = {**os.environ, **{name: str(fd) for name, fd in fds.items()}}
    command = [sys.executable, "-c", _SERVICE, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ, pass_fds=fds.values()) as process:
        assert _line(process) == "ready False False"
        yield process
        process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains(number: signal.Signals) -> None:
    with _service() as process:
        process.send_signal(number)
        assert _line(process) == f"drain: {number.name}"
        assert process.wait(10) == 0


def test_who_has_to_leave_does_so_whatever_hangs() -> None:
    with _service("leaves") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 75


def test_the_second_signal_ends_it_at_once_with_its_children() -> None:
    with _service("slow") as process:
        process.send_signal(signal.SIGINT)
        assert _line(process) == "drain: SIGINT"
        process.send_signal(signal.SIGTERM)
        assert _line(process) == "killed"
        assert process.wait(10) == 128 + signal.SIGTERM


def test_the_end_of_the_parent_drains_and_a_signal_then_is_still_the_first() -> None:
    read_end, write_end = os.pipe()
    with _service("slow", GLEITZEIT_PARENT_FD=read_end) as process:
        os.close(read_end)
        os.close(write_end)
        assert _line(process) == "drain: the parent process is gone"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert _line(process) == "killed"


def test_readiness_is_one_line_on_the_pipe_and_then_its_end() -> None:
    read_end, write_end = os.pipe()
    with _service(GLEITZEIT_READY_FD=write_end) as process:
        os.close(write_end)
        with open(read_end) as pipe:
            assert pipe.read() == f'{{"url":"ws://127.0.0.1:1/","pid":{process.pid}}}\n'


def test_numbers_that_are_no_pipes_do_no_harm() -> None:
    with _service(GLEITZEIT_READY_FD=0) as process:  # a descriptor, but not one that anybody reads
        process.terminate()
        assert process.wait(10) == 0
