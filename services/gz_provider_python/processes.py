"""A process of its own for each job, forked by the zygote: the provider's side of `wire.py`."""

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Literal

import msgspec

from gleitzeit.errors import TaskError
from gleitzeit.process.output import Output
from gz_provider_python.isolation import Ended, OnOutput
from gz_provider_python.wire import (
    EXITED,
    FORGET,
    LENGTH,
    MAX_REPORT_BYTES,
    NEWS,
    ORDER,
    REFUSED,
    SIGNAL,
    SPAWN,
    STARTED,
    Job,
    Report,
)

_READ_BYTES = 1 << 16
_ZYGOTE_VARIABLES = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TMPDIR", "TZ", "VIRTUAL_ENV")
_MOST_READS = 64
"""More than any pipe or socket holds."""
_DEAD_SECONDS = 10.0
"""How long something may still be dying after SIGKILL (in the kernel, on a stuck disk) before we go on without it."""

_log = logging.getLogger(__name__)


class ProcessIsolation:
    """An `Isolation` by processes, process groups and setrlimit. One zygote serves it; if that dies, the next job gets
    a new one, and the jobs that it had forked are killed and reported as lost (a retryable TaskError).
    """

    def __init__(self, *, grace_seconds: float = 0.5) -> None:
        """`grace_seconds` lie between SIGTERM and SIGKILL."""
        self._grace_seconds = grace_seconds
        self._zygote: _Zygote | None = None
        self._numbers = itertools.count(1)

    async def start(self) -> None:
        self._living()

    async def run(self, job: Job, *, timeout_seconds: float, on_output: OnOutput) -> Ended:
        loop = asyncio.get_running_loop()
        started = loop.time()
        run = self._living().spawn(next(self._numbers), on_output)
        timed_out = False
        try:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await run.send(job)
                    await asyncio.shield(run.exited)
            except TimeoutError:
                timed_out = True
                await self._stop(run)
            except asyncio.CancelledError:
                await self._stop(run)
                raise
            code = run.exited.result()
            return Ended(run.report(), code, run.stdout, run.stderr, loop.time() - started, timed_out)
        finally:
            run.close()

    async def close(self) -> None:
        if self._zygote is not None:
            self._zygote.close()

    @property
    def zygote_pid(self) -> int:
        """0 before the start."""
        return self._zygote.pid if self._zygote is not None else 0

    async def _stop(self, run: "_Run") -> None:
        """SIGTERM, SIGKILL after the grace, and wait for the end; it comes even if this is cancelled meanwhile."""
        run.signal(signal.SIGTERM)
        kill = asyncio.get_running_loop().call_later(self._grace_seconds, run.signal, signal.SIGKILL)
        done, _ = await asyncio.wait([run.exited], timeout=self._grace_seconds + _DEAD_SECONDS)
        kill.cancel()
        if not done:
            raise TaskError("the script was killed, but does not die; the system holds it back")

    def _living(self) -> "_Zygote":
        if self._zygote is None or self._zygote.dead:
            self._zygote = _Zygote()
        return self._zygote


