"""Programs as child processes: one, or several joined by pipes; bounded, and killed as a group with what they start."""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, Literal

from msgspec import Struct

from gleitzeit.errors import TaskError
from gleitzeit.process.output import Output

GRACE_SECONDS: Final = 0.5
"""Between SIGTERM and SIGKILL."""
_READ_BYTES: Final = 1 << 16
_MOST_READS: Final = 64
"""More than any pipe holds."""

OnOutput = Callable[[Literal["stdout", "stderr"], str], None]


class Ended(Struct, frozen=True):
    """`exit_codes` of each program, negative for a signal; the streams are of the last one, stderr of all together."""

    exit_codes: tuple[int, ...]
    stdout: Output
    stderr: Output
    seconds: float
    timed_out: bool


class Program(Struct, frozen=True):
    """`words[0]` is looked for on the PATH of `environment`."""

    words: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path


async def run(programs: Sequence[Program], stdin: bytes, timeout_seconds: float, on_output: OnOutput) -> Ended:
    """Each reads what the one before it prints, the first reads `stdin`. Raises TaskError for one that cannot start.

    All are dead when this returns or is cancelled, with everything in their process groups.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    out, err = _Stream("stdout", on_output), _Stream("stderr", on_output)
    running: list[asyncio.subprocess.Process] = []
    timed_out = False
    try:
        with tempfile.TemporaryFile() as file:
            _fill(file, stdin)
            await _start_all(programs, file.fileno(), out, err, running)
        try:
            async with asyncio.timeout(timeout_seconds):
                codes = [await process.wait() for process in running]
        except TimeoutError:
            timed_out = True
            codes = await _end(running)
        _kill(running)  # what they left behind
        return Ended(tuple(codes), out.drained(), err.drained(), loop.time() - started, timed_out)
    finally:
        _kill(running)
        out.close()
        err.close()
        if any(process.returncode is None for process in running):
            await asyncio.shield(asyncio.gather(*(process.wait() for process in running)))


def _fill(file: IO[bytes], content: bytes) -> None:
    """A file and not a pipe: nobody has to stand by and push."""
    file.write(content)
    file.flush()
    file.seek(0)


async def _start_all(
    programs: Sequence[Program],
    stdin: int,
    out: "_Stream",
    err: "_Stream",
    running: list[asyncio.subprocess.Process],
) -> None:
    """Appends to `running` as they start."""
    source = os.dup(stdin)
    try:
        for number, program in enumerate(programs, 1):
            if number < len(programs):
                following, target = os.pipe()
            else:
                following, target = -1, os.dup(out.their_end)
            try:
                running.append(await _start(program, source, target, err.their_end))
            finally:
                os.close(source)
                os.close(target)
                source = following
    finally:
        if source >= 0:
            os.close(source)
        out.let_go()
        err.let_go()


async def _start(program: Program, stdin: int, stdout: int, stderr: int) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *program.words, stdin=stdin, stdout=stdout, stderr=stderr, env=dict(program.environment),
            cwd=program.folder, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise TaskError(f"{program.words[0]!r} cannot be run: {why}", retryable=False) from None


async def _end(running: Sequence[asyncio.subprocess.Process]) -> list[int]:
    """SIGTERM to the groups, SIGKILL after the grace."""
    _kill(running, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE_SECONDS):
            for process in running:
                await process.wait()
    _kill(running)
    return [await process.wait() for process in running]


def _kill(running: Sequence[asyncio.subprocess.Process], number: int = signal.SIGKILL) -> None:
    for process in running:
        # The group lives on under the number of its dead leader. PermissionError is macOS for: only zombies are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


class _Stream:
    """A pipe that children write to, and what came through it."""

    def __init__(self, name: Literal["stdout", "stderr"], on_output: OnOutput) -> None:
        self._name = name
        self._on_output = on_output
        self._output = Output()
        self._ours, self.their_end = os.pipe()
        os.set_blocking(self._ours, False)
        asyncio.get_running_loop().add_reader(self._ours, self._read)

    def let_go(self) -> None:
        """Their end, which only they need from now on."""
        if self.their_end >= 0:
            os.close(self.their_end)
            self.their_end = -1

    def drained(self) -> Output:
        """What is in the pipe yet. Who has fled from its group may still be writing: hence the bound."""
        any(not self._read() for _ in range(_MOST_READS))
        self.close()
        return self._output

    def close(self) -> None:
        self.let_go()
        if self._ours < 0:
            return
        asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)
        self._ours = -1
        if rest := self._output.rest():
            self._on_output(self._name, rest)

    def _read(self) -> bool:
        """True if there may be more."""
        try:
            data = os.read(self._ours, _READ_BYTES) if self._ours >= 0 else b""
        except BlockingIOError:
            return False
        if not data:
            self.close()
            return False
        if text := self._output.feed(data):
            self._on_output(self._name, text)
        return True