class _Zygote:
    """One incarnation of it. `dead` once its socket is closed; it is then of no use any more."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        self._news = bytearray()
        self._runs: dict[int, _Run] = {}
        self.dead = False
        with theirs:
            self._process = _start_zygote(theirs.fileno())
        self.pid = self._process.pid
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._control, self._on_news)

    def spawn(self, number: int, on_output: OnOutput) -> "_Run":
        run = _Run(lambda signal_number: self._order(SIGNAL, number, signal_number), on_output)
        self._runs[number] = run
        run.exited.add_done_callback(lambda _: self._runs.pop(number, None))
        try:
            self._order(SPAWN, number, 0, run.their_ends)
        finally:
            run.close_their_ends()
        return run

    def close(self) -> None:
        self._order(FORGET, 0, 0)
        self._end("the provider is closing")

    def _order(self, kind: bytes, number: int, signal_number: int, descriptors: list[int] | None = None) -> None:
        if self.dead:
            return
        try:
            socket.send_fds(self._control, [ORDER.pack(kind, number, signal_number)], descriptors or [])
        except OSError as error:  # it is dead, or so stuck that its socket is full
            self._end(f"it does not take orders: {error}")

    def _on_news(self) -> None:
        try:
            data = self._control.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._end("its socket is closed")
            return
        self._news += data
        whole = len(self._news) // NEWS.size * NEWS.size
        news = bytes(self._news[:whole])
        del self._news[:whole]
        for kind, number, value in NEWS.iter_unpack(news):
            if number in self._runs:
                self._runs[number].on_news(kind, value)

    def _end(self, why: str) -> None:
        """Its runs die by PR_SET_PDEATHSIG where there is that; their groups are killed from here."""
        if self.dead:
            return
        self.dead = True
        self._loop.remove_reader(self._control)
        self._control.close()
        for run in list(self._runs.values()):
            run.lose()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)  # it ends by itself when the socket is closed
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        _log.info("the zygote ended", extra={"pid": self.pid, "reason": why, "exit_code": self._process.returncode})


def _start_zygote(descriptor: int) -> "subprocess.Popen[bytes]":
    """In a session of its own, so that Ctrl-C in the provider's terminal is the provider's alone.

    One hash seed for all: what a script makes of the order of a set is the same in every call.
    """
    environment = {name: os.environ[name] for name in _ZYGOTE_VARIABLES if name in os.environ}
    environment |= {"PYTHONHASHSEED": "0"}
    command = [sys.executable, "-P", "-X", "utf8", "-m", "gz_provider_python.zygote", str(descriptor)]
    return subprocess.Popen(
        command, env=environment, pass_fds=[descriptor], start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip


class _Run:
    """One job: its pipes, what came through them, and the future of its end.

    `exited` gets the exit code (see EXITED), or a TaskError.
    """

    def __init__(self, send_signal: Callable[[int], None], on_output: OnOutput) -> None:
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = self._loop.create_future()
        self.stdout, self.stderr = Output(), Output()
        self._send_signal = send_signal
        self._on_output = on_output
        self._pid = 0
        self._said = bytearray()
        self._channel, self._their_channel = socket.socketpair()
        self._channel.setblocking(False)
        self._pipes: dict[int, tuple[Literal["stdout", "stderr"], Output]] = {}
        self._their_pipes: list[int] = []
        self._open_pipe("stdout", self.stdout)
        self._open_pipe("stderr", self.stderr)
        self._loop.add_reader(self._channel, self._on_channel)

    @property
    def their_ends(self) -> list[int]:
        return [self._their_channel.fileno(), *self._their_pipes]

    def close_their_ends(self) -> None:
        self._their_channel.close()
        for descriptor in self._their_pipes:
            os.close(descriptor)
        self._their_pipes = []

    async def send(self, job: Job) -> None:
        """A run that ends before it has read its job says so by its exit."""
        text = msgspec.json.encode(job)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await self._loop.sock_sendall(self._channel, LENGTH.pack(len(text)) + text)

    def signal(self, number: int) -> None:
        if not self.exited.done():
            self._send_signal(number)

    def on_news(self, kind: bytes, value: int) -> None:
        if kind == STARTED:
            self._pid = value
        elif kind == EXITED and not self.exited.done():
            self._drain()
            self.exited.set_result(value)
        elif kind == REFUSED:
            self._fail(f"the system refuses a new process: {os.strerror(value)}")

    def lose(self) -> None:
        """The zygote is gone, and nobody will tell of the end."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)
        self._fail("the process that starts scripts died, and the script with it; part of its work may have been done")

    def report(self) -> Report | None:
        """None if the job ended without one, or with something else in its place."""
        if len(self._said) < LENGTH.size or len(self._said) - LENGTH.size != LENGTH.unpack_from(self._said)[0]:
            return None
        try:
            return msgspec.json.decode(memoryview(self._said)[LENGTH.size :], type=Report)
        except (msgspec.DecodeError, RecursionError):  # the script has found its socket and written to it
            return None

    def close(self) -> None:
        if self._channel.fileno() >= 0:
            self._loop.remove_reader(self._channel)
            self._channel.close()
        for descriptor in list(self._pipes):
            self._close_pipe(descriptor)
        if self.exited.done() and not self.exited.cancelled():
            self.exited.exception()  # taken note of, also where a cancelled caller does not ask for it

    def _fail(self, message: str) -> None:
        if not self.exited.done():
            self.exited.set_exception(TaskError(message, {"reason": "process_lost"}))

    def _open_pipe(self, name: Literal["stdout", "stderr"], output: Output) -> None:
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        self._pipes[ours] = (name, output)
        self._their_pipes.append(theirs)
        self._loop.add_reader(ours, self._on_pipe, ours)

    def _close_pipe(self, descriptor: int) -> None:
        name, output = self._pipes.pop(descriptor)
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        if rest := output.rest():
            self._on_output(name, rest)

    def _on_pipe(self, descriptor: int) -> bool:
        """True if there may be more."""
        name, output = self._pipes[descriptor]
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._close_pipe(descriptor)
            return False
        if text := output.feed(data):
            self._on_output(name, text)
        return True

    def _on_channel(self) -> bool:
        """True if there may be more."""
        if self._channel.fileno() < 0:
            return False  # whoever waited for this run was cancelled while it was being stopped, and its end comes now
        try:
            data = self._channel.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except ConnectionError:
            data = b""
        if not data:
            self._loop.remove_reader(self._channel)
            return False
        self._said += data
        if len(self._said) > MAX_REPORT_BYTES + _READ_BYTES:
            self.signal(signal.SIGKILL)
        return True

    def _drain(self) -> None:
        """Everybody who could write is dead: what is in the pipes is all there will ever be.

        Where processes can flee from us (without Linux's subreaper) one may still be writing: hence the bound.
        """
        for descriptor in list(self._pipes):
            any(not self._on_pipe(descriptor) for _ in range(_MOST_READS))
        any(not self._on_channel() for _ in range(_MOST_READS))
